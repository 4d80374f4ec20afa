"""How fresh the runtime's heartbeat is. Rules: `opsd.core.heartbeat`. Source: loop-core 6."""

from datetime import datetime
from enum import StrEnum

import msgspec

from opsd.model.runtime import Aware


class Freshness(StrEnum):
    FRESH = "fresh"
    DEGRADED = "degraded"
    CRITICAL = "critical"
    FAILED = "failed"
    """Telemetry rows only: a beat without a usable time."""


class HeartbeatThresholds(msgspec.Struct, frozen=True, rename="camel", gc=False):
    degraded_heartbeat_lag_seconds: int
    critical_heartbeat_lag_seconds: int


class HeartbeatDocument(msgspec.Struct, frozen=True, rename="camel"):
    """`heartbeat.json`. `reason_code` is absent when fresh."""

    updated_at: Aware
    loop_id: str
    trace_id: str
    transport: str
    last_heartbeat_at: str
    heartbeat_lag_seconds: int
    freshness_status: Freshness
    thresholds: HeartbeatThresholds
    heartbeat: msgspec.Raw
    reason_code: str | msgspec.UnsetType = msgspec.UNSET
    schema_version: str = "v1"


class HeartbeatRow(msgspec.Struct, frozen=True, rename="camel"):
    """A line of `telemetry/heartbeat.jsonl`; the lag is absent where the beat's time is missing or invalid."""

    timestamp: Aware
    loop_id: str
    trace_id: str
    transport: str
    status: Freshness
    heartbeat: msgspec.Raw
    category: str = "runtime_heartbeat"
    reason_code: str | msgspec.UnsetType = msgspec.UNSET
    heartbeat_at: str | msgspec.UnsetType = msgspec.UNSET
    heartbeat_lag_seconds: int | msgspec.UnsetType = msgspec.UNSET


class Beat(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The newest believable beat, remembered between looks so that its lag keeps growing when beats stop."""

    at: datetime
    text: str
    status: str | None = None
    pid: int | None = None
    exited: bool = False
