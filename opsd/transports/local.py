"""The local transport: loop runs whose checkouts lie on this machine.

It joins the event log, the small files, the process and the newest output into one observation per loop; each of them
is read in its own file. What an observation means is judged in `opsd.core`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from opsd.core import instants
from opsd.model.cursor import Stream
from opsd.model.ids import LoopId, loop_id_fault
from opsd.model.observation import (
    Artifact,
    Artifacts,
    Observation,
    ProcessSighting,
    Seen,
    Unreachable,
    UnreachableCause,
)
from opsd.model.run import LoopRef
from opsd.model.runtime import ActiveRun, Presence
from opsd.ports import Ask, Files, FileStat, Processes
from opsd.transports.artifacts import CheckoutFiles, LoopFiles, loop_folder
from opsd.transports.confine import is_within
from opsd.transports.rolelogs import newest_output_at
from opsd.transports.tail import STANDARD_LIMITS, Limits, LogTail

SETTLE_S = 2.0
OUTPUT_EVERY = timedelta(seconds=5)


class LocalTransport:
    """`opsd.ports.Transport` over a disk and a process table. `settle_s`: see `opsd.transports.small`.

    `one_shot`: there is no second look that could show that a log was away for a moment only.
    """

    def __init__(
        self,
        files: Files,
        processes: Processes,
        *,
        limits: Limits = STANDARD_LIMITS,
        settle_s: float = SETTLE_S,
        one_shot: bool = False,
    ) -> None:
        self._files = files
        self._processes = processes
        self._limits = limits
        self._settle_s = settle_s
        self._one_shot = one_shot
        # A checkout's files are held by its loops, and go with the last of them.
        self._checkouts: WeakValueDictionary[str, CheckoutFiles] = WeakValueDictionary()
        self._loops: dict[tuple[str, LoopId], _Loop] = {}

    def observe(self, asks: Sequence[Ask], now: datetime) -> list[Observation]:
        return [self._observe(ask, now) for ask in asks]

    def forget(self, ref: LoopRef) -> None:
        self._loops.pop((ref.repo_path, ref.loop_id), None)

    def _observe(self, ask: Ask, now: datetime) -> Observation:
        ref = ask.ref
        key = (ref.repo_path, ref.loop_id)
        loop = self._loops.get(key)
        if loop is None:
            if fault := loop_id_fault(ref.loop_id):
                # Such loops are listed and never asked about; the id must not reach a path even by mistake.
                problem = f"loop id {ref.loop_id!a} cannot name a folder ({fault}); rename the loop"
                return Unreachable(now, UnreachableCause.ARTIFACTS_UNREADABLE, "snapshot_unavailable", problem)
            checkout = self._checkouts.setdefault(ref.repo_path, CheckoutFiles(ref.repo_path))
            loop = self._loops.setdefault(key, _Loop(ref, checkout, self._limits))
        try:
            return loop.look(self._files, self._processes, ask, now, self._settle_s, one_shot=self._one_shot)
        except OSError as error:
            return _unreadable(error.filename or loop.folder, error.strerror or str(error), now)
        except Exception as error:  # noqa: BLE001 one loop's surprise must not cost its neighbours their answer
            return _unreadable(loop.folder, f"{type(error).__name__}: {error}", now)


class _Loop:
    """One loop, and what is remembered of its files between looks."""

    __slots__ = (
        "_confined",
        "_confined_log",
        "_files",
        "_log_seen_at",
        "_output_at",
        "_output_due",
        "_ref",
        "_tail",
        "folder",
        "log",
    )

    def __init__(self, ref: LoopRef, checkout: CheckoutFiles, limits: Limits) -> None:
        self._ref = ref
        self.folder = loop_folder(ref.repo_path, ref.loop_id)
        self.log = f"{self.folder}/events.jsonl"
        self._files = LoopFiles(self.folder, ref.loop_id, checkout)
        self._tail = LogTail(limits)
        # Resolving links is dear: it is done again only when folder or log have become other ones.
        self._confined: FileStat | None = None
        self._confined_log: tuple[int, int] | None = None
        self._output_at: datetime | None = None
        self._output_due: datetime | None = None
        self._log_seen_at: datetime | None = None

    def look(
        self, files: Files, processes: Processes, ask: Ask, now: datetime, settle_s: float, *, one_shot: bool
    ) -> Observation:
        """The log is read last: a run that ends logs so before it puts away its state and its process, so an end seen
        in those is never without its events."""
        folder = files.stat(self.folder)
        if not self._is_confined(files, folder):
            return self._outside(self.folder, now)
        artifacts = self._files.look(files, now, settle_s, folder)
        process = self._process(processes, artifacts.active_run)
        output_at = self._last_output_at(files, artifacts, now)
        try:
            batch = self._tail.look(files, self.log, ask.cursor, now, from_start=ask.from_start)
        except FileNotFoundError:
            rotates = self._log_seen_at is not None and timedelta() <= now - self._log_seen_at < timedelta(
                seconds=settle_s
            )
            return self._without_log(ask, artifacts, process, now, rotates=rotates, one_shot=one_shot)
        except OSError as error:
            return _unreadable(self.log, error.strerror or str(error), now)
        if not self._is_confined_log(files, batch.stream):
            return self._outside(self.log, now)
        self._log_seen_at = now
        return Seen(
            at=now,
            events=batch.events,
            lines=batch.lines,
            last_raw=batch.last_raw,
            line_offset=batch.line_offset,
            stream=batch.stream,
            artifacts=artifacts,
            process=process,
            change=batch.change,
            quarantined=batch.quarantined,
            backlog_bytes=batch.backlog_bytes,
            last_output_at=output_at,
        )

    def _without_log(
        self,
        ask: Ask,
        artifacts: Artifacts,
        process: ProcessSighting,
        now: datetime,
        *,
        rotates: bool,
        one_shot: bool,
    ) -> Observation:
        """A run that has just been started may not have logged anything yet, and one that rotates its log is without
        for a moment; otherwise there is nothing to look at. A loop with a summary has logged before."""
        named = _names(artifacts.active_run.value, self._ref.loop_id) or (
            artifacts.state.value is not None and artifacts.state.value.current_loop_id == self._ref.loop_id
        )
        read_before = ask.cursor is not None and ask.cursor.event_line_offset > 0
        logged = artifacts.summary.presence is not Presence.ABSENT or (one_shot and read_before)
        if not named or (logged and not rotates):
            problem = f"required artifact missing: {self.log}"
            return Unreachable(now, UnreachableCause.ARTIFACTS_MISSING, "snapshot_unavailable", problem)
        cursor = ask.cursor
        return Seen(
            at=now,
            events=(),
            lines=(),
            last_raw=b"",
            line_offset=cursor.event_line_offset if cursor else 0,
            stream=cursor.stream if cursor else None,
            artifacts=artifacts,
            process=process,
        )

    def _process(self, processes: Processes, active_run: Artifact[ActiveRun]) -> ProcessSighting:
        """Only what the file says now counts: the kept value of one being rewritten may name the run before."""
        if active_run.presence in (Presence.SETTLING, Presence.UNREADABLE):
            return ProcessSighting.UNKNOWN
        run = active_run.value
        if run is None or not _names(run, self._ref.loop_id):
            return ProcessSighting.NONE
        if run.pid is None:
            return ProcessSighting.UNKNOWN
        return processes.sighting(run.pid, instants.parse(run.updated_at))

    def _last_output_at(self, files: Files, artifacts: Artifacts, now: datetime) -> datetime | None:
        """Looked for every few seconds only: it matters when a run has been silent for much longer than that."""
        state = artifacts.state.value
        if state is None or not state.active or state.current_loop_id != self._ref.loop_id or not state.iteration:
            return None
        if self._output_due is None or not self._output_due - OUTPUT_EVERY <= now < self._output_due:
            self._output_at = newest_output_at(files, self.folder, state.iteration)
            self._output_due = now + OUTPUT_EVERY
        return self._output_at

    def _is_confined(self, files: Files, folder: FileStat | None) -> bool:
        """Links may not lead out of the checkout: neither the folder, nor the log in it."""
        identity = _identity(folder)
        if identity != self._confined or identity is None:
            if not is_within(files, self.folder, self._ref.repo_path):
                return False
            self._confined = identity
        return True

    def _is_confined_log(self, files: Files, stream: Stream) -> bool:
        if (stream.device, stream.inode) != self._confined_log:
            if not is_within(files, self.log, self._ref.repo_path):
                return False
            self._confined_log = (stream.device, stream.inode)
        return True

    def _outside(self, path: str, now: datetime) -> Unreachable:
        problem = f"{path} leads out of {self._ref.repo_path} through a link"
        return Unreachable(now, UnreachableCause.ARTIFACTS_UNREADABLE, "snapshot_unavailable", problem)


def _identity(stat: FileStat | None) -> FileStat | None:
    return None if stat is None else FileStat(stat.kind, stat.device, stat.inode, 0, 0)


def _names(run: ActiveRun | None, loop_id: LoopId) -> bool:
    return run is not None and run.loop_id == loop_id


def _unreadable(path: str, why: str, now: datetime) -> Unreachable:
    problem = f"{path} cannot be read: {why}"
    return Unreachable(now, UnreachableCause.ARTIFACTS_UNREADABLE, "events_unavailable", problem)
