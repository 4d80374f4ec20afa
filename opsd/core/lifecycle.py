"""What is believed of a run: its phase and, through one table, the contract's seven words. Source: loop-core 2.4 and 4.

`RULES` is the whole judgement, first match wins. It is the contract's truth table with these corrections: a completion
counts only for the newest run; a run marked active whose process is gone is `failed` (or ended by what it logged); a
state deleted in mid-run is a cancel; a live process before the first event is `running`; a decided approval that nobody
took up is `idle`; divergence must outlast the moments in which files are written apart. What follows for health is
judged in `findings`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from opsd.core.instants import parse
from opsd.model.ids import UNKNOWN_RUN, LoopId
from opsd.model.lifecycle import (
    DivergenceFlags,
    Ending,
    EventMark,
    Fold,
    Lifecycle,
    Phase,
    Projection,
    RunFacts,
    Transition,
)
from opsd.model.observation import Artifacts
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.runtime import Approval, LoopConfig, Presence, RuntimeState, SummaryEntry, UsageCheck
from opsd.model.thresholds import Thresholds

LIFECYCLE: Final[Mapping[Phase, Lifecycle]] = {
    Phase.NEVER_RUN: Lifecycle.UNKNOWN,
    Phase.STARTING: Lifecycle.RUNNING,
    Phase.RUNNING: Lifecycle.RUNNING,
    Phase.BUSY: Lifecycle.RUNNING,
    Phase.LIMITED: Lifecycle.RUNNING,
    Phase.PAUSED: Lifecycle.RUNNING,
    Phase.AWAITING_APPROVAL: Lifecycle.AWAITING_APPROVAL,
    Phase.APPROVED: Lifecycle.IDLE,
    Phase.REJECTED: Lifecycle.IDLE,
    Phase.COMPLETE: Lifecycle.COMPLETE,
    Phase.STOPPED: Lifecycle.STOPPED,
    Phase.STUCK: Lifecycle.STOPPED,
    Phase.RATE_LIMITED: Lifecycle.STOPPED,
    Phase.FAILED: Lifecycle.FAILED,
    Phase.CRASHED: Lifecycle.FAILED,
    Phase.CANCELLED: Lifecycle.STOPPED,
    Phase.IDLE: Lifecycle.IDLE,
    Phase.UNKNOWN: Lifecycle.UNKNOWN,
}

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
"""Files that disagree for less than this are being written. Event times are cut to seconds: `_SECOND` is added."""

_SECOND = timedelta(seconds=1)
_FAILURE_WORDS = frozenset({"error", "timeout", "blocked", "rate_limited"})
_MID_ITERATION = frozenset(
    f"{step}_{edge}" for step in ("iteration", "role", "tests", "validation") for edge in ("start", "end")
)


class Believed(msgspec.Struct, frozen=True, gc=False):
    """A rule's verdict. `basis` is one plain sentence without ages; `since` and `holds_until` as in `Projection`."""

    phase: Phase
    basis: str
    since: datetime | None = None
    holds_until: datetime | None = None


class Look(msgspec.Struct, frozen=True):
    """Everything that the rules weigh, with what several of them ask derived once."""

    loop_id: LoopId
    fold: Fold
    artifacts: Artifacts
    process: ProcessMemory
    previous: Projection | None
    batch_last: EventMark | None
    last_output_at: datetime | None
    thresholds: Thresholds
    now: datetime
    run: RunFacts | None
    state: RuntimeState | None
    entry: SummaryEntry | None
    approval: Approval | None
    starts: bool
    """`active-run.json` names a run of this loop that is newer than anything in the log."""
    going: bool
    """A run that the log does not call ended has a process, or nothing speaks against one."""

    @property
    def ended(self) -> bool:
        return self.run is not None and self.run.ending is not None


def look_at(
    loop_id: LoopId,
    fold: Fold,
    artifacts: Artifacts,
    process: ProcessMemory,
    previous: Projection | None,
    *,
    batch_last: EventMark | None,
    last_output_at: datetime | None,
    thresholds: Thresholds,
    now: datetime,
) -> Look:
    """Gather what the rules weigh. A file caught while it is written, or unreadable, stands as it was last read."""
    run, liveness = fold.run, process.liveness
    state = artifacts.state.value if artifacts.state.presence is not Presence.ABSENT else None
    summary = artifacts.summary.value if artifacts.summary.presence is not Presence.ABSENT else None
    active_run = artifacts.active_run.value if artifacts.active_run.presence is not Presence.ABSENT else None

    named = active_run is not None and active_run.loop_id == loop_id
    begun = parse(active_run.updated_at) if active_run is not None and named else None
    starts = named and (run is None or (begun is not None and run.started_at is not None and begun > run.started_at))
    marked = state is not None and state.active is True and state.current_loop_id == loop_id
    alive = liveness is Liveness.ALIVE or liveness is Liveness.PAUSED
    perhaps = (named or marked) and (liveness is Liveness.UNKNOWN or liveness is Liveness.FOREIGN)
    return Look(
        loop_id=loop_id,
        fold=fold,
        artifacts=artifacts,
        process=process,
        previous=previous,
        batch_last=batch_last,
        last_output_at=last_output_at,
        thresholds=thresholds,
        now=now,
        run=run,
        state=state,
        entry=summary.latest if summary else None,
        approval=artifacts.approval.value if artifacts.approval.presence is not Presence.ABSENT else None,
        starts=starts,
        going=(alive or perhaps) and (starts or run is None or run.ending is None),
    )


def project(
    loop_id: LoopId,
    fold: Fold,
    artifacts: Artifacts,
    process: ProcessMemory,
    previous: Projection | None,
    *,
    batch_last: EventMark | None,
    log_shrank: bool,
    last_output_at: datetime | None,
    thresholds: Thresholds,
    now: datetime,
) -> Projection:
    """What this look makes of the run. `batch_last` is the last event new in it, `previous` the last look's answer."""
    look = look_at(
        loop_id,
        fold,
        artifacts,
        process,
        previous,
        batch_last=batch_last,
        last_output_at=last_output_at,
        thresholds=thresholds,
        now=now,
    )
    believed = _UNDECIDED
    for rule in RULES:
        verdict = rule.judge(look)
        if verdict is not None:
            believed = verdict
            break
    run, entry = look.run, look.entry
    if entry is not None and run is not None and _is_older(entry.run_id, entry.ended_at, run):
        entry = None
    pending = look.approval is not None and look.approval.status == "pending" and not _is_stale(look)
    mismatch_at = _active_mismatch_at(look)
    flags = DivergenceFlags(
        active_mismatch=mismatch_at is not None and now >= mismatch_at,
        approval_completion_conflict=pending and _is_also_complete(look, entry),
        cursor_regression=log_shrank,
    )
    state = LIFECYCLE[believed.phase]
    stuck = entry.stuck if entry else None
    return Projection(
        transition=Transition(
            previous_state=previous.transition.current_state if previous else Lifecycle.NONE,
            triggering_signal=f"event:{batch_last.name}" if batch_last else f"snapshot_status:{state}",
            current_state=state,
            confidence="low" if flags.any else "high" if batch_last else "medium",
        ),
        phase=believed.phase,
        basis=believed.basis,
        since=believed.since,
        run_id=run.run_id if run else (entry.run_id if entry else None) or UNKNOWN_RUN,
        iteration=run.iteration if run else (entry.iteration if entry else None) or 0,
        has_pending_approval=pending,
        completion_ok=entry is not None and entry.completion_ok is True,
        gates=entry.gates if entry else run.gates if run else None,
        stuck_streak=stuck.streak if stuck else None,
        stuck_threshold=stuck.threshold if stuck else None,
        divergence=flags,
        holds_until=_sooner(believed.holds_until, mismatch_at, now),
    )


def _sooner(one: datetime | None, other: datetime | None, now: datetime) -> datetime | None:
    """The earlier of two moments that still lie ahead."""
    return min((at for at in (one, other) if at is not None and at > now), default=None)


def _is_older(run_id: str | None, at: str | None, run: RunFacts) -> bool:
    """Whether a file's word about `run_id`, spoken `at`, is about a run before `run`.

    Run ids are start times; where they are not, the time of the word decides. An approval taken up carries the id of
    the run that asked, and is the taking run's own.
    """
    if run_id is None or run_id == run.run_id or run_id == run.took_up:
        return False
    its_start, start = parse(run_id), parse(run.run_id)
    if its_start is not None and start is not None:
        return its_start < start
    spoken = parse(at)
    return spoken is not None and run.started_at is not None and spoken < run.started_at


def _is_stale(look: Look) -> bool:
    """Whether the approval on file belongs to the past: a newer run got beyond it and iterates."""
    run, approval = look.run, look.approval
    return (
        run is not None
        and approval is not None
        and run.iteration_started_at is not None
        and _is_older(approval.run_id, approval.requested_at, run)
    )


def _is_also_complete(look: Look, entry: SummaryEntry | None) -> bool:
    approval = look.approval
    return (
        approval is not None
        and entry is not None
        and entry.completion_ok is True
        and entry.run_id == approval.run_id
        and entry.iteration == approval.iteration
    )


def _active_mismatch_at(look: Look) -> datetime | None:
    """When the contract's `activeMismatch` is believed; None where log and state agree.

    The log stands in the middle of an iteration, the state on file says that the loop is not active, and no live
    process explains it. A state that names another loop contradicts only what our log said after it was written.
    """
    last, state, file = look.fold.last, look.state, look.artifacts.state
    if last is None or last.name not in _MID_ITERATION or look.ended or look.going:
        return None
    if state is None or file.presence is not Presence.PRESENT:
        return None
    if state.active is True and state.current_loop_id == look.loop_id:
        return None
    written = parse(state.updated_at)
    if state.current_loop_id != look.loop_id and written and last.at and last.at <= written:
        return None
    apart = [at for at in (file.mtime or written, last.at and last.at + _SECOND) if at]
    return max(apart, default=look.now) + WRITTEN_APART


def _approval_pending(look: Look) -> Believed | None:
    approval = look.approval
    if approval is not None and approval.status == "pending" and not _is_stale(look):
        basis = f"approval.json asks for a decision on iteration {approval.iteration} of run {approval.run_id}"
        return Believed(Phase.AWAITING_APPROVAL, basis, parse(approval.requested_at))
    mark = look.fold.approval_requested
    if look.run is None or look.run.ending is not Ending.AWAITING_APPROVAL or mark is None or approval is not None:
        return None
    # The request is logged right after its file is written; a file not there yet was looked for too early.
    due = (mark.at or look.now) + _SECOND + WRITTEN_APART
    if look.artifacts.approval.presence is not Presence.ABSENT or look.now < due:
        return Believed(Phase.AWAITING_APPROVAL, "the log asks for approval", mark.at, due)
    return None


def _paused(look: Look) -> Believed | None:
    if look.going and look.process.liveness is Liveness.PAUSED:
        return Believed(Phase.PAUSED, f"process {look.process.pid} is stopped by a signal")
    return None


def _starting(look: Look) -> Believed | None:
    if look.going and look.starts:
        basis = f"active-run.json names process {look.process.pid}, and its run has logged nothing yet"
        return Believed(Phase.STARTING, basis, parse(look.process.begun))
    return None


def _limited(look: Look) -> Believed | None:
    limit = look.fold.limit
    if limit is None or not look.going:
        return None
    ends_at = limit.ends_at
    if ends_at is None:
        usage = _config(look).usage_check if look.artifacts.config.value else UsageCheck(wait_on_limit=True)
        if not usage.wait_on_limit:
            return None
        ends_at = (limit.since or look.now) + timedelta(seconds=usage.max_wait_seconds)
    if look.now >= ends_at + GRACE:
        return None
    return Believed(Phase.LIMITED, f"waits for a {limit.kind} reported by {limit.role}", limit.since, ends_at + GRACE)


def _busy(look: Look) -> Believed | None:
    """Silence that is explained: a role within its time, a gate's own commands, or output that keeps coming."""
    last, run = look.fold.last, look.run
    if not look.going or run is None or last is None or last.at is None:
        return None
    quiet_for = timedelta(seconds=look.thresholds.degraded_ingest_lag_seconds)
    if look.now < last.at + quiet_for:
        return None
    since = run.activity_since or last.at
    if run.role is not None and run.activity is not None:
        limit_s = _config(look).timeouts.limit_s(run.role)
        until = since + timedelta(seconds=limit_s) + GRACE
        if limit_s and look.now < until:
            return Believed(Phase.BUSY, f"{run.role} works within its {limit_s} s", since, until)
    elif run.activity is not None:
        return Believed(Phase.BUSY, f"{run.activity} is logged and its end is not", since)
    if look.last_output_at is not None and look.now < look.last_output_at + quiet_for:
        return Believed(Phase.BUSY, "role output keeps coming", since, look.last_output_at + quiet_for)
    return None


def _running(look: Look) -> Believed | None:
    if not look.going:
        return None
    run, last = look.run, look.fold.last
    quiet_for = timedelta(seconds=look.thresholds.degraded_ingest_lag_seconds)
    silent_at = last.at + quiet_for if last and last.at else None
    match look.process.liveness:
        case Liveness.ALIVE:
            basis = f"process {look.process.pid} lives and the log tells no end"
        case Liveness.FOREIGN:
            basis = "the log goes on growing, written by a process that is not visible here"
        case _:
            basis = "the runtime's files say that it runs; its process cannot be judged from here"
    return Believed(Phase.RUNNING, basis, run.started_at if run else None, silent_at)


def _decided(look: Look) -> Believed | None:
    approval = look.approval
    if approval is None or approval.status not in ("approved", "rejected") or _is_stale(look):
        return None
    if look.run is not None and look.run.took_up is not None and look.run.took_up == approval.run_id:
        return None
    phase = Phase.APPROVED if approval.status == "approved" else Phase.REJECTED
    basis = f"approval.json says {approval.status} for run {approval.run_id}, and no run has taken that up"
    return Believed(phase, basis, parse(approval.decision.at) if approval.decision else None)


def _completed(look: Look) -> Believed | None:
    run, entry = look.run, look.entry
    if run is not None and run.ending is Ending.COMPLETE and not look.starts:
        return Believed(Phase.COMPLETE, "the log says loop_complete", run.ended.at if run.ended else None)
    if entry is None or entry.completion_ok is not True or look.starts:
        return None
    if run is not None and _is_older(entry.run_id, entry.ended_at, run):
        return None
    return Believed(Phase.COMPLETE, "the newest summary entry says completion_ok", parse(entry.ended_at))


def _cancelled(look: Look) -> Believed | None:
    run = look.run
    if run is None or run.ending is not None or look.starts:
        return None
    if look.artifacts.state.presence is not Presence.ABSENT:
        return None
    return Believed(Phase.CANCELLED, "state.json was deleted before the log told an end, which only cancel does")


def _crashed(look: Look) -> Believed | None:
    if look.process.liveness is not Liveness.GONE or (look.ended and not look.starts):
        return None
    who = f"process {look.process.pid}" if look.process.pid is not None else "active-run.json"
    return Believed(Phase.CRASHED, f"{who} is gone and the log tells no end", look.process.missing_since)


def _ended(look: Look) -> Believed | None:
    run = look.run
    if run is None or run.ending is None:
        return None
    name = run.ended.name if run.ended else "nothing more"
    basis = f"the log's word on the end is {name}" + (f": {run.detail}" if run.detail else "")
    return Believed(ENDED[run.ending], basis, run.ended.at if run.ended else None)


def _remembered(look: Look) -> Believed | None:
    """The traces of a crash or a cancel are overwritten by the next loop of the checkout; the fact stays one."""
    previous, run = look.previous, look.run
    if previous is None or run is None or previous.run_id != run.run_id:
        return None
    if previous.phase not in (Phase.CRASHED, Phase.CANCELLED):
        return None
    if look.batch_last is not None and look.batch_last.name != "approval_decision":
        return None
    return Believed(previous.phase, previous.basis, previous.since)


def _failed(look: Look) -> Believed | None:
    last = look.fold.last
    if last is None or last.status not in _FAILURE_WORDS:
        return None
    return Believed(Phase.FAILED, f"the log's last word is {last.name} with status {last.status}", last.at)


def _idle(look: Look) -> Believed | None:
    if look.state is None or look.state.active is True or look.entry is None:
        return None
    return Believed(Phase.IDLE, "state.json is inactive and iterations were run before", parse(look.state.updated_at))


def _never_run(look: Look) -> Believed | None:
    if look.fold.last is None and look.entry is None:
        return Believed(Phase.NEVER_RUN, "no run has left a trace")
    return None


def _config(look: Look) -> LoopConfig:
    return look.artifacts.config.value or LoopConfig()


class Rule(msgspec.Struct, frozen=True):
    """One row of the judgement; `when` says in words what `judge` asks."""

    name: str
    when: str
    judge: Callable[[Look], Believed | None]


RULES: Final[tuple[Rule, ...]] = (
    Rule("approval_pending", "an approval that no newer run got beyond waits for a decision", _approval_pending),
    Rule("paused", "the run's process is stopped by a signal", _paused),
    Rule("starting", "active-run.json is newer than the log's newest run", _starting),
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
