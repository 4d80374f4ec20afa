"""Does the runtime's process live? What /proc and `active-run.json` say, remembered from look to look.

The runtime writes no event when it is killed or a role command fails, so its process is evidence. What follows for the
run is judged in `lifecycle`. Source: runtime-artifacts 6 and 7.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from opsd.core.instants import parse
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Fold
from opsd.model.observation import Artifacts, ProcessSighting
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.runtime import Presence

UNSEEN_SETTLE: Final = timedelta(seconds=10)
"""A process never seen alive is believed gone when nothing of its run has moved for this long."""

FILE_SETTLE: Final = timedelta(seconds=2)
"""`active-run.json` of a loop marked active is believed gone after this long: a run's last writes are not one act."""

_NOBODY = ProcessMemory(liveness=Liveness.NONE)
# A decision is logged by `approve`, which runs while the run does not.
_NOT_THE_RUNS_OWN = frozenset({"approval_decision"})


def judge(
    memory: ProcessMemory,
    artifacts: Artifacts,
    loop_id: LoopId,
    sighting: ProcessSighting,
    fold: Fold,
    now: datetime,
) -> ProcessMemory:
    """What to believe of the process of `loop_id`'s run after this look.

    `gone` needs evidence: a process seen before and absent now, at once; one never seen, when log and files have been
    still for 10 s; a loop marked active whose `active-run.json` is missing for 2 s while its log tells no end. A log
    that goes on growing without a process is written where we cannot see it: `foreign`, never gone for this active run.
    """
    file = artifacts.active_run
    active_run = file.value
    if active_run is None and file.presence is not Presence.ABSENT:
        return memory  # being written, or not readable: neither is an answer
    if active_run is not None and file.presence is not Presence.ABSENT:
        if active_run.loop_id == loop_id:
            if (active_run.pid, active_run.updated_at) != (memory.pid, memory.begun):
                memory = ProcessMemory(pid=active_run.pid, begun=active_run.updated_at)
            elif memory.file_missing:
                memory = replace(memory, file_missing=False)
            return _of_named_process(memory, artifacts, sighting, fold, now)
        return memory if _is_marked_active(artifacts, loop_id) else _NOBODY
    if not _is_marked_active(artifacts, loop_id) or (fold.run is not None and fold.run.ending is not None):
        return _NOBODY
    if sighting is ProcessSighting.UNKNOWN:  # process evidence is switched off, or another host's
        return replace(memory, liveness=Liveness.UNKNOWN, settles_at=None)
    if memory.foreign and not memory.file_missing:
        # That the process could not be seen from here says nothing of the file: its run removes it, wherever it lives.
        memory = ProcessMemory(pid=memory.pid, begun=memory.begun, liveness=Liveness.FOREIGN)
    if not memory.file_missing:
        memory = replace(memory, file_missing=True)
    told = _of_missing_file(memory, artifacts, fold, now)
    # Whoever writes on without the file is not the process that it named.
    return replace(told, pid=None) if told.foreign else told


def _of_named_process(
    memory: ProcessMemory, artifacts: Artifacts, sighting: ProcessSighting, fold: Fold, now: datetime
) -> ProcessMemory:
    match sighting:
        case ProcessSighting.ALIVE:
            return _alive(memory, Liveness.ALIVE)
        case ProcessSighting.STOPPED:
            return _alive(memory, Liveness.PAUSED)
        case ProcessSighting.ABSENT:
            return _absent(memory, artifacts, fold, now)
        case ProcessSighting.UNKNOWN | ProcessSighting.NONE:
            return replace(memory, liveness=Liveness.UNKNOWN, settles_at=None)


def _alive(memory: ProcessMemory, liveness: Liveness) -> ProcessMemory:
    if memory.liveness is liveness:
        return memory
    return ProcessMemory(pid=memory.pid, begun=memory.begun, seen_alive=True, liveness=liveness)


def _absent(memory: ProcessMemory, artifacts: Artifacts, fold: Fold, now: datetime) -> ProcessMemory:
    if memory.seen_alive:
        if memory.liveness is Liveness.GONE:
            return memory
        return replace(memory, liveness=Liveness.GONE, missing_since=now, missing_at_line=fold.line, settles_at=None)
    still_since = max(_signs_of_life(artifacts, fold, now), default=memory.missing_since or now)
    return _missing(memory, memory.missing_since or still_since, still_since + UNSEEN_SETTLE, fold, now)


def _of_missing_file(memory: ProcessMemory, artifacts: Artifacts, fold: Fold, now: datetime) -> ProcessMemory:
    since = memory.missing_since
    if since is None:
        # Of a tree never looked at before, the files' own times say how long it has been like this.
        never_looked = memory.pid is None and memory.liveness is Liveness.UNKNOWN
        since = max(_signs_of_life(artifacts, fold, now), default=now) if never_looked else now
    return _missing(memory, since, since + FILE_SETTLE, fold, now)


def _missing(memory: ProcessMemory, since: datetime, gone_at: datetime, fold: Fold, now: datetime) -> ProcessMemory:
    """Missing since `since`, and gone from `gone_at` on, unless the log shows that somebody is there after all."""
    if memory.missing_since is None:
        memory = replace(memory, missing_since=since, missing_at_line=fold.line)
    if memory.foreign or _log_went_on(memory, fold, now):
        return replace(memory, foreign=True, liveness=Liveness.FOREIGN, settles_at=None)
    if memory.liveness is Liveness.GONE or now >= gone_at:
        return replace(memory, liveness=Liveness.GONE, settles_at=None)
    return replace(memory, liveness=Liveness.UNKNOWN, settles_at=gone_at)


def _log_went_on(memory: ProcessMemory, fold: Fold, now: datetime) -> bool:
    """Whether the run logged something new while its process was missing; reading up an old log is nothing new."""
    last = fold.last
    return (
        last is not None
        and last.at is not None
        and last.line > memory.missing_at_line
        and last.name not in _NOT_THE_RUNS_OWN
        and now - last.at < UNSEEN_SETTLE
    )


def _signs_of_life(artifacts: Artifacts, fold: Fold, now: datetime) -> Iterator[datetime]:
    """When the run last moved, by its log and its files; times that lie ahead of us prove nothing."""
    state, active_run = artifacts.state, artifacts.active_run
    for at in (
        fold.last.at if fold.last else None,
        state.mtime or (parse(state.value.updated_at) if state.value else None),
        active_run.mtime or (parse(active_run.value.updated_at) if active_run.value else None),
    ):
        if at is not None and at <= now:
            yield at


def _is_marked_active(artifacts: Artifacts, loop_id: LoopId) -> bool:
    state = artifacts.state.value
    return (
        state is not None
        and artifacts.state.presence is not Presence.ABSENT
        and state.active is True
        and state.current_loop_id == loop_id
    )
