"""Time for a whole daemon that runs on a virtual clock: an event loop that never waits, and threads that dawdle.

When every task waits for something, that is the moment at which time passes, up to whatever is due next.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any, TypeVar

import anyio.lowlevel

from tests.doubles.clock import VirtualClock

R = TypeVar("R")

Dawdle = tuple[float, float]
"""How often a thread is late, and by at most how many seconds."""


class _Selector(selectors.SelectSelector):
    """Has no news, ever. `idle` is called with how long nobody would mind waiting; None is for ever."""

    def __init__(self, idle: Callable[[float | None], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._idle(timeout)
        return []


class _Loop(asyncio.SelectorEventLoop):
    """Its timers go by the virtual clock, too."""

    def __init__(self, clock: VirtualClock, idle: Callable[[float | None], None]) -> None:
        self._clock = clock
        super().__init__(_Selector(idle))

    def time(self) -> float:
        return self._clock.monotonic()


def run(main: Callable[[], Coroutine[Any, Any, R]], clock: VirtualClock, idle: Callable[[float | None], None]) -> R:
    """`main` to its end. `idle` lets time pass: at most so many seconds, or raises where nothing will ever happen."""
    with asyncio.Runner(loop_factory=lambda: _Loop(clock, idle)) as runner:
        return runner.run(main())


class Dawdling:
    """`opsd.ports.Offload` on the spot, at a moment drawn by lot. `dead` is what the work raises of a dead process.

    Whoever is cancelled meanwhile does not keep the work from being done: a thread goes on.
    """

    def __init__(self, clock: VirtualClock, dice: Random, how: Dawdle, check: Callable[[], None]) -> None:
        self._clock, self._dice, self._how, self._check = clock, dice, how, check

    async def run(self, work: Callable[[], R], /) -> R:
        try:
            await self._dawdle()
        except BaseException:
            self._check()
            work()
            raise
        self._check()
        result = work()
        await self._dawdle()
        return result

    async def _dawdle(self) -> None:
        often, most_s = self._how
        if self._dice.random() < often:
            await self._clock.sleep_until(self._clock.monotonic() + self._dice.uniform(0.0, most_s))
        else:
            await anyio.lowlevel.checkpoint()


def dawdles(dice: Random) -> Mapping[str, Dawdle]:
    """How late the threads of one history are."""
    slow = dice.random() < 0.3
    return {
        "passes": (0.3, 0.2) if slow else (0.02, 0.05),
        "looks": (0.2, 0.2) if slow else (0.05, 0.1),
        "commits": (0.3, 0.3) if slow else (0.1, 0.1),
        "acts": (0.7, 1.5) if slow else (0.5, 0.4),
    }
