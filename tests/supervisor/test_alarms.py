from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
from structlog.testing import capture_logs

from opsd.logs import logger
from opsd.model.ids import LoopId
from opsd.supervisor.alarms import Alarms
from tests.doubles.clock import VirtualClock

A, B = LoopId("a"), LoopId("b")


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.triggered: list[tuple[float, LoopId]] = []
        self.began_s = self.clock.monotonic()
        self.alarms = Alarms(self._trigger, clock=self.clock, log=logger())

    def _trigger(self, loop_ids: Sequence[LoopId]) -> None:
        self.triggered += [(self.clock.monotonic() - self.began_s, loop_id) for loop_id in loop_ids]

    def put(self, loop_id: LoopId, in_s: float) -> None:
        self.alarms.put(loop_id, self.clock.now() + timedelta(seconds=in_s))


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.alarms.serve, lambda: None)
        yield bench
        tasks.cancel_scope.cancel()


async def test_a_loop_is_triggered_at_its_very_deadline() -> None:
    """A loop is stale when it becomes stale, not at the next full second after."""
    async with running() as bench:
        bench.put(A, 300.25)
        await bench.clock.advance(1_000)

        assert bench.triggered == [(300.25, A)]


async def test_a_nearer_deadline_that_comes_later_is_kept_too() -> None:
    async with running() as bench:
        bench.put(A, 100)
        await bench.clock.advance(50.5)
        bench.put(B, 0.125)
        await bench.clock.advance(100)

        assert bench.triggered == [(50.625, B), (100, A)]


async def test_a_clock_that_is_set_forward_is_noticed_within_a_second() -> None:
    with capture_logs() as lines:
        async with running() as bench:
            bench.put(A, 3_600)
            await bench.clock.advance(10.5)
            bench.clock.step(3_600)
            await bench.clock.advance(1)

            assert [loop_id for _, loop_id in bench.triggered] == [A]
    assert [line["event"] for line in lines] == ["clock.stepped"]
