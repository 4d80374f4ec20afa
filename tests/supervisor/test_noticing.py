"""The watcher's hints become triggers, and a watcher that misses changes is found out."""

from collections.abc import AsyncIterator, Callable, Iterable, Set
from contextlib import asynccontextmanager

import anyio
from structlog.testing import capture_logs

from opsd.logs import logger
from opsd.model.ids import LoopId
from opsd.model.observation import Artifact, Artifacts
from opsd.model.run import LoopRef, Run
from opsd.model.runtime import Presence, RuntimeState
from opsd.supervisor.backoff import Backoff
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.intake import Intake
from opsd.supervisor.noticing import NEIGHBOURS_MAX, Noticing
from opsd.supervisor.queue import WorkQueue
from opsd.supervisor.roster import Roster
from opsd.transports.notices import Notice
from opsd.transports.sweep import Sweep
from opsd.transports.watch import WatchStatus
from tests.doubles.clock import VirtualClock
from tests.doubles.files import MemoryFiles
from tests.doubles.threads import Inline


class DeafWatch:
    """A watcher that is in place and hears only what the test says to it."""

    def __init__(self) -> None:
        self.status = WatchStatus(True, None, 1, 3)
        self.roots: frozenset[str] = frozenset()
        self.rearmed = 0
        self.say: Callable[[Set[Notice]], None] = lambda _: None

    def set_roots(self, repo_paths: Iterable[str]) -> None:
        self.roots = frozenset(repo_paths)

    def rearm(self) -> None:
        self.rearmed += 1

    async def run(self, heard: Callable[[Set[Notice]], None]) -> None:
        self.say = heard
        await anyio.sleep_forever()


class Bench:
    def __init__(self, *loop_ids: str, repo_path: str | None = None) -> None:
        self.clock = VirtualClock()
        self.files = MemoryFiles("/")
        self.watch = DeafWatch()
        self.findings = DaemonFindings()
        self.roster = Roster(self.clock)
        self.queue = WorkQueue(retry=Backoff(), jitter=lambda: 0.5)
        self.loops_changed = 0
        for loop_id in loop_ids:
            self.roster.put(Run(LoopRef(LoopId(loop_id), repo_path or f"/checkouts/{loop_id}")))
        self.noticing = Noticing(
            watch=self.watch,
            sweep=Sweep(self.files),
            roster=self.roster,
            intake=Intake(self.queue, self.roster, self.clock),
            loops_changed=self._loops_changed,
            offload=Inline(),
            clock=self.clock,
            findings=self.findings,
            log=logger(),
            interval_s=1.0,
        )
        self.noticing.members_changed()

    def _loops_changed(self) -> None:
        self.loops_changed += 1

    def taken(self) -> set[str]:
        """Who was triggered since the last time."""
        loop_ids = self.queue.take(1_000, self.clock.monotonic())
        for loop_id in loop_ids:
            self.queue.done(loop_id, self.clock.monotonic())
        return set(loop_ids)

    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings.current(self.clock.now())]


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.noticing.hear, lambda: None)
        tasks.start_soon(bench.noticing.sweep, lambda: None)
        await bench.clock.advance(30)
        bench.taken()
        yield bench
        tasks.cancel_scope.cancel()


async def test_a_notice_triggers_its_loop_at_once() -> None:
    async with running(Bench("a", "b")) as bench:
        bench.watch.say({Notice("/checkouts/a", "a")})

        assert bench.taken() == {"a"}


async def test_a_notice_of_a_folder_that_the_fleet_does_not_know_is_news_about_the_fleet() -> None:
    async with running(Bench("a")) as bench:
        before = bench.loops_changed
        bench.watch.say({Notice("/checkouts/a", "new"), Notice("/elsewhere", "a")})

        assert bench.taken() == set()
        assert bench.loops_changed == before + 2


async def test_in_a_checkout_of_many_loops_its_own_files_wake_whom_they_spoke_of() -> None:
    """A thousand loops in one checkout must not be looked at for each step of the one that runs."""
    names = [f"loop-{n}" for n in range(NEIGHBOURS_MAX + 1)]
    bench = Bench(*names, repo_path="/shared")
    member = bench.roster.get(LoopId("loop-7"))
    assert member is not None
    state = Artifact(Presence.PRESENT, RuntimeState(current_loop_id="loop-7"))
    member.run = Run(member.run.ref, artifacts=Artifacts(state=state))
    async with running(bench):
        bench.watch.say({Notice("/shared")})

        assert bench.taken() == {"loop-0", "loop-7"}


async def test_what_a_notice_told_of_is_not_looked_at_twice() -> None:
    """The sweep sees the same change a moment later; a busy fleet must not pay for each change two times."""
    async with running(Bench("a", "b")) as bench:
        for name in "ab":
            bench.files.make_dirs(f"/checkouts/{name}/.superloop/loops/{name}")
        await bench.clock.advance(15)
        bench.taken()
        for name in "ab":
            bench.files.append(f"/checkouts/{name}/.superloop/loops/{name}/events.jsonl", b"{}\n", sync=False)
            bench.watch.say({Notice(f"/checkouts/{name}", name)})
        assert bench.taken() == {"a", "b"}
        await bench.clock.advance(0.5)
        for name in "ab":
            member = bench.roster.get(LoopId(name))
            assert member is not None
            # The look that `b`'s notice led to never began.
            member.looked_s = bench.clock.monotonic() + 5 if name == "a" else 0.0

        await bench.clock.advance(3)

        assert bench.taken() == {"b"}


async def test_a_watcher_that_misses_changes_is_said_to_be_blind_and_armed_anew() -> None:
    names = [f"loop-{n}" for n in range(40)]
    bench = Bench(*names)
    with capture_logs() as lines:
        async with running(bench):
            for name in names:
                folder = f"/checkouts/{name}/.superloop/loops/{name}"
                bench.files.make_dirs(folder)
                bench.files.append(f"{folder}/events.jsonl", b"{}\n", sync=False)
            await bench.clock.advance(15)

            assert bench.taken() == set(names), "the sweep finds them all the same"
            assert bench.codes() == ["watch_blind"]
            assert bench.watch.rearmed >= 1
            assert bench.noticing.missed_count >= 40

            await bench.clock.advance(120)

            assert bench.codes() == []
    assert [line["event"] for line in lines] == ["watch.armed", "watch.blind", "watch.sees"]


async def test_a_watcher_that_cannot_be_armed_is_said_with_its_reason() -> None:
    async with running(Bench("a")) as bench:
        bench.watch.status = WatchStatus(False, "the limit of watches is reached", 1)
        await bench.clock.advance(10)

        (finding,) = bench.findings.current(bench.clock.now())
        assert finding.code == "watch_blind"
        assert finding.evidence == "the limit of watches is reached"
        assert bench.noticing.watching == "the limit of watches is reached"
