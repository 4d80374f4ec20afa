"""What proves that an intent had its effect? Only what lies beyond its watermark, and what the runtime left behind.

`judge` is asked again and again until it knows; how long that may take, and what follows for the intent, is decided in
`life` and by the control desk. An exit code proves nothing here. Source: control-and-service 3, runtime-artifacts 6, 7.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from opsd.core.clues import on_file
from opsd.core.instants import parse, whole
from opsd.core.intents.scenery import is_marked_active, own_run
from opsd.model.acts import Scene
from opsd.model.intent import DECISIONS, Confirmation, Evidence, Intent, IntentKind, IntentStatus, Stage, Watermark
from opsd.model.lifecycle import Ending, EventMark, Fold, RunFacts
from opsd.model.observation import ProcessSighting
from opsd.model.run import Run
from opsd.model.runtime import Approval, Heartbeat, Presence

INACTIVE: Final = "inactive_not_running"
"""Source: control-and-service 3; the reasons below are ours, but for the last."""
DECISION_RECORDED: Final = "decision_recorded"
RUN_STARTED: Final = "run_started"
PROCESSES_STOPPED: Final = "processes_stopped"
PROCESSES_RUNNING: Final = "processes_running"
DECIDED_OTHERWISE: Final = "decided_otherwise"
OTHER_CANDIDATE: Final = "other_candidate"
RUN_NOT_STARTED: Final = "run_not_started"
PROCESS_GONE: Final = "process_gone"
TIMEOUT: Final = "timeout"
"""Nothing was proven while somebody looked."""

DECISION: Final[Mapping[IntentKind, str]] = {IntentKind.APPROVE: "approved", IntentKind.REJECT: "rejected"}
"""What the runtime calls a decision once it is made."""

LAST_LINES_MAX: Final = 5
_CLOCK_TICK: Final = timedelta(milliseconds=50)
# An event that no run writes: `approve` does.
_NOT_A_RUNS: Final = "approval_decision"


class Outcome(StrEnum):
    """`contrary`: what was found rules the effect out, and looking longer does not help."""

    CONFIRMED = "confirmed"
    NOT_YET = "not_yet"
    CONTRARY = "contrary"


class Verdict(msgspec.Struct, frozen=True):
    """`missing` is what was looked for and not found, in one sentence; None where it is confirmed.

    `exit_code` and `output` are how a launched run ended that never began, in the runtime's own words.
    """

    outcome: Outcome
    reason: str
    evidence: tuple[Evidence, ...] = ()
    missing: str | None = None
    exit_code: int | None = None
    output: str = ""


def judge(intent: Intent, run: Run, scene: Scene, now: datetime) -> Verdict:
    """Whether `intent` has had its effect, by `run` as the newest pass left it and by a close look at its files.

    Raises:
        ValueError: it has no watermark, because nothing was ever done for it.
    """
    mark = intent.watermark
    if mark is None:
        raise ValueError(f"intent {intent.id} is {intent.status} and has no watermark: there is nothing to look for")
    return _JUDGES[intent.intent](intent, mark, run, scene)


def _not_yet(missing: str, *evidence: Evidence) -> Verdict:
    return Verdict(Outcome.NOT_YET, TIMEOUT, evidence, missing)


def _cancelled(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    """The process on file at the watermark is gone, and nothing says that the loop runs (again)."""
    loop_id = run.ref.loop_id
    newer = tuple(_begun_since(mark, run.fold))
    if mark.pid is None:
        process = Evidence("watermark", "No process was on file before the cancel.")
        if (writer := _still_writing(intent, mark, run.fold)) is not None:
            return _not_yet("The log went on after the cancel, written by a process that cannot be seen.", writer)
    elif scene.watched is ProcessSighting.ABSENT:
        process = Evidence("process", f"Process {mark.pid}, begun {mark.begun}, is gone.")
    elif scene.watched in (ProcessSighting.ALIVE, ProcessSighting.STOPPED):
        return _not_yet(f"Process {mark.pid} is {scene.watched}.", *newer)
    else:
        return _not_yet(f"Nobody here can say whether process {mark.pid} is gone.", *newer)
    for name, file in (("state.json", scene.state), ("active-run.json", scene.active_run)):
        if file.presence in (Presence.SETTLING, Presence.UNREADABLE):
            return _not_yet(f"{name} could not be read.", process)
    active_run = own_run(scene, loop_id)
    if active_run is not None and (active_run.pid, active_run.updated_at) != (mark.pid, mark.begun):
        again = Evidence("active-run.json", f"Process {active_run.pid} began a run at {active_run.updated_at}.")
        return _not_yet("The loop runs again: somebody started it.", process, again, *newer)
    if is_marked_active(scene, loop_id):
        return _not_yet("state.json calls the loop active.", process, *newer)
    state = on_file(scene.state)
    if state is None:
        at_rest = Evidence("state.json", "There is none.")
    elif state.active is True:
        at_rest = Evidence("state.json", f"It calls {state.current_loop_id} active, not this loop.")
    else:
        at_rest = Evidence("state.json", f"active is false since {state.updated_at}.")
    return Verdict(Outcome.CONFIRMED, INACTIVE, (process, at_rest, *newer))


def _still_writing(intent: Intent, mark: Watermark, fold: Fold) -> Evidence | None:
    """An event of the run that was to be cancelled, spoken after the cancel was done."""
    last = fold.last
    done_at = intent.execution.ended_at if intent.execution is not None else None
    if last is None or done_at is None or last.name == _NOT_A_RUNS or not _is_beyond(last, mark, fold):
        return None
    if fold.run is None or fold.run.run_id != mark.run_id or last.at is None or last.at <= done_at:
        return None
    return _quoted(last)


def _decided(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    """The decision stands on the very candidate of the watermark, which was pending then."""
    wanted = DECISION[intent.intent]
    file = scene.approval
    if mark.approval_status != "pending" or mark.candidate is None:
        return _not_yet("No candidate was pending before the decision, so none can be told to be decided since.")
    if file.presence in (Presence.SETTLING, Presence.UNREADABLE):
        return _not_yet("approval.json could not be read.")
    approval = on_file(file)
    if approval is not None and approval.digest == mark.candidate:
        return _as_filed(approval, wanted, mark)
    logged = _as_logged(wanted, mark, run.fold)
    if approval is None:
        return logged or _not_yet("approval.json is gone, and the log has no decision on the candidate.")
    what = f"It is another candidate: run {approval.run_id}, iteration {approval.iteration}, {approval.status}."
    other = Evidence("approval.json", what)
    if (approval.run_id, approval.iteration) == (mark.candidate_run_id, mark.candidate_iteration):
        logged = None  # the log names run and iteration only, so that it may mean the other candidate
    if logged is not None:
        return logged
    if approval.status in DECISION.values():
        missing = "The decision was recorded on another candidate than the one that was pending."
        return Verdict(Outcome.CONTRARY, OTHER_CANDIDATE, (other,), missing)
    return _not_yet("Another candidate is pending now, and the log has no decision on the former.", other)


def _as_filed(approval: Approval, wanted: str, mark: Watermark) -> Verdict:
    if approval.status == "pending":
        return _not_yet("approval.json is still pending.")
    decision = approval.decision
    by, at = (decision.by, decision.at) if decision is not None else (None, None)
    says = f"Run {approval.run_id}, iteration {approval.iteration}: {approval.status} by {by} at {at}."
    quoted = Evidence("approval.json", says)
    decided_at = parse(at)
    if decided_at is not None and decided_at < whole(mark.at):
        return _not_yet("The decision on file is dated before the act.", quoted)
    if approval.status != wanted:
        return Verdict(Outcome.CONTRARY, DECIDED_OTHERWISE, (quoted,), f"It was to be {wanted}.")
    return Verdict(Outcome.CONFIRMED, DECISION_RECORDED, (quoted,))


def _as_logged(wanted: str, mark: Watermark, fold: Fold) -> Verdict | None:
    """By the log alone, where a next run has taken the decision up and removed the file."""
    decided = fold.decided
    if decided is None or not _is_beyond(decided, mark, fold) or not _is_on_candidate(decided, mark):
        return None
    if decided.status != wanted:
        return Verdict(Outcome.CONTRARY, DECIDED_OTHERWISE, (_quoted(decided),), f"It was to be {wanted}.")
    return Verdict(Outcome.CONFIRMED, DECISION_RECORDED, (_quoted(decided),))


def _started(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    """A run that began beyond the watermark. One that ended at once began all the same, and its end is quoted."""
    facts, beat = run.fold.run, _own_beat(intent, scene)
    launched = tuple(_launch(beat))
    begun = tuple(_begun_since(mark, run.fold))
    if beat is not None and _is_of_another(beat, run, scene):
        begun = ()
    if begun:
        return Verdict(Outcome.CONFIRMED, RUN_STARTED, (*begun, *launched, *_ended(facts)))
    if beat is None or beat.status != "exited":
        return _not_yet("The log has no run that began after the start.", *launched)
    if not _is_read_since(run, scene):
        return _not_yet("The launched process has ended, and the log has not been read since.", *launched)
    words = _last_lines(scene.launch_output)
    said = (Evidence("launch log", words),) if words else ()
    code = 128 + beat.exit_signal if beat.exit_signal is not None else beat.exit_code
    missing = f"The launched process ended ({_how_ended(beat)}) without a run having begun."
    return Verdict(Outcome.CONTRARY, RUN_NOT_STARTED, (*launched, *said), missing, code, words)


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
    read = run.last_contact_at
    # A file's own time comes from a clock that ticks more coarsely than ours.
    return read is not None and written is not None and read >= written + _CLOCK_TICK and not run.backlog_bytes


def _launch(beat: Heartbeat | None) -> Iterator[Evidence]:
    if beat is not None:
        ended = f", which ended: {_how_ended(beat)}" if beat.status == "exited" else ""
        yield Evidence("heartbeat.v1.json", f"Launch {beat.launch_id} is process {beat.pid}{ended}.")


def _how_ended(beat: Heartbeat) -> str:
    return f"signal {beat.exit_signal}" if beat.exit_signal is not None else f"exit code {beat.exit_code}"


def _begun_since(mark: Watermark, fold: Fold) -> Iterator[Evidence]:
    """The log's newest run, if it began beyond the watermark."""
    facts = fold.run
    if facts is None:
        return
    begun_at = facts.started_at
    if fold.epoch == mark.epoch:
        # What was on the disk at the watermark and not read yet lies beyond its line as well; its time tells.
        begun = facts.first_line > mark.line and (begun_at is None or begun_at >= whole(mark.at))
    else:
        begun = begun_at is not None and begun_at > mark.at
    if begun:
        yield Evidence("events.jsonl", f"Run {facts.run_id} began.", facts.first_line)


def _ended(facts: RunFacts | None) -> Iterator[Evidence]:
    if facts is not None and facts.ending is not None:
        line = facts.ended.line if facts.ended is not None else None
        detail = f": {facts.detail}" if facts.detail else ""
        yield Evidence("events.jsonl", f"Run {facts.run_id} has ended since, {facts.ending}{detail}.", line)


def _paused(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    astray = _process_astray(mark, run, scene)
    if astray is not None:
        return astray
    going = sum(process is not ProcessSighting.STOPPED for process in scene.family)
    if not scene.family:
        return _not_yet(f"The processes of run process {mark.pid} could not be seen.")
    if going:
        return _not_yet(f"{going} of {len(scene.family)} processes of the run are not stopped.")
    says = f"All {len(scene.family)} processes of the run (process {mark.pid}) are stopped."
    return Verdict(Outcome.CONFIRMED, PROCESSES_STOPPED, (Evidence("process", says),))


def _resumed(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    last = run.fold.last
    astray = _process_astray(mark, run, scene)
    if astray is not None:
        if last is not None and last.name != _NOT_A_RUNS and _is_beyond(last, mark, run.fold):
            # It went on, and came to its end.
            return Verdict(Outcome.CONFIRMED, PROCESSES_RUNNING, (_quoted(last), *astray.evidence))
        return astray
    if not scene.family:
        return _not_yet(f"The processes of run process {mark.pid} could not be seen.")
    stopped = sum(process is ProcessSighting.STOPPED for process in scene.family)
    unknown = sum(process is not ProcessSighting.ALIVE for process in scene.family) - stopped
    if stopped or unknown:
        return _not_yet(f"{stopped or unknown} of {len(scene.family)} processes of the run are not known to go on.")
    says = f"All {len(scene.family)} processes of the run (process {mark.pid}) go on."
    return Verdict(Outcome.CONFIRMED, PROCESSES_RUNNING, (Evidence("process", says),))


def _process_astray(mark: Watermark, run: Run, scene: Scene) -> Verdict | None:
    """Where the process that was signalled is not the one on file any more, or nobody can say."""
    if scene.watched is ProcessSighting.ABSENT:
        gone = Evidence("process", f"Process {mark.pid}, begun {mark.begun}, is gone.")
        return Verdict(Outcome.CONTRARY, PROCESS_GONE, (gone,), "The run's process ended.")
    if scene.watched not in (ProcessSighting.ALIVE, ProcessSighting.STOPPED):
        return _not_yet(f"Nobody here can say what process {mark.pid} does.")
    active_run = own_run(scene, run.ref.loop_id)
    if active_run is None or active_run.pid != mark.pid:
        return _not_yet(f"active-run.json does not name process {mark.pid} any more.")
    return None


_JUDGES: Final[Mapping[IntentKind, Callable[[Intent, Watermark, Run, Scene], Verdict]]] = {
    IntentKind.CANCEL: _cancelled,
    IntentKind.APPROVE: _decided,
    IntentKind.REJECT: _decided,
    IntentKind.START: _started,
    IntentKind.PAUSE: _paused,
    IntentKind.RESUME: _resumed,
}


def _is_beyond(event: EventMark, mark: Watermark, fold: Fold) -> bool:
    """Whether an event was logged after the watermark: by its line, or in another log than then by its time."""
    if fold.epoch == mark.epoch:
        return event.line > mark.line
    return event.at is not None and event.at > mark.at


def _is_on_candidate(event: EventMark, mark: Watermark) -> bool:
    return (event.run_id, event.iteration) == (mark.candidate_run_id, mark.candidate_iteration)


def _quoted(event: EventMark) -> Evidence:
    status = f" with status {event.status}" if event.status else ""
    whose = f" of run {event.run_id}, iteration {event.iteration}" if event.run_id else ""
    return Evidence("events.jsonl", f"{event.name}{status}{whose}, at {event.timestamp}.", event.line)


def _last_lines(text: str) -> str:
    return "\n".join([line for line in text.splitlines() if line.strip()][-LAST_LINES_MAX:])


def confirmation(
    intent: Intent, verdict: Verdict, run: Run, scene: Scene, attempts: int, now: datetime
) -> Confirmation:
    """What is written down of the looks after the act; `attempts` counts them. Source: control-and-service 3."""
    state, approval = on_file(scene.state), on_file(scene.approval)
    last = run.fold.last
    return Confirmation(
        confirmed=verdict.outcome is Outcome.CONFIRMED,
        reason=verdict.reason,
        attempts=attempts,
        observed_at=now,
        observed_status=run_status(run, scene),
        observed_last_event=last.name if last is not None else None,
        observed_approval_status=approval.status if approval is not None else None,
        observed_active=state is not None and state.active is True,
        evidence=verdict.evidence,
        missing=verdict.missing,
    )


_STOPS: Final = frozenset({"loop_stop", "rate_limit_stop", "no_progress_stop"})
_FAILURES: Final = frozenset({"error", "timeout", "blocked", "rate_limited"})


def run_status(run: Run, scene: Scene) -> str:
    """The contract's `run.status`, first match wins. Source: control-and-service 3."""
    approval, state, last = on_file(scene.approval), on_file(scene.state), run.fold.last
    summary = on_file(run.artifacts.summary)
    entry = summary.latest if summary is not None else None
    if approval is not None and approval.status == "pending":
        return "awaiting_approval"
    if entry is not None and entry.completion_ok is True:
        return "complete"
    if is_marked_active(scene, run.ref.loop_id):
        return "running"
    if last is not None and last.name in _STOPS:
        return "stopped"
    if last is not None and last.status in _FAILURES:
        return "failed"
    if state is not None and state.active is False and entry is not None:
        return "idle"
    return "unknown"


_STAGES: Final = tuple(Stage)


def stage(intent: Intent, run: Run, scene: Scene | None = None) -> tuple[Stage, tuple[Evidence, ...]] | None:
    """How far a confirmed decision has come, with what shows it; None where it has come no further than is known.

    Consumed is a decision that a later run took up, completed one whose run said `loop_complete`. A look at the files
    adds nothing to what the log says of that, and may be left out.
    """
    mark, fold = intent.watermark, run.fold
    if intent.intent not in DECISIONS or intent.status is not IntentStatus.CONFIRMED or mark is None:
        return None
    reached, evidence = Stage.RECORDED, intent.confirmation.evidence if intent.confirmation is not None else ()
    taken_up = fold.taken_up
    if taken_up is not None and _takes_up(taken_up, intent.intent, mark, fold):
        reached, evidence = Stage.CONSUMED, (_quoted(taken_up),)
        facts = fold.run
        # A newer run than the one that took the decision up says nothing of what became of it.
        ended = facts.ended if facts is not None and facts.ending is Ending.COMPLETE else None
        if facts is not None and ended is not None and facts.first_line <= taken_up.line < ended.line:
            reached, evidence = Stage.COMPLETED, (_quoted(taken_up), _quoted(ended))
    if intent.stage is not None and _STAGES.index(reached) <= _STAGES.index(intent.stage):
        return None
    return reached, evidence


def _takes_up(event: EventMark, kind: IntentKind, mark: Watermark, fold: Fold) -> bool:
    """`approval_consumed` names the candidate; `approval_rejected` only the run that found it rejected."""
    if not _is_beyond(event, mark, fold):
        return False
    if kind is IntentKind.APPROVE:
        return event.name == "approval_consumed" and _is_on_candidate(event, mark)
    decided = fold.decided
    return (
        event.name == "approval_rejected"
        and decided is not None
        and decided.status == DECISION[kind]
        and _is_on_candidate(decided, mark)
        and decided.line < event.line
    )
