"""Turns the deadlines of the wake list into triggers when their moments come."""

from collections.abc import Callable, Sequence
from datetime import datetime

from opsd.logs import Log
from opsd.model.ids import LoopId
from opsd.ports import Clock
from opsd.supervisor.bell import Bell
from opsd.supervisor.wakes import WakeList

# A step of the wall clock is noticed within so many seconds.
_LOOK_AT_CLOCK_S = 1.0


class Alarms:
    """`trigger` is called with the loops whose deadline has come."""

    def __init__(self, trigger: Callable[[Sequence[LoopId]], None], *, clock: Clock, log: Log) -> None:
        self._trigger = trigger
        self._clock = clock
        self._log = log
        self._wakes = WakeList()
        self._bell = Bell(clock)
        self._asleep_until_s = 0.0

    def put(self, loop_id: LoopId, when: datetime | None) -> None:
        """Replaces the loop's deadline; None takes it away."""
        self._wakes.put(loop_id, when, now=self._clock.now(), now_s=self._clock.monotonic())
        next_s = self._wakes.next_s()
        if next_s is not None and next_s < self._asleep_until_s:
            self._bell.ring()

    def forget(self, loop_id: LoopId) -> None:
        self._wakes.forget(loop_id)

    async def serve(self, beat: Callable[[], None]) -> None:
        while True:
            now, now_s = self._clock.now(), self._clock.monotonic()
            steps = self._wakes.clock_steps
            due = self._wakes.due(now=now, now_s=now_s)
            if due:
                self._trigger(due)
            if self._wakes.clock_steps != steps:
                self._log.warning("clock.stepped", deadlines=len(self._wakes))
            beat()
            next_s = self._wakes.next_s()
            latest_s = now_s + _LOOK_AT_CLOCK_S
            self._asleep_until_s = latest_s if next_s is None else min(next_s, latest_s)
            await self._bell.wait(self._asleep_until_s)

    def __len__(self) -> int:
        return len(self._wakes)
