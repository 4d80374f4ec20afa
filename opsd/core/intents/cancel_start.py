"""What proves that a run was cancelled, or that one began. Source: runtime-artifacts 6, 7.1, 7.2."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from opsd.core.clues import on_file
from opsd.core.instants import parse
from opsd.core.intents.beyond import NOT_A_RUNS, begun_since, has_never_run, is_beyond, quoted
from opsd.core.intents.scenery import is_marked_active, own_run
from opsd.core.intents.verdict import (
    INACTIVE,
    RUN_NOT_STARTED,
    RUN_STARTED,
    Verdict,
    confirmed,
    contrary,
    not_yet,
)
from opsd.model.acts import Scene
from opsd.model.intent import Evidence, Intent, Watermark
from opsd.model.lifecycle import Fold, RunFacts
from opsd.model.observation import ProcessSighting
from opsd.model.run import Run
from opsd.model.runtime import Heartbeat, Presence

EXITED: Final = "exited"
LAST_LINES_MAX: Final = 5
"""Of what a launched run printed before it ended without having begun, so much is quoted."""
_CLOCK_TICK: Final = timedelta(milliseconds=50)


def cancelled(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    """The process on file at the watermark is gone, and neither file says that the loop runs (any more, or again)."""
    newer = begun_since(mark, run.fold)
    if mark.pid is None:
        process = Evidence("active-run.json", "It named no process before the cancel.")
        writer = _still_writing(intent, mark, run.fold)
        if writer is not None:
            return not_yet("The log went on after the cancel, written by a process that cannot be seen.", writer)
    elif scene.watched is ProcessSighting.ABSENT:
        process = Evidence("process", f"Process {mark.pid}, begun {mark.begun}, is gone.")
    elif scene.watched in (ProcessSighting.ALIVE, ProcessSighting.STOPPED):
        return not_yet(f"Process {mark.pid} is {scene.watched}.", *newer)
    else:
        return not_yet(f"Nobody here can say whether process {mark.pid} is gone.", *newer)
    for name, file in (("state.json", scene.state), ("active-run.json", scene.active_run)):
        if file.presence in (Presence.SETTLING, Presence.UNREADABLE):
            return not_yet(f"{name} could not be read.", process)
    active_run = on_file(scene.active_run)
    if active_run is not None and (active_run.pid, active_run.updated_at) == (mark.pid, mark.begun):
        return not_yet("active-run.json is still there.", process)
    active_run = own_run(scene, run.ref.loop_id)
    if active_run is not None:
        again = Evidence("active-run.json", f"Process {active_run.pid} began a run at {active_run.updated_at}.")
        return not_yet("The loop runs again: somebody started it.", process, again, *newer)
    if is_marked_active(scene, run.ref.loop_id):
        return not_yet("state.json calls the loop active.", process, *newer)
    return confirmed(INACTIVE, process, _at_rest(scene), *newer)


def _at_rest(scene: Scene) -> Evidence:
    state = on_file(scene.state)
    if state is None:
        return Evidence("state.json", "There is none.")
    if state.active is True:
        return Evidence("state.json", f"It calls {state.current_loop_id} active, not this loop.")
    return Evidence("state.json", f"It says inactive since {state.updated_at}.")


def _still_writing(intent: Intent, mark: Watermark, fold: Fold) -> Evidence | None:
    """An event of the run that was to be cancelled, spoken after the cancel was done."""
    last = fold.last
    done_at = intent.execution.ended_at if intent.execution is not None else None
    if last is None or done_at is None or last.name == NOT_A_RUNS or not is_beyond(last, mark, fold):
        return None
    if fold.run is None or fold.run.run_id != mark.run_id or last.at is None or last.at <= done_at:
        return None
    return quoted(last)


def started(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    """A run that began beyond the watermark. One that ended at once began all the same, and its end is quoted."""
    beat = _own_beat(intent, scene)
    launched = tuple(_launch(beat))
    begun = begun_since(mark, run.fold)
    if begun and not (beat is not None and _is_of_another(beat, run, scene)):
        return confirmed(RUN_STARTED, *begun, *launched, *_ended(run.fold.run))
    if beat is None or beat.status != EXITED:
        return not_yet("The log has no run that began after the start.", *launched)
    if not _is_read_since(run, scene):
        return not_yet("The launched process has ended, and the log has not been read since.", *launched)
    words = _last_lines(scene.launch_output)
    said = (Evidence("launch log", words),) if words else ()
    verdict = contrary(
        RUN_NOT_STARTED,
        f"The launched process ended ({_how_ended(beat)}) without a run having begun.",
        *launched,
        *said,
    )
    code = 128 + beat.exit_signal if beat.exit_signal is not None else beat.exit_code
    return replace(verdict, exit_code=code, output=words)


def _own_beat(intent: Intent, scene: Scene) -> Heartbeat | None:
    beat = on_file(scene.heartbeat)
    return beat if beat is not None and beat.launch_id == intent.id else None


def _is_of_another(beat: Heartbeat, run: Run, scene: Scene) -> bool:
    """Whether the run on file is of another process than the launched one: somebody else was quicker."""
    active_run = own_run(scene, run.ref.loop_id)
    return active_run is not None and None not in (active_run.pid, beat.pid) and active_run.pid != beat.pid


def _is_read_since(run: Run, scene: Scene) -> bool:
    """Whether the log was read to its end after the launched process had ended."""
    beat = scene.heartbeat
    written = beat.mtime
    if written is None:
        at = parse(beat.value.timestamp) if beat.value is not None else None
        written = at + timedelta(seconds=1) if at is not None else None
    # Where there is no log at all, a look that finds none has read it to its end.
    read = run.failed_at if has_never_run(run) else run.last_contact_at
    # A file's own time comes from a clock that ticks more coarsely than ours.
    return read is not None and written is not None and read >= written + _CLOCK_TICK and not run.backlog_bytes


def _launch(beat: Heartbeat | None) -> Iterator[Evidence]:
    if beat is not None:
        ended = f", which ended: {_how_ended(beat)}" if beat.status == EXITED else ""
        yield Evidence("heartbeat.v1.json", f"Launch {beat.launch_id} is process {beat.pid}{ended}.")


def _how_ended(beat: Heartbeat) -> str:
    return f"signal {beat.exit_signal}" if beat.exit_signal is not None else f"exit code {beat.exit_code}"


def _ended(facts: RunFacts | None) -> Iterator[Evidence]:
    if facts is not None and facts.ending is not None:
        line = facts.ended.line if facts.ended is not None else None
        detail = f": {facts.detail}" if facts.detail else ""
        yield Evidence("events.jsonl", f"Run {facts.run_id} has ended since, {facts.ending}{detail}.", line)


def _last_lines(text: str) -> str:
    return "\n".join([line for line in text.splitlines() if line.strip()][-LAST_LINES_MAX:])
