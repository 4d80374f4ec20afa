"""Which phase is a run in, and what says so? The rules, in order; the first that holds decides.

They correct the contract's truth table (loop-core 2.4) where it is known to lie: an old completion does not mask a
newer run, a run marked active whose process is gone does not run, a state deleted in mid-run is a cancel, and a live
process runs before it has logged anything. The contract's own words for the outcome are in `lifecycle`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from opsd.core.clues import Clues, is_older, is_stale
from opsd.core.instants import parse, seconds
from opsd.model.lifecycle import Ending, Phase
from opsd.model.process import Liveness
from opsd.model.runtime import LoopConfig, Presence, UsageCheck

ENDED: Final[Mapping[Ending, Phase]] = {
    Ending.COMPLETE: Phase.COMPLETE,
    Ending.AWAITING_APPROVAL: Phase.IDLE,
    Ending.MAX_ITERATIONS: Phase.STOPPED,
    Ending.STUCK: Phase.STUCK,
    Ending.NO_PROGRESS: Phase.STUCK,
    Ending.LIFECYCLE_GATE_FAILED: Phase.STOPPED,
    Ending.STOPPED: Phase.STOPPED,
    Ending.ROLE_TIMEOUT: Phase.FAILED,
    Ending.RATE_LIMITED: Phase.RATE_LIMITED,
    Ending.USAGE_LIMITED: Phase.FAILED,
    Ending.FAILED: Phase.FAILED,
    Ending.CRASHED: Phase.CRASHED,
    Ending.CANCELLED: Phase.CANCELLED,
    Ending.LOST: Phase.UNKNOWN,
}

GRACE: Final = timedelta(seconds=60)
"""How long after a limit's end, or after a role's time is up, the runtime may take to act on it."""

WRITTEN_APART: Final = timedelta(seconds=2)
"""Files that disagree for less than this are being written. Event times are cut to seconds: `SECOND` is added."""

SECOND: Final = timedelta(seconds=1)
_FAILURE_WORDS = frozenset({"error", "timeout", "blocked", "rate_limited"})


class Believed(msgspec.Struct, frozen=True, gc=False):
    """A rule's verdict. `basis` is one plain sentence without ages; `since` and `holds_until` as in `Projection`."""

    phase: Phase
    basis: str
    since: datetime | None = None
    holds_until: datetime | None = None


def _approval_pending(clues: Clues) -> Believed | None:
    approval = clues.approval
    if approval is None or approval.status != "pending" or is_stale(clues):
        return None
    basis = f"approval.json asks for a decision on iteration {approval.iteration} of run {approval.run_id}"
    return Believed(Phase.AWAITING_APPROVAL, basis, parse(approval.requested_at))


def _approval_logged(clues: Clues) -> Believed | None:
    """The request is logged right after its file is written: a file not there yet was looked for too early."""
    run, mark = clues.run, clues.fold.approval_requested
    if run is None or run.ending is not Ending.AWAITING_APPROVAL or mark is None or clues.approval is not None:
        return None
    due = (mark.at or clues.now) + SECOND + WRITTEN_APART
    if clues.artifacts.approval.presence is Presence.ABSENT and clues.now >= due:
        return None
    return Believed(Phase.AWAITING_APPROVAL, "the log asks for approval", mark.at, due)


def _paused(clues: Clues) -> Believed | None:
    if clues.going and clues.process.liveness is Liveness.PAUSED:
        return Believed(Phase.PAUSED, f"process {clues.process.pid} is stopped by a signal")
    return None


def _starting(clues: Clues) -> Believed | None:
    if clues.going and clues.starts:
        basis = f"active-run.json names process {clues.process.pid}, and its run has logged nothing yet"
        return Believed(Phase.STARTING, basis, parse(clues.process.begun))
    return None


def _limited(clues: Clues) -> Believed | None:
    limit = clues.fold.limit
    if limit is None or not clues.going:
        return None
    ends_at = limit.ends_at
    if ends_at is None:
        usage = _config(clues).usage_check if clues.artifacts.config.value else UsageCheck(wait_on_limit=True)
        if not usage.wait_on_limit:
            return None
        ends_at = (limit.since or clues.now) + seconds(usage.max_wait_seconds)
    if clues.now >= ends_at + GRACE:
        return None
    return Believed(Phase.LIMITED, f"waits for a {limit.kind} reported by {limit.role}", limit.since, ends_at + GRACE)


def _busy(clues: Clues) -> Believed | None:
    """Silence that is explained: a role within its time, a gate's own commands, or output that keeps coming."""
    last, run = clues.fold.last, clues.run
    if not clues.going or run is None or last is None or last.at is None:
        return None
    quiet_for = seconds(clues.thresholds.degraded_ingest_lag_seconds)
    if clues.now < last.at + quiet_for:
        return None
    since = run.activity_since or last.at
    if run.role is not None and run.activity is not None:
        limit_s = _config(clues).timeouts.limit_s(run.role)
        until = since + seconds(limit_s) + GRACE
        if limit_s and clues.now < until:
            return Believed(Phase.BUSY, f"{run.role} works within its {limit_s} s", since, until)
    elif run.activity is not None and clues.process.liveness is Liveness.ALIVE:  # a gate's commands have no limit
        return Believed(Phase.BUSY, f"{run.activity} is logged and its end is not", since)
    if clues.last_output_at is not None and clues.now < clues.last_output_at + quiet_for:
        return Believed(Phase.BUSY, "role output keeps coming", since, clues.last_output_at + quiet_for)
    return None


def _running(clues: Clues) -> Believed | None:
    if not clues.going:
        return None
    run, last = clues.run, clues.fold.last
    quiet_for = seconds(clues.thresholds.degraded_ingest_lag_seconds)
    silent_at = last.at + quiet_for if last and last.at else None
    match clues.process.liveness:
        case Liveness.ALIVE:
            basis = f"process {clues.process.pid} lives and the log tells no end"
        case Liveness.FOREIGN:
            basis = "the log goes on growing, written by a process that is not visible here"
        case _:
            basis = "the runtime's files say that it runs; its process cannot be judged from here"
    return Believed(Phase.RUNNING, basis, run.started_at if run else None, silent_at)


def _decided(clues: Clues) -> Believed | None:
    approval = clues.approval
    if approval is None or approval.status not in ("approved", "rejected") or is_stale(clues):
        return None
    if clues.run is not None and clues.run.took_up is not None and clues.run.took_up == approval.run_id:
        return None
    phase = Phase.APPROVED if approval.status == "approved" else Phase.REJECTED
    basis = f"approval.json says {approval.status} for run {approval.run_id}, and no run has taken that up"
    return Believed(phase, basis, parse(approval.decision.at) if approval.decision else None)


def _completed(clues: Clues) -> Believed | None:
    run, entry = clues.run, clues.entry
    if run is not None and run.ending is Ending.COMPLETE and not clues.starts:
        return Believed(Phase.COMPLETE, "the log says loop_complete", run.ended.at if run.ended else None)
    if entry is None or entry.completion_ok is not True or clues.starts:
        return None
    if run is not None and is_older(entry.run_id, entry.ended_at, run):
        return None
    return Believed(Phase.COMPLETE, "the newest summary entry says completion_ok", parse(entry.ended_at))


def _cancelled(clues: Clues) -> Believed | None:
    run = clues.run
    if run is None or run.ending is not None or clues.starts:
        return None
    if clues.artifacts.state.presence is not Presence.ABSENT:
        return None
    return Believed(Phase.CANCELLED, "state.json was deleted before the log told an end, which only cancel does")


def _crashed(clues: Clues) -> Believed | None:
    if clues.process.liveness is not Liveness.GONE or (clues.is_over and not clues.starts):
        return None
    who = f"process {clues.process.pid}" if clues.process.pid is not None else "active-run.json"
    return Believed(Phase.CRASHED, f"{who} is gone and the log tells no end", clues.process.missing_since)


def _ended(clues: Clues) -> Believed | None:
    run = clues.run
    if run is None or run.ending is None:
        return None
    name = run.ended.name if run.ended else "nothing more"
    basis = f"the log ends the run with {name}" + (f": {run.detail}" if run.detail else "")
    return Believed(ENDED[run.ending], basis, run.ended.at if run.ended else None)


def _remembered(clues: Clues) -> Believed | None:
    """The traces of a crash or a cancel are overwritten by the next loop of the checkout; the fact stays one."""
    previous, run = clues.previous, clues.run
    if previous is None or run is None or previous.run_id != run.run_id:
        return None
    if previous.phase not in (Phase.CRASHED, Phase.CANCELLED):
        return None
    if clues.batch_last is not None and clues.batch_last.name != "approval_decision":
        return None
    return Believed(previous.phase, previous.basis, previous.since)


def _failed(clues: Clues) -> Believed | None:
    last = clues.fold.last
    if last is None or last.status not in _FAILURE_WORDS:
        return None
    return Believed(Phase.FAILED, f"the log's last word is {last.name} with status {last.status}", last.at)


def _idle(clues: Clues) -> Believed | None:
    state = clues.state
    if state is None or state.active is True or clues.entry is None:
        return None
    return Believed(Phase.IDLE, "state.json is inactive and iterations were run before", parse(state.updated_at))


def _never_run(clues: Clues) -> Believed | None:
    if clues.fold.last is None and clues.entry is None:
        return Believed(Phase.NEVER_RUN, "no run has left a trace")
    return None


def _config(clues: Clues) -> LoopConfig:
    return clues.artifacts.config.value or LoopConfig()


class Rule(msgspec.Struct, frozen=True):
    """One row of the judgement; `when` says in words what `judge` asks."""

    name: str
    when: str
    judge: Callable[[Clues], Believed | None]


RULES: Final[tuple[Rule, ...]] = (
    Rule("approval_pending", "an approval that no newer run got beyond waits for a decision", _approval_pending),
    Rule(
        "approval_logged",
        "the log asks for approval, and the file may come",
        _approval_logged,
    ),
    Rule("paused", "the run's process is stopped by a signal", _paused),
    Rule(
        "starting",
        "active-run.json is newer than the log's newest run, or than the state where the log has none",
        _starting,
    ),
    Rule("limited", "the run goes on, and waits for a limit whose end plus 60 s lies ahead", _limited),
    Rule("busy", "the run goes on, silent for the degraded ingest lag or longer for a known reason", _busy),
    Rule("running", "a run that the log does not call ended has a process, or may have one", _running),
    Rule("approval_decided", "the approval on file is decided and no run has taken it up", _decided),
    Rule("completed", "the newest run, or the newest summary entry of no older one, is complete", _completed),
    Rule("cancelled", "state.json is gone though the newest run did not end", _cancelled),
    Rule("crashed", "the process of a run that did not end is gone", _crashed),
    Rule("ended", "the log says how the newest run ended", _ended),
    Rule("remembered", "this run was seen crashed or cancelled before, and logged nothing since", _remembered),
    Rule("failed", "the last event's status is error, timeout, blocked or rate_limited", _failed),
    Rule("idle", "state.json is inactive and a summary entry exists", _idle),
    Rule("never_run", "there is neither an event nor a summary entry", _never_run),
)

_UNDECIDED: Final = Believed(Phase.UNKNOWN, "the files at hand do not say what became of the run")


def believe(clues: Clues) -> Believed:
    """The verdict of the first rule that holds."""
    for rule in RULES:
        verdict = rule.judge(clues)
        if verdict is not None:
            return verdict
    return _UNDECIDED
