"""What is said of a run in the contract's words: one of seven states, what led there, and divergence.

The phase behind the word is decided in `phase`; what follows for health is judged in `findings`. Source: loop-core 4.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from opsd.core.clues import Clues, clues_of, is_older, is_stale
from opsd.core.instants import parse
from opsd.core.phase import SECOND, WRITTEN_APART, believe
from opsd.model.ids import UNKNOWN_RUN, LoopId
from opsd.model.lifecycle import DivergenceFlags, EventMark, Fold, Lifecycle, Phase, Projection, Transition
from opsd.model.observation import Artifacts
from opsd.model.process import ProcessMemory
from opsd.model.runtime import Presence, SummaryEntry
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

MID_ITERATION = frozenset(
    f"{step}_{edge}" for step in ("iteration", "role", "tests", "validation") for edge in ("start", "end")
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
    clues = clues_of(
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
    believed = believe(clues)
    run, entry = clues.run, clues.entry
    if entry is not None and run is not None and is_older(entry.run_id, entry.ended_at, run):
        entry = None
    pending = clues.approval is not None and clues.approval.status == "pending" and not is_stale(clues)
    mismatch_at = _active_mismatch_at(clues)
    flags = DivergenceFlags(
        active_mismatch=mismatch_at is not None and now >= mismatch_at,
        approval_completion_conflict=pending and _is_also_complete(clues, entry),
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
        mismatch_at=_sooner(mismatch_at, None, now),
    )


def _sooner(one: datetime | None, other: datetime | None, now: datetime) -> datetime | None:
    """The earlier of two moments that still lie ahead."""
    return min((at for at in (one, other) if at is not None and at > now), default=None)


def _is_also_complete(clues: Clues, entry: SummaryEntry | None) -> bool:
    approval = clues.approval
    return (
        approval is not None
        and entry is not None
        and entry.completion_ok is True
        and entry.run_id == approval.run_id
        and entry.iteration == approval.iteration
    )


def _active_mismatch_at(clues: Clues) -> datetime | None:
    """When the contract's `activeMismatch` is believed; None where log and state agree.

    The log stands in the middle of an iteration, the state on file says that the loop is not active, and no live
    process explains it. A state that names another loop contradicts only what our log said after it was written. Both
    are dated by their own word: what was copied here a moment ago may have disagreed for long.
    """
    last, state = clues.fold.last, clues.state
    if last is None or last.name not in MID_ITERATION or clues.is_over or clues.going:
        return None
    if state is None or clues.artifacts.state.presence is not Presence.PRESENT:
        return None
    if state.active is True and state.current_loop_id == clues.loop_id:
        return None
    written = parse(state.updated_at)
    if state.current_loop_id != clues.loop_id and written and last.at and last.at <= written:
        return None
    spoken = [at + SECOND for at in (written, last.at) if at]
    return max(spoken, default=clues.now) + WRITTEN_APART
