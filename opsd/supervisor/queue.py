"""Which loop is looked at next: a work queue of names, deterministic and without a clock of its own.

A trigger says that something may have changed, never what: ten triggers of a waiting loop are one pass, and a trigger
of a loop that is being looked at is one more pass afterwards. Running the passes is `passing`; waiting is `bell`.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

import msgspec

from opsd.model.ids import LoopId
from opsd.supervisor.backoff import Backoff


class _Delayed(msgspec.Struct, gc=False):
    """A loop that failed: not looked at before `due_s`, unless news or an operator come first."""

    due_s: float
    earliest_s: float


class WorkQueue:
    """Fair by order of arrival: whoever comes again, for whatever reason, stands behind all who wait already.

    So a loop waits at most until every loop that was waiting before it has been taken once. All times are monotonic
    seconds, handed in; they must not go backwards. `jitter` gives a number from 0 up to 1.
    """

    def __init__(self, *, retry: Backoff, jitter: Callable[[], float]) -> None:
        self._retry = retry
        self._jitter = jitter
        self._waiting: OrderedDict[LoopId, float] = OrderedDict()
        self._delayed: dict[LoopId, _Delayed] = {}
        self._due: list[tuple[float, LoopId]] = []
        self._failures: dict[LoopId, int] = {}
        self._running: set[LoopId] = set()
        # Triggered while running, and whether an operator was among those who asked.
        self._dirty: dict[LoopId, bool] = {}
        self._forgotten: set[LoopId] = set()
        self._holders: dict[LoopId, deque[Callable[[], None]]] = {}

    def add(self, key: LoopId, now_s: float, *, asked: bool = False) -> None:
        """Something may have changed about `key`; `asked` is an operator's request and ends a backoff at once.

        Other news shorten a backoff too, since they may be the cure, but to no less than the first step of the ladder
        after the failure: a broken loop that is written to all the time costs one pass per step.
        """
        self._forgotten.discard(key)
        if key in self._running:
            self._dirty[key] = asked or self._dirty.get(key, False)
        elif key in self._waiting:
            return
        elif (delayed := self._delayed.get(key)) is None or asked:
            self._delayed.pop(key, None)
            self._waiting[key] = now_s
        elif delayed.earliest_s < delayed.due_s:
            self._delay(key, delayed.earliest_s, delayed.earliest_s)

    def take(self, most: int, now_s: float) -> list[LoopId]:
        """Up to `most` loops to look at now, longest waiting first. Each must be given back with `done`."""
        self._promote(now_s)
        taken = [self._waiting.popitem(last=False)[0] for _ in range(min(most, len(self._waiting)))]
        self._running.update(taken)
        return taken

    def hold(self, key: LoopId, granted: Callable[[], None]) -> None:
        """Keep passes away from `key`, which need be no loop of the fleet; `granted` is called once nobody else has it.

        Holders come before passes, and among each other in order. What waited for a pass is the holder's to look at;
        a backoff ends. Given back with `done`, or with `unhold` by one who was not granted it yet.
        """
        if key in self._running:
            self._holders.setdefault(key, deque()).append(granted)
            return
        self._waiting.pop(key, None)
        self._delayed.pop(key, None)
        self._running.add(key)
        granted()

    def unhold(self, key: LoopId, granted: Callable[[], None]) -> None:
        """That holder waits no longer."""
        holders = self._holders[key]
        holders.remove(granted)
        if not holders:
            del self._holders[key]

    def done(self, key: LoopId, now_s: float, *, failed: bool = False, again: bool = False) -> None:
        """The pass of a taken loop ended. `again` asks for another one at once (there is a backlog)."""
        if holders := self._holders.get(key):
            if again or failed:
                self._dirty.setdefault(key, False)
            granted = holders[0]
            self.unhold(key, granted)
            granted()
            return
        self._running.remove(key)
        dirty = self._dirty.pop(key, None)
        if key in self._forgotten:
            self._forgotten.remove(key)
        elif not failed:
            self._failures.pop(key, None)
            if again or dirty is not None:
                self._waiting[key] = now_s
        else:
            attempt = self._failures.get(key, 0) + 1
            self._failures[key] = attempt
            if dirty:
                self._waiting[key] = now_s
                return
            earliest_s = now_s + self._retry.first_s
            due_s = now_s + self._retry.delay_s(attempt, self._jitter())
            self._delay(key, due_s if dirty is None else min(due_s, earliest_s), earliest_s)

    def forget(self, key: LoopId) -> None:
        """The loop left the fleet; a pass that is under way ends without consequence."""
        self._waiting.pop(key, None)
        self._delayed.pop(key, None)
        self._failures.pop(key, None)
        self._dirty.pop(key, None)
        if key in self._running:
            self._forgotten.add(key)

    def next_s(self, now_s: float) -> float | None:
        """When there is something to take: `now_s` if already, None if nothing waits."""
        if self._waiting:
            return now_s
        while self._due and not self._is_current(*self._due[0]):
            heapq.heappop(self._due)
        return max(now_s, self._due[0][0]) if self._due else None

    def oldest_wait_s(self, now_s: float) -> float:
        """For how long the first in the line has been waiting; 0 where nobody does."""
        return now_s - next(iter(self._waiting.values())) if self._waiting else 0.0

    def is_running(self, key: LoopId) -> bool:
        return key in self._running

    @property
    def depth(self) -> int:
        return len(self._waiting)

    @property
    def delayed(self) -> int:
        return len(self._delayed)

    @property
    def running(self) -> Sequence[LoopId]:
        return tuple(self._running)

    def _delay(self, key: LoopId, due_s: float, earliest_s: float) -> None:
        self._delayed[key] = _Delayed(due_s, earliest_s)
        heapq.heappush(self._due, (due_s, key))

    def _promote(self, now_s: float) -> None:
        while self._due and self._due[0][0] <= now_s:
            due_s, key = heapq.heappop(self._due)
            if self._is_current(due_s, key):
                del self._delayed[key]
                self._waiting[key] = now_s

    def _is_current(self, due_s: float, key: LoopId) -> bool:
        """Whether an entry of the heap still stands: an earlier retry or an operator may have overtaken it."""
        delayed = self._delayed.get(key)
        return delayed is not None and delayed.due_s == due_s
