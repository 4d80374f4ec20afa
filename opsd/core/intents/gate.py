"""May an intent be carried out? The rules, in order; the first that objects decides.

They weigh what the last pass made of the loop against a close look at the files that the intent is about. Of a loop
behind a service nobody here can look closer than the pass did: fewer rules are asked here (`RULES_FROM_AFAR`), and
its own opsd asks all of them where the loop runs, right before the act. What the codes mean and what to do then is
`opsd.model.refusals`; whether there is a disk to write the intent to, and whether its turn came in time, is asked
elsewhere. Source: control-and-service 2.1, 12; runtime-artifacts 6, 7.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final, Generic, TypeVar

import msgspec

from opsd.core.clues import on_file
from opsd.core.intents.beyond import has_never_run
from opsd.core.intents.scenery import (
    Files,
    is_left_over,
    is_marked_active,
    is_surely_gone,
    marked_loop,
    other_marked,
    own_run,
)
from opsd.model.acts import Scene
from opsd.model.ids import UNKNOWN_RUN
from opsd.model.intent import DECISIONS, FenceDifference, Intent, IntentKind, Refusal
from opsd.model.observation import Artifact, ProcessSighting
from opsd.model.process import Liveness
from opsd.model.run import Run
from opsd.model.runtime import Presence
from opsd.model.transport import TransportMode
from opsd.model.wire import INTENTS


class FarQuestion(msgspec.Struct, frozen=True):
    """May `intent` be carried out on `run`, of which nothing nearer is known?"""

    intent: Intent
    run: Run
    now: datetime

    @property
    def files(self) -> Files:
        return self.run.artifacts


class Question(FarQuestion, frozen=True):
    """May `intent` be carried out on `run`, where a close look shows `scene`?"""

    scene: Scene

    @property
    def files(self) -> Files:
        return self.scene


class Objection(msgspec.Struct, frozen=True):
    """One sentence about this very case, and for a fence where it differs."""

    message: str
    differences: tuple[FenceDifference, ...] = ()


Q = TypeVar("Q", bound=FarQuestion)


class Rule(msgspec.Struct, Generic[Q], frozen=True):
    """The refusal's code, the kinds of intent that it is asked for, and in words when it objects."""

    code: str
    kinds: frozenset[IntentKind]
    when: str
    object: Callable[[Q], Objection | None]


def refuse(intent: Intent, run: Run, scene: Scene | None, now: datetime) -> Refusal | None:
    """The first objection against carrying `intent` out now, or None where there is none.

    `run` is the loop as the newest pass left it, `scene` a look at its files that is newer still; None for a loop
    behind a service.
    """
    contract = intent.options.as_contract
    if scene is None:
        return _first(CONTRACT_RULES_FROM_AFAR if contract else RULES_FROM_AFAR, FarQuestion(intent, run, now))
    return _first(CONTRACT_RULES if contract else RULES, Question(intent, run, now, scene))


def _first(rules: Sequence[Rule[Q]], question: Q) -> Refusal | None:
    for rule in rules:
        if question.intent.intent in rule.kinds:
            objection = rule.object(question)
            if objection is not None:
                return Refusal(rule.code, objection.message, objection.differences)
    return None


def moved(intent: Intent, scene: Scene) -> Refusal | None:
    """Whether, in the moment since its watermark, another candidate or another run took the place of what was meant.

    Asked right before the act, of an intent whose operator may have named neither.
    """
    mark = intent.watermark
    if mark is None:
        return None
    if intent.intent in DECISIONS:
        approval = on_file(scene.approval)
        digest = approval.digest if approval is not None else None
        if digest == mark.candidate:
            return None
        difference = FenceDifference("candidate", mark.candidate or "none", digest or "none")
        return Refusal("fence_mismatch", "Another candidate took the place of the one to decide on.", (difference,))
    run = on_file(scene.active_run)
    if intent.intent is IntentKind.START or run is None or (run.pid, run.updated_at) == (mark.pid, mark.begun):
        return None
    expected, found = f"process {mark.pid} of {mark.begun}", f"process {run.pid} of {run.updated_at}"
    difference = FenceDifference("run_id", expected, found)
    return Refusal("fence_mismatch", "Another run took the place of the one that was meant.", (difference,))


def _observing(question: FarQuestion) -> Objection | None:
    control = question.run.control
    if not control.observing:
        return None
    if control.observe_until is None:
        return Objection("Observe mode holds until somebody ends it.")
    return Objection(f"Observe mode holds until {control.observe_until:%Y-%m-%dT%H:%M:%SZ}.")


def _in_flight(question: FarQuestion) -> Objection | None:
    """One that a service was asked for is carried out by that service, which may be this very process."""
    other, intent = question.run.control.in_flight, question.intent
    if other is None or other.id == intent.id or other.transport != intent.transport:
        return None
    return Objection(f"{other.intent.capitalize()} {other.id}, asked for by {other.requested_by}, is {other.status}.")


def _elsewhere(question: Question) -> Objection | None:
    transport = question.run.ref.transport
    if transport is TransportMode.LOCAL:
        return None
    return Objection(f"The loop is reached over {transport}, and intents reach only what is local.")


def _features_missing(question: FarQuestion) -> Objection | None:
    """The contract's own control endpoint knows cancel, approve and reject. Source: control-and-service 9.4."""
    reach = question.run.reach
    if reach is not None and INTENTS in reach.features:
        return None
    return Objection(f"Its service has not announced {INTENTS}, without which it knows no {question.intent.intent}.")


def _not_managed(question: FarQuestion) -> Objection | None:
    ref = question.run.ref
    if ref.fault is not None:
        return Objection(f"The loop is listed and not managed: {ref.fault_detail or ref.fault}")
    return None if ref.enabled else Objection("The registry says that the loop is not to be watched.")


def _not_seen(question: FarQuestion) -> Objection | None:
    """The picture in memory: a look that failed, or has not come to the log's end, knows too little."""
    run = question.run
    if question.intent.intent is IntentKind.START and has_never_run(run):
        return None
    health = run.transport_health
    if health is not None and health.failure_streak:
        return Objection(f"The last look at the loop failed with {health.last_failure_code or 'no code'}.")
    if run.projection is None:
        return Objection("The loop has not been looked at yet.")
    if run.rebuild is not None:
        return Objection("The loop's log is being read again from its start.")
    if run.backlog_bytes:
        return Objection(f"{run.backlog_bytes} bytes of the loop's log are still unread.")
    return None


_FILES: Final[Mapping[IntentKind, tuple[str, ...]]] = {
    IntentKind.CANCEL: ("state", "active_run"),
    IntentKind.APPROVE: ("approval",),
    IntentKind.REJECT: ("approval",),
    IntentKind.START: ("state", "active_run", "approval"),
    IntentKind.PAUSE: ("active_run",),
    IntentKind.RESUME: ("active_run",),
}
"""What an intent must have seen. An unreadable file of another kind stops nobody from cancelling."""
_NAMES: Final = {"state": "state.json", "active_run": "active-run.json", "approval": "approval.json"}


def _not_read(question: Question) -> Objection | None:
    for name in _FILES[question.intent.intent]:
        file: Artifact[object] = attrgetter(name)(question.scene)
        if file.presence is Presence.UNREADABLE:
            return Objection(file.problem or f"{_NAMES[name]} cannot be read.")
        if file.presence is Presence.SETTLING:
            return Objection(f"{_NAMES[name]} is just being written.")
    return None


def _moved_on(question: FarQuestion) -> Objection | None:
    differences = tuple(_differences(question))
    if not differences:
        return None
    told = "; ".join(f"{one.where} is {one.found}, and {one.expected} was expected" for one in differences)
    return Objection(f"{told}.", differences)


def _differences(question: FarQuestion) -> Iterator[FenceDifference]:
    """Where the run differs from what the operator saw.

    A candidate is asked for by one run, and may be found waiting by a later one: who decides may have seen either.
    """
    expect, projection = question.intent.expect, question.run.projection
    approval = on_file(question.files.approval)
    deciding = approval if question.intent.intent in DECISIONS else None
    if expect.run_id is not None:
        found = projection.run_id if projection is not None else UNKNOWN_RUN
        if expect.run_id != found and (deciding is None or expect.run_id != deciding.run_id):
            yield FenceDifference("run_id", expect.run_id, found)
        elif (unread := _unread_run(question)) is not None:
            yield FenceDifference("run_id", expect.run_id, unread)
    if expect.iteration is not None:
        iteration = projection.iteration if projection is not None else 0
        if expect.iteration != iteration and (deciding is None or expect.iteration != deciding.iteration):
            yield FenceDifference("iteration", str(expect.iteration), str(iteration))
    if expect.candidate is not None:
        digest = approval.digest if approval is not None else None
        if expect.candidate != digest:
            yield FenceDifference("candidate", expect.candidate, digest or "none")


def _unread_run(question: FarQuestion) -> str | None:
    """A run that began after the last pass has no id yet, and is surely not the one that was seen."""
    active_run, known = own_run(question.files, question.run.ref.loop_id), question.run.process
    if active_run is None or (active_run.pid, active_run.updated_at) == (known.pid, known.begun):
        return None
    return f"a run begun at {active_run.updated_at} as process {active_run.pid}"


def _diverged(question: FarQuestion) -> Objection | None:
    projection, options = question.run.projection, question.intent.options
    if projection is None or not projection.divergence.any:
        return None
    if options.override_divergence and question.intent.reason.strip():
        return None
    flags = projection.divergence
    named = ", ".join(name for name in flags.__struct_fields__ if getattr(flags, name))
    if options.override_divergence:
        return Objection(f"They contradict each other ({named}), and overriding that needs a reason.")
    return Objection(f"They contradict each other: {named}.")


def _neighbour(question: Question) -> Objection | None:
    """Another loop of the checkout that is not surely gone: the runtime's cancel would end it, or delete its state.

    Only a loop whose own process is on file and gone is surely gone. One that is marked active without a process on
    file mostly crashed, but a second run in its checkout takes that file away from a loop that lives, too.
    """
    scene, loop_id = question.scene, question.run.ref.loop_id
    active_run, marked = on_file(scene.active_run), other_marked(scene, loop_id)
    if active_run is not None and active_run.loop_id != loop_id and not is_surely_gone(scene):
        who = active_run.loop_id or "a run that has not entered a loop yet"
        if active_run.loop_id is not None or not is_marked_active(scene, loop_id):
            return Objection(f"active-run.json names {who}, and its process {active_run.pid} is not known to be gone.")
    if marked is None:
        return None
    if active_run is not None and active_run.loop_id == marked and is_surely_gone(scene):
        return None
    return Objection(f"state.json calls {marked} active, and nothing proves that it is not.")


def _neighbour_from_afar(question: FarQuestion) -> Objection | None:
    """The contract's own control endpoint cancels whatever runs there. One that knows intents judges it closer."""
    if _features_missing(question) is None:
        return None
    files, loop_id = question.files, question.run.ref.loop_id
    active_run, marked = on_file(files.active_run), other_marked(files, loop_id)
    if active_run is not None and active_run.loop_id not in (None, loop_id):
        return Objection(f"active-run.json names {active_run.loop_id}, and its service cancels whatever runs.")
    return None if marked is None else Objection(f"state.json calls {marked} active, and nothing proves otherwise.")


def _clearing_reaches_a_neighbour(question: Question) -> Objection | None:
    return _neighbour(question) if question.intent.options.clear_stale and is_left_over(question.scene) else None


def _nothing_to_cancel(question: FarQuestion) -> Objection | None:
    """A file that names no loop, of a run that never entered one, is anybody's to clear."""
    files, loop_id = question.files, question.run.ref.loop_id
    active_run = on_file(files.active_run)
    if is_marked_active(files, loop_id) or (active_run is not None and active_run.loop_id in (None, loop_id)):
        return None
    return Objection("Neither state.json nor active-run.json speaks of this loop as active.")


def _nothing_to_decide(question: FarQuestion) -> Objection | None:
    approval = on_file(question.files.approval)
    if approval is None:
        return Objection("There is no approval.json.")
    if approval.status in ("pending", "approved", "rejected"):
        return None
    return Objection(f"approval.json has the status {approval.status}.")


def _decided_already(question: FarQuestion) -> Objection | None:
    approval = on_file(question.files.approval)
    if approval is None or approval.status == "pending":
        return None
    decision = approval.decision
    by = f" by {decision.by} at {decision.at}" if decision is not None else ""
    return Objection(f"Run {approval.run_id}, iteration {approval.iteration}, was {approval.status}{by}.")


def _run_active(question: Question) -> Objection | None:
    scene = question.scene
    active_run = on_file(scene.active_run)
    if active_run is not None and not is_surely_gone(scene):
        who = active_run.loop_id or "a run that has not entered a loop yet"
        return Objection(f"active-run.json names {who}, and its process {active_run.pid} is not known to be gone.")
    if is_marked_active(scene, question.run.ref.loop_id) and question.run.process.liveness is Liveness.FOREIGN:
        return Objection("The loop's log goes on growing, written by a process that cannot be seen from here.")
    return None


def _approval_waits(question: Question) -> Objection | None:
    approval = on_file(question.scene.approval)
    if approval is None or approval.status != "pending":
        return None
    return Objection(f"Run {approval.run_id}, iteration {approval.iteration}, asks since {approval.requested_at}.")


def _left_over(question: Question) -> Objection | None:
    scene = question.scene
    if question.intent.options.clear_stale or not is_left_over(scene):
        return None
    marked = marked_loop(scene)
    if marked is not None:
        return Objection(f"state.json still calls {marked or 'a loop without a name'} active, and no process is known.")
    return Objection("active-run.json is left behind by a run whose process is gone.")


def _no_command(question: Question) -> Objection | None:
    if question.scene.command is not None:
        return None
    return Objection(f"None was found for {question.run.ref.repo_path}.")


def _not_running(question: Question) -> Objection | None:
    scene, loop_id = question.scene, question.run.ref.loop_id
    if own_run(scene, loop_id) is None:
        other = on_file(scene.active_run)
        if other is None:
            return Objection("There is no active-run.json.")
        return Objection(f"active-run.json names {other.loop_id or 'no loop'}, not this one.")
    return Objection("The process that active-run.json names is gone.") if is_surely_gone(scene) else None


def _unknown_process(question: Question) -> Objection | None:
    if question.scene.active_process in (ProcessSighting.ALIVE, ProcessSighting.STOPPED):
        return None
    active_run = on_file(question.scene.active_run)
    return Objection(f"Nobody here can say what process {active_run.pid if active_run is not None else None} is.")


def _paused_already(question: Question) -> Objection | None:
    """Only where all of it is stopped: a pause that reached half of the processes may be repeated."""
    processes = (question.scene.active_process, *question.scene.family)
    if any(process is not ProcessSighting.STOPPED for process in processes):
        return None
    return Objection("Every process of the run is stopped.")


def _goes_on(question: Question) -> Objection | None:
    if ProcessSighting.STOPPED in (question.scene.active_process, *question.scene.family):
        return None
    return Objection("No process of the run is stopped.")


_ALL: Final = frozenset(IntentKind)
_CANCEL: Final = frozenset({IntentKind.CANCEL})
_START: Final = frozenset({IntentKind.START})
_PAUSE: Final = frozenset({IntentKind.PAUSE})
_RESUME: Final = frozenset({IntentKind.RESUME})
_COMMANDS: Final = _CANCEL | DECISIONS | _START
_BEYOND_CONTRACT: Final = _START | _PAUSE | _RESUME

RULES: Final[tuple[Rule[Question], ...]] = (
    Rule("observe_mode", _ALL, "observe mode holds for the loop or the fleet", _observing),
    Rule("intent_in_flight", _ALL, "another intent of the loop is under way", _in_flight),
    Rule("transport_not_supported", _ALL, "the loop is not reached locally", _elsewhere),
    Rule("picture_incomplete", _ALL, "the loop is listed and not managed, or not watched", _not_managed),
    Rule("picture_incomplete", _ALL, "the last look failed, or the log is not read to its end", _not_seen),
    Rule("picture_incomplete", _ALL, "a file that the intent is about is unreadable or being written", _not_read),
    Rule("fence_mismatch", _ALL, "run, iteration or candidate differ from what was expected", _moved_on),
    Rule("divergence_frozen", _ALL, "the runtime's files diverge, and no reason overrides that", _diverged),
    Rule("neighbour_active", _CANCEL, "another loop of the checkout is not surely gone", _neighbour),
    Rule("nothing_to_cancel", _CANCEL, "the loop has neither process, nor active state", _nothing_to_cancel),
    Rule("nothing_to_approve", DECISIONS, "approval.json asks for nothing", _nothing_to_decide),
    Rule("already_decided", DECISIONS, "approval.json is decided", _decided_already),
    Rule("run_active", _START, "a process of the checkout is not surely gone", _run_active),
    Rule("approval_waits", _START, "the loop's approval is pending", _approval_waits),
    Rule("stale_active", _START, "a run that is gone left the checkout marked", _left_over),
    Rule("neighbour_active", _START, "clearing would reach another loop", _clearing_reaches_a_neighbour),
    Rule("not_running", _PAUSE | _RESUME, "active-run.json names no living process of this loop", _not_running),
    Rule("process_unknown", _PAUSE | _RESUME, "the run's process cannot be judged from here", _unknown_process),
    Rule("already_paused", _PAUSE, "every process of the run is stopped", _paused_already),
    Rule("not_paused", _RESUME, "no process of the run is stopped", _goes_on),
    Rule("runtime_command_missing", _COMMANDS, "there is no runtime command for the checkout", _no_command),
)

RULES_FROM_AFAR: Final[tuple[Rule[FarQuestion], ...]] = (
    Rule("observe_mode", _ALL, "observe mode holds for the loop or the fleet", _observing),
    Rule("intent_in_flight", _ALL, "another intent of the loop is under way", _in_flight),
    Rule("picture_incomplete", _ALL, "the loop is listed and not managed, or not watched", _not_managed),
    Rule("picture_incomplete", _ALL, "the last look failed, or the log is not read to its end", _not_seen),
    Rule("transport_not_supported", _BEYOND_CONTRACT, "the service knows the contract alone", _features_missing),
    Rule("fence_mismatch", _ALL, "run, iteration or candidate differ from what was expected", _moved_on),
    Rule("divergence_frozen", _ALL, "the runtime's files diverge, and no reason overrides that", _diverged),
    Rule("neighbour_active", _CANCEL, "another loop there may be running", _neighbour_from_afar),
    Rule("nothing_to_cancel", _CANCEL, "the loop has no active state, and no run on file", _nothing_to_cancel),
    Rule("nothing_to_approve", DECISIONS, "approval.json asks for nothing", _nothing_to_decide),
    Rule("already_decided", DECISIONS, "approval.json is decided", _decided_already),
)

_CONTRACTUAL: Final = frozenset({_observing, _in_flight, _moved_on, _neighbour})
CONTRACT_RULES: Final[tuple[Rule[Question], ...]] = (
    Rule("picture_incomplete", _CANCEL, "a file that says whose run it is is unreadable or being written", _not_read),
    *(rule for rule in RULES if rule.kinds != _START and rule.object in _CONTRACTUAL),
)
"""For callers of the contract's command: it acts in any state of a loop, but never on a neighbour, and not against an
operator who has the loop observed. All else the runtime's own command decides. Source: control-and-service 2.1, 12.
"""
CONTRACT_RULES_FROM_AFAR: Final[tuple[Rule[FarQuestion], ...]] = tuple(
    rule for rule in RULES_FROM_AFAR if rule.object in _CONTRACTUAL
)
"""The same; where the loop runs, its service judges."""
