"""The fleet registry: which loops there are, how each is reached, and the fleet's policy. Source: fleet 2.

These are the normalised records, defaults filled in; encoded they are the contract's normalised output. What a document
must satisfy to become one is `opsd.core.registry`.
"""

from enum import StrEnum

import msgspec

from opsd.model.ids import LoopId
from opsd.model.transport import TransportMode

UNSET = msgspec.UNSET
Unset = msgspec.UnsetType


class PolicyMode(StrEnum):
    ADVISORY = "advisory"
    GUARDED_AUTO = "guarded_auto"


class CandidateCategory(StrEnum):
    """What the fleet's policy may propose to act on, and so what it can be told to suppress."""

    RECONCILE_FAILED = "reconcile_failed"
    HEALTH_CRITICAL = "health_critical"
    HEALTH_DEGRADED = "health_degraded"


class Sprite(msgspec.Struct, frozen=True, rename="camel"):
    """Members are absent where they are not known; `assignment` is carried through unchecked."""

    id: str | Unset = UNSET
    assignment: msgspec.Raw | Unset = UNSET
    service_base_url: str | Unset = UNSET


class Service(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`token_env` names the environment variable that holds the token, never the token itself."""

    base_url: str | Unset = UNSET
    token_env: str | Unset = UNSET
    retry_attempts: int | float = 3
    retry_backoff_seconds: int | float = 1


class RegisteredLoop(msgspec.Struct, frozen=True, rename="camel"):
    """`repo_path` is ours: the checkout of a local loop, absolute or relative to the home; absent means the home."""

    loop_id: LoopId
    enabled: bool = True
    transport: TransportMode = TransportMode.LOCAL
    sprite: Sprite = Sprite()
    service: Service = Service()
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    repo_path: str | Unset = UNSET


class NoiseControls(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A candidate seen within the window is not proposed again; 0 switches that off."""

    dedupe_window_seconds: int = 300


class FleetPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """`suppressions` maps a loop id, or `*`, to the categories not to propose. `autonomous` is carried verbatim."""

    mode: PolicyMode = PolicyMode.ADVISORY
    suppressions: dict[str, tuple[CandidateCategory, ...]] = {}
    noise_controls: NoiseControls = NoiseControls()
    autonomous: msgspec.Raw = msgspec.Raw(b"{}")


class Registry(msgspec.Struct, frozen=True, rename="camel"):
    fleet_id: str
    loops: tuple[RegisteredLoop, ...]
    policy: FleetPolicy = FleetPolicy()
    schema_version: str = "v1"


class RegistryReading(msgspec.Struct, frozen=True):
    """What reading a registry came to: the registry, or every violation found, each naming its field path."""

    registry: Registry | None = None
    errors: tuple[str, ...] = ()
