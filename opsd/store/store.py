"""The store as its users see it: what was there, what is written now, and the rows of before.

Everything is synchronous and batch-shaped, for a worker thread. One process per home may write (`lock`); any may read.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.ports import Files
from opsd.store.append import Appender
from opsd.store.commit import Committed, Committer, LoopCommit
from opsd.store.journal import RETENTION, Retention, Tail, generations, read_tail
from opsd.store.layout import Layout
from opsd.store.load import Loader, StoredLoop


class Store:
    """Our own files of every loop of one home. Only `rows` may be called while another call is under way."""

    def __init__(self, layout: Layout, files: Files, retention: Mapping[Journal, Retention] = RETENTION) -> None:
        self._layout = layout
        self._files = files
        self._retention = retention
        self._loader = Loader(layout, files, retention)
        self._appender = Appender(layout, files, retention)
        self._committer = Committer(layout, files, self._appender)

    def load(self, loop_ids: Sequence[LoopId], now: datetime, *, mend: bool = True) -> list[StoredLoop]:
        """What is on the disk of each loop, in order. A loop never seen before is an empty `StoredLoop`.

        Readers that do not hold the home's lock pass `mend=False`, and nothing is moved.
        """
        return [self._loader.load(loop_id, now, mend=mend) for loop_id in loop_ids]

    def commit(self, batch: Sequence[LoopCommit], now: datetime) -> Committed:
        """See `opsd.store.commit`: the cursor is never ahead of what it stands for, whatever happens in between."""
        return self._committer.commit(batch, now)

    def rows(self, loop_id: LoopId, journal: Journal, *, limit: int, since: datetime | None = None) -> Tail:
        """The newest rows, at most `limit` and none before `since`, across rotations, oldest first."""
        path = self._layout.journal(loop_id, journal)
        return read_tail(self._files, generations(path, self._retention[journal]), rows_max=limit, since=since)

    def forget(self, loop_id: LoopId) -> None:
        """The loop is no longer supervised; its files stay."""
        self._appender.doubt(loop_id)
