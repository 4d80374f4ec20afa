"""When late is too late: the catalog of profiles and the thresholds resolved from it. Source: loop-core 12."""

from collections.abc import Mapping

import msgspec


class Profile(msgspec.Struct, frozen=True, rename="camel", gc=False):
    degraded_ingest_lag_seconds: int
    critical_ingest_lag_seconds: int
    degraded_transport_failure_streak: int
    critical_transport_failure_streak: int
    description: str | None = None


class ProfileCatalog(msgspec.Struct, frozen=True, rename="camel"):
    """`refused`: profiles by name whose values are unusable, and why; they matter only if one of them is asked for."""

    schema_version: str
    profiles: dict[str, Profile]
    default_profile: str | None = None
    refused: dict[str, str] = {}


class ThresholdBasis(msgspec.Struct, frozen=True):
    """From what the thresholds of every loop are resolved. `profile` is the one that was set for all of them.

    `overrides` are single values, keyed by the field of `Thresholds`; they hold whichever profile is in force.
    """

    catalog: ProfileCatalog
    profile: str | None = None
    overrides: Mapping[str, int] = {}


class Thresholds(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Seconds and counts; every comparison is `observed >= threshold`. `opsd.core.thresholds.resolve` makes them.

    Raises:
        ValueError: a critical value below its degraded one.
    """

    profile: str | None = "balanced"
    degraded_ingest_lag_seconds: int = 300
    critical_ingest_lag_seconds: int = 900
    degraded_heartbeat_lag_seconds: int = 120
    critical_heartbeat_lag_seconds: int = 300
    degraded_transport_failure_streak: int = 2
    critical_transport_failure_streak: int = 4

    def __post_init__(self) -> None:
        for what in ("ingest_lag_seconds", "heartbeat_lag_seconds", "transport_failure_streak"):
            degraded, critical = getattr(self, f"degraded_{what}"), getattr(self, f"critical_{what}")
            if degraded < 0 or critical < degraded:
                raise ValueError(
                    f"critical_{what} ({critical}) must be at least degraded_{what} ({degraded}), and neither negative"
                )
