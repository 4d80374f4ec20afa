"""Findings, and the contract's health document made from them. Rules: `opsd.core.findings`, `opsd.core.health`.

A finding is one true thing that an operator should know; the contract's `reasons` are the findings it knows.
Source: loop-core 8.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from opsd.model.runtime import Aware


class HealthStatus(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    CRITICAL = "critical"


class Severity(StrEnum):
    """`info` needs no haste, though it may need a human; only the other two make a run unhealthy."""

    INFO = "info"
    DEGRADED = "degraded"
    CRITICAL = "critical"


class Finding(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`since` is when it became true by the evidence (never the clock of the pass where that can be avoided).

    `evidence` is one plain sentence with the inputs; `onset` is the evidence's own identity (an event's line, a
    threshold's instant, ...): the same condition seen again has the same onset. `line` points into the event log.
    """

    code: str
    severity: Severity
    since: datetime | None
    evidence: str
    onset: str
    line: int | None = None


class HealthReason(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`observed` and `threshold` are strings in the contract, whatever they measure."""

    code: str
    severity: Severity
    metric: str
    observed: str
    threshold: str


class HealthMetrics(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`ingest_lag_seconds` is the contract's name for the age of the newest event; `event_age_seconds` says it plainly.

    `backlog_bytes` is what ingestion has really not read yet.
    """

    ingest_lag_seconds: int | None
    heartbeat_lag_seconds: int | None
    transport_failure_streak: int
    last_control_status: str | None
    sequence_status: str | None
    lifecycle_state: str
    event_age_seconds: int | None = None
    backlog_bytes: int = 0


class HealthThresholds(msgspec.Struct, frozen=True, rename="camel", gc=False):
    profile: str | None
    degraded_ingest_lag_seconds: int
    critical_ingest_lag_seconds: int
    degraded_heartbeat_lag_seconds: int
    critical_heartbeat_lag_seconds: int
    degraded_transport_failure_streak: int
    critical_transport_failure_streak: int


class HealthTransport(msgspec.Struct, frozen=True, rename="camel", gc=False):
    mode: str
    ingest_status: str
    failure_code: str | None = None
    last_failure_code: str | None = None


class HealthEvidence(msgspec.Struct, frozen=True, rename="camel", gc=False):
    last_event_at: str | None = None
    last_heartbeat_at: str | None = None
    sequence_updated_at: Aware | None = None


class HealthDocument(msgspec.Struct, frozen=True, rename="camel"):
    """`health.json`. `status`, `reason_codes`, `reasons` are the contract's; `overall_status`, `findings` are ours."""

    updated_at: Aware
    trace_id: str | None
    status: HealthStatus
    reason_codes: tuple[str, ...]
    reasons: tuple[HealthReason, ...]
    metrics: HealthMetrics
    thresholds: HealthThresholds
    transport: HealthTransport
    evidence: HealthEvidence
    schema_version: str = "v1"
    overall_status: HealthStatus = HealthStatus.HEALTHY
    findings: tuple[Finding, ...] = ()


class Ages(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """How long ago, in seconds, by each of a run's four clocks; None where that never happened."""

    contact: float | None = None
    heartbeat: float | None = None
    event: float | None = None
    output: float | None = None
