"""A fold while it is being written, and what of it has to be written down when.

Records are frozen, and copying one per event would cost more than decoding the event. So what nearly every event
changes is kept aside here and reaches the record when somebody looks at it. What each event means is decided in `fold`.
"""

from typing import Final

from msgspec.structs import replace

from opsd.core.instants import parse
from opsd.core.payload import defused, gates
from opsd.model.ids import UNKNOWN_RUN
from opsd.model.lifecycle import Ending, EventMark, Fold, RunFacts
from opsd.model.runtime import EventLine

_NO_RUN: Final = "\0"  # equals no run id that a decoded line can carry, a missing one included
_UNCHANGED: Final = EventLine(timestamp="")


def mark(event: EventLine, line: int) -> EventMark:
    """Where in the log `event` stands, and what it said."""
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


class Draft:
    """`before`, and what the events since then made of it.

    `step`, `iteration_start` and `gates` are the newest event of their kind, as yet unread; a `step` of None is one
    that ended. `is_halted` is whether an end or a limit stands that further work would refute.
    """

    __slots__ = (
        "_before",
        "_run",
        "approval_requested",
        "count",
        "decided",
        "ends",
        "gates",
        "is_halted",
        "iteration",
        "iteration_start",
        "iterations_ended",
        "last",
        "limit",
        "line",
        "recovery",
        "run_id",
        "runs_begun",
        "step",
        "taken_up",
        "tests_failed_streak",
    )

    def __init__(self, before: Fold) -> None:
        run = before.run
        self._before = before
        self._run = run
        self.line = before.line
        self.count = before.event_count
        self.last: EventLine | None = None
        self.run_id = run.run_id if run else _NO_RUN
        self.runs_begun = before.runs_begun
        self.limit = before.limit
        self.approval_requested = before.approval_requested
        self.decided = before.decided
        self.taken_up = before.taken_up
        self.recovery = before.recovery
        self.is_halted = before.limit is not None or (run is not None and run.ending is not None)
        self.ends: list[RunFacts] = []
        self.step: EventLine | None = _UNCHANGED
        self.iteration_start: EventLine = _UNCHANGED
        self.gates: EventLine = _UNCHANGED
        self.iteration = run.iteration if run else 0
        self.iterations_ended = run.iterations_ended if run else 0
        self.tests_failed_streak = run.tests_failed_streak if run else 0

    def is_addressed(self, name: str, event: EventLine, line: int) -> bool:
        """Whether an event with another run id than the current run's still speaks of it; a new run begins here.

        Runs are numbered by their start time, so a smaller id is a late word of an older run. `approve` and the taking
        up of an approval carry the id of the run that asked.
        """
        if name == "loop_start":
            return True
        run, run_id = self._run, event.run_id
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

    def begin(self, event: EventLine, line: int, *, max_iterations: int | None = None) -> None:
        """A new run; one that was still under way is lost where it was last heard of."""
        before = self.facts()
        if before is not None and before.ending is None:
            self.ends.append(replace(before, ending=Ending.LOST, ended=self._last_mark()))
        self.run_id = event.run_id or UNKNOWN_RUN
        self._run = RunFacts(
            run_id=self.run_id, first_line=line, started_at=parse(event.timestamp), max_iterations=max_iterations
        )
        self.iteration = event.iteration
        self.iterations_ended = 0
        self.tests_failed_streak = 0
        self.runs_begun += 1
        self.limit = None
        self.recovery = None
        self.is_halted = False

    def take_up(self, asking_run_id: str | None) -> None:
        """The run executes the decision on an approval that another one asked for."""
        self.approval_requested = None
        if self._run is not None:
            self._run = replace(self._run, took_up=asking_run_id)

    def end(self, event: EventLine, line: int, ending: Ending, detail: str | None = None) -> None:
        """The first word on a run's end holds: `loop_stop` after `no_progress_stop` says nothing new."""
        self.step = None
        self.is_halted = True
        run = self.facts()
        if run is not None and run.ending is None:
            self._run = replace(run, ending=ending, ended=mark(event, line), detail=defused(detail))
            self.ends.append(self._run)

    def goes_on(self) -> None:
        """Work is under way: a limit is over, and an end that was told was none."""
        self.limit = None
        self.is_halted = False
        if self._run is not None and self._run.ending is not None:
            self._run = replace(self._run, ending=None, ended=None, detail=None)

    def facts(self) -> RunFacts | None:
        """The current run, with everything that was kept aside."""
        run = self._run
        if run is None:
            return None
        step, start = self.step, self.iteration_start
        if step is _UNCHANGED:
            role, activity, since = run.role, run.activity, run.activity_since
        elif step is None:
            role, activity, since = None, None, None
        else:
            role = step.role if step.name == "role_start" else None
            activity, since = step.name, parse(step.timestamp)
        self._run = replace(
            run,
            iteration=self.iteration,
            iteration_started_at=run.iteration_started_at if start is _UNCHANGED else parse(start.timestamp),
            role=role,
            activity=activity,
            activity_since=since,
            gates=run.gates if self.gates is _UNCHANGED else gates(self.gates),
            tests_failed_streak=self.tests_failed_streak,
            iterations_ended=self.iterations_ended,
        )
        self.step = self.iteration_start = self.gates = _UNCHANGED
        return self._run

    def _last_mark(self) -> EventMark | None:
        return mark(self.last, self.line) if self.last is not None else self._before.last

    def fold(self) -> Fold:
        """The finished fold; `before` itself where no event came."""
        if self.last is None:
            return self._before
        return Fold(
            epoch=self._before.epoch,
            line=self.line,
            event_count=self.count,
            quarantined_count=self._before.quarantined_count,
            last=self._last_mark(),
            run=self.facts(),
            runs_begun=self.runs_begun,
            limit=self.limit,
            approval_requested=self.approval_requested,
            decided=self.decided,
            taken_up=self.taken_up,
            recovery=self.recovery,
        )
