"""How does the run go, how did it end, and does it wait for somebody? Findings about the run itself.

Lateness is judged in `late`, trouble on the way to the run in `reaching`, what people asked of it in `asked`.
"""

from collections.abc import Mapping

from opsd.core.instants import parse
from opsd.core.rules.look import Answer, Look, Rule
from opsd.model.health import Finding, Severity
from opsd.model.lifecycle import Ending, Lifecycle, Phase
from opsd.model.reasons import REASONS

TESTS_FAILED_WORTH_A_NOTE = 2
TESTS_FAILED_TOO_OFTEN = 3

# How a run ended (or what holds it up), by phase; where several endings share a phase, the ending tells them apart.
_BY_PHASE = {
    Phase.CRASHED: "runtime_process_missing",
    Phase.RATE_LIMITED: "run_rate_limited",
    Phase.LIMITED: "usage_limited",
    Phase.STUCK: "run_stuck",
    Phase.STOPPED: "run_stopped",
    Phase.FAILED: "run_failed",
    Phase.CANCELLED: "run_cancelled",
}
_BY_ENDING: Mapping[tuple[Phase, Ending | None], str] = {
    (Phase.STUCK, Ending.NO_PROGRESS): "no_progress",
    (Phase.STOPPED, Ending.MAX_ITERATIONS): "max_iterations_reached",
    (Phase.STOPPED, Ending.LIFECYCLE_GATE_FAILED): "lifecycle_gate_failed",
    (Phase.FAILED, Ending.ROLE_TIMEOUT): "role_timed_out",
    (Phase.FAILED, Ending.USAGE_LIMITED): "usage_limited",
}
# Phases whose cause is an event of the log; a crash and a cancel leave none.
_ENDED_BY_EVENT = frozenset({Phase.STUCK, Phase.STOPPED, Phase.FAILED, Phase.RATE_LIMITED})


def outcome(look: Look) -> Answer:
    """How the newest run ended, until a newer one begins; waiting for a usage limit is the one outcome still open."""
    phase, run = look.phase, look.run
    code = _BY_PHASE.get(phase)
    if code is None:
        return "The newest run did not end so."
    facts, last, epoch = run.fold.run, run.fold.last, run.fold.epoch
    ended = facts.ended if facts is not None and phase in _ENDED_BY_EVENT else None
    if facts is not None and phase in _ENDED_BY_EVENT:
        # A usage limit may be waited out, so the log does not call it an end: that nothing runs any more does.
        ending = facts.ending or (Ending.USAGE_LIMITED if run.fold.limit is not None else None)
        code = _BY_ENDING.get((phase, ending), code)
    since, severity, mark = look.projection.since, REASONS[code].severity, ended or last
    line = mark.line if mark is not None else None
    onset = f"e{epoch}:l{line}"
    if ended is not None:
        since = ended.at or since
    elif phase is Phase.CRASHED:
        # A restart that dies before its first event leaves the log as it was: the process tells the two apart.
        onset = f"{onset}:{run.process.begun or _state_time(look)}"
    elif phase is Phase.LIMITED:
        severity = Severity.INFO
    return Finding(code, severity, since, _basis(look), onset, line)


def _basis(look: Look) -> str:
    basis = look.projection.basis
    return f"{basis[:1].upper()}{basis[1:].rstrip('.')}."


def _state_time(look: Look) -> str | None:
    state = look.run.artifacts.state.value
    return state.updated_at if state is not None else None


def approval_pending(look: Look) -> Answer:
    """A completion candidate that nobody has decided on."""
    approval = look.run.artifacts.approval.value
    if not look.projection.has_pending_approval or approval is None:
        return "No approval is pending."
    return Finding(
        "approval_pending",
        Severity.INFO,
        parse(approval.requested_at),
        f"Run {approval.run_id}, iteration {approval.iteration}, asks for approval since {approval.requested_at}.",
        _request(look),
    )


def decision_not_taken_up(look: Look) -> Answer:
    """Decided, and nothing runs until somebody starts the loop again."""
    if look.phase not in (Phase.APPROVED, Phase.REJECTED):
        return "No decision waits to be taken up."
    approval = look.run.artifacts.approval.value
    decision = approval.decision if approval is not None else None
    at = decision.at if decision is not None else None
    return Finding("decision_not_taken_up", Severity.INFO, parse(at), _basis(look), f"{_request(look)} {at}")


def _request(look: Look) -> str:
    approval = look.run.artifacts.approval.value
    return f"{approval.run_id}#{approval.iteration}@{approval.requested_at}" if approval is not None else ""


def recovery_waiting(look: Look) -> Answer:
    """A proposed recovery that the runtime may not run by itself. Source: runtime-artifacts 4.4, `escalation.json`.

    The runtime never clears that file, so it counts only if it was written during the newest run.
    """
    if look.lifecycle is Lifecycle.COMPLETE:
        return "The run has completed."
    fold = look.run.fold
    mark = fold.recovery
    if mark is not None:
        return Finding(
            "recovery_waiting",
            Severity.DEGRADED,
            mark.at,
            f"{mark.name} of {mark.timestamp}, line {mark.line}.",
            f"{mark.name}@{mark.timestamp}",
            mark.line,
        )
    request = look.run.artifacts.recovery.value
    if request is None or request.status != "pending":
        return "No recovery waits for a decision."
    at = parse(request.timestamp)
    begun = fold.run.started_at if fold.run is not None else None
    if at is None or begun is None or at < begun:
        return "The recovery on file is an older run's."
    return Finding(
        "recovery_waiting",
        Severity.DEGRADED,
        at,
        f"escalation.json of {request.timestamp}: {request.reason or 'no reason given'}.",
        f"escalation.json@{request.timestamp}",
    )


def diverged(look: Look) -> Answer:
    """Rule 1. Which files contradict each other is the onset, with the time of the file that is out of line."""
    flags, run = look.projection.divergence, look.run
    if not flags.any:
        return "The runtime's files agree."
    said, onset = [], []
    if flags.active_mismatch:
        said.append("The log says that the run is in an iteration, state.json that it is not active.")
        onset.append(f"active_mismatch@{_state_time(look)}")
    if flags.approval_completion_conflict:
        said.append("An approval is pending for an iteration that the summary calls complete.")
        onset.append(f"approval_completion_conflict@{_request(look)}")
    if flags.cursor_regression:
        said.append("The event log became shorter.")
        onset.append(f"cursor_regression@e{run.fold.epoch}")
    return Finding("divergence_detected", Severity.DEGRADED, None, " ".join(said), " ".join(onset))


_GAVE_UP = frozenset({Ending.MAX_ITERATIONS, Ending.STUCK, Ending.NO_PROGRESS})


def tests_failing(look: Look) -> Answer:
    """The tests gate failed in one iteration after the other: of the run under way, or of one that gave up over it."""
    facts = look.run.fold.run
    runs = look.lifecycle is Lifecycle.RUNNING
    if facts is None or not (runs or facts.ending in _GAVE_UP):
        return "Nothing runs, and the newest run did not give up."
    streak = facts.tests_failed_streak
    if streak < TESTS_FAILED_WORTH_A_NOTE:
        return "The tests gate did not fail twice in a row."
    return Finding(
        "tests_failing",
        Severity.DEGRADED if runs and streak >= TESTS_FAILED_TOO_OFTEN else Severity.INFO,
        None,
        f"The tests gate failed in the last {streak} iterations of run {facts.run_id}.",
        facts.run_id,
    )


def state_contested(look: Look) -> Answer:
    """Another loop took the checkout's one state.json while this one was in the middle of a run."""
    state, facts = look.run.artifacts.state.value, look.run.fold.run
    if state is None or state.active is not True or state.current_loop_id in (None, "", look.run.ref.loop_id):
        return "No other loop is active in the checkout."
    if facts is None or facts.ending is not None:
        return "This loop's own run had ended."
    written = parse(state.updated_at)
    if written is not None and facts.started_at is not None and written <= facts.started_at:
        return "The state on file was written before this loop's run had its turn."
    return Finding(
        "state_contested",
        Severity.INFO,
        written,
        f"state.json names {state.current_loop_id} as active, and run {facts.run_id} of this loop has no end.",
        f"{state.current_loop_id}@{state.updated_at}",
    )


RULES = (
    Rule(("divergence_detected",), diverged),
    Rule(tuple({**dict.fromkeys(_BY_PHASE.values()), **dict.fromkeys(_BY_ENDING.values())}), outcome),
    Rule(("approval_pending",), approval_pending),
    Rule(("decision_not_taken_up",), decision_not_taken_up),
    Rule(("recovery_waiting",), recovery_waiting),
    Rule(("tests_failing",), tests_failing),
    Rule(("state_contested",), state_contested),
)
