"""Appending rows to the journals of many loops: mending what a crash left, rotating what has grown too large.

No file is held open between rows. Reading is `journal`; the order of writes within a commit is `commit`.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.ports import Files
from opsd.store import conditions, intents
from opsd.store.faults import StoreCode, StoreFault, in_words
from opsd.store.journal import Retention, generations, newest_first, read_tail
from opsd.store.layout import Layout, rotated, set_aside

_TORN_CHUNK_BYTES = 1 << 16


class Appended(msgspec.Struct, frozen=True, gc=False):
    """`size_before` is where the rows begin: cutting the file there takes them back."""

    path: str
    size_before: int


class Appender:
    """Belongs to the one writer of a home; not for two threads at once."""

    def __init__(self, layout: Layout, files: Files, retention: Mapping[Journal, Retention]) -> None:
        self._layout = layout
        self._files = files
        self._retention = retention
        # Journals known to end in a newline and to have room. Thousands of loops: no sizes, no descriptors.
        self._ready: dict[LoopId, set[Journal]] = {}

    def prepare(self, loop_id: LoopId, journal: Journal, now: datetime) -> list[StoreFault]:
        """Look at a journal before the first row after a start, a failure, or its limit; what had to be done about it.

        Raises:
            OSError: its torn tail could not be cut off, so nothing may be appended to it.
        """
        ready = self._ready.setdefault(loop_id, set())
        if journal in ready:
            return []
        path = self._layout.journal(loop_id, journal)
        found = self._files.stat(path)
        faults = []
        if found is not None and found.size_bytes:
            _, last = self._files.read(path, found.size_bytes - 1, 1)
            if last != b"\n":
                faults.append(self._cut_torn_tail(loop_id, path, found.size_bytes, now))
            if found.size_bytes > self._retention[journal].size_bytes:
                faults.extend(self._rotate(loop_id, journal, path))
        ready.add(journal)
        return faults

    def append(self, loop_id: LoopId, journal: Journal, data: bytes) -> Appended:
        """Whole lines, not flushed: the commit flushes many journals together.

        Raises:
            OSError: nothing of `data` was written.
        """
        path = self._layout.journal(loop_id, journal)
        try:
            size_bytes = self._files.append(path, data, sync=False)
        except FileNotFoundError:
            self._files.make_dirs(path.rpartition("/")[0])
            size_bytes = self._files.append(path, data, sync=False)
        if size_bytes > self._retention[journal].size_bytes:
            self._ready[loop_id].discard(journal)
        return Appended(path, size_bytes - len(data))

    def doubt(self, loop_id: LoopId) -> None:
        """After a failure, or when the loop is gone: nothing is known of its journals any more."""
        self._ready.pop(loop_id, None)

    def _cut_torn_tail(self, loop_id: LoopId, path: str, size_bytes: int, now: datetime) -> StoreFault:
        chunk_bytes, torn = _TORN_CHUNK_BYTES, b""
        while len(torn) < size_bytes:
            start = max(0, size_bytes - chunk_bytes)
            _, tail = self._files.read(path, start, size_bytes - start)
            torn = tail[tail.rfind(b"\n") + 1 :]
            if len(torn) < len(tail):
                break
            chunk_bytes *= 2
        aside = set_aside(path, "torn", now)
        self._files.append(aside, torn, sync=True)
        self._files.truncate(path, size_bytes - len(torn))
        return StoreFault(
            loop_id,
            path,
            StoreCode.CORRUPT,
            f"the last line had no end ({len(torn)} bytes, from a crash while it was written) and was cut off",
            aside,
        )

    def _rotate(self, loop_id: LoopId, journal: Journal, path: str) -> list[StoreFault]:
        try:
            files, retention = self._files, self._retention[journal]
            carried = self._carried(journal, path)
            if journal is Journal.INTENT_LOG:
                self._copy_and_replace(path, carried, retention)
                return []
            self._shift(path, retention)
            files.rename(path, rotated(path, 1))
            if carried:
                files.append(path, b"".join(row + b"\n" for row in carried), sync=True)
        except OSError as error:
            # No reason to lose rows: the journal grows past its limit, and the next row tries again.
            return [StoreFault(loop_id, path, StoreCode.UNWRITABLE, f"not rotated: {in_words(error)}")]
        return []

    def _shift(self, path: str, retention: Retention) -> None:
        """A gap left by a crash in the midst of this is filled, not shifted along until it costs the oldest rows."""
        files = self._files
        free = next((age for age in range(1, retention.kept) if files.stat(rotated(path, age)) is None), retention.kept)
        for age in range(free - 1, 0, -1):
            files.rename(rotated(path, age), rotated(path, age + 1))

    def _copy_and_replace(self, path: str, carried: tuple[bytes, ...], retention: Retention) -> None:
        """There is never a moment without the file, or without an open intent in it.

        So a reader may take a missing file for a loop that was never asked anything, and a crash costs a copy at most:
        of a row that stands twice the newer one holds, and the two are the same.
        """
        files, copy = self._files, rotated(path, 1)
        found, _ = files.read(path, 0, 0)
        _, whole = files.read(path, 0, found.size_bytes)
        before = files.stat(copy)
        if before is None or not whole.startswith(files.read(copy, 0, before.size_bytes)[1]):
            self._shift(path, retention)
        # else an interrupted rotation has copied this file before: made room for again, it would cost the oldest rows.
        files.replace(copy, whole, sync=True)
        files.replace(path, b"".join(row + b"\n" for row in carried), sync=True)

    def _carried(self, journal: Journal, path: str) -> tuple[bytes, ...]:
        """The rows that must stand in the new file as well, because a reader of it alone would judge wrongly.

        All generations are asked: a crash may have kept the last rotation from carrying them.
        """
        paths = generations(path, self._retention[journal])
        match journal:
            case Journal.ESCALATIONS:
                return conditions.fold(newest_first(self._files, paths)).open_rows
            case Journal.INTENT_LOG:
                return intents.carried(self._files, paths)
            case Journal.INTENTS:
                return read_tail(self._files, paths, rows_max=1).rows
            case _:
                return ()
