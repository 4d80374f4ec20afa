"""What a loop's events say happened: an append-only log folded into one small record.

Only the log speaks here; files, processes and clocks are weighed against it in `lifecycle`.
Source: runtime-artifacts 4.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from opsd.core.instants import parse
from opsd.core.payload import defused, gates, limit_end, said
from opsd.model.ids import UNKNOWN_RUN
from opsd.model.lifecycle import Ending, EventMark, Fold, Limit, RunFacts
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
    draft = _Draft(fold)
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
    return draft.finished()


class _Draft:
    """A fold being written. Records are frozen, and one copy per batch is cheaper than one per event.

    `step` and `iteration` change with nearly every event and reach `run` only when it is looked at (`facts`).
    """

    __slots__ = (
        "_before",
        "approval_requested",
        "count",
        "ends",
        "iteration",
        "last",
        "limit",
        "line",
        "recovery",
        "run",
        "run_id",
        "runs_begun",
        "step",
    )

    def __init__(self, before: Fold) -> None:
        self._before = before
        self.line = before.line
        self.count = before.event_count
        self.last: EventLine | None = None
        self.run = before.run
        self.run_id = before.run.run_id if before.run else _NO_RUN
        self.iteration = before.run.iteration if before.run else 0
        self.step: EventLine | None = _UNCHANGED
        self.runs_begun = before.runs_begun
        self.limit = before.limit
        self.approval_requested = before.approval_requested
        self.recovery = before.recovery
        self.ends: list[RunFacts] = []

    def is_addressed(self, name: str, event: EventLine, line: int) -> bool:
        """Whether an event with another run id than the current run's still speaks of it; a new run begins here.

        Runs are numbered by their start time, so a smaller id is a late word of an older run. `approve` and the taking
        up of an approval carry the id of the run that asked.
        """
        if name == "loop_start":
            return True
        run, run_id = self.run, event.run_id
        if run is None:
            self.begin(event, line)
            return True
        if run_id is None or run_id == UNKNOWN_RUN or run_id == run.took_up or name.startswith("approval_"):
            return True
        if self.approval_requested is not None and run_id == self.approval_requested.run_id:
            return name == "loop_complete"
        if run_id < run.run_id and parse(run_id) and parse(run.run_id):
            return False
        self.begin(event, line)
        return True

    def begin(self, event: EventLine, line: int) -> None:
        before = self.facts
        if before is not None and before.ending is None:
            self.ends.append(replace(before, ending=Ending.LOST, ended=self._last_mark()))
        self.run_id = event.run_id or UNKNOWN_RUN
        self.iteration = event.iteration
        self.step = None
        self.run = RunFacts(run_id=self.run_id, first_line=line, started_at=parse(event.timestamp))
        self.runs_begun += 1
        self.limit = None
        self.recovery = None

    @property
    def facts(self) -> RunFacts | None:
        """The current run, with what was kept aside for speed."""
        if self.run is not None and self.step is not _UNCHANGED:
            step = self.step
            self.run = replace(
                self.run,
                role=step.role if step and step.name == "role_start" else None,
                activity=step.name if step else None,
                activity_since=parse(step.timestamp) if step else None,
            )
            self.step = _UNCHANGED
        if self.run is not None and self.run.iteration != self.iteration:
            self.run = replace(self.run, iteration=self.iteration)
        return self.run

    def end(self, event: EventLine, line: int, ending: Ending, detail: str | None = None) -> None:
        """The first word on a run's end holds: `loop_stop` after `no_progress_stop` says nothing new."""
        self.step = None
        run = self.facts
        if run is not None and run.ending is None:
            self.run = replace(run, ending=ending, ended=_mark(event, line), detail=defused(detail))
            self.ends.append(self.run)

    def goes_on(self) -> None:
        """Work is under way: a limit is over, and an end that was told was none."""
        self.limit = None
        if self.run is not None and self.run.ending is not None:
            self.run = replace(self.run, ending=None, ended=None, detail=None)

    def _last_mark(self) -> EventMark | None:
        return _mark(self.last, self.line) if self.last is not None else self._before.last

    def finished(self) -> Folded:
        if self.last is None:
            return Folded(self._before)
        fold = Fold(
            epoch=self._before.epoch,
            line=self.line,
            event_count=self.count,
            quarantined_count=self._before.quarantined_count,
            last=self._last_mark(),
            run=self.facts,
            runs_begun=self.runs_begun,
            limit=self.limit,
            approval_requested=self.approval_requested,
            recovery=self.recovery,
        )
        return Folded(fold, tuple(self.ends))


_NO_RUN: Final = "\0"  # equals no run id that a decoded line can carry, a missing one included
_UNCHANGED: Final = EventLine(timestamp="")


def _mark(event: EventLine, line: int) -> EventMark:
    return EventMark(
        line=line,
        name=event.name,
        timestamp=event.timestamp,
        at=parse(event.timestamp),
        run_id=event.run_id,
        iteration=event.iteration,
        role=event.role,
        status=event.status,
    )


def _loop_started(draft: _Draft, event: EventLine, line: int) -> None:
    draft.begin(event, line)
    if draft.run is not None:
        draft.run = replace(draft.run, max_iterations=said(event).max_iterations or None)


def _iteration_started(draft: _Draft, event: EventLine, line: int) -> None:
    draft.goes_on()
    draft.step = None
    if draft.run is not None:
        draft.run = replace(draft.run, iteration_started_at=parse(event.timestamp))


def _step_began(draft: _Draft, event: EventLine, line: int) -> None:
    draft.goes_on()
    draft.step = event


def _step_ended(draft: _Draft, event: EventLine, line: int) -> None:
    draft.step = None


def _tests_ended(draft: _Draft, event: EventLine, line: int) -> None:
    """Counts iterations whose tests failed in a row; an iteration that skipped them neither counts nor clears."""
    draft.step = None
    status = said(event).status
    if draft.run is not None and status == "ok":
        draft.run = replace(draft.run, tests_failed_streak=0)
    elif draft.run is not None and status == "failed" and event.name == "tests_end":
        draft.run = replace(draft.run, tests_failed_streak=draft.run.tests_failed_streak + 1)


def _gates_evaluated(draft: _Draft, event: EventLine, line: int) -> None:
    if draft.run is not None:
        draft.run = replace(draft.run, gates=gates(event))


def _iteration_ended(draft: _Draft, event: EventLine, line: int) -> None:
    draft.step = None
    if draft.run is not None:
        draft.run = replace(draft.run, iterations_ended=draft.run.iterations_ended + 1)


def _completed(draft: _Draft, event: EventLine, line: int) -> None:
    draft.approval_requested = None
    draft.end(event, line, Ending.COMPLETE)


_STOPS: Mapping[str | None, Ending] = {
    "max_iterations": Ending.MAX_ITERATIONS,
    "lifecycle_gate_failed": Ending.LIFECYCLE_GATE_FAILED,
    "no_progress": Ending.NO_PROGRESS,
    "stuck": Ending.STUCK,
    "manual_cancel": Ending.CANCELLED,
}


def _stopped(draft: _Draft, event: EventLine, line: int) -> None:
    reason = said(event).reason
    draft.end(event, line, _STOPS.get(reason, Ending.STOPPED), reason)


def _made_no_progress(draft: _Draft, event: EventLine, line: int) -> None:
    draft.end(event, line, Ending.NO_PROGRESS, said(event).reason)


def _timed_out(draft: _Draft, event: EventLine, line: int) -> None:
    limit_s = said(event).timeout_seconds
    detail = None if limit_s is None else f"{event.role} was ended after {limit_s} s"
    draft.end(event, line, Ending.ROLE_TIMEOUT, detail)


def _delegation_failed(draft: _Draft, event: EventLine, line: int) -> None:
    draft.end(event, line, Ending.FAILED, said(event).failure_policy)


def _rate_limited(draft: _Draft, event: EventLine, line: int) -> None:
    info = said(event).info or RateLimitInfo()
    since = parse(event.timestamp)
    draft.limit = Limit(RATE_LIMIT, since, limit_end(info, since), event.role, defused(info.message))
    draft.end(event, line, Ending.RATE_LIMITED, info.message)


def _usage_blocked(draft: _Draft, event: EventLine, line: int) -> None:
    """Whether the run ends here or waits is a setting, which no event tells: it counts as ended until it goes on."""
    draft.limit = Limit(USAGE_LIMIT, parse(event.timestamp), None, event.role, defused(said(event).action))
    draft.end(event, line, Ending.USAGE_LIMITED)


def _approval_asked(draft: _Draft, event: EventLine, line: int) -> None:
    draft.approval_requested = _mark(event, line)
    draft.end(event, line, Ending.AWAITING_APPROVAL)


def _approval_found_pending(draft: _Draft, event: EventLine, line: int) -> None:
    draft.end(event, line, Ending.AWAITING_APPROVAL)


def _approval_taken_up(draft: _Draft, event: EventLine, line: int) -> None:
    draft.approval_requested = None
    if draft.run is not None:
        draft.run = replace(draft.run, took_up=event.run_id)


def _rejection_taken_up(draft: _Draft, event: EventLine, line: int) -> None:
    draft.approval_requested = None


def _recovery_waits(draft: _Draft, event: EventLine, line: int) -> None:
    draft.recovery = _mark(event, line)


def _recovery_settled(draft: _Draft, event: EventLine, line: int) -> None:
    draft.recovery = None


_STEPS = ("role", "checklist", "validation", "prerequisites", "evidence", "lifecycle", "rlms", "delegation_wave")

_TAKE: Mapping[str, Callable[[_Draft, EventLine, int], None]] = {
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
