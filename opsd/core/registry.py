"""What a fleet registry must satisfy, and the loops it stands for. Source: fleet 2.3, rules V2 to V29.

Every violation is found and named, so that an operator mends a registry in one go. Reading the file, and finding loops
where there is no registry, is `opsd.transports.registry`. `policy.autonomous` is carried along unjudged.
"""

import posixpath
from typing import Any

import msgspec

from opsd.model.ids import LoopId, loop_id_fault
from opsd.model.registry import (
    UNSET,
    CandidateCategory,
    FleetPolicy,
    NoiseControls,
    PolicyMode,
    RegisteredLoop,
    Registry,
    RegistryReading,
    Service,
    Sprite,
    Unset,
)
from opsd.model.run import LoopRef, ServiceRef
from opsd.model.transport import TransportMode

EVERY_LOOP = "*"
_CATEGORIES = tuple(category.value for category in CandidateCategory)
_LOOP_FAULTS = {
    "loop_id_reserved": "the name is reserved for the fleet's own files; rename the loop",
    "loop_id_unsafe": "the id cannot name a folder safely; rename the loop",
}
Object = dict[str, Any]
_Suppressions = dict[str, tuple[CandidateCategory, ...]]


def read_registry(data: bytes, source: str) -> RegistryReading:
    """The registry in `data`, or what is wrong with it. `source` names the file in the errors.

    `null` counts as absent; so does `false` where the contract has it so. Unknown members are ignored.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return RegistryReading(errors=(f"{source} is not JSON: {error}",))
    if not isinstance(document, dict):
        return RegistryReading(errors=(f"{source} must hold one JSON object with schemaVersion and loops",))
    check = _Check()
    registry = check.registry(document)
    return RegistryReading(errors=tuple(check.errors)) if check.errors else RegistryReading(registry)


def loop_refs(registry: Registry, home: str, *, remote: bool = False) -> tuple[LoopRef, ...]:
    """The registry's loops in its order. One that cannot be managed carries the fault for which it is only listed.

    `remote`: there is a way to loops behind services.
    """
    return tuple(_loop_ref(loop, home, remote=remote) for loop in registry.loops)


def faulty_id(loop_id: str) -> tuple[str | None, str | None]:
    """(reason code, one sentence) where a loop of this name must not be managed, else (None, None)."""
    fault = loop_id_fault(loop_id)
    return (None, None) if fault is None else (fault, f"loop id {loop_id!a}: {_LOOP_FAULTS[fault]}")


def _loop_ref(loop: RegisteredLoop, home: str, *, remote: bool) -> LoopRef:
    fault, detail = faulty_id(loop.loop_id)
    service = _service_ref(loop.service)
    here = loop.transport is TransportMode.LOCAL or loop.repo_path is not UNSET
    if fault is None and loop.transport is not TransportMode.LOCAL and not remote:
        fault, detail = "transport_not_supported", f"loop {loop.loop_id}: transport {loop.transport} is not available"
    repo_path = home if loop.repo_path is UNSET else posixpath.normpath(posixpath.join(home, loop.repo_path))
    return LoopRef(loop.loop_id, repo_path, loop.transport, loop.enabled, fault, detail, loop.metadata, service, here)


def _service_ref(service: Service) -> ServiceRef | None:
    if service.base_url is UNSET:
        return None
    return ServiceRef(
        base_url=service.base_url.rstrip("/"),
        token_env=None if service.token_env is UNSET else service.token_env,
        retry_attempts=int(service.retry_attempts),
        retry_backoff_s=float(service.retry_backoff_seconds),
    )


class _Check:
    """Walks a document and gathers what is wrong. What it returns is of use only while `errors` is empty."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def registry(self, document: Object) -> Registry:
        if document.get("schemaVersion") != "v1":
            self.refuse("schemaVersion", document.get("schemaVersion"), 'must be "v1"')
        fleet_id = _present(document.get("fleetId"), "default")
        if not isinstance(fleet_id, str):
            self.refuse("fleetId", fleet_id, "must be a string")
        loops = self.loops(document.get("loops"))
        declared = frozenset(loop.loop_id for loop in loops)
        policy = self.policy(self.member(document, "policy", "policy"), declared)
        return Registry(str(fleet_id), loops, policy)

    def loops(self, value: object) -> tuple[RegisteredLoop, ...]:
        if not isinstance(value, list):
            self.refuse("loops", value, "must be an array of loops")
            return ()
        if not value:
            self.errors.append("loops must not be empty: name at least one loop")
        loops = tuple(self.loop(entry, f"loops[{index}]") for index, entry in enumerate(value))
        first: dict[str, int] = {}
        for index, loop in enumerate(loops):
            if loop.loop_id and first.setdefault(loop.loop_id, index) != index:
                where = f"loops[{first[loop.loop_id]}]"
                self.refuse(f"loops[{index}].loopId", loop.loop_id, f"must be unique; {where} has it already")
        return loops

    def loop(self, entry: object, at: str) -> RegisteredLoop:
        if not isinstance(entry, dict):
            self.refuse(at, entry, "must be an object")
            return RegisteredLoop(LoopId(""))
        loop_id = entry.get("loopId")
        if not isinstance(loop_id, str) or not loop_id:
            self.refuse(f"{at}.loopId", loop_id, "must be a string that is not empty")
            loop_id = ""
        enabled = entry.get("enabled")
        if not isinstance(enabled, bool | None):
            self.refuse(f"{at}.enabled", enabled, "must be true or false")
        transport = _present(entry.get("transport"), "local")
        if transport not in ("local", "sprite_service"):
            self.refuse(f"{at}.transport", transport, "must be local or sprite_service")
            transport = "local"
        sprite = self.member(entry, "sprite", f"{at}.sprite")
        service = self.member(entry, "service", f"{at}.service")
        # An empty service.baseUrl hides a good sprite.serviceBaseUrl: whoever wrote it meant something by it.
        base_url = service.get("baseUrl") if service.get("baseUrl") is not None else sprite.get("serviceBaseUrl")
        if transport == "sprite_service" and not (isinstance(base_url, str) and base_url):
            self.refuse(f"{at}:", base_url, "sprite_service loops require service.baseUrl or sprite.serviceBaseUrl")
        return RegisteredLoop(
            loop_id=LoopId(loop_id),
            enabled=enabled is not False,
            transport=TransportMode(transport),
            sprite=self.sprite(sprite, base_url, f"{at}.sprite"),
            service=self.service(service, base_url, f"{at}.service"),
            metadata=msgspec.Raw(msgspec.json.encode(self.member(entry, "metadata", f"{at}.metadata", or_false=True))),
            repo_path=self.repo_path(entry.get("repoPath"), f"{at}.repoPath"),
        )

    def sprite(self, value: Object, base_url: object, at: str) -> Sprite:
        own_url = value.get("serviceBaseUrl")
        return Sprite(
            id=self.name(_present(value.get("id"), None), f"{at}.id"),
            assignment=_raw(value.get("assignment")),
            service_base_url=_text(own_url if own_url is not None else base_url),
        )

    def service(self, value: Object, base_url: object, at: str) -> Service:
        return Service(
            base_url=_text(base_url),
            token_env=self.name(value.get("tokenEnv"), f"{at}.tokenEnv"),
            retry_attempts=self.number(value.get("retryAttempts"), 3, 1, f"{at}.retryAttempts"),
            retry_backoff_seconds=self.number(value.get("retryBackoffSeconds"), 1, 0, f"{at}.retryBackoffSeconds"),
        )

    def policy(self, value: Object, declared: frozenset[LoopId]) -> FleetPolicy:
        mode = _present(value.get("mode"), "advisory")
        if mode not in ("advisory", "guarded_auto"):
            self.refuse("policy.mode", mode, "must be advisory or guarded_auto")
            mode = "advisory"
        suppressions = self.member(value, "suppressions", "policy.suppressions", or_false=True)
        for key, categories in suppressions.items():
            self.suppression(key, categories, declared)
        return FleetPolicy(
            mode=PolicyMode(mode),
            suppressions={} if self.errors else msgspec.convert(suppressions, _Suppressions),
            noise_controls=self.noise_controls(self.member(value, "noiseControls", "policy.noiseControls")),
            autonomous=_raw(value.get("autonomous")) or msgspec.Raw(b"{}"),
        )

    def noise_controls(self, value: Object) -> NoiseControls:
        window = value.get("dedupeWindowSeconds")
        if window is None:
            return NoiseControls()
        if not _is_number(window) or window < 0 or window % 1:  # 1e3 is a whole number as well
            self.refuse("policy.noiseControls.dedupeWindowSeconds", window, "must be an integer >= 0, when present")
            return NoiseControls()
        return NoiseControls(int(window))

    def suppression(self, key: str, categories: object, declared: frozenset[LoopId]) -> None:
        """Of each key only the first violation is told."""
        at = f"policy.suppressions[{key!a}]"
        if key != EVERY_LOOP and key not in declared:
            self.errors.append(f'{at} names no declared loop: use a loopId of this registry or "*"')
        elif not isinstance(categories, list):
            self.refuse(at, categories, "must be an array of categories")
        elif not all(isinstance(category, str) for category in categories):
            self.refuse(at, categories, "must hold strings only")
        elif unknown := [category for category in categories if category not in _CATEGORIES]:
            self.refuse(at, unknown, f"contains unknown categories; known are {', '.join(_CATEGORIES)}")

    def repo_path(self, value: object, at: str) -> str | Unset:
        if value is None:
            return UNSET
        if not isinstance(value, str) or not value or not value.isprintable():
            self.refuse(at, value, "must be a path, absolute or relative to the home repository")
            return UNSET
        return value

    def member(self, parent: Object, name: str, at: str, *, or_false: bool = False) -> Object:
        value = parent.get(name)
        if value is None or (or_false and value is False):
            return {}
        if not isinstance(value, dict):
            self.refuse(at, value, "must be an object")
            return {}
        return value

    def name(self, value: object, at: str) -> str | Unset:
        if value is None:
            return UNSET
        if not isinstance(value, str) or not value:
            self.refuse(at, value, "must be a string that is not empty, when present")
            return UNSET
        return value

    def number(self, value: Any, default: int, least: int, at: str) -> int | float:  # any JSON value
        if value is None:
            return default
        if not _is_number(value) or value < least:
            self.refuse(at, value, f"must be a number >= {least}, when present")
            return default
        return value  # type: ignore[no-any-return]  # a number, as just checked

    def refuse(self, at: str, value: object, rule: str) -> None:
        found = msgspec.json.encode(value).decode()
        self.errors.append(f"{at} {rule} (found {found if len(found) <= 80 else found[:77] + '...'})")


def _present(value: object, default: object) -> object:
    """`value`, or the default where it is absent; a few members take `false` for absent as well."""
    return default if value is None or value is False else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: object) -> str | Unset:
    return value if isinstance(value, str) and value else UNSET


def _raw(value: object) -> msgspec.Raw | Unset:
    return UNSET if value is None else msgspec.Raw(msgspec.json.encode(value))
