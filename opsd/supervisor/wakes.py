"""When to look at a loop although nothing changes: one list of deadlines for the whole fleet.

Deadlines are instants of the wall clock (a threshold is crossed at a time of day); we wait by the monotonic clock. What
happens at a deadline is a trigger in `queue`; which deadline a loop has is `opsd.core.wake`.
"""

import heapq
from datetime import datetime

import msgspec

from opsd.model.ids import LoopId

CLOCK_STEP_S = 1.0
"""Wall time may drift from monotonic time by so much before the deadlines are mapped anew."""


class _Wake(msgspec.Struct, gc=False):
    when: datetime
    due_s: float


class WakeList:
    """At most one deadline per loop: the newest decision replaces the one before.

    `now` (wall) and `now_s` (monotonic) are two readings of the same moment.
    """

    def __init__(self) -> None:
        self._wakes: dict[LoopId, _Wake] = {}
        self._heap: list[tuple[float, LoopId]] = []
        self._offset_s: float | None = None
        self.clock_steps = 0
        """How often the wall clock was found to have been set."""

    def put(self, key: LoopId, when: datetime | None, *, now: datetime, now_s: float) -> None:
        """Look at `key` at `when`; None where time alone changes nothing about it."""
        if when is None:
            self._wakes.pop(key, None)
            return
        known = self._wakes.get(key)
        if known is not None and known.when == when:
            return
        self._push(key, when, now, now_s)
        # A busy loop moves its deadline with every event, and leaves the old one in the heap until its time comes.
        if len(self._heap) > 4 * len(self._wakes) + 64:
            self._map_anew(now, now_s)

    def forget(self, key: LoopId) -> None:
        self._wakes.pop(key, None)

    def due(self, *, now: datetime, now_s: float) -> list[LoopId]:
        """The loops whose deadline has come, each once, earliest first."""
        self._follow_clock(now, now_s)
        ready = []
        while self._heap and self._heap[0][0] <= now_s:
            due_s, key = heapq.heappop(self._heap)
            if self._is_current(due_s, key):
                del self._wakes[key]
                ready.append(key)
        return ready

    def next_s(self) -> float | None:
        """The monotonic second of the earliest deadline."""
        while self._heap and not self._is_current(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._wakes)

    def _follow_clock(self, now: datetime, now_s: float) -> None:
        """After a step of the wall clock every deadline lies elsewhere on the monotonic one."""
        offset_s = now.timestamp() - now_s
        if self._offset_s is not None and abs(offset_s - self._offset_s) <= CLOCK_STEP_S:
            return
        self.clock_steps += self._offset_s is not None
        self._offset_s = offset_s
        self._map_anew(now, now_s)

    def _map_anew(self, now: datetime, now_s: float) -> None:
        self._heap.clear()
        for key, wake in self._wakes.items():
            self._push(key, wake.when, now, now_s)

    def _push(self, key: LoopId, when: datetime, now: datetime, now_s: float) -> None:
        due_s = now_s + (when - now).total_seconds()
        self._wakes[key] = _Wake(when, due_s)
        heapq.heappush(self._heap, (due_s, key))

    def _is_current(self, due_s: float, key: LoopId) -> bool:
        wake = self._wakes.get(key)
        return wake is not None and wake.due_s == due_s
