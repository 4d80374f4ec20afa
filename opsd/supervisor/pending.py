"""What waits to be written, gathered per loop until the next commit. Pure: no clock, no file, no task.

Rows accumulate in their order; of a document only the newest version is kept, so a disk that is full for a day costs
one picture per loop. Writing is `opsd.store.commit`; when it happens is `commits`.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.ids import LoopId
from opsd.store.commit import CommitFailure, LoopCommit
from opsd.supervisor.backoff import Backoff

# Which rows are given up first when a disk stays full: samples that more samples will follow, then what can be found
# in the event log again. Escalations and intents are in no log but ours, and are never given up.
_EXPENDABLE: Mapping[Journal, int] = {
    Journal.RECONCILE: 0,
    Journal.HEARTBEAT: 0,
    Journal.SEQUENCE: 0,
    Journal.QUARANTINE: 1,
    Journal.RUNS: 2,
}


class _Loop:
    def __init__(self) -> None:
        self.rows: list[Append] = []
        self.documents: dict[Document, Replace] = {}
        self.attempt = 0
        self.not_before_s = 0.0
        self.when_written: list[Callable[[], None]] = []
        self.when_flushed: list[Callable[[], None]] = []
        self.when_refused: list[Callable[[CommitFailure], None]] = []


class Pending:
    """The effects of all loops that are not on the disk yet. Times are monotonic seconds, handed in.

    A commit takes some loops (`take`) and settles each of them (`written`, `failed`) before the next one takes more.
    """

    def __init__(self, *, retry: Backoff, jitter: Callable[[], float], rows_max: int = 50_000) -> None:
        self._retry = retry
        self._jitter = jitter
        self._rows_max = rows_max
        self._loops: dict[LoopId, _Loop] = {}
        self._taken: dict[LoopId, _Loop] = {}
        self._refused: set[LoopId] = set()
        self.row_count = 0
        self.dropped_rows: dict[Journal, int] = {}

    def add(self, loop_id: LoopId, effects: Iterable[Append | Replace]) -> None:
        loop = self._loops.get(loop_id)
        for effect in effects:
            if loop is None:
                loop = self._loops[loop_id] = _Loop()
            match effect:
                case Append():
                    loop.rows.append(effect)
                    self.row_count += 1
                    if self.row_count > self._rows_max:
                        self._give_up_one(loop)
                case Replace():
                    loop.documents[effect.document] = effect

    def take(self, most: int, now_s: float) -> list[LoopCommit]:
        """Up to `most` loops to write now, longest waiting first; those that failed lately only after their backoff."""
        ready = (loop_id for loop_id, loop in self._loops.items() if loop.not_before_s <= now_s)
        for loop_id in list(itertools.islice(ready, most)):
            self._taken[loop_id] = self._loops.pop(loop_id)
        return [LoopCommit(loop_id, (*loop.rows, *loop.documents.values())) for loop_id, loop in self._taken.items()]

    def settle(self, failures: Sequence[CommitFailure], now_s: float) -> None:
        """Every loop taken is on the disk, except for what is left of the failed ones."""
        failed = {failure.loop_id: failure for failure in failures}
        recovered = False
        for loop_id, loop in self._taken.items():
            self.row_count -= len(loop.rows)
            if loop_id in failed:
                self._put_back(loop_id, loop, failed[loop_id].rest, now_s)
                for refused in loop.when_refused:
                    refused(failed[loop_id])
            else:
                recovered |= loop_id in self._refused
                self._refused.discard(loop_id)
                for heard in (*loop.when_flushed, *loop.when_written):
                    heard()
        self._taken.clear()
        self._refused |= failed.keys()
        if recovered:
            # The disk takes writes again: nobody waits out a backoff that was earned while it did not.
            self.retry_now()

    def call_when_written(self, loop_id: LoopId, written: Callable[[], None]) -> None:
        """Call `written` once all that was added for the loop so far is on the disk: at once if it already is."""
        loop = self._loops.get(loop_id) or self._taken.get(loop_id)
        if loop is None:
            written()
        else:
            loop.when_written.append(written)

    def call_when_flushed(self, loop_id: LoopId, flushed: Callable[[], None]) -> None:
        """Call `flushed` once the durable rows that were added for the loop so far are on the disk, though other things
        may still wait: at once if they already are."""
        loop = self._loops.get(loop_id) or self._taken.get(loop_id)
        if loop is None:
            flushed()
        else:
            loop.when_flushed.append(flushed)

    def call_when_refused(self, loop_id: LoopId, refused: Callable[[CommitFailure], None]) -> None:
        """Call `refused` if the next attempt to write for the loop fails."""
        loop = self._loops.get(loop_id) or self._taken.get(loop_id)
        if loop is not None:
            loop.when_refused.append(refused)

    def next_s(self, now_s: float) -> float | None:
        """When there is something to take; None if all is on the disk."""
        if not self._loops:
            return None
        if len(self._loops) > len(self._refused):
            return now_s
        return max(now_s, min(loop.not_before_s for loop in self._loops.values()))

    def retry_now(self) -> None:
        """End every backoff."""
        for loop in self._loops.values():
            loop.not_before_s = 0.0

    @property
    def refused(self) -> Collection[LoopId]:
        """The loops whose last write failed."""
        return self._refused

    @property
    def loop_count(self) -> int:
        return len(self._loops) + len(self._taken)

    def _put_back(self, loop_id: LoopId, loop: _Loop, rest: Iterable[Append | Replace], now_s: float) -> None:
        """What is left goes in front of what came meanwhile."""
        newer = self._loops.get(loop_id) or _Loop()
        old = _Loop()
        for effect in rest:
            match effect:
                case Append():
                    old.rows.append(effect)
                case Replace():
                    old.documents[effect.document] = effect
        if not any(row.durable for row in old.rows):
            for flushed in loop.when_flushed:
                flushed()
            loop.when_flushed = []
        self.row_count += len(old.rows)
        newer.rows[:0] = old.rows
        newer.documents = old.documents | newer.documents
        newer.when_written[:0] = loop.when_written
        newer.when_flushed[:0] = loop.when_flushed
        newer.attempt = loop.attempt + 1
        newer.not_before_s = now_s + self._retry.delay_s(newer.attempt, self._jitter())
        self._loops[loop_id] = newer

    def _give_up_one(self, loop: _Loop) -> None:
        """The oldest of the most expendable rows of the loop that brought one too many; counted, never silent."""
        worth = min((_EXPENDABLE[row.journal] for row in loop.rows if row.journal in _EXPENDABLE), default=None)
        if worth is None:
            return
        index = next(i for i, row in enumerate(loop.rows) if _EXPENDABLE.get(row.journal) == worth)
        journal = loop.rows.pop(index).journal
        self.row_count -= 1
        self.dropped_rows[journal] = self.dropped_rows.get(journal, 0) + 1
