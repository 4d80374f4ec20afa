"""When what the passes want written reaches the disk: in commits of many loops, one worker thread at a time.

What waits is gathered in `pending`, how it is written is `opsd.store.commit`. While the disk refuses, passes go on in
memory, the daemon says so, and all recovers without a restart.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import anyio

from opsd.logs import Log
from opsd.model.effects import Append, Replace
from opsd.model.ids import LoopId
from opsd.ports import Clock, Offload
from opsd.store.commit import CommitFailure, Committed, LoopCommit
from opsd.store.faults import StoreFault
from opsd.supervisor.bell import Bell
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.pending import Pending

LOOPS_PER_COMMIT = 500
"""Bounds how long one commit holds up the next, which somebody may be waiting for."""

_FAULT_SHOWN = timedelta(hours=1)
R = TypeVar("R")
Write = Callable[[Sequence[LoopCommit], datetime], Committed]


class Commits:
    """At most one commit per `interval_s`, and one at a time: the store has one writer."""

    def __init__(
        self,
        write: Write,
        *,
        pending: Pending,
        offload: Offload,
        clock: Clock,
        findings: DaemonFindings,
        log: Log,
        interval_s: float,
    ) -> None:
        self.interval_s = interval_s
        self.commit_count = 0
        self.failure_count = 0
        self.fault_count = 0
        self.last_duration_s = 0.0
        self._write = write
        self._pending = pending
        self._offload = offload
        self._clock = clock
        self._findings = findings
        self._log = log
        self._bell = Bell(clock)
        self._writing = anyio.Lock()

    def add(self, loop_id: LoopId, effects: Iterable[Append | Replace]) -> None:
        self._pending.add(loop_id, effects)
        self._bell.ring()

    async def on_disk(self, loop_id: LoopId) -> None:
        """Returns once all that was added for the loop so far is on the disk, however long the disk refuses."""
        written = anyio.Event()
        self._pending.call_when_written(loop_id, written.set)
        await written.wait()

    async def tried(self, loop_id: LoopId) -> CommitFailure | None:
        """None once all that was added for the loop so far is on the disk; else why the disk has just refused it."""
        tried, failures = anyio.Event(), list[CommitFailure]()

        def refused(failure: CommitFailure) -> None:
            failures.append(failure)
            tried.set()

        self._pending.call_when_written(loop_id, tried.set)
        self._pending.call_when_refused(loop_id, refused)
        self._pending.retry_now()
        self._bell.ring()
        await tried.wait()
        return failures[0] if failures else None

    def when_flushed(self, loop_id: LoopId, flushed: Callable[[], None]) -> None:
        """Call `flushed` once the durable rows that were added for the loop so far are on the disk."""
        self._pending.call_when_flushed(loop_id, flushed)

    async def serve(self, beat: Callable[[], None]) -> None:
        """Commits for as long as the daemon runs; `beat` is called whenever nothing is left undone too long."""
        last_s = self._clock.monotonic() - self.interval_s
        while True:
            beat()
            now_s = self._clock.monotonic()
            due_s = self._pending.next_s(now_s)
            if due_s is None or max(due_s, last_s + self.interval_s) > now_s:
                await self._bell.wait(now_s + 1.0 if due_s is None else max(due_s, last_s + self.interval_s))
                continue
            last_s = now_s
            await self.commit()

    async def commit(self) -> bool:
        """Write what waits and may be tried now; whether every loop of it could be written."""
        async with self._writing:
            batch = self._pending.take(LOOPS_PER_COMMIT, self._clock.monotonic())
            if not batch:
                return True
            began_s, now = self._clock.monotonic(), self._clock.now()
            done = await self._offload.run(lambda: self._write(batch, now))
            self._pending.settle(done.failures, self._clock.monotonic())
            self.last_duration_s = self._clock.monotonic() - began_s
        self.commit_count += 1
        self.tell_faults(done.faults)
        self._tell_failures(done.failures, now)
        return not done.failures

    async def flush(self) -> bool:
        """Write all that waits, for the stop; whether nothing is left. The caller bounds how long it may take."""
        self._pending.retry_now()
        while self._pending.loop_count:
            if not await self.commit():
                return False
        return True

    async def apart(self, work: Callable[[], R]) -> R:
        """Other work on the store, which has one user at a time, in a worker thread between two commits."""
        async with self._writing:
            return await self._offload.run(work)

    def tell_faults(self, faults: Sequence[StoreFault]) -> None:
        """One of our own files made no sense: it was mended or set aside already, and somebody may want to know why."""
        now = self._clock.now()
        for fault in faults:
            self.fault_count += 1
            evidence = f"{fault.path}: {fault.problem}" + (
                f"; it lies now at {fault.set_aside}" if fault.set_aside else ""
            )
            self._findings.add("store_corrupt", evidence, now, about=fault.path, until=now + _FAULT_SHOWN)
            self._log.warning(
                "store.fault",
                loop_id=fault.loop_id,
                path=fault.path,
                code=fault.code,
                problem=fault.problem,
                set_aside=fault.set_aside,
            )

    def _tell_failures(self, failures: Sequence[CommitFailure], now: datetime) -> None:
        """One line when writing begins to fail, one when it works again; in between the finding says how it stands."""
        self.failure_count += len(failures)
        refused = self._pending.refused
        if refused and failures:
            first = failures[0]
            dropped = sum(self._pending.dropped_rows.values())
            evidence = f"{len(refused)} loops cannot be written, {self._pending.row_count} rows wait" + (
                f" and {dropped} had to be given up" if dropped else ""
            )
            evidence += f"; {first.path}: {first.problem}"
            if self._findings.add("store_unwritable", evidence, now):
                self._log.error("commit.failed", loops=len(refused), path=first.path, problem=first.problem)
        elif not refused and self._findings.clear("store_unwritable"):
            dropped_rows = {journal.value: count for journal, count in self._pending.dropped_rows.items()}
            self._log.info("commit.recovered", rows_given_up=dropped_rows)
