"""What must hold whatever happens. Each check raises AssertionError and says what was expected."""

from datetime import datetime, timedelta
from operator import attrgetter

import msgspec

from opsd.app.verify import compare, recompute
from opsd.model.cursor import Cursor
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Fold, Phase
from opsd.model.observation import Artifacts, StreamChange
from opsd.model.run import Run
from opsd.model.runtime import Presence
from opsd.ports import Files, Processes
from opsd.transports.local import LocalTransport
from tests.doubles.clock import VirtualClock
from tests.simulation.reference import Reading
from tests.simulation.watcher import Look, Watcher

A_MOMENT = timedelta(milliseconds=1)
LONG = timedelta(days=10)
WAKES = 3
_every_file = attrgetter(*Artifacts.__struct_fields__)


def folded_as_written(run: Run, said: Reading) -> None:
    """Every good line of the log is in it once, every bad one counted once, the cursor behind the last whole line."""
    fold, cursor = run.fold, run.cursor
    assert cursor is not None
    assert cursor.stream is not None
    last, facts = fold.last, fold.run
    held = Reading(
        lines=cursor.event_line_offset,
        size_bytes=cursor.stream.byte_offset,
        events=fold.event_count,
        bad=fold.quarantined_count,
        last_line=last.line if last else 0,
        last_name=last.name if last else None,
        last_timestamp=last.timestamp if last else None,
        runs_begun=fold.runs_begun,
        run_id=facts.run_id if facts else None,
        iterations_ended=facts.iterations_ended if facts else 0,
    )
    assert held == said, f"{run.ref.loop_id} holds\n  {held}\nand its log says\n  {said}"


def no_false_alarm(look: Look, *, cut: bool) -> None:
    """A log that only grew never starts a new epoch, and is never said to have gone backwards."""
    if cut:
        return
    before, run = look.before, look.run
    note = run.stream_note
    if before.cursor is not None and before.cursor.stream is not None and run.cursor is not None and run.cursor.stream:
        epochs = before.cursor.stream.epoch, run.cursor.stream.epoch
        assert epochs[0] == epochs[1], f"{run.ref.loop_id} went from epoch {epochs[0]} to {epochs[1]}, and only grew"
    assert note == before.stream_note or note is None or note.change is StreamChange.CURSOR_RESET, note
    drifts = run.sequence is not None and run.sequence.drift_active
    drifted = before.sequence is not None and before.sequence.drift_active
    assert drifted or not drifts, f"{run.ref.loop_id} drifts, and only grew: {run.sequence}"


def no_step_back(look: Look, *, from_start: bool) -> None:
    """Within an epoch a cursor only advances, except while a replay is under way."""
    before, after = look.before.cursor, look.run.cursor
    if from_start or look.run.rebuild is not None or before is None or after is None:
        return
    if before.stream is None or after.stream is None or before.stream.epoch != after.stream.epoch:
        return
    assert after.event_line_offset >= before.event_line_offset, f"{before} was followed by {after}"


def nothing_changes_between_wakes(look: Look, watcher: Watcher, now: datetime) -> None:
    """Until the wake that was asked for, and from that to the next, time alone changes no verdict."""
    decision = look.decision
    for _ in range(WAKES):
        if decision.failed:
            return
        run, wake = decision.run, decision.wake
        then = now + LONG if wake is None else wake.when - A_MOMENT
        if then > now:
            later = watcher.imagine(run, then)
            why = f"{run.ref.loop_id} at {now}, asked to be woken {wake}, would at {then}"
            assert not later.escalations, f"{why} escalate {later.escalations}"
            assert not later.changed, f"{why} be seen otherwise: {_differences(_shown(run), _shown(later.run))}"
        if wake is None:
            return
        now = max(now, wake.when)
        decision = watcher.imagine(run, now)


def cancelled_by_somebody(look: Look, *, state_gone: bool) -> None:
    """Only `cancel` deletes the runtime's state: one caught empty while it is rewritten is no cancel."""
    projection = look.run.projection
    if projection is not None and projection.phase is Phase.CANCELLED:
        assert state_gone, f"{look.run.ref.loop_id} is called cancelled, and nobody cancelled: {projection.basis}"


def recomputed(watcher: Watcher, run: Run, files: Files, processes: Processes, clock: VirtualClock) -> None:
    """Memory and disk say what the runtime's files say when they are read afresh."""
    if not _all_readable(run):
        return
    anew = LocalTransport(files, processes, limits=watcher.setting.limits)
    fresh = recompute(run, anew, watcher.rules, clock.now(), clock.monotonic)
    (stored,) = watcher.store.load([run.ref.loop_id], clock.now(), mend=False)
    verification = compare(run, fresh, stored.state, stored.health)
    assert verification.ok, f"{run.ref.loop_id}: {verification.differences}"


def unchanged_by_a_restart(watcher: Watcher, restarted: Watcher, loop_ids: list[LoopId]) -> None:
    """Started anew on files that tell everything, opsd believes the same and has nothing to say."""
    for look in restarted.settle(loop_ids):
        run, held = look.run, watcher.runs[look.run.ref.loop_id]
        if look.decision.failed or not _all_readable(held):
            continue
        assert look.decision.escalations == (), (
            f"{run.ref.loop_id} escalated by restarting: {look.decision.escalations}"
        )
        differences = _differences(_shown(held), _shown(run))
        assert not differences, f"{run.ref.loop_id} is seen otherwise after a restart: {differences}"


def not_ahead(fold: Fold, cursor: Cursor | None) -> None:
    """What lies on the disk after a kill: the cursor stands for nothing that the state has not folded."""
    if cursor is None or cursor.stream is None or cursor.stream.epoch != fold.epoch:
        return
    assert cursor.event_line_offset <= fold.line, (
        f"the cursor is at {cursor.event_line_offset}, the fold at {fold.line}"
    )


def _all_readable(run: Run) -> bool:
    """A file that is half there is believed by what it said before, which only who saw it then can know."""
    return all(file.presence in (Presence.PRESENT, Presence.ABSENT) for file in _every_file(run.artifacts))


def _differences(one: dict[str, object], other: dict[str, object]) -> dict[str, tuple[object, object]]:
    return {name: (value, other[name]) for name, value in one.items() if value != other[name]}


def _shown(run: Run) -> dict[str, object]:
    """What an operator sees of a run, clocks and lags left out."""
    projection, health = run.projection, run.health
    return {
        "fold": msgspec.to_builtins(run.fold),
        "phase": projection and projection.phase,
        "basis": projection and projection.basis,
        "divergence": projection and projection.divergence,
        "liveness": run.process.liveness,
        "health": health and (health.status, health.reason_codes),
        "findings": health and [(finding.code, finding.severity, finding.onset) for finding in health.findings],
        "open": [(one.category, one.condition) for one in run.open_escalations],
    }
