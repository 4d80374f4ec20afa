"""What one pass leaves on disk: the documents as the contract shapes them, and the judgement which are worth writing.

Writing is most of a busy daemon's work, so a document is written when it would say something else than before, apart
from clocks, lags and trace ids, or when a running loop's regular sample is due. Source: loop-core 4.3, 5.5, 10.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from opsd.core import heartbeat, sequence
from opsd.core.instants import whole
from opsd.core.latency import latency_bucket
from opsd.model.effects import Append, Document, Journal, Replace, WakeAt
from opsd.model.envelopes import (
    EnvelopeCursor,
    EnvelopeEvent,
    EnvelopeRun,
    EnvelopeSequence,
    EnvelopeSource,
    LoopRunEvent,
)
from opsd.model.health import Ages, HealthStatus
from opsd.model.ids import UNKNOWN_RUN
from opsd.model.lifecycle import Ending, Lifecycle, Projection, RunFacts, RunRow
from opsd.model.observation import Asked
from opsd.model.run import Ingest, LoopRef, Run, Written
from opsd.model.runtime import EventLine, Stuck
from opsd.model.state import (
    CursorPosition,
    Divergence,
    Evidence,
    Memory,
    RunIdentity,
    SnapshotGist,
    Source,
    StateDocument,
    StateProjection,
    Trace,
)
from opsd.model.telemetry import ReconcileRow
from opsd.model.thresholds import Thresholds

CURSOR_LAG = timedelta(seconds=5)
"""From then on the next pass writes a running loop's cursor, whatever brought that pass about."""
CURSOR_LAG_MAX = timedelta(seconds=10)
"""A pass is made for the cursor's sake. Loops that go on never come to this: at 5 s each would be looked at twice."""

_NULL = msgspec.Raw(b"null")
_events = msgspec.json.Decoder(EventLine)


class Telemetry(msgspec.Struct, frozen=True):
    """What the telemetry row says of the pass itself; everything else in it comes from the run."""

    trace_id: str
    from_start: bool
    took_s: float
    events_ingested: int
    thresholds: Thresholds
    interval_s: float
    every_pass: bool
    boot_id: str
    max_events: int = 0
    retry_attempts: int = 1
    retry_backoff_seconds: int = 0
    asked: Asked | None = None
    """How a service was asked for the look, where one was."""


class Writing(msgspec.Struct, frozen=True):
    """`effects` in the order in which they must reach the disk; `changed` as `reconcile.Decision` means it."""

    effects: tuple[Append | Replace, ...]
    written: Written
    changed: bool


def worth_writing(before: Run, run: Run, ingest: Ingest, telemetry: Telemetry, now: datetime) -> Writing:
    """The telemetry row and documents that this pass's outcome calls for; nothing where it repeats the last one."""
    old = before.written
    health_digest = _health_digest(run)
    picture = picture_of(run, health_digest)
    sample = telemetry.every_pass or sample_due(run, telemetry.interval_s, now)
    changed = picture != old.state_digest
    cursor_due = ingest.ok and (sample or _cursor_due(before, run, now))
    if not (changed or sample or cursor_due):
        return Writing((), old, changed=False)

    effects: list[Append | Replace] = []
    sequence_digest, transport_digest = _sequence_digest(run), _transport_digest(run)
    verdict_digest = _verdict_digest(run, health_digest, sequence_digest)
    heartbeat_digest = hash((run.beat.text, run.heartbeat and run.heartbeat.freshness_status)) if run.beat else 0
    # Not one for every event: a busy loop would fill its disk with rows that say nothing.
    row_due = sample or telemetry.from_start or not ingest.ok or verdict_digest != old.verdict_digest
    if row_due:
        effects.append(Append(Journal.RECONCILE, _reconcile_row(old, run, ingest, telemetry, now, sample=sample)))
    # One-shot commands judge how old a beat is with each pass that brought an answer. Source: loop-core 6.
    heartbeat_due = heartbeat_digest != old.heartbeat_digest or (telemetry.every_pass and ingest.ok)
    if run.heartbeat is not None and heartbeat_due:
        effects.append(Append(Journal.HEARTBEAT, heartbeat.row(run.heartbeat)))
        effects.append(Replace(Document.HEARTBEAT, run.heartbeat))
    sequence_due = sequence_digest != old.sequence_digest or (telemetry.every_pass and ingest.ok)
    if run.sequence is not None and sequence_due:
        effects.append(Append(Journal.SEQUENCE, sequence.row(run.sequence)))
        effects.append(Replace(Document.SEQUENCE, run.sequence))
    if run.transport_health is not None and (telemetry.every_pass or transport_digest != old.transport_digest):
        effects.append(Replace(Document.TRANSPORT_HEALTH, run.transport_health))
    if run.health is not None and (sample or health_digest != old.health_digest):
        effects.append(Replace(Document.HEALTH, run.health))
    # A loop that was never read has nothing to project; its health document says why. Source: loop-core 5.4 E.
    if run.projection is not None and (changed or sample):
        effects.append(Replace(Document.STATE, state_document(run, telemetry, now)))
    if run.cursor is not None and cursor_due:
        effects.append(Replace(Document.CURSOR, run.cursor))
    return Writing(
        tuple(effects),
        Written(
            state_digest=picture,
            health_digest=health_digest,
            sequence_digest=sequence_digest,
            heartbeat_digest=heartbeat_digest,
            transport_digest=transport_digest,
            verdict_digest=verdict_digest,
            row_line=max(0, run.cursor_line) if row_due else old.row_line,
            row_events=run.fold.event_count if row_due else old.row_events,
            cursor_line=run.cursor_line if cursor_due else old.cursor_line,
            cursor_at=now if cursor_due else old.cursor_at,
            at=now if sample else old.at,
        ),
        changed=changed,
    )


def sample_due(run: Run, interval_s: float, now: datetime) -> bool:
    """Whether a running loop's regular sample is due: rates and drift count samples only, never bursts of changes."""
    if not _is_running(run):
        return run.written.at is None
    last = run.written.at
    return last is None or now >= last + timedelta(seconds=interval_s)


def _cursor_due(before: Run, run: Run, now: datetime) -> bool:
    """Whether `cursor.json` must move now. It may lag while a loop runs: lines read twice change nothing.

    Not behind a log that was cut or replaced, though: that would seem to be found so again after a restart.
    """
    old = before.written
    if run.fold.epoch != before.fold.epoch:
        return True
    if run.cursor_line == old.cursor_line:
        return False
    return not _is_running(run) or old.cursor_at is None or now >= old.cursor_at + CURSOR_LAG


def next_writing(run: Run, interval_s: float) -> WakeAt | None:
    """When a running loop's next sample or its lagging cursor falls due; None where neither will."""
    last = run.written
    sample = last.at + timedelta(seconds=interval_s) if last.at is not None and _is_running(run) else None
    reached = run.transport_health is not None and run.transport_health.failure_streak == 0
    if reached and run.cursor_line != last.cursor_line and last.cursor_at is not None:
        cursor = last.cursor_at + CURSOR_LAG_MAX
        if sample is None or cursor < sample:
            return WakeAt(cursor, "the cursor on disk lags behind")
    return WakeAt(sample, "telemetry sample") if sample is not None else None


def _is_running(run: Run) -> bool:
    return run.projection is not None and run.projection.transition.current_state is Lifecycle.RUNNING


def _verdict_digest(run: Run, health_digest: int, sequence_digest: int) -> int:
    projection = run.projection
    return hash(
        (
            projection
            and (
                projection.phase,
                projection.transition.current_state,
                projection.run_id,
                projection.has_pending_approval,
                projection.divergence.any,
            ),
            health_digest,
            sequence_digest,
        )
    )


def picture_of(run: Run, health_digest: int) -> int:
    """A number that differs wherever an operator could tell two pictures apart; clocks, lags, trace ids left out."""
    projection, health, facts = run.projection, run.health, run.fold.run
    return hash(
        (
            run.fold.epoch,
            run.fold.line,
            run.fold.quarantined_count,
            run.backlog_bytes > 0,
            run.process.liveness,
            run.transport_health and run.transport_health.failure_streak,
            projection
            and (
                projection.phase,
                projection.transition.current_state,
                projection.run_id,
                projection.iteration,
                projection.has_pending_approval,
                projection.completion_ok,
                projection.divergence.any,
                projection.basis,
            ),
            facts and (facts.role, facts.activity, facts.ending),
            health and health_digest,
        )
    )


def _health_digest(run: Run) -> int:
    health = run.health
    if health is None:
        return 0
    return hash(
        (
            health.status,
            health.overall_status,
            health.transport.ingest_status,
            health.transport.failure_code,
            health.thresholds,
            tuple((reason.code, reason.severity) for reason in health.reasons),
            tuple((finding.code, finding.severity, finding.onset) for finding in health.findings),
        )
    )


def _sequence_digest(run: Run) -> int:
    return hash((run.sequence.status, run.sequence.violations)) if run.sequence else 0


def _transport_digest(run: Run) -> int:
    health = run.transport_health
    return hash((health.last_result, health.failure_streak, health.last_failure_code)) if health else 0


def state_document(run: Run, telemetry: Telemetry, now: datetime) -> StateDocument:
    """`state.json`. Raises ValueError for a run that was never projected or judged: there is nothing to say."""
    projection, health = run.projection, run.health
    if projection is None or health is None:
        raise ValueError(f"loop {run.ref.loop_id} was never projected")
    last = run.fold.last
    state = projection.transition.current_state
    return StateDocument(
        generated_at=whole(now),
        source=Source(run.ref.repo_path, run.ref.loop_id),
        run=RunIdentity(projection.run_id, projection.iteration),
        transition=projection.transition,
        projection=projected(run, projection),
        cursor=position(run),
        divergence=Divergence(projection.divergence.any, projection.divergence),
        evidence=Evidence(
            snapshot_file=None,
            events_file=None,
            snapshot_envelope=SnapshotGist(state, last.name if last else None, projection.has_pending_approval),
            last_event_envelope=event_envelope(run, telemetry.trace_id, now),
        ),
        health=health,
        trace=Trace(telemetry.trace_id),
        sequence=run.sequence,
        drift=_drift(run),
        tuning=run.tuning or msgspec.UNSET,
        memory=Memory(
            fold=run.fold,
            process=run.process,
            beat=run.beat,
            phase_since=run.phase_since,
            stream_note=run.stream_note,
            quarantined_at=run.quarantined_at,
            baseline=run.baseline,
            # While a replay is under way the cursor is the replay's, and the fold is still the one before.
            stream=run.cursor.stream if run.cursor and run.rebuild is None else None,
            boot_id=telemetry.boot_id,
        ),
        phase=projection.phase,
        basis=projection.basis,
        ages=ages(run, now),
    )


def told_of_drift(effect: Replace, run: Run) -> Replace:
    """The state document with the drift that the run has by now; any other as it is."""
    if not isinstance(effect.record, StateDocument):
        return effect
    return replace(effect, record=replace(effect.record, drift=_drift(run), tuning=run.tuning or msgspec.UNSET))


def _drift(run: Run) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.UNSET if run.drift is None else msgspec.Raw(msgspec.json.encode(run.drift))


def projected(run: Run, projection: Projection) -> StateProjection:
    """`state.projection`."""
    last = run.fold.last
    stuck = None
    if projection.stuck_streak is not None or projection.stuck_threshold is not None:
        stuck = Stuck(projection.stuck_streak, projection.stuck_threshold)
    return StateProjection(
        status=projection.transition.current_state,
        has_pending_approval=projection.has_pending_approval,
        completion_ok=projection.completion_ok,
        gates=projection.gates,
        stuck=stuck,
        active=True if _marked_active(run) else None,
        last_event_name=last.name if last else None,
        last_event_at=last.timestamp if last else None,
    )


def position(run: Run) -> CursorPosition:
    """`state.cursor`: how far the log was read, which for a caught-up loop is its length."""
    cursor = run.cursor
    return CursorPosition(cursor.event_line_offset, cursor.event_line_count) if cursor else CursorPosition(0, 0)


def _marked_active(run: Run) -> bool:
    state = run.artifacts.state.value
    return state is not None and state.active is True and state.current_loop_id == run.ref.loop_id


def ages(run: Run, now: datetime) -> Ages:
    """How long ago by each of the run's four clocks, in seconds; a time in the future counts as now."""
    last = run.fold.last
    return Ages(
        contact=_age_s(run.last_contact_at, now),
        heartbeat=_age_s(run.beat.at if run.beat else None, now),
        event=_age_s(last.at if last else None, now),
        output=_age_s(run.last_output_at, now),
    )


def _age_s(then: datetime | None, now: datetime) -> float | None:
    return None if then is None else max(0.0, round((now - then).total_seconds(), 1))


def event_envelope(run: Run, trace_id: str, now: datetime) -> LoopRunEvent | None:
    """The last event in contract form (loop-core 3.4); None where the log has none, or its line is no longer held."""
    last = run.fold.last
    if last is None or not run.last_raw or run.cursor is None:
        return None
    try:
        said = _events.decode(run.last_raw)
        message, payload = said.message or None, said.data if bytes(said.data) else _NULL
    except msgspec.DecodeError:  # a line of odd types: its members were coerced on the way in
        message, payload = None, _NULL
    return LoopRunEvent(
        emitted_at=whole(now),
        trace_id=trace_id,
        source=EnvelopeSource(run.ref.repo_path, run.ref.loop_id),
        sequence=EnvelopeSequence(last.line),
        cursor=EnvelopeCursor(last.line, run.cursor.event_line_count),
        run=EnvelopeRun(last.run_id or UNKNOWN_RUN, last.iteration),
        event=EnvelopeEvent(
            timestamp=last.timestamp,
            name=last.name,
            role=last.role or None,
            status=last.status or None,
            message=message,
            payload=payload,
            raw=msgspec.Raw(run.last_raw),
        ),
    )


def _reconcile_row(
    told: Written, run: Run, ingest: Ingest, telemetry: Telemetry, now: datetime, *, sample: bool
) -> ReconcileRow:
    health, drift = run.health, run.sequence
    unset = msgspec.UNSET
    asked = telemetry.asked or Asked(1, ("ok" if ingest.ok else ingest.failure_code or "failed",), telemetry.took_s)
    return ReconcileRow(
        timestamp=whole(now),
        started_at=whole(now - timedelta(seconds=telemetry.took_s)),
        loop_id=run.ref.loop_id,
        trace_id=telemetry.trace_id,
        transport=run.ref.transport,
        status="success" if ingest.ok else "failed",
        cursor_offset_before=0 if telemetry.from_start else told.row_line,
        cursor_offset_after=max(0, run.cursor_line),
        events_ingested=max(telemetry.events_ingested, run.fold.event_count - told.row_events),
        max_events=telemetry.max_events,
        from_start=telemetry.from_start,
        retry_attempts=telemetry.retry_attempts,
        retry_backoff_seconds=telemetry.retry_backoff_seconds,
        threshold_profile=telemetry.thresholds.profile,
        duration_seconds=int(telemetry.took_s),
        transport_failure_streak=run.transport_health.failure_streak if run.transport_health else 0,
        sequence_status=(drift.status if drift else "ok") if ingest.ok else "skipped_ingest_failed",
        health_status=health.status if health else HealthStatus.HEALTHY,
        health_reason_codes=health.reason_codes if health else (),
        sample=sample,
        transport_attempts=asked.attempts,
        transport_result_codes=asked.codes,
        transport_latency_bucket=latency_bucket(asked.took_s) if asked.took_s is not None else unset,
        failure_code=ingest.failure_code or unset,
        failure_message=ingest.problem or unset,
        sequence_reason_code=drift.reason_code if drift and ingest.ok else unset,
    )


def run_row(ref: LoopRef, facts: RunFacts, now: datetime) -> RunRow:
    """The line of `runs.jsonl` that says how a run ended."""
    return RunRow(
        timestamp=whole(now),
        loop_id=ref.loop_id,
        run_id=facts.run_id,
        first_line=facts.first_line,
        ending=facts.ending or Ending.LOST,
        started_at=facts.started_at,
        ended_at=facts.ended.at if facts.ended else None,
        iterations=facts.iteration,
        max_iterations=facts.max_iterations,
        detail=facts.detail,
    )


def restored_marks(run: Run, now: datetime) -> Written:
    """What the documents of a run just read back from disk say, so that the first pass need not write them again."""
    health_digest, sequence_digest = _health_digest(run), _sequence_digest(run)
    return Written(
        state_digest=picture_of(run, health_digest),
        health_digest=health_digest,
        sequence_digest=sequence_digest,
        transport_digest=_transport_digest(run),
        verdict_digest=_verdict_digest(run, health_digest, sequence_digest),
        row_line=max(0, run.cursor_line),
        row_events=run.fold.event_count,
        cursor_line=run.cursor_line,
        cursor_at=now,
        at=now,
    )
