"""What a loop's events say happened: an append-only log folded into one small record.

Only the log speaks here; files, processes and clocks are weighed against it in `lifecycle`.
Source: runtime-artifacts 4.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from opsd.core.draft import Draft, mark
from opsd.core.instants import parse
from opsd.core.payload import defused, limit_end, said
from opsd.model.lifecycle import Ending, Fold, Limit, RunFacts
from opsd.model.runtime import EventLine, RateLimitInfo

USAGE_LIMIT: Final = "usage_limit"
RATE_LIMIT: Final = "rate_limit"


class Folded(msgspec.Struct, frozen=True):
    """`ended` are the runs that ended within the folded events, in the order of their ends."""

    fold: Fold
    ended: tuple[RunFacts, ...] = ()


def fold_events(fold: Fold, events: Sequence[EventLine], lines: Sequence[int], *, epoch: int) -> Folded:
    """Fold `events` (event i stands on physical line `lines[i]`, ascending) onto `fold`.

    Lines up to `fold.line` are skipped, so folding a line twice changes nothing, and how a log was cut into batches
    never shows. Another `epoch` is another log and starts from an empty fold.
    """
    if epoch != fold.epoch:
        fold = Fold(epoch=epoch)
    draft = Draft(fold)
    for event, line in zip(events, lines, strict=True):
        if line <= draft.line:
            continue
        name = event.event or event.type or ""
        is_own = event.run_id == draft.run_id
        if is_own or draft.is_addressed(name, event, line):
            # `loop_stop` names the iteration that is not going to be.
            if (is_own or event.run_id is None) and event.iteration and name != "loop_stop":
                draft.iteration = event.iteration
            take = _TAKE.get(name)
            if take is not None:
                take(draft, event, line)
        draft.line = line
        draft.last = event
        draft.count += 1
    return Folded(draft.fold(), tuple(draft.ends))


def _loop_started(draft: Draft, event: EventLine, line: int) -> None:
    draft.begin(event, line, max_iterations=said(event).max_iterations or None)


def _iteration_started(draft: Draft, event: EventLine, line: int) -> None:
    if draft.is_halted:
        draft.goes_on()
    draft.step = None
    draft.iteration_start = event


def _step_began(draft: Draft, event: EventLine, line: int) -> None:
    if draft.is_halted:
        draft.goes_on()
    draft.step = event


def _step_ended(draft: Draft, event: EventLine, line: int) -> None:
    draft.step = None


def _tests_ended(draft: Draft, event: EventLine, line: int) -> None:
    """Counts iterations whose tests failed in a row; an iteration that skipped them neither counts nor clears."""
    draft.step = None
    status = said(event).status
    if status == "ok":
        draft.tests_failed_streak = 0
    elif status == "failed" and event.name == "tests_end":
        draft.tests_failed_streak += 1


def _gates_evaluated(draft: Draft, event: EventLine, line: int) -> None:
    draft.gates = event


def _iteration_ended(draft: Draft, event: EventLine, line: int) -> None:
    draft.step = None
    draft.iterations_ended += 1


def _completed(draft: Draft, event: EventLine, line: int) -> None:
    draft.approval_requested = None
    draft.end(event, line, Ending.COMPLETE)


_STOPS: Mapping[str | None, Ending] = {
    "max_iterations": Ending.MAX_ITERATIONS,
    "lifecycle_gate_failed": Ending.LIFECYCLE_GATE_FAILED,
    "no_progress": Ending.NO_PROGRESS,
    "stuck": Ending.STUCK,
    "manual_cancel": Ending.CANCELLED,
}


def _stopped(draft: Draft, event: EventLine, line: int) -> None:
    reason = said(event).reason
    draft.end(event, line, _STOPS.get(reason, Ending.STOPPED), reason)


def _made_no_progress(draft: Draft, event: EventLine, line: int) -> None:
    draft.end(event, line, Ending.NO_PROGRESS, said(event).reason)


def _timed_out(draft: Draft, event: EventLine, line: int) -> None:
    limit_s = said(event).timeout_seconds
    detail = None if limit_s is None else f"{event.role} was ended after {limit_s} s"
    draft.end(event, line, Ending.ROLE_TIMEOUT, detail)


def _delegation_failed(draft: Draft, event: EventLine, line: int) -> None:
    draft.end(event, line, Ending.FAILED, said(event).failure_policy)


def _rate_limited(draft: Draft, event: EventLine, line: int) -> None:
    info = said(event).info or RateLimitInfo()
    since = parse(event.timestamp)
    draft.limit = Limit(RATE_LIMIT, since, limit_end(info, since), event.role, defused(info.message))
    draft.end(event, line, Ending.RATE_LIMITED, info.message)


def _usage_blocked(draft: Draft, event: EventLine, line: int) -> None:
    """Whether the run ends here or waits is a setting, which no event tells: it counts as ended until it goes on."""
    draft.limit = Limit(USAGE_LIMIT, parse(event.timestamp), None, event.role, defused(said(event).action))
    draft.end(event, line, Ending.USAGE_LIMITED)


def _approval_asked(draft: Draft, event: EventLine, line: int) -> None:
    draft.approval_requested = mark(event, line)
    draft.end(event, line, Ending.AWAITING_APPROVAL)


def _approval_found_pending(draft: Draft, event: EventLine, line: int) -> None:
    draft.end(event, line, Ending.AWAITING_APPROVAL)


def _approval_decided(draft: Draft, event: EventLine, line: int) -> None:
    draft.decided = mark(event, line)


def _approval_taken_up(draft: Draft, event: EventLine, line: int) -> None:
    draft.taken_up = mark(event, line)
    draft.take_up(event.run_id)


def _rejection_taken_up(draft: Draft, event: EventLine, line: int) -> None:
    draft.taken_up = mark(event, line)
    draft.approval_requested = None


def _recovery_waits(draft: Draft, event: EventLine, line: int) -> None:
    draft.recovery = mark(event, line)


def _recovery_settled(draft: Draft, event: EventLine, line: int) -> None:
    draft.recovery = None


_STEPS = ("role", "checklist", "validation", "prerequisites", "evidence", "lifecycle", "rlms", "delegation_wave")

_TAKE: Mapping[str, Callable[[Draft, EventLine, int], None]] = {
    **{f"{step}_start": _step_began for step in (*_STEPS, "tests", "tests_rerun")},
    **{f"{step}_end": _step_ended for step in _STEPS},
    "tests_end": _tests_ended,
    "tests_rerun_end": _tests_ended,
    "loop_start": _loop_started,
    "iteration_start": _iteration_started,
    "gates_evaluated": _gates_evaluated,
    "iteration_end": _iteration_ended,
    "loop_complete": _completed,
    "loop_stop": _stopped,
    "no_progress_stop": _made_no_progress,
    "role_timeout": _timed_out,
    "delegation_fail_role": _delegation_failed,
    "rate_limit_stop": _rate_limited,
    "usage_limit_blocked": _usage_blocked,
    "approval_requested": _approval_asked,
    "approval_wait": _approval_found_pending,
    "approval_decision": _approval_decided,
    "approval_consumed": _approval_taken_up,
    "approval_rejected": _rejection_taken_up,
    "recovery_blocked": _recovery_waits,
    "recovery_denied": _recovery_waits,
    "recovery_escalated": _recovery_waits,
    "recovery_proposed": _recovery_settled,
    "recovery_approved": _recovery_settled,
    "recovery_executed": _recovery_settled,
    "recovery_failed": _recovery_settled,
    "recovery_skipped": _recovery_settled,
}
"""What each event changes beyond being the last one. Other names are carried and shown, and change nothing here."""
