"""Records with sensible defaults: a test shows only what matters to it. Moments are seconds after `DAWN`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from opsd.core.fold import fold_events
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Fold
from opsd.model.observation import Artifact, Artifacts, ProcessSighting, Seen
from opsd.model.run import LoopRef, Run
from opsd.model.runtime import ActiveRun, Approval, EventLine, Presence, RunSummary, RuntimeState, SummaryEntry

T = TypeVar("T")

LOOP = LoopId("demo-loop")
DAWN = datetime(2026, 11, 21, 2, 0, 0, tzinfo=UTC)
RUN_ID = "2026-11-21T02:00:00Z"


def moment(after_s: float) -> datetime:
    return DAWN + timedelta(seconds=after_s)


def stamp(after_s: float) -> str:
    """A moment as the runtime writes it: cut to whole seconds."""
    return moment(after_s).strftime("%Y-%m-%dT%H:%M:%SZ")


def an_event(
    name: str,
    after_s: float = 0,
    *,
    run_id: str | None = RUN_ID,
    iteration: int = 1,
    role: str | None = None,
    status: str | None = None,
    data: dict[str, Any] | None = None,
) -> EventLine:
    return EventLine(
        timestamp=stamp(after_s),
        event=name,
        run_id=run_id,
        iteration=iteration,
        role=role,
        status=status,
        data=msgspec.Raw(b"" if data is None else msgspec.json.encode(data)),
    )


def as_line(event: EventLine) -> bytes:
    """The event as it stands in the log."""
    return msgspec.json.encode(event if bytes(event.data) else replace(event, data=msgspec.Raw(b"null")))


def a_fold(*events: EventLine, onto: Fold | None = None) -> Fold:
    """What `events`, standing on the lines after `onto`'s, say happened."""
    fold = onto or Fold()
    lines = range(fold.line + 1, fold.line + 1 + len(events))
    return fold_events(fold, events, lines, epoch=fold.epoch).fold


def a_run(loop_id: LoopId = LOOP, **members: Any) -> Run:
    """A loop under `/srv/repo`; `members` are those of `Run`."""
    return Run(LoopRef(loop_id, "/srv/repo"), **members)


def a_seen(
    events: Sequence[EventLine] = (),
    *,
    after_s: float = 0,
    first_line: int = 1,
    artifacts: Artifacts | None = None,
    process: ProcessSighting = ProcessSighting.NONE,
    **members: Any,
) -> Seen:
    """A look at `after_s` that found `events` from `first_line` on; further `members` are those of `Seen`."""
    found: dict[str, Any] = {
        "at": moment(after_s),
        "events": events,
        "lines": range(first_line, first_line + len(events)),
        "last_raw": as_line(events[-1]) if events else b"",
        "line_offset": first_line + len(events) - 1,
        "stream": None,
        "artifacts": artifacts or Artifacts(),
        "process": process,
    }
    return Seen(**{**found, **members})


def on_file(value: T, after_s: float = 0) -> Artifact[T]:
    """A small file that was written at `after_s` and reads well."""
    return Artifact(Presence.PRESENT, value, mtime=moment(after_s))


def a_state(
    after_s: float = 0, *, active: bool = True, loop_id: str = LOOP, iteration: int = 1
) -> Artifact[RuntimeState]:
    return on_file(RuntimeState(active, 0, iteration, loop_id, stamp(after_s)), after_s)


def an_active_run(after_s: float = 0, *, pid: int | None = 4711, loop_id: str | None = LOOP) -> Artifact[ActiveRun]:
    return on_file(ActiveRun("/srv/repo", pid, pid, loop_id, 1, "loop_start", stamp(after_s)), after_s)


def a_summary(
    after_s: float = 0, *, run_id: str = RUN_ID, iteration: int = 1, complete: bool = False
) -> Artifact[RunSummary]:
    entry = SummaryEntry(run_id=run_id, iteration=iteration, ended_at=stamp(after_s), completion_ok=complete)
    return on_file(RunSummary(stamp(after_s), entry, 1), after_s)


def an_approval(after_s: float = 0, *, status: str = "pending", run_id: str = RUN_ID) -> Artifact[Approval]:
    return on_file(Approval(status=status, run_id=run_id, iteration=1, requested_at=stamp(after_s)), after_s)
