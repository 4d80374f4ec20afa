"""What the rules about a run weigh: its log, its files, its process and the clock, gathered from one look.

What several rules ask is derived here once; which phase it makes is decided in `phase`.
"""

from datetime import datetime
from typing import TypeVar

import msgspec

from opsd.core.instants import parse
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Ending, EventMark, Fold, Projection, RunFacts
from opsd.model.observation import Artifact, Artifacts
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.runtime import Approval, Presence, RuntimeState, SummaryEntry
from opsd.model.thresholds import Thresholds

T = TypeVar("T")

_NOT_OVER = (None, Ending.USAGE_LIMITED)


class Clues(msgspec.Struct, frozen=True):
    """Everything that the rules weigh, with what several of them ask derived once. Files that are gone are None."""

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
    """`active-run.json` names a run of this loop of which neither log nor state has anything yet."""
    going: bool
    """A run that is not over has a process, or nothing speaks against one."""

    @property
    def is_over(self) -> bool:
        """Whether the log says that the newest run ended. A usage limit may be an end or a wait, and proves neither."""
        return self.run is not None and self.run.ending not in _NOT_OVER


def clues_of(
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
) -> Clues:
    """Gather what the rules weigh. A file caught while it is written, or unreadable, stands as it was last read."""
    run, liveness = fold.run, process.liveness
    state, summary = on_file(artifacts.state), on_file(artifacts.summary)
    active_run = on_file(artifacts.active_run)

    named = active_run is not None and active_run.loop_id == loop_id
    begun = parse(active_run.updated_at) if active_run is not None and named else None
    marked = state is not None and state.active is True and state.current_loop_id == loop_id
    if run is not None:
        starts = named and begun is not None and run.started_at is not None and begun > run.started_at
    else:
        # A log that was rotated away has nothing of a run that is well under way; the state still has.
        written = parse(state.updated_at) if state is not None and marked else None
        starts = named and not (begun is not None and written is not None and begun <= written)
    alive = liveness is Liveness.ALIVE or liveness is Liveness.PAUSED
    perhaps = (named or marked) and (liveness is Liveness.UNKNOWN or liveness is Liveness.FOREIGN)
    return Clues(
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
        approval=on_file(artifacts.approval),
        starts=starts,
        going=(alive or perhaps) and (starts or run is None or run.ending in _NOT_OVER),
    )


def on_file(artifact: Artifact[T]) -> T | None:
    """What the file says, or last said; None where there is none."""
    return None if artifact.presence is Presence.ABSENT else artifact.value


def is_older(run_id: str | None, at: str | None, run: RunFacts) -> bool:
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


def is_stale(clues: Clues) -> bool:
    """Whether the approval on file belongs to the past: a newer run got beyond it and iterates."""
    run, approval = clues.run, clues.approval
    return (
        run is not None
        and approval is not None
        and run.iteration_started_at is not None
        and is_older(approval.run_id, approval.requested_at, run)
    )
