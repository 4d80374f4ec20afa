"""How a run is shown: the records of the protocol, made from what is held in memory. Nothing is judged here."""

from datetime import datetime

from opsd.core.documents import ages
from opsd.core.instants import parse
from opsd.model.health import Ages, HealthStatus
from opsd.model.ids import UNKNOWN_RUN
from opsd.model.intent import ControlState
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.reasons import REASONS
from opsd.model.run import Run
from opsd.protocol import LoopControl, LoopStatus, LoopSummary, PendingApproval, Progress


def summary(run: Run, now: datetime) -> LoopSummary:
    """One row of the fleet table. Ages are relative to `now`; a loop not looked at yet is `unknown`, and says so."""
    ref, projection, health, facts, last = run.ref, run.projection, run.health, run.fold.run, run.fold.last
    findings = health.findings if health else ()
    return LoopSummary(
        loop_id=ref.loop_id,
        repo_path=ref.place,
        transport=ref.transport,
        lifecycle=projection.transition.current_state if projection else Lifecycle.UNKNOWN,
        phase=projection.phase if projection else Phase.UNKNOWN,
        basis=projection.basis if projection else _unjudged(run),
        health=health.status if health else HealthStatus.HEALTHY,
        overall_status=health.overall_status if health else HealthStatus.HEALTHY,
        reason_codes=health.reason_codes if health else (),
        findings=findings,
        needs_human=any(REASONS[finding.code].needs_human for finding in findings) or bool(run.control.ambiguous),
        progress=Progress(
            run_id=projection.run_id if projection else UNKNOWN_RUN,
            iteration=projection.iteration if projection else 0,
            max_iterations=facts.max_iterations if facts else None,
            role=facts.role if facts else None,
            role_since=facts.activity_since if facts and facts.role else None,
            activity=facts.activity if facts else None,
            phase_since=run.phase_since,
            started_at=facts.started_at if facts else None,
        ),
        ages=ages(run, now) if run.last_contact_at else Ages(),
        revision=run.revision,
        enabled=ref.enabled,
        fault=ref.fault,
        fault_detail=ref.fault_detail,
        last_event_name=last.name if last else None,
        last_event_at=last.timestamp if last else None,
        observed_at=run.last_contact_at,
        control=_control(run.control),
    )


def _control(state: ControlState) -> LoopControl | None:
    if state.in_flight is None and not state.ambiguous and state.pause is None and not state.observing:
        return None
    return LoopControl(state.in_flight, state.ambiguous, state.pause, state.observing, state.observe_until)


def _unjudged(run: Run) -> str:
    if run.ref.fault:
        return run.ref.fault_detail or REASONS[run.ref.fault].says
    if not run.ref.enabled:
        return "Disabled in the registry: listed, not looked at."
    if run.rebuild is not None:
        return f"Reading the event log: {run.backlog_bytes} bytes to go."
    if run.health is not None:
        return "Never read successfully since the manager knows it."
    return "Not looked at yet."


def status(run: Run, now: datetime) -> LoopStatus:
    """One loop in full."""
    projection = run.projection
    return LoopStatus(
        at=now,
        summary=summary(run, now),
        health=run.health,
        sequence=run.sequence,
        transport=run.transport_health,
        cursor=run.cursor,
        gates=projection.gates if projection else None,
        stuck_streak=projection.stuck_streak if projection else None,
        stuck_threshold=projection.stuck_threshold if projection else None,
        approval=pending_approval(run),
        open_escalations=run.open_escalations,
        backlog_bytes=run.backlog_bytes,
        event_count=run.fold.event_count,
        quarantined_count=run.fold.quarantined_count,
        liveness=run.process.liveness,
        pid=run.process.pid,
        reach=run.reach,
    )


def pending_approval(run: Run) -> PendingApproval | None:
    """What waits to be approved; None where nothing does."""
    projection, approval = run.projection, run.artifacts.approval.value
    if approval is None or projection is None or not projection.has_pending_approval:
        return None
    candidate = approval.candidate
    promise = candidate.promise if candidate else None
    return PendingApproval(
        run_id=approval.run_id,
        iteration=approval.iteration,
        requested_at=approval.requested_at,
        promise_matched=promise.matched if promise else None,
        gates=candidate.gates if candidate else None,
        promise=promise.text if promise else None,
        candidate=approval.digest,
        since=parse(approval.requested_at),
        files=approval.files or {},
    )
