"""What an operator may set, where each value came from, and what is wrong with it.

One model holds every setting of the daemon: flags, the generated reference page and the messages are made from it.
Flags win over `OPSD_*` variables, those over the TOML file, that over the defaults. Only `opsd.daemon` reads settings.
"""

import grp
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from opsd import shipped
from opsd.core.profiles import of_all
from opsd.core.thresholds import ThresholdError, catalog_from
from opsd.model.thresholds import ThresholdBasis, Thresholds
from opsd.model.tuning import Confidence

PREFIX = "OPSD_"
CONFIG_VARIABLE = "OPSD_CONFIG"
# sun_path holds 108 bytes with its terminating zero.
SOCKET_PATH_BYTES_MAX = 107
# Set for the client and for us alike, or for the client alone.
_FOREIGN_VARIABLES = frozenset({CONFIG_VARIABLE, "OPSD_SOCKET"})


class SettingsError(Exception):
    """Something that was set cannot be used; each problem names setting, origin, value and remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class _Form(msgspec.Struct, frozen=True):
    """What a value looks like, for messages and the reference; `live` settings take effect on SIGHUP."""

    says: str
    live: bool = False


def _folder(value: str) -> str:
    path = os.path.realpath(value)
    if not os.path.isdir(path):
        raise ValueError("there is no such folder" if not os.path.lexists(value) else "this is not a folder")
    return path


def _file(value: str) -> str:
    if not os.path.isfile(value):
        raise ValueError("there is no such file")
    return os.path.abspath(value)


def _executable(value: str) -> str:
    path = os.path.abspath(value)
    if not os.path.isfile(path):
        raise ValueError("there is no such file")
    if not os.access(path, os.X_OK):
        raise ValueError("this may not be executed")
    if not path.endswith("superloop.sh"):
        # The runtime knows its own processes by that name: under another one its cancel would not find them.
        raise ValueError("its name does not end in superloop.sh, so that the runtime's cancel would not know its runs")
    return path


def _short_path(value: str) -> str:
    path = os.path.abspath(value)
    size_bytes = len(os.fsencode(path))
    if size_bytes > SOCKET_PATH_BYTES_MAX:
        raise ValueError(
            f"{path} has {size_bytes} bytes, and the kernel takes {SOCKET_PATH_BYTES_MAX} in a socket's path"
        )
    return path


def _mode(value: object) -> object:
    # TOML and flags both carry it as text, so that 0660 and 660 mean what they mean to chmod.
    if isinstance(value, str):
        try:
            return int(value, 8)
        except ValueError:
            raise ValueError("this is not an octal number") from None
    return value


def _group(value: str) -> str:
    try:
        grp.getgrnam(value)
    except KeyError:
        raise ValueError("the system has no such group") from None
    return value


_SHORT_PATH = _Form("an absolute path of at most 107 bytes, such as /run/opsd/opsd.sock")
_GROUP = _Form("the name of an existing group; `getent group` lists them")
_LAG = _Form("whole seconds, 0 or more, the critical value not below the degraded one", live=True)
_STREAK = _Form("a whole number, 0 or more, the critical value not below the degraded one", live=True)
Lag = Annotated[int | None, Field(ge=0), _LAG]
Streak = Annotated[int | None, Field(ge=0), _STREAK]


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    repo: Annotated[str, AfterValidator(_folder), _Form("an existing folder")] = Field(
        description="The home: the repository whose `.superloop/ops-manager/` we write and whose fleet we supervise."
    )
    socket_path: Annotated[str, AfterValidator(_short_path), _SHORT_PATH] | None = Field(
        None, description="Where the control socket lies; by default `.superloop/ops-manager/opsd.sock` in the home."
    )
    socket_mode: Annotated[
        int, BeforeValidator(_mode), Field(ge=0o600, le=0o777), _Form("an octal file mode from 0600 to 0777")
    ] = Field(0o660, description="File mode of the control socket.")
    socket_group: Annotated[str, AfterValidator(_group), _GROUP] | None = Field(
        None, description="The group that may connect and read; without it only opsd's own user and root may."
    )
    operator_group: Annotated[str, AfterValidator(_group), _GROUP] | None = Field(
        None, description="The group that may ask for acts; by default the one that may connect."
    )
    threshold_profile: Annotated[str | None, _Form("a name from the profiles file", live=True)] = Field(
        None, description="Which profile of thresholds is in force; by default the file's own default."
    )
    threshold_profiles_file: Annotated[str, AfterValidator(_file), _Form("an existing file", live=True)] | None = Field(
        None, description="The catalog of threshold profiles; by default the one that came with opsd."
    )
    degraded_ingest_lag_seconds: Lag = Field(None, description="Overrides the profile: silence that degrades a run.")
    critical_ingest_lag_seconds: Lag = Field(None, description="Overrides the profile: silence that is critical.")
    degraded_heartbeat_lag_seconds: Lag = Field(None, description="A missing heartbeat that degrades a run (120).")
    critical_heartbeat_lag_seconds: Lag = Field(None, description="A missing heartbeat that is critical (300).")
    degraded_transport_failure_streak: Streak = Field(
        None, description="Overrides the profile: failed looks in a row that degrade a run."
    )
    critical_transport_failure_streak: Streak = Field(
        None, description="Overrides the profile: failed looks in a row that are critical."
    )
    commit_interval_s: Annotated[float, Field(ge=0.01, le=10), _Form("seconds, 0.01 to 10", live=True)] = Field(
        0.1, description="How long changes are gathered before our own files are written."
    )
    telemetry_interval_s: Annotated[float, Field(ge=1, le=3600), _Form("seconds, 1 to 3600", live=True)] = Field(
        60.0, description="How often a running loop leaves a telemetry sample and has its documents written anew."
    )
    drift_min_confidence: Annotated[Confidence, _Form("low, medium or high", live=True)] = Field(
        "medium", description="Less confident advice for another threshold profile is no drift of it."
    )
    drift_required_streak: Annotated[int, Field(ge=1, le=10_000), _Form("a whole number, 1 to 10000", live=True)] = (
        Field(3, description="So many samples in a row must advise another profile before somebody is told.")
    )
    drift_summary_window: Annotated[int, Field(ge=1, le=10_000), _Form("samples, 1 to 10000", live=True)] = Field(
        200, description="How many of a loop's newest telemetry samples the advice rests on."
    )
    max_concurrent_passes: Annotated[int, Field(ge=1, le=16), _Form("a whole number, 1 to 16", live=True)] = Field(
        2, description="How many batches of passes run at once."
    )
    pass_deadline_s: Annotated[float, Field(ge=1, le=600), _Form("seconds, 1 to 600", live=True)] = Field(
        30.0, description="After how long a batch of passes is left behind, so that it holds up nobody else."
    )
    sweep_interval_s: Annotated[float, Field(ge=0.1, le=60), _Form("seconds, 0.1 to 60")] = Field(
        1.0, description="How often the files of busy loops are looked over for changes that nobody announced."
    )
    sweep_idle_interval_s: Annotated[float, Field(ge=1, le=3600), _Form("seconds, 1 to 3600")] = Field(
        10.0, description="The same for loops that have been quiet."
    )
    watch: Annotated[bool, _Form("true or false")] = Field(
        True, description="Whether the kernel is asked for change notices; without, the sweep alone finds changes."
    )
    process_evidence: Annotated[bool, _Form("true or false")] = Field(
        True, description="Whether the process of a run counts as evidence; off where runs live on another machine."
    )
    bytes_per_pass: Annotated[int, Field(ge=65_536, le=1 << 30), _Form("bytes, 65536 to 1073741824")] = Field(
        4 << 20, description="How much of an event log one pass reads; the rest waits for the next."
    )
    events_per_pass: Annotated[int, Field(ge=1, le=10_000_000), _Form("a whole number, 1 to 10000000")] = Field(
        20_000, description="How many events one pass takes; the rest waits for the next."
    )
    line_bytes: Annotated[int, Field(ge=4_096, le=1 << 30), _Form("bytes, 4096 to 1073741824")] = Field(
        8 << 20, description="A longer line of an event log is quarantined."
    )
    service_idle_poll_s: Annotated[float, Field(ge=10, le=86_400), _Form("seconds, 10 to 86400", live=True)] = Field(
        900.0,
        description="How often a service is asked while nothing runs in its sprite; a request wakes a sleeping one.",
    )
    service_fast_poll_s: Annotated[float, Field(ge=0.2, le=60), _Form("seconds, 0.2 to 60", live=True)] = Field(
        2.0, description="How often a service is asked that cannot hold its answers back, while its run changes."
    )
    service_quiet_after_s: Annotated[float, Field(ge=5, le=3600), _Form("seconds, 5 to 3600", live=True)] = Field(
        60.0, description="A run that has been still for so long is asked about ever more rarely."
    )
    service_error_budget: Annotated[float, Field(ge=0, le=1), _Form("a share, 0 to 1", live=True)] = Field(
        0.1, description="The share of a service's polls that may fail within an hour before `service_budget_spent`."
    )
    service_ca_file: Annotated[str, AfterValidator(_file), _Form("an existing file in PEM")] | None = Field(
        None, description="The authorities that may sign the certificates of services, instead of the system's."
    )
    service_token_folder: Annotated[str, AfterValidator(_folder), _Form("an existing folder")] | None = Field(
        None,
        description="Where the tokens of services lie, one file for each name in the registry; before the environment.",
    )
    superloop_bin: (
        Annotated[str, AfterValidator(_executable), _Form("the path of an executable whose name ends in superloop.sh")]
        | None
    ) = Field(
        None, description="The runtime's command; by default `superloop.sh` in the loop's checkout, then on the PATH."
    )
    control_timeout_s: Annotated[float, Field(ge=1, le=3600), _Form("seconds, 1 to 3600", live=True)] = Field(
        60.0, description="After how long a command of the runtime is ended; a real cancel takes up to 12 s."
    )
    max_concurrent_intents: Annotated[int, Field(ge=1, le=64), _Form("a whole number, 1 to 64")] = Field(
        8, description="How many intents are carried out at once; one loop never has two."
    )
    launcher: Annotated[Literal["auto", "session", "systemd"], _Form("auto, session or systemd")] = Field(
        "auto",
        description="How a started run is kept outside of opsd's lifetime: a session of its own, a transient systemd "
        "unit, or the latter where opsd is itself a systemd service.",
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _Form("debug, info, warning or error", live=True)
    ] = Field("info", description="The least important events that are logged.")
    log_format: Annotated[
        Literal["auto", "console", "json", "journal"], _Form("auto, console, json or journal", live=True)
    ] = Field("auto", description="`auto` is for people on a terminal, for the journal under systemd, else JSON lines.")

    @property
    def socket(self) -> str:
        return self.socket_path or f"{self.repo}/.superloop/ops-manager/opsd.sock"


class Loaded(msgspec.Struct, frozen=True):
    """Settings that can be used; `unknown` are variables that look like settings and are none.

    `thresholds` are those of every loop for which nobody chose a profile, resolved from `basis`.
    """

    settings: Settings
    basis: ThresholdBasis
    thresholds: Thresholds
    unknown: tuple[str, ...] = ()


def load(flags: Mapping[str, object], *, config: str | None, environment: Mapping[str, str]) -> Loaded:
    """Settings from flags, the environment of this process, and the file `config`.

    Raises:
        SettingsError: every problem found, not only the first.
    """
    from_file, config_path = {}, config or environment.get(CONFIG_VARIABLE) or None
    if config_path:
        from_file = _read_config(config_path)
    given = {name: value for name, value in flags.items() if value is not None}

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, from_file)

    def origin(name: str) -> str:
        if name in given:
            return f"flag {flag(name)}"
        if f"{PREFIX}{name.upper()}" in environment:
            return f"variable {PREFIX}{name.upper()}"
        return f"file {config_path}"

    try:
        settings = Layered(**given)  # type: ignore[arg-type]  # judged by the model, whatever their types
    except ValidationError as error:
        raise SettingsError([_problem(each, origin) for each in error.errors()]) from None
    problem = _socket_problem(settings)
    if problem:
        raise SettingsError([problem])
    unknown = (
        name
        for name in environment
        if name.startswith(PREFIX)
        and name not in _FOREIGN_VARIABLES
        and name.removeprefix(PREFIX).lower() not in Settings.model_fields
    )
    return Loaded(settings, *_thresholds(settings), tuple(sorted(unknown)))


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def flags() -> list[tuple[str, str, bool]]:
    """(name, help, is a switch) of every setting, for a parser of arguments."""
    return [
        (name, f"{field.description} ({_form(field).says}; default {_default(name, field)})", field.annotation is bool)
        for name, field in Settings.model_fields.items()
    ]


def changed(old: Settings, new: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of settings that differ: those that take effect at once, and those that need a restart."""
    names = [name for name in Settings.model_fields if getattr(old, name) != getattr(new, name)]
    live = tuple(name for name in names if _form(Settings.model_fields[name]).live)
    return live, tuple(name for name in names if name not in live)


def reference_page() -> str:
    """`docs/reference/settings.md`, made from the model."""
    rows = "\n".join(
        f"| `{name}` | {_default(name, field)} | {_form(field).says} | {'yes' if _form(field).live else 'no'} "
        f"| {field.description} |"
        for name, field in Settings.model_fields.items()
    )
    return (
        "# Settings\n\n"
        "Written by `make docs` from `opsd/settings.py`; edit the model there.\n\n"
        "Each setting `some_name` can be given as the flag `--some-name`, the variable `OPSD_SOME_NAME`, or as\n"
        "`some_name` in a TOML file named by `--config` or `OPSD_CONFIG`. Flags win over variables, variables over\n"
        "the file. A value that cannot be used stops the start with exit code 2 and a message that names it; on\n"
        "SIGHUP the old settings stay in force and the daemon reports `settings_invalid` until they are mended.\n\n"
        f"| setting | default | form | on SIGHUP | meaning |\n| --- | --- | --- | --- | --- |\n{rows}\n"
    )


def _read_config(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            [f"config file {path} cannot be read: {error.strerror}; name another with --config"]
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"config file {path} is not TOML: {error}; give lines of the form `some_name = value`"
        raise SettingsError([problem]) from None


def _problem(error: Any, origin: Callable[[str], str]) -> str:
    """One sentence: setting, origin, value, what is wrong, remedy."""
    name = str(error["loc"][0]) if error["loc"] else "?"
    field = Settings.model_fields.get(name)
    if field is None:
        return f"setting {name} ({origin(name)}) does not exist; known are {', '.join(Settings.model_fields)}"
    if error["type"] == "missing":
        return f"setting {name} is missing; give {flag(name)} or {PREFIX}{name.upper()}: {_form(field).says}"
    why = str(error["msg"]).removeprefix("Value error, ")
    return f"setting {name} ({origin(name)}) is {error['input']!r}: {why}; give {_form(field).says}"


def _socket_problem(settings: Settings) -> str | None:
    try:
        _short_path(settings.socket)
    except ValueError as error:
        return (
            f"setting socket_path (default below the home): {error}; give {flag('socket_path')} a shorter path, "
            "such as /run/opsd/opsd.sock, and tell opsctl with OPSD_SOCKET"
        )
    return None


def _thresholds(settings: Settings) -> tuple[ThresholdBasis, Thresholds]:
    path = settings.threshold_profiles_file or shipped.config(shipped.THRESHOLD_PROFILES)
    overrides = {
        name: value
        for name in Thresholds.__struct_fields__
        if name != "profile" and (value := getattr(settings, name)) is not None
    }
    try:
        basis = ThresholdBasis(catalog_from(Path(path).read_bytes(), path), settings.threshold_profile, overrides)
        return basis, of_all(basis)
    except OSError as error:
        raise SettingsError([f"threshold profiles file {path} cannot be read: {error.strerror}"]) from None
    except ThresholdError as error:
        raise SettingsError([f"thresholds: {error}"]) from None


def _form(field: FieldInfo) -> _Form:
    return next((each for each in _flat(field) if isinstance(each, _Form)), _Form("a value"))


def _flat(field: FieldInfo) -> list[object]:
    """The metadata of a field, also where it stands on one side of `... | None`."""
    sides = getattr(field.annotation, "__args__", ())
    return [*field.metadata, *(each for side in sides for each in getattr(side, "__metadata__", ()))]


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    return f"`{field.default:04o}`" if name == "socket_mode" else f"`{field.default}`".lower()
