"""The pass: fold one observation into a run, and say what must follow.

This file only composes; each verdict is made in its own file beside it. What is written where, and when it need not be,
is `documents`. Carrying the effects out is the shell's work.
"""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from opsd.core import (
    documents,
    drift,
    escalation,
    findings,
    fold,
    health,
    heartbeat,
    lifecycle,
    process,
    sequence,
    tuning,
    wake,
)
from opsd.core.instants import whole
from opsd.model.cursor import Cursor
from opsd.model.effects import Append, Document, Journal, Replace, WakeAt
from opsd.model.escalation import EscalationRow
from opsd.model.ids import LoopId, TraceId
from opsd.model.lifecycle import EventMark, Fold, RunFacts
from opsd.model.observation import (
    Asked,
    Malformed,
    Observation,
    Seen,
    StreamChange,
    StreamNote,
    Unreachable,
)
from opsd.model.oneshot import DriftOptions
from opsd.model.run import Ingest, Run, Written
from opsd.model.telemetry import QuarantineRow, ReconcileRow
from opsd.model.thresholds import Thresholds
from opsd.model.transport import TransportHealth
from opsd.model.tuning import DriftDocument, DriftRow, SummarySource, Window

BACKLOG_PATIENCE = timedelta(seconds=5)
"""A log that grows faster than it is read is judged all the same after that long."""


class Rules(msgspec.Struct, frozen=True):
    """What an operator may set. `telemetry_interval_s` is how often a running loop leaves a telemetry sample.

    `boot_id` names this boot of the host: what was written in another one may have been garbled by a power cut.
    `every_pass_samples` is how the one-shot commands work: each of their passes writes everything and is a sample.
    `moved` are files of the loop that lie elsewhere than in the home's own folder for it.
    `drift` is how the advice of telemetry samples is judged.
    `loop_thresholds` are those of loops for which somebody chose a profile; `thresholds` hold for all others.
    """

    home: str
    boot_id: str = ""
    thresholds: Thresholds = Thresholds()
    telemetry_interval_s: float = 60.0
    every_pass_samples: bool = False
    moved: Mapping[Document | Journal, str] = {}
    drift: DriftOptions = DriftOptions()
    loop_thresholds: Mapping[LoopId, Thresholds] = {}

    def of(self, loop_id: LoopId) -> "Rules":
        """The rules with the thresholds of this loop."""
        own = self.loop_thresholds.get(loop_id)
        return self if own is None else replace(self, thresholds=own)


class Pass(msgspec.Struct, frozen=True):
    """What is particular to one pass. `took_s` is how long the look took; `from_start` that the log is read anew.

    The rest is what its telemetry row says of how it was asked for.
    """

    trace_id: TraceId
    from_start: bool = False
    took_s: float = 0.0
    max_events: int = 0
    retry_attempts: int = 1
    retry_backoff_seconds: int = 0


class Decision(msgspec.Struct, frozen=True):
    """The run as it now stands, and what follows. `effects` are in the order in which they must reach the disk.

    `changed`: an operator could tell this picture from the one before. `again`: there is more of the log to read at
    once. `failed`: the loop could not be looked at, or not be believed.
    """

    run: Run
    effects: tuple[Append | Replace, ...] = ()
    wake: WakeAt | None = None
    changed: bool = False
    escalations: tuple[EscalationRow, ...] = ()
    events_ingested: int = 0
    again: bool = False
    failed: bool = False


def decide(run: Run, observation: Observation, rules: Rules, this: Pass, now: datetime) -> Decision:
    """One pass. `now` is aware UTC and the only clock; the same arguments give the same decision.

    Running it again after a crash, on the state that reached the disk, adds nothing twice.
    """
    match observation:
        case Seen():
            return _seen(run, observation, rules, this, now)
        case Unreachable():
            ingest = Ingest(False, observation.failure_code, observation.cause, observation.problem)
            return _judged(_unanswered(run, ingest, observation, this, now), run, ingest, rules, this, now)
        case Malformed():
            ingest = Ingest(False, observation.failure_code, None, observation.problem)
            return _judged(_unanswered(run, ingest, observation, this, now), run, ingest, rules, this, now)


class _Step(msgspec.Struct, frozen=True):
    """A run half-way through a pass, and what the observing half already wants written."""

    run: Run
    journalled: tuple[Append, ...] = ()
    events_ingested: int = 0
    asked: Asked | None = None


def _seen(run: Run, seen: Seen, rules: Rules, this: Pass, now: datetime) -> Decision:
    epoch = seen.stream.epoch if seen.stream else run.fold.epoch
    first_look = run.cursor is None and run.fold.line == 0 and run.rebuild is None
    anew = first_look or this.from_start or seen.change is not None
    rebuilding = anew or run.rebuild is not None
    change = _change(run, seen, this, anew=anew)

    base = Fold(epoch=epoch) if anew else run.rebuild or run.fold
    if base.epoch == epoch and base.line:
        seen = _news(seen, base.line)
    if seen.quarantined:
        base = replace(base, quarantined_count=base.quarantined_count + len(seen.quarantined))
    folded = fold.fold_events(base, seen.events, seen.lines, epoch=epoch)
    if folded.fold.line != seen.line_offset:  # the last lines were blank or set aside
        folded = replace(folded, fold=replace(folded.fold, line=max(folded.fold.line, seen.line_offset)))
    caught_up = seen.backlog_bytes == 0

    told_until = run.fold.line if epoch == run.fold.epoch else 0  # a replay finds bad lines that are no news
    quarantined = [bad for bad in seen.quarantined if bad.line > told_until]
    journalled = tuple(
        Append(Journal.QUARANTINE, QuarantineRow(whole(now), run.ref.loop_id, epoch, bad)) for bad in quarantined
    )
    note = run.stream_note
    if seen.change is not None:
        note = StreamNote(seen.change, whole(now), epoch)
    following = replace(
        run,
        cursor=_cursor(run, seen, now),
        artifacts=seen.artifacts,
        last_raw=seen.last_raw or run.last_raw,
        backlog_bytes=seen.backlog_bytes,
        backlog_since=None if caught_up else run.backlog_since or now,
        last_output_at=seen.last_output_at,
        last_contact_at=seen.at,
        stream_note=note,
        quarantined_at=whole(now) if quarantined else run.quarantined_at,
    )
    ended = _newly_ended(run, folded.ended, epoch) if rebuilding else folded.ended
    journalled += tuple(Append(Journal.RUNS, documents.run_row(run.ref, facts, now)) for facts in ended)
    if rebuilding and not caught_up:
        # Half a replay tells yesterday's story. The verdicts stay as they are until the log is read to its end, and
        # nothing of the progress is stored: a crash in between starts the replay over, and tells ended runs again,
        # which their readers expect (the last row of a run holds).
        halfway = replace(following, rebuild=folded.fold, rebuild_change=change)
        return Decision(halfway, journalled, events_ingested=len(seen.events), again=True)

    following = replace(following, fold=folded.fold, rebuild=None, rebuild_change=None)
    if not caught_up and following.backlog_since is not None and now - following.backlog_since < BACKLOG_PATIENCE:
        # A burst larger than one slice is told whole: its middle is already history.
        return Decision(following, journalled, events_ingested=len(seen.events), again=True)
    following = _believe(run, following, seen, change, rules, this, now, rebuilt=rebuilding)
    following, unusable = _heard(run, following, rules, this, now)
    step = _Step(following, journalled + unusable, len(seen.events), seen.asked)
    # A replay is asked for when the files are in doubt, or gone: it writes them all again.
    before = replace(run, written=Written()) if rebuilding else run
    return _judged(step, before, Ingest(), rules, this, now)


def _news(seen: Seen, known_line: int) -> Seen:
    """What follows line `known_line`: the cursor on disk may lag behind the fold, and a restart reads lines twice."""
    if seen.lines and seen.lines[0] <= known_line:
        first = bisect_right(seen.lines, known_line)
        seen = replace(seen, events=seen.events[first:], lines=seen.lines[first:])
    if seen.quarantined and seen.quarantined[0].line <= known_line:
        seen = replace(seen, quarantined=[bad for bad in seen.quarantined if bad.line > known_line])
    return seen


def _change(run: Run, seen: Seen, this: Pass, *, anew: bool) -> StreamChange | None:
    if not anew:
        return run.rebuild_change
    if seen.change is not None:
        return seen.change
    return StreamChange.CURSOR_RESET if run.fold.line or this.from_start else None


def _newly_ended(run: Run, ended: tuple[RunFacts, ...], epoch: int) -> tuple[RunFacts, ...]:
    """The ends that a replay of the same log has not told before."""
    if epoch != run.fold.epoch:
        return ended
    return tuple(facts for facts in ended if facts.ended is None or facts.ended.line > run.fold.line)


def _cursor(run: Run, seen: Seen, now: datetime) -> Cursor:
    loop_id = run.ref.loop_id
    return Cursor(
        repo_path=run.ref.repo_path,
        loop_id=loop_id,
        events_file=f".superloop/loops/{loop_id}/events.jsonl",
        event_line_offset=seen.line_offset,
        event_line_count=seen.line_offset,
        updated_at=whole(now),
        stream=seen.stream,
    )


def _believe(
    before: Run,
    run: Run,
    seen: Seen,
    change: StreamChange | None,
    rules: Rules,
    this: Pass,
    now: datetime,
    *,
    rebuilt: bool,
) -> Run:
    """Everything concluded from a look that brought an answer, short of judging it."""
    ref, artifacts = run.ref, run.artifacts
    # What a service said a while ago is as old as that: time that passed unasked proves nothing about the run.
    known_at = seen.at if ref.is_remote else now
    remembered = process.judge(before.process, artifacts, ref.loop_id, seen.process, run.fold, known_at)
    if rules.every_pass_samples:
        # Nobody looks again in a moment: what would be known by then is no excuse for silence now.
        remembered = replace(remembered, settles_at=None)
    batch_last: EventMark | None = run.fold.last if seen.events else None
    projection = lifecycle.project(
        ref.loop_id,
        run.fold,
        artifacts,
        remembered,
        before.projection,
        batch_last=batch_last,
        log_shrank=change is StreamChange.TRUNCATED,
        last_output_at=run.last_output_at,
        thresholds=rules.thresholds,
        now=known_at,
    )
    diagnosed = sequence.diagnose(
        before.sequence,
        loop_id=ref.loop_id,
        trace_id=this.trace_id,
        transport=ref.transport,
        first=1 if rebuilt and seen.lines else seen.lines[0] if seen.lines else None,
        last=seen.lines[-1] if seen.lines else None,
        count=len(seen.events),
        log_lines=run.fold.line,  # lines read twice after a restart are no shorter log
        replay_asked=change is StreamChange.CURSOR_RESET,
        new_epoch=change,
        now=now,
    )
    return replace(
        run,
        process=remembered,
        projection=projection,
        sequence=diagnosed,
        transport_health=_reached(before, seen.at, this, now),
    )


def _heard(before: Run, run: Run, rules: Rules, this: Pass, now: datetime) -> tuple[Run, tuple[Append, ...]]:
    """The run with its newest believable beat, and the telemetry row of a new beat that is unusable."""
    ref, found = run.ref, run.artifacts.heartbeat
    beat, fault = heartbeat.believe(before.beat, found, run.artifacts.active_run.value)
    unusable: tuple[Append, ...] = ()
    if fault is not None and found.value is not None and found.value != before.artifacts.heartbeat.value:
        row = heartbeat.fault_row(
            fault, found.value, loop_id=ref.loop_id, trace_id=this.trace_id, transport=ref.transport, now=now
        )
        unusable = (Append(Journal.HEARTBEAT, row),)
    if beat is None:
        return run, unusable
    verbatim = found.value.verbatim if found.value is not None else None
    if verbatim is None and before.heartbeat is not None:
        verbatim = before.heartbeat.heartbeat
    document = heartbeat.document(
        beat,
        verbatim or msgspec.Raw(b"null"),
        rules.thresholds,
        loop_id=ref.loop_id,
        trace_id=this.trace_id,
        transport=ref.transport,
        now=now,
    )
    return replace(run, beat=beat, heartbeat=document), unusable


def _reached(run: Run, at: datetime, this: Pass, now: datetime) -> TransportHealth:
    old = run.transport_health
    return TransportHealth(
        updated_at=whole(now),
        trace_id=this.trace_id,
        transport=run.ref.transport,
        last_result="success",
        failure_streak=0,
        last_success_at=whole(at),
        last_failure_at=old.last_failure_at if old else None,
    )


def _unanswered(run: Run, ingest: Ingest, observation: Unreachable | Malformed, this: Pass, now: datetime) -> _Step:
    old, at = run.transport_health, observation.at
    if old is not None and old.failure_streak and run.failed_at == at:
        return _Step(run, asked=observation.asked)
    failing = old is not None and old.failure_streak > 0
    return _Step(
        replace(
            run,
            failed_at=at,
            transport_health=TransportHealth(
                updated_at=whole(now),
                trace_id=this.trace_id,
                transport=run.ref.transport,
                last_result="failed",
                failure_streak=(old.failure_streak if old else 0) + 1,
                last_failure_code=ingest.failure_code,
                last_success_at=old.last_success_at if old else None,
                last_failure_at=whole(at),
                failing_since=old.failing_since if failing and old else whole(at),
            ),
        ),
        asked=observation.asked,
    )


def _judged(step: _Step, before: Run, ingest: Ingest, rules: Rules, this: Pass, now: datetime) -> Decision:
    """The second half of every pass: findings, health, escalations, and what is worth writing."""
    run = step.run
    found = findings.judge(run, ingest, rules.thresholds, now)
    run = replace(
        run,
        health=health.document(run, found, ingest, rules.thresholds, trace_id=this.trace_id, now=now),
        phase_since=_phase_since(before, run, now),
    )
    assert run.health is not None
    escalated = escalation.escalate(
        run,
        run.health,
        home=rules.home,
        trace_id=this.trace_id,
        now=now,
        moved=rules.moved,
        one_shot=rules.every_pass_samples,
    )
    run = replace(
        run,
        open_escalations=escalated.open,
        escalation_counts=escalated.counts,
        baseline=escalated.baseline,
        baselined=run.baselined or ingest.ok,
    )
    telemetry = documents.Telemetry(
        trace_id=this.trace_id,
        from_start=this.from_start,
        took_s=this.took_s,
        events_ingested=step.events_ingested,
        thresholds=rules.thresholds,
        interval_s=rules.telemetry_interval_s,
        every_pass=rules.every_pass_samples,
        boot_id=rules.boot_id,
        max_events=this.max_events,
        retry_attempts=this.retry_attempts,
        retry_backoff_seconds=this.retry_backoff_seconds,
        asked=step.asked,
    )
    writing = documents.worth_writing(before, run, ingest, telemetry, now)
    run = replace(run, written=writing.written, revision=before.revision + writing.changed)
    return Decision(
        run,
        effects=(*step.journalled, *_escalation_rows(escalated.rows), *writing.effects),
        wake=_next_look(run, rules, now),
        changed=writing.changed,
        escalations=escalated.rows,
        events_ingested=step.events_ingested,
        again=ingest.ok and run.backlog_bytes > 0,
        failed=not ingest.ok,
    )


def sample_of(decision: Decision) -> ReconcileRow | None:
    """The telemetry sample that this pass leaves; None where it leaves none, or only a row about a change."""
    for effect in decision.effects:
        if isinstance(effect, Append) and isinstance(effect.row, ReconcileRow) and effect.row.sample:
            return effect.row
    return None


def tuned(
    decision: Decision,
    window: Window,
    source: SummarySource,
    rules: Rules,
    trace_id: TraceId,
    now: datetime,
) -> Decision:
    """The decision of a pass that leaves a sample, with what follows from the newest samples, its own included.

    Drift is judged last, and by telemetry alone: no verdict rests on it. Source: loop-core 5.2, stages 15 to 18.
    """
    run, row = decision.run, sample_of(decision)
    assert row is not None
    health_document = run.health
    assert health_document is not None
    summary = tuning.summarize(window.places, window.controls.ambiguous_count, window.controls.unreadable_count)
    judged = drift.evaluate(
        drift.memory_of(run.drift),
        applied=row.threshold_profile,
        recommended=summary.recommended,
        confidence=summary.confidence,
        options=rules.drift,
        rationale=summary.rationale,
        loop_id=run.ref.loop_id,
        now=now,
    )
    block = msgspec.json.encode(tuning.block(summary, source, row.threshold_profile))
    turned = judged.transitioned.to_active or judged.transitioned.to_resolved
    run = replace(
        run,
        window=window,
        drift=replace(judged, trace_id=trace_id),
        tuning=msgspec.Raw(block),
        revision=run.revision + (turned and not decision.changed),
    )
    escalated = escalation.escalate_drift(
        run, health_document, judged, home=rules.home, trace_id=trace_id, now=now, moved=rules.moved
    )
    run = replace(run, open_escalations=escalated.open, escalation_counts=escalated.counts)
    return replace(
        decision,
        run=run,
        effects=_with_drift(decision.effects, run, judged, escalated.rows),
        changed=decision.changed or turned,
        escalations=(*decision.escalations, *escalated.rows),
    )


def _with_drift(
    effects: tuple[Append | Replace, ...], run: Run, judged: DriftDocument, rows: tuple[EscalationRow, ...]
) -> tuple[Append | Replace, ...]:
    """Rows with the rows, documents with the documents, and the state of this very pass tells of both."""
    history = Append(Journal.PROFILE_DRIFT, DriftRow(judged.updated_at, judged.loop_id, judged))
    journalled = [effect for effect in effects if isinstance(effect, Append)]
    replaced = [documents.told_of_drift(effect, run) for effect in effects if isinstance(effect, Replace)]
    return (*journalled, *_escalation_rows(rows), history, Replace(Document.PROFILE_DRIFT, judged), *replaced)


def _escalation_rows(rows: tuple[EscalationRow, ...]) -> tuple[Append, ...]:
    return tuple(Append(Journal.ESCALATIONS, row, durable=True) for row in rows)


def _phase_since(before: Run, run: Run, now: datetime) -> datetime | None:
    """When the run entered its phase: by the evidence where it says so, else when it was first seen in it."""
    if run.projection is None:
        return None
    if run.projection.since is not None:
        return run.projection.since
    same = before.projection is not None and before.projection.phase is run.projection.phase
    return before.phase_since if same and before.phase_since else whole(now)


def _next_look(run: Run, rules: Rules, now: datetime) -> WakeAt | None:
    """The earlier of the next threshold and the next writing that falls due by itself."""
    threshold = wake.next_look(run, rules.thresholds, now)
    writing = documents.next_writing(run, rules.telemetry_interval_s)
    if writing is None or (threshold is not None and threshold.when <= writing.when):
        return threshold
    return writing
