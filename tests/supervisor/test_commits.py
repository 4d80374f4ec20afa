from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
from structlog.testing import capture_logs

from opsd.logs import logger
from opsd.model.effects import Document
from opsd.model.ids import LoopId
from opsd.store.commit import CommitFailure, Committed, LoopCommit
from opsd.supervisor.backoff import Backoff
from opsd.supervisor.commits import Commits
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.pending import Pending
from tests.doubles.clock import VirtualClock, settle
from tests.doubles.threads import Inline
from tests.supervisor.effects import a_document, a_row, named

A, B = LoopId("a"), LoopId("b")


class Disk:
    """Where commits go: it remembers what it took, and refuses everything while it is full."""

    def __init__(self) -> None:
        self.full = False
        self.commits: list[list[LoopId]] = []
        self.effects: dict[LoopId, list[str]] = {}

    def write(self, batch: Sequence[LoopCommit], now: datetime) -> Committed:
        if self.full:
            return Committed(
                tuple(CommitFailure(each.loop_id, "/disk/x", "ENOSPC", "ENOSPC: full", each.effects) for each in batch)
            )
        self.commits.append([each.loop_id for each in batch])
        for each in batch:
            self.effects.setdefault(each.loop_id, []).extend(named(each.effects))
        return Committed()


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.disk = Disk()
        self.findings = DaemonFindings()
        self.beats = 0
        self.commits = Commits(
            self.disk.write,
            pending=Pending(retry=Backoff(first_s=0.5, longest_s=4.0), jitter=lambda: 0.999),
            offload=Inline(),
            clock=self.clock,
            findings=self.findings,
            log=logger(),
            interval_s=0.1,
        )

    def beat(self) -> None:
        self.beats += 1


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.commits.serve, bench.beat)
        await settle()
        yield bench
        tasks.cancel_scope.cancel()


async def test_what_comes_within_an_interval_is_one_commit() -> None:
    async with running() as bench:
        bench.commits.add(A, [a_row("first")])
        await settle()
        for n in range(5):
            bench.commits.add(A, [a_row(f"row-{n}")])
            bench.commits.add(B, [a_document(Document.STATE, str(n))])
            await bench.clock.advance(0.01)

        await bench.clock.advance(0.1)

    assert bench.disk.commits == [[A], [A, B]]
    assert bench.disk.effects[B] == ["state.json=4"]


async def test_the_first_change_after_quiet_is_written_at_once() -> None:
    async with running() as bench:
        await bench.clock.advance(30)
        bench.commits.add(A, [a_row("row")])
        await settle()

        assert bench.disk.effects == {A: ["row"]}


async def test_a_quiet_daemon_still_says_that_commits_are_alive() -> None:
    """Health asks how long ago the part was well, so a part with nothing to do must go on saying so."""
    async with running() as bench:
        before = bench.beats
        await bench.clock.advance(60)

        assert bench.beats - before >= 50


async def test_a_full_disk_is_said_and_mended_without_a_restart() -> None:
    with capture_logs() as lines:
        async with running() as bench:
            bench.disk.full = True
            bench.commits.add(A, [a_row("row-1"), a_document(Document.STATE, "old")])
            await bench.clock.advance(20)
            bench.commits.add(A, [a_row("row-2"), a_document(Document.STATE, "new")])
            await bench.clock.advance(20)
            (finding,) = bench.findings.current(bench.clock.now())
            assert finding.code == "store_unwritable"
            assert "/disk/x: ENOSPC" in finding.evidence
            assert bench.disk.effects == {}

            bench.disk.full = False
            await bench.clock.advance(5)

            assert bench.findings.current(bench.clock.now()) == ()
            assert bench.disk.effects == {A: ["row-1", "row-2", "state.json=new"]}
    assert [line["event"] for line in lines] == ["commit.failed", "commit.recovered"]


async def test_an_operator_waits_until_the_commit_is_on_the_disk() -> None:
    async with running() as bench:
        bench.disk.full = True
        bench.commits.add(A, [a_row("row")])
        told = anyio.Event()

        async def operator() -> None:
            await bench.commits.on_disk(A)
            told.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(operator)
            await bench.clock.advance(10)
            assert not told.is_set()
            bench.disk.full = False
            await bench.clock.advance(10)
            assert told.is_set()


async def test_the_stop_writes_what_waits_even_in_a_backoff() -> None:
    bench = Bench()
    bench.disk.full = True
    bench.commits.add(A, [a_row("row")])
    await bench.commits.commit()
    bench.disk.full = False

    assert await bench.commits.flush()
    assert bench.disk.effects == {A: ["row"]}


async def test_the_stop_does_not_wait_for_a_disk_that_stays_full() -> None:
    bench = Bench()
    bench.disk.full = True
    bench.commits.add(A, [a_row("row")])

    assert not await bench.commits.flush()
