"""Which thresholds are in force: a catalog of profiles, one of them chosen, single values overridden.

Source: loop-core 12.1 to 12.3. Reading the catalog's file is the shell's work.
"""

from collections.abc import Mapping

import msgspec

from opsd.model.thresholds import Profile, ProfileCatalog, Thresholds

NOT_JSON = "profiles_not_json"
INVALID_SHAPE = "profiles_invalid_shape"
NAME_MISSING = "profile_name_missing"
UNKNOWN_PROFILE = "profile_unknown"
INVALID_VALUES = "profile_values_invalid"
INVALID_THRESHOLD = "threshold_invalid"


class ThresholdError(Exception):
    """The caller's catalog, profile or override cannot be used; trying again does not help.

    `code` is stable; the message begins with the contract's own text where it has one (loop-core 12.2).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Shape(msgspec.Struct, rename="camel"):
    schema_version: str
    profiles: dict[str, msgspec.Raw]
    default_profile: str | None = None


def catalog_from(data: bytes, source: str) -> ProfileCatalog:
    """The catalog in `data`; `source` names the file in messages.

    A profile with unusable values is only refused when it is asked for, so one bad profile does not cost the others.

    Raises:
        ThresholdError: not JSON, another schema version, or no profiles.
    """
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ThresholdError(NOT_JSON, f"invalid threshold profiles JSON: {source} ({error})") from error
    shape = "threshold profiles file has invalid shape"
    try:
        raw = msgspec.json.decode(data, type=_Shape)
    except msgspec.ValidationError as error:
        raise ThresholdError(INVALID_SHAPE, f"{shape}: {source}: {error}") from error
    if raw.schema_version != "v1":
        raise ThresholdError(INVALID_SHAPE, f"{shape}: {source}: schemaVersion is {raw.schema_version!r}, not 'v1'")
    if not raw.profiles:
        raise ThresholdError(INVALID_SHAPE, f"{shape}: {source}: `profiles` names none")
    profiles, refused = {}, {}
    for name, text in raw.profiles.items():
        try:
            profiles[name] = msgspec.json.decode(text, type=Profile)
        except msgspec.ValidationError as error:
            refused[name] = str(error)
    return ProfileCatalog(raw.schema_version, profiles, raw.default_profile, refused)


def resolve(catalog: ProfileCatalog, *, profile: str | None, overrides: Mapping[str, int]) -> Thresholds:
    """The thresholds of `profile` (of the catalog's default where None or empty), with single values overridden.

    `overrides` are keyed by the fields of `Thresholds`. The pairs are checked after combining: an override may not
    push a degraded value above its critical one. The profile's name stays, also if every value was overridden.

    Raises:
        ThresholdError: no such profile, unusable values in it, or a pair out of order.
    """
    name = profile or catalog.default_profile
    if not name:
        raise ThresholdError(NAME_MISSING, "profile name is required and defaultProfile is missing")
    chosen = catalog.profiles.get(name)
    if chosen is None:
        if name in catalog.refused:
            problem = catalog.refused[name]
            raise ThresholdError(INVALID_VALUES, f"threshold profile values are invalid: {name} ({problem})")
        known = ", ".join(sorted({*catalog.profiles, *catalog.refused}))
        raise ThresholdError(UNKNOWN_PROFILE, f"unknown threshold profile: {name} (the catalog has: {known})")
    values = msgspec.structs.asdict(chosen)
    values.pop("description")
    try:
        Thresholds(profile=name, **values)
    except ValueError as error:
        raise ThresholdError(INVALID_VALUES, f"threshold profile values are invalid: {name} ({error})") from error
    unknown = sorted(set(overrides) - set(Thresholds.__struct_fields__[1:]))
    if unknown:
        raise ThresholdError(INVALID_THRESHOLD, f"there is no threshold named {unknown[0]}")
    try:
        return Thresholds(profile=name, **{**values, **overrides})
    except ValueError as error:
        raise ThresholdError(INVALID_THRESHOLD, f"{error}; the values are profile {name}'s where not given") from error
