"""A process that dies or is stopped changes no file: its run is looked at all the same, and soon."""

from collections.abc import Sequence
from datetime import datetime

import anyio
from msgspec.structs import replace

from opsd.model.ids import LoopId
from opsd.model.observation import ProcessSighting
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.run import LoopRef, Run
from opsd.supervisor.backoff import Backoff
from opsd.supervisor.intake import Intake
from opsd.supervisor.queue import WorkQueue
from opsd.supervisor.roster import Roster
from opsd.supervisor.vigil import AT_ONCE_MAX, Vigil
from tests.doubles.clock import VirtualClock
from tests.doubles.threads import Inline


class Host:
    """A host whose processes live until the test says otherwise; remembers who was asked about."""

    def __init__(self) -> None:
        self.others: dict[int, ProcessSighting] = {}
        self.asked: list[int] = []

    def sighting(self, pid: int, begun_by: datetime | None) -> ProcessSighting:
        self.asked.append(pid)
        return self.others.get(pid, ProcessSighting.ALIVE)

    def family(self, pid: int, pgid: int | None) -> Sequence[ProcessSighting]:
        return [self.sighting(pid, None)]


class Bench:
    def __init__(self, count: int, liveness: Liveness = Liveness.ALIVE) -> None:
        self.clock = VirtualClock()
        self.host = Host()
        self.roster = Roster(self.clock)
        self.queue = WorkQueue(retry=Backoff(), jitter=lambda: 0.5)
        for number in range(1, count + 1):
            run = Run(LoopRef(LoopId(f"loop-{number}"), f"/checkouts/{number}"))
            memory = ProcessMemory(pid=number, begun="2026-11-21T02:00:00Z", liveness=liveness)
            self.roster.put(replace(run, process=memory))
        self.intake = Intake(self.queue, self.roster, self.clock)
        self.vigil = Vigil(self.host, roster=self.roster, intake=self.intake, offload=Inline(), clock=self.clock)

    async def after_s(self, seconds: float) -> list[LoopId]:
        """The loops that have been triggered when the vigil has been kept for so long."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.vigil.serve, lambda: None)
            await self.clock.advance(seconds)
            tasks.cancel_scope.cancel()
        return list(self.queue.take(1_000, self.clock.monotonic()))


async def test_a_process_that_is_gone_has_its_run_looked_at() -> None:
    bench = Bench(3)
    bench.host.others[2] = ProcessSighting.ABSENT

    assert await bench.after_s(0.5) == ["loop-2"]


async def test_a_stopped_process_has_its_run_looked_at_and_a_paused_one_that_goes_on_too() -> None:
    bench = Bench(1)
    bench.host.others[1] = ProcessSighting.STOPPED
    assert await bench.after_s(0.5) == ["loop-1"]

    paused = Bench(1, Liveness.PAUSED)
    assert await paused.after_s(0.5) == ["loop-1"]


async def test_who_is_as_expected_or_not_ours_to_judge_is_left_alone() -> None:
    assert await Bench(3).after_s(3.5) == []
    for liveness in (Liveness.GONE, Liveness.FOREIGN, Liveness.UNKNOWN, Liveness.NONE):
        bench = Bench(1, liveness)
        assert await bench.after_s(1.5) == []
        assert bench.host.asked == []


async def test_a_large_fleet_takes_turns_and_nobody_is_left_out() -> None:
    bench = Bench(2 * AT_ONCE_MAX + 100)

    await bench.after_s(0.5)
    assert len(bench.host.asked) == AT_ONCE_MAX
    await bench.after_s(2.5)

    assert set(bench.host.asked) == set(range(1, 2 * AT_ONCE_MAX + 101))
