"""An offload without threads, one whose work the test lets go on, and one that nobody hears from again."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.lowlevel

R = TypeVar("R")


class Inline:
    """`opsd.ports.Offload` on the spot, so that a test knows when the work is done."""

    async def run(self, work: Callable[[], R], /) -> R:
        await anyio.lowlevel.checkpoint()
        return work()


class Held:
    """`opsd.ports.Offload` whose work waits until the test releases it: a disk that hangs, `held` from the start."""

    def __init__(self, *, held: bool = True) -> None:
        self.waiting = 0
        self._released = anyio.Event()
        if not held:
            self._released.set()

    async def run(self, work: Callable[[], R], /) -> R:
        self.waiting += 1
        await self._released.wait()
        self.waiting -= 1
        return work()

    def hold(self) -> None:
        self._released = anyio.Event()

    def release(self) -> None:
        self._released.set()


class Lost:
    """`opsd.ports.Offload` that does the work, and whose caller dies before it hears of it."""

    def __init__(self) -> None:
        self.done = 0

    async def run(self, work: Callable[[], R], /) -> R:
        work()
        self.done += 1
        await anyio.sleep_forever()
        raise AssertionError("nobody wakes it")
