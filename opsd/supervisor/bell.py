"""How a task of the daemon waits: until somebody rings, or until a moment has come, whichever is first."""

import anyio
import anyio.lowlevel

from opsd.ports import Clock


class Bell:
    """One task waits, anyone rings. A ring while nobody waits is kept; many rings are one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = anyio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, until_s: float | None = None) -> None:
        """Returns at once if it was rung since the last return; `until_s` is by the monotonic clock."""
        if until_s is None or self._rung.is_set():
            await self._rung.wait()
        elif until_s > self._clock.monotonic():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._ring_at, until_s, name="alarm")
                await self._rung.wait()
                tasks.cancel_scope.cancel()
        else:
            await anyio.lowlevel.checkpoint()
        self._rung = anyio.Event()

    async def _ring_at(self, until_s: float) -> None:
        await self._clock.sleep_until(until_s)
        self._rung.set()
