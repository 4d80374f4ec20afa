"""The contract's evaluation of a loop's documents: its rules in their order, over what is given and nothing else.

The `health` command prints this. What the manager itself believes of a loop, and writes to `health.json`, is `health`;
the rules about reaching a loop are the same for both. Source: loop-core 8.2, 8.3.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from opsd.core.instants import lag_s, parse, whole
from opsd.core.rules.reaching import REACHING_FAILURES
from opsd.model.health import HealthReason, HealthStatus, HealthThresholds, HealthTransport, Severity
from opsd.model.runtime import Aware
from opsd.model.thresholds import Thresholds

ORDERING_DRIFT: Final = "ordering_drift_detected"
_PAYLOAD_CODES: Final = {"service_response_invalid": "invalid_transport_payload", "": "reconcile_failed"}


class StateProjected(msgspec.Struct, frozen=True, rename="camel"):
    last_event_at: str | None = None


class StateTransition(msgspec.Struct, frozen=True, rename="camel"):
    current_state: str | None = None


class StateDivergence(msgspec.Struct, frozen=True, rename="camel"):
    any: bool | None = None


class StateGiven(msgspec.Struct, frozen=True, rename="camel"):
    """`state.json`, as far as it is judged."""

    transition: StateTransition = StateTransition()
    projection: StateProjected = StateProjected()
    divergence: StateDivergence = StateDivergence()


class BeatGiven(msgspec.Struct, frozen=True, rename="camel"):
    timestamp: str | None = None


class HeartbeatGiven(msgspec.Struct, frozen=True, rename="camel"):
    """`heartbeat.json`. A lag that is stored in it counts before the beat's own time."""

    heartbeat_lag_seconds: int | None = None
    last_heartbeat_at: str | None = None
    heartbeat: BeatGiven = BeatGiven()


class SequenceGiven(msgspec.Struct, frozen=True, rename="camel"):
    """`sequence-state.json`."""

    status: str | None = None
    reason_code: str | None = None
    drift_active: bool | None = None
    updated_at: str | None = None


class TransportGiven(msgspec.Struct, frozen=True, rename="camel"):
    """`transport-health.json`."""

    failure_streak: int = 0
    last_failure_code: str | None = None


class Given(msgspec.Struct, frozen=True):
    """What is evaluated; what was not given is empty. `failure_code` is None unless ingest failed."""

    thresholds: Thresholds
    mode: str = "local"
    ingest_failed: bool = False
    failure_code: str | None = None
    state: StateGiven = StateGiven()
    heartbeat: HeartbeatGiven = HeartbeatGiven()
    sequence: SequenceGiven = SequenceGiven()
    transport: TransportGiven = TransportGiven()
    last_control_status: str | None = None


class EvaluatedMetrics(msgspec.Struct, frozen=True, rename="camel"):
    ingest_lag_seconds: int | None
    heartbeat_lag_seconds: int | None
    transport_failure_streak: int
    last_control_status: str | None
    sequence_status: str | None
    lifecycle_state: str


class EvaluatedEvidence(msgspec.Struct, frozen=True, rename="camel"):
    """The times as the documents spell them."""

    last_event_at: str | None
    last_heartbeat_at: str | None
    sequence_updated_at: str | None


class HealthEvaluation(msgspec.Struct, frozen=True, rename="camel"):
    """The contract's health document, without what the manager adds to its own."""

    schema_version: str
    updated_at: Aware
    trace_id: str | None
    status: HealthStatus
    reason_codes: tuple[str, ...]
    reasons: tuple[HealthReason, ...]
    metrics: EvaluatedMetrics
    thresholds: HealthThresholds
    transport: HealthTransport
    evidence: EvaluatedEvidence


def evaluate(given: Given, *, trace_id: str | None, now: datetime) -> HealthEvaluation:
    limits, state = given.thresholds, given.state
    last_heartbeat_at = given.heartbeat.last_heartbeat_at or given.heartbeat.heartbeat.timestamp
    ingest_lag = _lag(state.projection.last_event_at, now)
    heartbeat_lag = given.heartbeat.heartbeat_lag_seconds
    if heartbeat_lag is None:
        heartbeat_lag = _lag(last_heartbeat_at, now)
    reasons = _unique(_reasons(given, ingest_lag, heartbeat_lag))
    return HealthEvaluation(
        schema_version="v1",
        updated_at=whole(now),
        trace_id=trace_id,
        status=status_of(reasons),
        reason_codes=tuple(dict.fromkeys(reason.code for reason in reasons)),
        reasons=reasons,
        metrics=EvaluatedMetrics(
            ingest_lag_seconds=ingest_lag,
            heartbeat_lag_seconds=heartbeat_lag,
            transport_failure_streak=given.transport.failure_streak,
            last_control_status=given.last_control_status,
            sequence_status=given.sequence.status,
            lifecycle_state=state.transition.current_state or "unknown",
        ),
        thresholds=shown(limits),
        transport=HealthTransport(
            mode=given.mode,
            ingest_status="failed" if given.ingest_failed else "success",
            failure_code=given.failure_code or None if given.ingest_failed else None,
            last_failure_code=given.transport.last_failure_code,
        ),
        evidence=EvaluatedEvidence(state.projection.last_event_at, last_heartbeat_at, given.sequence.updated_at),
    )


def status_of(reasons: tuple[HealthReason, ...]) -> HealthStatus:
    """The worst of them."""
    if not reasons:
        return HealthStatus.HEALTHY
    critical = any(reason.severity is Severity.CRITICAL for reason in reasons)
    return HealthStatus.CRITICAL if critical else HealthStatus.DEGRADED


def shown(limits: Thresholds) -> HealthThresholds:
    """The thresholds as a health document shows them."""
    return HealthThresholds(
        limits.profile,
        limits.degraded_ingest_lag_seconds,
        limits.critical_ingest_lag_seconds,
        limits.degraded_heartbeat_lag_seconds,
        limits.critical_heartbeat_lag_seconds,
        limits.degraded_transport_failure_streak,
        limits.critical_transport_failure_streak,
    )


def streak_reasons(limits: Thresholds, streak: int) -> Iterator[HealthReason]:
    """Rules 8 and 9."""
    pair = limits.degraded_transport_failure_streak, limits.critical_transport_failure_streak
    yield from _crossed("transport_unreachable", "transportFailureStreak", streak, *pair)


def ingest_reason(failure_code: str) -> HealthReason:
    """Rules 11 to 15, for a look that failed: they know no difference between a transport and local files."""
    known = "transport_unreachable" if failure_code in REACHING_FAILURES else _PAYLOAD_CODES.get(failure_code)
    return HealthReason(known or failure_code, Severity.DEGRADED, "ingestStatus", "failed", "success")


def _reasons(given: Given, ingest_lag: int | None, heartbeat_lag: int | None) -> Iterator[HealthReason]:
    limits, control, sequence = given.thresholds, given.last_control_status, given.sequence
    if given.state.divergence.any:
        yield HealthReason("divergence_detected", Severity.DEGRADED, "divergence.any", "true", "false")
    if control in ("ambiguous", "failed_command"):
        yield HealthReason(f"control_{control}", Severity.DEGRADED, "control.status", control, "confirmed")
    pair = limits.degraded_ingest_lag_seconds, limits.critical_ingest_lag_seconds
    yield from _crossed("ingest_stale", "ingestLagSeconds", ingest_lag, *pair)
    pair = limits.degraded_heartbeat_lag_seconds, limits.critical_heartbeat_lag_seconds
    yield from _crossed("runtime_heartbeat_stale", "heartbeatLagSeconds", heartbeat_lag, *pair)
    yield from streak_reasons(limits, given.transport.failure_streak)
    if sequence.drift_active:
        code = sequence.reason_code or ORDERING_DRIFT
        yield HealthReason(code, Severity.DEGRADED, "sequence.status", sequence.status or code, "ok")
    if given.ingest_failed:
        yield ingest_reason(given.failure_code or "")


def _crossed(code: str, metric: str, observed: int | None, degraded: int, critical: int) -> Iterator[HealthReason]:
    """The worse of the two limits that was reached. What is not known reaches none."""
    for severity, limit in ((Severity.CRITICAL, critical), (Severity.DEGRADED, degraded)):
        if observed is not None and observed >= limit:
            yield HealthReason(code, severity, metric, str(observed), str(limit))
            return


def _unique(reasons: Iterator[HealthReason]) -> tuple[HealthReason, ...]:
    """By code and severity the first, sorted by that key."""
    unique: dict[tuple[str, str], HealthReason] = {}
    for reason in reasons:
        unique.setdefault((reason.code, reason.severity), reason)
    return tuple(unique[key] for key in sorted(unique))


def _lag(text: str | None, now: datetime) -> int | None:
    at = parse(text)
    return lag_s(at, now) if at is not None else None
