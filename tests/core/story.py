"""Recorded runs, told again: a line of `timelines/*.jsonl` is what changed on disk at `t`, and each change is a look.

The timelines were cut out of recordings of the real runtime: its order, its moments and its empty files are kept; what
opsd does not read is not. A run's process lives from its `active-run.json` until that file goes, its end is noted, or
it is killed.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from opsd.core.fold import fold_events
from opsd.core.lifecycle import project
from opsd.core.process import judge
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Fold, Projection
from opsd.model.observation import Artifact, Artifacts, ProcessSighting
from opsd.model.process import ProcessMemory
from opsd.model.runtime import (
    ActiveRun,
    Approval,
    Aware,
    EventLine,
    LoopConfig,
    Presence,
    RateLimit,
    RunSummary,
    RuntimeState,
    Timeouts,
)
from opsd.model.thresholds import Thresholds

T = TypeVar("T")

FOLDER = Path(__file__).parent / "timelines"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))


class _Config(msgspec.Struct):
    id: str
    max_iterations: int
    timeouts: Timeouts


class _Line(msgspec.Struct):
    """What happened at `t`: exactly one of the others is there. A `put` of null is a file caught empty."""

    t: float
    start: Aware | None = None
    config: _Config | None = None
    note: str | None = None
    log: str | None = None
    events: list[msgspec.Raw] = []
    put: str | None = None
    value: msgspec.Raw = msgspec.Raw(b"null")
    delete: str | None = None
    loop: str | None = None
    end: bool = False


class Moment(msgspec.Struct, frozen=True):
    """The world of one loop after a change: all its events so far, its files, its process."""

    at: datetime
    events: Sequence[EventLine]
    artifacts: Artifacts
    process: ProcessSighting
    notes: tuple[str, ...] = ()


_MEMBERS: dict[str, tuple[str, Any]] = {
    "state.json": ("state", RuntimeState),
    "active-run.json": ("active_run", ActiveRun),
    "run-summary.json": ("summary", RunSummary),
    "approval.json": ("approval", Approval),
    "rate-limit.json": ("rate_limit", RateLimit),
}


def moments(name: str, loop_id: LoopId) -> list[Moment]:
    """One moment per change that a look at `loop_id` could notice; notes stay with the change that follows them."""
    return list(_moments(name, loop_id))


def _moments(name: str, loop_id: LoopId) -> Iterator[Moment]:
    lines = [msgspec.json.decode(text, type=_Line) for text in (FOLDER / f"{name}.jsonl").read_bytes().splitlines()]
    start = lines[0].start
    assert start is not None
    events: list[EventLine] = []
    artifacts = Artifacts()
    living: set[int] = set()
    notes: tuple[str, ...] = ()
    for line in lines[1:]:
        at = start + timedelta(seconds=line.t)
        if line.config is not None and line.config.id == loop_id:
            config = LoopConfig(max_iterations=line.config.max_iterations, timeouts=line.config.timeouts)
            artifacts = replace(artifacts, config=Artifact(Presence.PRESENT, config, mtime=at))
        elif line.note is not None:
            notes += (line.note,)
            if line.note.startswith(("run ended", "kill")):
                living.clear()
        elif line.log == loop_id:
            events.extend(msgspec.json.decode(raw, type=EventLine) for raw in line.events)
        elif (file := line.put or line.delete) is not None and line.loop in (None, loop_id):
            member, kind = _MEMBERS[file]
            value = msgspec.json.decode(line.value, type=kind | None)
            artifacts = replace(artifacts, **{member: _written(getattr(artifacts, member), line, value, at)})
            if member == "active_run":
                living = {value.pid} if value else living if line.put else set()
        elif not line.end:
            continue
        yield Moment(at, tuple(events), artifacts, _sighting(artifacts, loop_id, living), notes)
        if line.note is None:
            notes = ()


def _written(before: Artifact[T], line: _Line, value: T | None, at: datetime) -> Artifact[T]:
    if line.delete is not None:
        return Artifact()
    if value is None:
        return Artifact(Presence.SETTLING, before.value, since=at, mtime=at)
    return Artifact(Presence.PRESENT, value, mtime=at)


def _sighting(artifacts: Artifacts, loop_id: LoopId, living: set[int]) -> ProcessSighting:
    active_run = artifacts.active_run.value
    if active_run is None or active_run.loop_id != loop_id:
        return ProcessSighting.NONE
    return ProcessSighting.ALIVE if active_run.pid in living else ProcessSighting.ABSENT


class Watch:
    """One who looks at a loop again and again, and remembers what opsd would."""

    def __init__(self, loop_id: LoopId) -> None:
        self.loop_id = loop_id
        self.fold = Fold()
        self.process = ProcessMemory()
        self.projection: Projection | None = None
        self.told: list[Projection] = []

    def look(self, moment: Moment, *, log: Moment | None = None) -> Projection:
        """Look at `moment`; the log, which is read last, may already have gone on to `log`."""
        events = (log or moment).events
        new = len(events) > self.fold.line
        self.fold = fold_events(self.fold, events, range(1, len(events) + 1), epoch=0).fold
        self.process = judge(self.process, moment.artifacts, self.loop_id, moment.process, self.fold, moment.at)
        self.projection = project(
            self.loop_id,
            self.fold,
            moment.artifacts,
            self.process,
            self.projection,
            batch_last=self.fold.last if new else None,
            log_shrank=False,
            last_output_at=None,
            thresholds=Thresholds(),
            now=moment.at,
        )
        self.told.append(self.projection)
        return self.projection

    def look_when_due(self, moment: Moment, until: datetime | None) -> None:
        """Look at the unchanged `moment` again, whenever the last verdict said that it would settle, before `until`."""
        while self.projection is not None:
            due = [at for at in (self.process.settles_at, self.projection.holds_until) if at is not None]
            if not due or (until is not None and min(due) >= until) or min(due) <= moment.at:
                return
            moment = replace(moment, at=min(due))
            self.look(moment)

    def story(self) -> list[str]:
        """The phases in order, each with the contract's word for it."""
        told = [f"{one.phase}/{one.transition.current_state}" for one in self.told]
        return [word for index, word in enumerate(told) if index == 0 or word != told[index - 1]]


def watched(name: str, loop_id: LoopId) -> Watch:
    """The whole timeline, each change looked at."""
    watch = Watch(loop_id)
    seen = moments(name, loop_id)
    for moment, following in zip(seen, [*seen[1:], None], strict=True):
        watch.look(moment)
        watch.look_when_due(moment, following.at if following else None)
    return watch
