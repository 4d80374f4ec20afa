"""The contract's health document: the findings that it knows, in its words and order. Source: loop-core 8.2, 8.3.

Nothing is judged a second time. Only reachability is told in two ways: the contract has one code for every failed look
and counts local trouble as transport trouble, so its rules 8, 9 and 11 are applied here as it has them.
"""

from datetime import datetime

from opsd.core.contract_health import ingest_reason, shown, status_of, streak_reasons
from opsd.core.instants import lag_s, whole
from opsd.core.rules.late import beat_age, silence
from opsd.core.rules.look import Look, Span, look_at
from opsd.model.health import (
    Finding,
    HealthDocument,
    HealthEvidence,
    HealthMetrics,
    HealthReason,
    HealthStatus,
    HealthTransport,
    Severity,
)
from opsd.model.run import Ingest, Run
from opsd.model.thresholds import Thresholds

_STATUS = {
    Severity.INFO: HealthStatus.HEALTHY,
    Severity.DEGRADED: HealthStatus.DEGRADED,
    Severity.CRITICAL: HealthStatus.CRITICAL,
}


def document(
    run: Run, findings: tuple[Finding, ...], ingest: Ingest, thresholds: Thresholds, *, trace_id: str, now: datetime
) -> HealthDocument:
    """`health.json` from this pass's `findings` (worst first, as `findings.judge` returns them)."""
    look = look_at(run, ingest, thresholds, now)
    reasons = _reasons(look, findings)
    last, beat, sequence, transport = run.fold.last, run.beat, run.sequence, run.transport_health
    event_age_s = lag_s(last.at, now) if last is not None and last.at is not None else None
    return HealthDocument(
        updated_at=whole(now),
        trace_id=trace_id,
        status=status_of(reasons),
        reason_codes=tuple(dict.fromkeys(reason.code for reason in reasons)),
        reasons=reasons,
        metrics=HealthMetrics(
            ingest_lag_seconds=event_age_s,
            heartbeat_lag_seconds=lag_s(beat.at, now) if beat is not None else None,
            transport_failure_streak=_streak(look),
            last_control_status=run.control.last_status,
            sequence_status=sequence.status if sequence is not None else None,
            lifecycle_state=look.lifecycle,
            event_age_seconds=event_age_s,
            backlog_bytes=run.backlog_bytes,
        ),
        thresholds=shown(thresholds),
        transport=HealthTransport(
            mode=run.ref.transport,
            ingest_status="success" if ingest.ok else "failed",
            failure_code=None if ingest.ok else ingest.failure_code,
            last_failure_code=transport.last_failure_code if transport is not None else None,
        ),
        evidence=HealthEvidence(
            last_event_at=last.timestamp if last is not None else None,
            last_heartbeat_at=beat.text if beat is not None else None,
            sequence_updated_at=sequence.updated_at if sequence is not None else None,
        ),
        overall_status=_STATUS[findings[0].severity] if findings else HealthStatus.HEALTHY,
        findings=findings,
    )


def _reasons(look: Look, findings: tuple[Finding, ...]) -> tuple[HealthReason, ...]:
    """Unique by code and severity, the first by the contract's order of rules kept, and sorted by that key."""
    if not findings and look.ingest.ok:
        return ()
    unique: dict[tuple[str, str], HealthReason] = {}
    for finding in findings:
        reason = _known(look, finding)
        if reason is not None:
            unique[reason.code, reason.severity] = reason
    if not look.ingest.ok:
        # Rules 8, 9 and 11 to 15.
        for reason in (
            *streak_reasons(look.thresholds, _streak(look)),
            ingest_reason(look.ingest.failure_code or ""),
        ):
            unique.setdefault((reason.code, reason.severity), reason)
    return tuple(unique[key] for key in sorted(unique))


def _known(look: Look, finding: Finding) -> HealthReason | None:
    """Rules 1 to 7 and 10."""
    code, severity = finding.code, finding.severity
    limits = look.thresholds
    match code:
        case "divergence_detected":
            return HealthReason(code, severity, "divergence.any", "true", "false")
        case "control_ambiguous" | "control_failed_command":
            return HealthReason(code, severity, "control.status", code.removeprefix("control_"), "confirmed")
        case "ingest_stale":
            pair = limits.degraded_ingest_lag_seconds, limits.critical_ingest_lag_seconds
            return _lag(look, finding, "ingestLagSeconds", silence(look), *pair)
        case "runtime_heartbeat_stale":
            pair = limits.degraded_heartbeat_lag_seconds, limits.critical_heartbeat_lag_seconds
            return _lag(look, finding, "heartbeatLagSeconds", beat_age(look), *pair)
        case "ordering_drift_detected":
            status = look.run.sequence.status if look.run.sequence is not None else code
            return HealthReason(code, severity, "sequence.status", status, "ok")
        case _:
            return None


def _lag(look: Look, finding: Finding, metric: str, span: Span | str, degraded: int, critical: int) -> HealthReason:
    observed = lag_s(span.since, look.now) if isinstance(span, Span) else 0
    threshold = critical if finding.severity is Severity.CRITICAL else degraded
    return HealthReason(finding.code, finding.severity, metric, str(observed), str(threshold))


def _streak(look: Look) -> int:
    health = look.run.transport_health
    return health.failure_streak if health is not None else 0
