"""Lossless ingest of an event log by byte offset: every line once, in order, across append, truncation and replacement.

What a line says is `opsd.transports.lines`, whether the log is still itself is `opsd.transports.stream`. Nothing is
written here: the position goes out with the batch, and whoever stores it decides that the batch has been taken.
"""

import errno
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from opsd.model.cursor import Cursor, Stream
from opsd.model.observation import QuarantinedLine, StreamChange
from opsd.model.runtime import EventLine
from opsd.ports import Files, FileStat
from opsd.transports.lines import HEAD_BYTES, LineReader, quarantined_line
from opsd.transports.small import is_clean
from opsd.transports.stream import change_of, moved, window_start

_SLICE_BYTES = 1024 * 1024
HEAD_EVERY = timedelta(seconds=10)
"""How often the head of a log that grows is compared again: that costs a read of its own."""


class Limits(msgspec.Struct, frozen=True):
    """What one pass takes at the most, so that a long log is caught up in slices while other loops go on.

    `lines_per_pass` counts events and bad lines. A line longer than `line_bytes` is quarantined unread.
    """

    bytes_per_pass: int = 4 * 1024 * 1024
    lines_per_pass: int = 20_000
    line_bytes: int = 8 * 1024 * 1024


STANDARD_LIMITS = Limits()


class TailBatch(msgspec.Struct, frozen=True):
    """The lines after a cursor, and where the next look goes on. The members are those of `Seen`."""

    events: Sequence[EventLine]
    lines: Sequence[int]
    last_raw: bytes
    quarantined: Sequence[QuarantinedLine]
    line_offset: int
    stream: Stream
    change: StreamChange | None = None
    backlog_bytes: int = 0


class _Place(msgspec.Struct, frozen=True):
    """Where to read on: `window` is the log from `start` on, and `found` the file it is from."""

    found: FileStat
    start: int
    window: bytes
    epoch: int
    offset: int
    line: int
    known: Stream | None = None
    change: StreamChange | None = None

    @property
    def ahead(self) -> bytes:
        return self.window[self.offset - self.start :]

    @property
    def cut(self) -> bool:
        """Whether the file goes on behind the window."""
        return self.start + len(self.window) < self.found.size_bytes


class LogTail:
    """Follows one log. What it remembers between looks only saves work: a new one gives the same answers."""

    def __init__(self, limits: Limits = STANDARD_LIMITS) -> None:
        self._limits = limits
        self._seen: tuple[FileStat, Stream] | None = None
        # Of which file the head was last compared, and when.
        self._head_seen: tuple[int, str, datetime] | None = None
        self._skim: _Skim | None = None

    def look(
        self, files: Files, path: str, cursor: Cursor | None, now: datetime, *, from_start: bool = False
    ) -> TailBatch:
        """What follows `cursor`, within the limits.

        A last line without newline waits, however long. Without a cursor, or with `from_start`, the log is read from
        line 1. A cursor that has no stream is the reference manager's, one by line that of a log read over a service:
        its lines are counted once.

        Raises:
            FileNotFoundError: there is no log.
            OSError: it cannot be read, or is no regular file (EINVAL).
        """
        # The stat comes before the read: whatever is appended in between makes the next stat differ.
        stat = files.stat(path)
        if stat is None:
            raise FileNotFoundError(errno.ENOENT, "no such event log", path)
        stream = cursor.stream if cursor else None
        if cursor and stream and self._seen == (stat, stream) and not from_start:
            return TailBatch((), range(0), b"", (), cursor.event_line_offset, stream)

        place = self._place(files, path, cursor, now, from_start=from_start)
        batch = self._read_on(files, path, place)
        settled = batch.backlog_bytes == 0 and is_clean(stat, now)
        self._seen = (stat, batch.stream) if settled else None
        return batch

    def _place(self, files: Files, path: str, cursor: Cursor | None, now: datetime, *, from_start: bool) -> _Place:
        stream = cursor.stream if cursor else None
        if not cursor or not stream or stream.is_by_line or min(stream.byte_offset, stream.fingerprint_bytes) < 0:
            offset, line, change = _counted(files, path, cursor, from_start=from_start)
            epoch = (stream.epoch if stream else 0) + (change is StreamChange.TRUNCATED)
            return self._read_from(files, path, offset, line, epoch, change)

        place = self._read_from(files, path, stream.byte_offset, cursor.event_line_offset, stream.epoch, None)
        compares_head = not self._head_is_fresh(stream, now)
        change = change_of(files, path, stream, place.found, place.window, compares_head=compares_head)
        if compares_head:
            self._head_seen = (stream.inode, stream.fingerprint, now)
        if change is not None:
            return self._read_from(files, path, 0, 0, stream.epoch + 1, change)
        if from_start:
            return self._read_from(files, path, 0, 0, stream.epoch, StreamChange.CURSOR_RESET)
        return replace(place, known=stream)

    def _head_is_fresh(self, stream: Stream, now: datetime) -> bool:
        """Whether the head was compared a moment ago. A rewrite that keeps inode, length and the last 4 KiB before our
        position is found all the same, only that much later."""
        if self._head_seen is None:
            return False
        inode, fingerprint, at = self._head_seen
        return (inode, fingerprint) == (stream.inode, stream.fingerprint) and timedelta(0) <= now - at < HEAD_EVERY

    def _read_from(
        self, files: Files, path: str, offset: int, line: int, epoch: int, change: StreamChange | None
    ) -> _Place:
        start = window_start(offset)
        found, window = files.read(path, start, offset - start + self._limits.bytes_per_pass)
        return _Place(found, start, window, epoch, offset, line, change=change)

    def _read_on(self, files: Files, path: str, place: _Place) -> TailBatch:
        limits = self._limits
        reader = LineReader(place.line, place.offset, taken_max=limits.lines_per_pass, line_bytes_max=limits.line_bytes)
        if b"\n" not in place.ahead and place.cut and not self._skims(place):
            place = _widened(files, path, place, limits)
        if b"\n" in place.ahead:
            self._skim = None
            reader.take(place.ahead)
            backlog_bytes = place.found.size_bytes - reader.offset if reader.full or place.cut else 0
        elif self._skims(place) or len(place.ahead) > limits.line_bytes:
            self._skim = self._skim if self._skims(place) and self._skim else _Skim(place)
            backlog_bytes = self._skim.go_on(files, path, limits)
            if self._skim.line is not None:
                reader.set_aside(self._skim.line)
                self._skim = None
                place = _read(files, path, place, window_start(reader.offset), reader.offset)
        else:
            backlog_bytes = 0
        stream = moved(files, path, place.known, place.found, place.epoch, reader.offset, place.start, place.window)
        return TailBatch(
            events=reader.events,
            lines=reader.numbers,
            last_raw=reader.last_raw,
            quarantined=reader.quarantined,
            line_offset=reader.line,
            stream=stream,
            change=place.change,
            backlog_bytes=max(0, backlog_bytes),
        )

    def _skims(self, place: _Place) -> bool:
        return self._skim is not None and self._skim.is_of(place)


def _counted(
    files: Files, path: str, cursor: Cursor | None, *, from_start: bool
) -> tuple[int, int, StreamChange | None]:
    """Byte offset and line of a position that is known by its line only."""
    if cursor is None:
        return 0, 0, None
    if from_start or cursor.event_line_offset <= 0:
        return 0, 0, StreamChange.CURSOR_RESET if from_start else None
    offset, line, rest_bytes = offset_of_line(files, path, cursor.event_line_offset)
    if line == cursor.event_line_offset:
        return offset, line, None
    # The reference manager takes a last line before its newline is there. We take it again once it is whole:
    # a position in the middle of a line could not tell the line's end from a line of its own.
    if line == cursor.event_line_offset - 1 and rest_bytes:
        return offset, line, None
    return 0, 0, StreamChange.TRUNCATED


def _widened(files: Files, path: str, place: _Place, limits: Limits) -> _Place:
    """The same place with enough read ahead for one line of the permitted length: no line may block the way."""
    return _read(files, path, place, place.start, place.offset + limits.line_bytes + 1)


def _read(files: Files, path: str, place: _Place, start: int, end: int) -> _Place:
    found, window = files.read(path, start, end - start)
    return replace(place, found=found, start=start, window=window)


class _Skim:
    """Passes over one line that is longer than permitted, in slices and over as many passes as it takes."""

    def __init__(self, place: _Place) -> None:
        self._inode = place.found.inode
        self._epoch = place.epoch
        self._number = place.line + 1
        self._offset = self._at = place.offset
        self._head = place.ahead[:HEAD_BYTES]
        self._digest = hashlib.sha256()
        self.line: QuarantinedLine | None = None
        """The whole line, once its end was found."""

    def is_of(self, place: _Place) -> bool:
        return (
            (self._inode, self._epoch, self._offset) == (place.found.inode, place.epoch, place.offset)
            and self._at <= place.found.size_bytes
            and place.ahead.startswith(self._head)
        )

    def go_on(self, files: Files, path: str, limits: Limits) -> int:
        """Look for the line's end in the next slices; the answer is how many bytes behind them are still unread."""
        left_bytes = limits.bytes_per_pass
        while True:
            found, data = files.read(path, self._at, min(_SLICE_BYTES, left_bytes))
            newline = data.find(b"\n")
            if newline >= 0:
                self._digest.update(data[:newline])
                self._at += newline + 1
                self.line = quarantined_line(
                    self._number,
                    self._offset,
                    self._at - 1 - self._offset,
                    self._digest.hexdigest(),
                    self._head,
                    f"the line is longer than {limits.line_bytes} bytes",
                )
                return found.size_bytes - self._at
            self._digest.update(data)
            self._at += len(data)
            left_bytes -= len(data)
            if not data or left_bytes <= 0:
                return found.size_bytes - self._at


def offset_of_line(files: Files, path: str, line: int, *, offset: int = 0, counted: int = 0) -> tuple[int, int, int]:
    """(byte offset behind line number `line`, that number, 0), counting from `offset`, which is behind line `counted`.

    Where the log has fewer lines: the offset behind its last newline, the line that ends there, and how many bytes of a
    line without newline follow.
    """
    at = behind = offset
    while True:
        _, data = files.read(path, at, _SLICE_BYTES)
        if not data:
            return behind, counted, at - behind
        newlines = data.count(b"\n")
        if counted + newlines >= line:
            index = -1
            for _ in range(line - counted):
                index = data.index(b"\n", index + 1)
            return (at + index + 1 if index >= 0 else behind), line, 0
        counted += newlines
        if newlines:
            behind = at + data.rindex(b"\n") + 1
        at += len(data)
