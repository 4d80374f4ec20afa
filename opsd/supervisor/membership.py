"""Keeps the roster what the registry says, or what is found in the home: loops come and go while the daemon runs.

What a registry must satisfy is `opsd.core.registry`. A faulty one changes nothing: the last valid one stays in force.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

import anyio
import msgspec
from msgspec.structs import replace

from opsd.app.restore import Restored, restore
from opsd.logs import Log
from opsd.model.ids import LoopId
from opsd.model.run import LoopRef, Run
from opsd.ports import Clock, Files, FileStat, Offload, Transport
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.supervisor.alarms import Alarms
from opsd.supervisor.bell import Bell
from opsd.supervisor.books import Books
from opsd.supervisor.commits import Commits
from opsd.supervisor.feed import Feed
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.intake import Intake
from opsd.supervisor.queue import WorkQueue
from opsd.supervisor.roster import Member, Roster
from opsd.transports.artifacts import runtime_folder
from opsd.transports.registry import configured, discover, load_registry, loop_refs

LOOK_EVERY_S = 1.0
LOOPS_PER_RESTORE = 500
_FLUSH_LIMIT_S = 2.0
DISCOVERY = "discovery"
# A file's time has the granularity of the kernel's tick: two changes within one look alike. And a registry that is gone
# for a moment is being replaced.
_SETTLES_S = 2.0


class _Found(msgspec.Struct, frozen=True):
    """What stands in the registry, or in the home. `errors` are all that is known where it is faulty."""

    source: str
    refs: tuple[LoopRef, ...] = ()
    errors: tuple[str, ...] = ()


class RegistrySource:
    """Looks whether registry and home changed since the last look. Synchronous, for one thread at a time.

    `remote`: there is a way to loops behind services. `discovers`: the fleet is what lies in the home, whatever a
    registry says, and what the runtime's configuration there names.
    """

    def __init__(self, files: Files, layout: Layout, *, remote: bool = False, discovers: bool = False) -> None:
        self._files = files
        self._remote = remote
        self._discovers = discovers
        # What decides of the members: the registry, or where they are found without one.
        self._path = f"{runtime_folder(layout.home)}/config.json" if discovers else layout.registry
        self._home = layout.home
        self._loops = f"{runtime_folder(layout.home)}/loops"
        self._configured: tuple[LoopRef, ...] = ()
        self._seen: tuple[FileStat | None, FileStat | None] | None = None
        self._settled = False
        self._gone_since_s: float | None = None
        self._had_registry = False

    def look(self, now_s: float, now_ns: int) -> _Found | None:
        """What is there now; None where it is what it was, or is being replaced."""
        seen = (self._stat(self._path), self._stat(self._loops))
        if seen == self._seen and self._settled:
            return None
        if seen[0] is None and self._had_registry and not self._is_gone_for_good(now_s):
            return None
        self._gone_since_s = None
        there = [stat for stat in seen if stat is not None][: 2 if self._discovers else 1]
        newest_ns = max((stat.mtime_ns for stat in there), default=None)
        self._seen = seen
        self._settled = newest_ns is None or now_ns - newest_ns > _SETTLES_S * 1e9
        self._had_registry = seen[0] is not None
        return self._read()

    def _is_gone_for_good(self, now_s: float) -> bool:
        if self._gone_since_s is None:
            self._gone_since_s = now_s
        return now_s - self._gone_since_s >= _SETTLES_S

    def _read(self) -> _Found:
        reading = None if self._discovers else load_registry(self._files, self._path)
        if reading is not None:
            if reading.registry is None:
                return _Found(self._path, errors=reading.errors)
            return _Found(self._path, loop_refs(reading.registry, self._home, remote=self._remote))
        try:
            found = {ref.loop_id: ref for ref in discover(self._files, self._home)}
        except OSError as error:
            return _Found(DISCOVERY, errors=(f"{self._loops} cannot be listed: {error.strerror or error}",))
        if self._discovers:
            named = configured(self._files, self._home)
            self._configured = self._configured if named is None else named
            found = {ref.loop_id: ref for ref in self._configured} | found
        return _Found(DISCOVERY, tuple(found[loop_id] for loop_id in sorted(found)))

    def _stat(self, path: str) -> FileStat | None:
        try:
            return self._files.stat(path)
        except OSError:
            return None  # reading it will say what is wrong


class Membership:
    """Compares what is there with the roster and makes the roster so. `settled` hears of every change of it."""

    def __init__(
        self,
        source: RegistrySource,
        *,
        store: Store,
        transport: Transport,
        roster: Roster,
        queue: WorkQueue,
        intake: Intake,
        alarms: Alarms,
        commits: Commits,
        feed: Feed,
        offload: Offload,
        clock: Clock,
        findings: DaemonFindings,
        log: Log,
        books: Books,
        switched: Callable[[LoopRef], LoopRef],
        settled: Callable[[], None],
    ) -> None:
        self.registry = DISCOVERY
        self._source = source
        self._store = store
        self._transport = transport
        self._roster = roster
        self._queue = queue
        self._intake = intake
        self._alarms = alarms
        self._commits = commits
        self._feed = feed
        self._offload = offload
        self._clock = clock
        self._findings = findings
        self._log = log
        self._books = books
        self._switched = switched
        self._found: _Found | None = None
        self._settled = settled
        self._bell = Bell(clock)
        self._looking = anyio.Lock()
        self._becoming = anyio.Lock()
        self._is_first = True

    def look_soon(self) -> None:
        """Somebody noticed that loop folders came or went, which is news where there is no registry."""
        if self.registry == DISCOVERY:
            self._bell.ring()

    async def serve(self, beat: Callable[[], None]) -> None:
        while True:
            await self.look()
            beat()
            await self._bell.wait(self._clock.monotonic() + LOOK_EVERY_S)

    async def look(self) -> None:
        async with self._looking:
            await self._look()

    def still(self) -> AbstractAsyncContextManager[object]:
        """While inside, no loop comes or goes."""
        return self._becoming

    async def _look(self) -> None:
        now_s, now_ns = self._clock.monotonic(), int(self._clock.now().timestamp() * 1e9)
        found = await self._offload.run(lambda: self._source.look(now_s, now_ns))
        if found is None:
            return
        if found.errors:
            evidence = "; ".join(found.errors[:5]) + (f"; and {len(found.errors) - 5} more" if found.errors[5:] else "")
            if self._findings.add("registry_invalid", evidence, self._clock.now()):
                self._log.error("registry.rejected", source=found.source, errors=found.errors)
            return
        if self._findings.clear("registry_invalid"):
            self._log.info("registry.recovered", source=found.source)
        self.registry = found.source
        self._found = found
        async with self._becoming:
            await self._become(found)

    async def apply_switches(self) -> None:
        """A loop is to be reached otherwise from now on."""
        if self._found is not None:
            async with self._becoming:
                await self._become(self._found)

    async def _become(self, found: _Found) -> None:
        before = self._roster.refs()
        wanted = {ref.loop_id: self._switched(ref) for ref in found.refs}
        gone = [loop_id for loop_id in before if loop_id not in wanted]
        other = [ref for loop_id, ref in wanted.items() if loop_id in before and before[loop_id] != ref]
        carried = [ref for ref in other if _same_place(before[ref.loop_id], ref)]
        moved = [ref for ref in other if not _same_place(before[ref.loop_id], ref)]
        added = [ref for loop_id, ref in wanted.items() if loop_id not in before]
        await self._remove([*gone, *(ref.loop_id for ref in moved)])
        for ref in carried:
            self._carry(ref)
        await self._add([*moved, *added])
        if not (gone or other or added or self._is_first):
            return
        self._roster.order(wanted)
        if not self._is_first:  # at the start one line for the whole fleet is enough
            self._log.info(
                "registry.changed", source=found.source, loops=len(wanted), added=len(added), removed=len(gone)
            )
            self._tell(added=added, changed=other, removed=gone)
        self._is_first = False
        self._settled()

    def _tell(self, *, added: Sequence[LoopRef], changed: Sequence[LoopRef], removed: Sequence[str]) -> None:
        for ref in added:
            self._log.info("loop.added", loop_id=ref.loop_id, repo_path=ref.repo_path, fault=ref.fault)
        for ref in changed:
            self._log.info("loop.changed", loop_id=ref.loop_id, repo_path=ref.repo_path, enabled=ref.enabled)
        for loop_id in removed:
            self._log.info("loop.removed", loop_id=loop_id)

    async def _add(self, refs: Sequence[LoopRef]) -> None:
        """With what our own files remember of them; a few hundred at a time, so that commits are not held up."""
        for start in range(0, len(refs), LOOPS_PER_RESTORE):
            piece = refs[start : start + LOOPS_PER_RESTORE]
            # A faulty id must not become a path, not even to look what is there.
            known = [ref for ref in piece if ref.enabled and ref.fault is None]
            await self._books.write_rest()  # what is not on the disk would be taken for lost, and written twice
            restored, faults = await self._commits.apart(partial(restore, self._store, known, self._clock.now()))
            self._commits.tell_faults(faults)
            found = {each.run.ref.loop_id: each for each in restored}
            for ref in piece:
                loop = found.get(ref.loop_id) or Restored(Run(ref))
                member = self._roster.put(loop.run)
                self._books.restore(loop)
                self._join(member)

    def _carry(self, ref: LoopRef) -> None:
        """The same loop under a changed entry. A pass under way still knows the old one, so it is another member."""
        member = self._roster.get(ref.loop_id)
        assert member is not None
        successor = self._roster.put(replace(member.run, ref=ref))
        successor.requests = member.requests
        self._join(successor)

    def _join(self, member: Member) -> None:
        self._feed.changed(member.loop_id)
        self._intake.trigger([member.loop_id])

    async def _remove(self, loop_ids: Sequence[LoopId]) -> None:
        refs = [self._forget(loop_id) for loop_id in loop_ids]
        if refs:
            # One that comes back at once is restored from what its last passes wanted written.
            with anyio.move_on_after(_FLUSH_LIMIT_S):
                for ref in refs:
                    await self._commits.on_disk(ref.loop_id)
            await self._commits.apart(lambda: self._drop(refs))

    def _forget(self, loop_id: LoopId) -> LoopRef:
        member = self._roster.remove(loop_id)
        assert member is not None
        self._queue.forget(loop_id)
        self._alarms.forget(loop_id)
        self._books.forget(loop_id)
        for code in ("pass_failed", "pass_overdue"):
            self._findings.clear(code, about=loop_id)
        for request in member.requests:
            request.answer("", error=f"{loop_id} left the fleet")
        self._feed.removed(loop_id)
        return member.run.ref

    def _drop(self, refs: Sequence[LoopRef]) -> None:
        for ref in refs:
            self._transport.forget(ref)
            self._store.forget(ref.loop_id)


def _same_place(old: LoopRef, new: LoopRef) -> bool:
    """Whether what is known of the loop goes on under the new entry."""
    return (old.place, old.repo_path, old.transport) == (new.place, new.repo_path, new.transport) and all(
        ref.enabled and ref.fault is None for ref in (old, new)
    )
