"""What the contract's confirmation takes for the effect of an intent, where our own evidence is not (yet) to be had.

Its predicates compare nothing with before; here only what came after the watermark counts, and a process that is not
gone is not cancelled. Source: control-and-service 3, 12 (B2, B4).
"""

from datetime import datetime

from opsd.core.clues import on_file
from opsd.core.instants import whole
from opsd.core.intents.beyond import is_beyond, quoted
from opsd.core.intents.decision import WANTED
from opsd.core.intents.scenery import is_marked_active
from opsd.core.intents.verdict import (
    COMPLETION_OBSERVED,
    INACTIVE,
    REJECTION_OBSERVED,
    Verdict,
    confirmed,
)
from opsd.model.acts import Scene
from opsd.model.intent import Evidence, Intent, IntentKind, Watermark
from opsd.model.lifecycle import Ending, EventMark, Fold
from opsd.model.observation import ProcessSighting
from opsd.model.run import Run
from opsd.model.runtime import Presence

_COMPLETE = "loop_complete"
_REJECTED = "approval_rejected"


def observed(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict | None:
    """That the intent had its effect, by what else the contract looks at; None where that shows nothing new."""
    match intent.intent:
        case IntentKind.CANCEL:
            return _inactive(mark, run, scene)
        case IntentKind.APPROVE:
            return _completed(mark, run)
        case IntentKind.REJECT:
            return _rejected(mark, run, scene)
        case _:
            return None


def _inactive(mark: Watermark, run: Run, scene: Scene) -> Verdict | None:
    """The state is inactive and the process gone, although a command other than the runtime's left its file."""
    readable = scene.state.presence in (Presence.PRESENT, Presence.ABSENT)
    is_gone = mark.pid is None or scene.watched is ProcessSighting.ABSENT
    current = on_file(scene.active_run)
    is_new = current is not None and (current.pid, current.updated_at) != (mark.pid, mark.begun)
    if not readable or not is_gone or is_new or is_marked_active(scene, run.ref.loop_id):
        return None
    process = f"Process {mark.pid} is gone." if mark.pid is not None else "No process was on file."
    return confirmed(INACTIVE, Evidence("state.json", "The loop is not active."), Evidence("process", process))


def _completed(mark: Watermark, run: Run) -> Verdict | None:
    facts, fold = run.fold.run, run.fold
    ended = facts.ended if facts is not None and facts.ending is Ending.COMPLETE else None
    # A run that has asked for approval has ended, as far as its own log goes: what else is said of it comes after that.
    said = fold.last if fold.last is not None and fold.last.name == _COMPLETE else None
    for event in (ended, said):
        if event is not None and _is_since_line(event, mark, fold):
            return confirmed(COMPLETION_OBSERVED, quoted(event))
    summary = on_file(run.artifacts.summary)
    entry = summary.latest if summary is not None else None
    if entry is not None and entry.completion_ok is True and _is_since(run.artifacts.summary.mtime, mark.at):
        return confirmed(COMPLETION_OBSERVED, Evidence("run-summary.json", "Its last entry says that it is complete."))
    return None


def _rejected(mark: Watermark, run: Run, scene: Scene) -> Verdict | None:
    approval, fold = on_file(scene.approval), run.fold
    if fold.taken_up is not None and fold.taken_up.name == _REJECTED and _is_since_line(fold.taken_up, mark, fold):
        return confirmed(REJECTION_OBSERVED, quoted(fold.taken_up))
    decided = fold.decided
    if decided is not None and decided.status == WANTED[IntentKind.REJECT] and _is_since_line(decided, mark, fold):
        return confirmed(REJECTION_OBSERVED, quoted(decided))
    if approval is None or approval.status != WANTED[IntentKind.REJECT] or mark.approval_status == approval.status:
        return None
    return confirmed(REJECTION_OBSERVED, Evidence("approval.json", "It says rejected, and did not before."))


def _is_since_line(event: EventMark, mark: Watermark, fold: Fold) -> bool:
    """By the line alone, as long as it is the same log: what stands in for the runtime dates its events as it likes."""
    return event.line > mark.line if fold.epoch == mark.epoch else is_beyond(event, mark, fold)


def _is_since(mtime: datetime | None, at: datetime) -> bool:
    """Whether a file was written at `at` or later: its own time comes from a clock that ticks more coarsely."""
    return mtime is not None and mtime >= whole(at)
