"""A clock that only a test moves. Sleepers wake in the order of their deadlines."""

import heapq
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """`opsd.ports.Clock`; `step` moves the wall clock alone, as an administrator or a time server would."""

    def __init__(self, now: datetime = EPOCH, monotonic_s: float = 1_000.0) -> None:
        self._now = now
        self._monotonic_s = monotonic_s
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._count = 0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic_s

    async def sleep_until(self, monotonic_s: float) -> None:
        if monotonic_s <= self._monotonic_s:
            await anyio.lowlevel.checkpoint()
            return
        woken = anyio.Event()
        self._count += 1
        heapq.heappush(self._sleepers, (monotonic_s, self._count, woken))
        await woken.wait()

    def step(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    def pass_by(self, seconds: float) -> None:
        """Time passes without anyone running meanwhile: for what needs no task."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    @property
    def next_s(self) -> float:
        """When the next sleeper is to be woken; infinity where nobody sleeps."""
        return self._sleepers[0][0] if self._sleepers else float("inf")

    def wake_next(self) -> None:
        """It is that moment: for a test that lets time pass by itself."""
        heapq.heappop(self._sleepers)[2].set()

    async def advance(self, seconds: float) -> None:
        """Time passes, and every task whose moment comes meanwhile runs at that very moment."""
        await settle()
        end_s = self._monotonic_s + seconds
        while self._sleepers and self._sleepers[0][0] <= end_s:
            due_s, _, woken = heapq.heappop(self._sleepers)
            self.pass_by(max(0.0, due_s - self._monotonic_s))
            woken.set()
            await settle()
        self.pass_by(max(0.0, end_s - self._monotonic_s))
        await settle()


async def settle() -> None:
    """Let every task run until all of them wait for something."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()
