"""Parts that fail are started again, or end the daemon; parts that fall silent are not well."""

from collections.abc import Callable

import anyio
import pytest
from structlog.testing import capture_logs

from opsd.logs import logger
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.services import FAILURES_MAX, GaveUp, Service, Services
from tests.doubles.clock import VirtualClock, settle


class Part:
    """A part of the daemon that fails as often as it is told to, then runs."""

    def __init__(self, clock: VirtualClock, failures: int) -> None:
        self.starts = 0
        self.is_silent = False
        self._clock = clock
        self._failures = failures

    async def serve(self, beat: Callable[[], None]) -> None:
        self.starts += 1
        if self.starts <= self._failures:
            raise OSError("the kernel said no")
        while True:
            if not self.is_silent:
                beat()
            await self._clock.sleep_until(self._clock.monotonic() + 1)


class Bench:
    def __init__(self, failures: int = 0) -> None:
        self.clock = VirtualClock()
        self.findings = DaemonFindings()
        self.part = Part(self.clock, failures)
        self.services = Services(
            [Service("part", self.part.serve, in_time_s=5.0)],
            clock=self.clock,
            findings=self.findings,
            log=logger(),
        )

    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings.current(self.clock.now())]


async def test_a_part_that_fails_is_said_to_and_started_again() -> None:
    bench = Bench(failures=2)
    with capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.services.run)
            await settle()
            (part,) = bench.services.subsystems()
            assert not part.ok
            assert part.detail == "OSError: the kernel said no"
            assert bench.codes() == ["subsystem_failed"]

            await bench.clock.advance(10)

            (part,) = bench.services.subsystems()
            assert part.ok
            assert bench.codes() == []
            tasks.cancel_scope.cancel()
    assert [line["event"] for line in lines] == ["service.failed", "service.failed"]


async def test_a_part_that_cannot_be_mended_ends_everything() -> None:
    """A daemon without its passes would look alive and do nothing."""
    bench = Bench(failures=1_000)

    async def supervise_for_ten_minutes() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.services.run)
            await bench.clock.advance(600)

    with capture_logs(), pytest.raises(ExceptionGroup) as ended:
        await supervise_for_ten_minutes()
    assert bench.part.starts == FAILURES_MAX
    assert ended.group_contains(GaveUp, match="part failed 5 times in a row")


async def test_failures_far_apart_are_not_in_a_row() -> None:
    bench = Bench()
    starts = 0

    async def fails_every_two_minutes(beat: Callable[[], None]) -> None:
        nonlocal starts
        starts += 1
        await bench.clock.sleep_until(bench.clock.monotonic() + 120)
        raise OSError("again")

    services = Services(
        [Service("part", fails_every_two_minutes, in_time_s=None)],
        clock=bench.clock,
        findings=bench.findings,
        log=logger(),
    )
    with capture_logs():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(services.run)
            await bench.clock.advance(3_600)
            tasks.cancel_scope.cancel()

    assert starts > 2 * FAILURES_MAX


async def test_a_part_that_falls_silent_is_not_well() -> None:
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.services.run)
        await bench.clock.advance(60)
        assert bench.services.subsystems()[0].ok

        bench.part.is_silent = True
        await bench.clock.advance(10)

        (part,) = bench.services.subsystems()
        assert not part.ok
        assert part.age_s is not None
        assert part.age_s >= 5
        tasks.cancel_scope.cancel()
