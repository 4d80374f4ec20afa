"""Event logs for those who want to read them: the newest events of a log, or what follows a place in it.

Nothing is ingested here and no position is kept. What is no event is left out: the quarantine has it. Taking up a log
for good, with its truncations and replacements, is `opsd.transports.tail`.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from opsd.core import instants
from opsd.model.runtime import EventLine
from opsd.ports import Files
from opsd.transports.lines import read_event
from opsd.transports.tail import STANDARD_LIMITS, offset_of_line

_BLOCK_BYTES = 64 * 1024
_SCAN_BYTES_MAX = 64 * 1024 * 1024


class Place(msgspec.Struct, frozen=True):
    """Between two lines of a log: behind line number `line`, which ends at byte `offset`."""

    offset: int = 0
    line: int = 0


START = Place()


class LogLine(msgspec.Struct, frozen=True):
    """An event as it stands, without its newline; `next_offset` is behind it."""

    line: int
    next_offset: int
    raw: bytes


class LogSlice(msgspec.Struct, frozen=True):
    """Events in the order of the log. `end` is where to go on; `more` says that there was more than was asked for.

    `restarted`: the asked-for place is not in this log, so it was read from its start.
    """

    lines: tuple[LogLine, ...]
    end: Place
    more: bool = False
    restarted: bool = False


class Choice(msgspec.Struct, frozen=True):
    """Which events: at or after `since`, and with one of `names` (none means any)."""

    since: datetime | None = None
    names: frozenset[str] = frozenset()


ALL = Choice()


def read_on(
    files: Files, path: str, place: Place, *, limit: int, choice: Choice = ALL, scan_bytes_max: int = _SCAN_BYTES_MAX
) -> LogSlice:
    """The first `limit` chosen events behind `place`. A last line without newline is not there yet.

    Raises:
        FileNotFoundError, OSError: as `Files.read`.
    """
    restarted = not _is_behind_a_line(files, path, place)
    offset, line = (0, 0) if restarted else (place.offset, place.line)
    found: list[LogLine] = []
    stop = offset + scan_bytes_max
    block_bytes = _BLOCK_BYTES
    while offset < stop:
        stat, data = files.read(path, offset, block_bytes)
        pieces = data.split(b"\n")
        pieces.pop()
        if not pieces:
            if offset + len(data) >= stat.size_bytes:
                return LogSlice(tuple(found), Place(offset, line), restarted=restarted)
            block_bytes *= 2  # one line is longer than this
            continue
        for raw in pieces:
            if len(found) >= limit:
                return LogSlice(tuple(found), Place(offset, line), more=True, restarted=restarted)
            line += 1
            offset += len(raw) + 1
            if _chosen(raw, choice) is not None:
                found.append(LogLine(line, offset, raw))
    return LogSlice(tuple(found), Place(offset, line), more=True, restarted=restarted)


def read_last(
    files: Files,
    path: str,
    *,
    count: int,
    near: Place = START,
    choice: Choice = ALL,
    scan_bytes_max: int = _SCAN_BYTES_MAX,
) -> LogSlice:
    """The newest `count` chosen events, read from the end. `near` is any known place, from which lines are counted.

    With `since`, the search ends at the first older event: a log is in the order of time.
    """
    if not _is_behind_a_line(files, path, near):
        near = START
    end_offset, end_line, _ = offset_of_line(files, path, _NO_SUCH_LINE, offset=near.offset, counted=near.line)
    found: list[LogLine] = []
    line = end_line
    more = False
    for offset, next_offset, raw in _backwards(files, path, end_offset):
        event = None if raw is None else _chosen(raw, choice)
        if raw is not None and event is not None:
            if len(found) >= count:
                more = True
                break
            found.append(LogLine(line, next_offset, raw))
        if raw is not None and _is_older(raw, choice.since):
            break
        line -= 1
        if end_offset - offset > scan_bytes_max:
            more = offset > 0
            break
    return LogSlice(tuple(reversed(found)), Place(end_offset, end_line), more=more)


_NO_SUCH_LINE = 2**63


def _chosen(raw: bytes, choice: Choice) -> EventLine | None:
    # Most lines of a long search are other events: their name is looked for before they are decoded.
    if choice.names and not any(name.encode() in raw for name in choice.names):
        return None
    event = read_event(raw, STANDARD_LIMITS.line_bytes)
    if isinstance(event, str) or (choice.names and event.name not in choice.names):
        return None
    if choice.since is not None:
        at = instants.parse(event.timestamp)
        if at is None or at < choice.since:
            return None
    return event


def _is_older(raw: bytes, since: datetime | None) -> bool:
    if since is None:
        return False
    event = read_event(raw, STANDARD_LIMITS.line_bytes)
    at = None if isinstance(event, str) else instants.parse(event.timestamp)
    return at is not None and at < since


def _is_behind_a_line(files: Files, path: str, place: Place) -> bool:
    """Whether a line of this log ends at the place; asked by others, it may be anything."""
    if place.offset <= 0:
        return place == START
    return files.read(path, place.offset - 1, 1)[1] == b"\n"


def _backwards(files: Files, path: str, end: int) -> Iterator[tuple[int, int, bytes | None]]:
    """(offset, offset behind, line) of the lines before `end`, the last one first; None for one of absurd length."""
    at = line_end = end
    rest: bytes | None = b""
    block_bytes = _BLOCK_BYTES
    while at > 0:
        start = max(0, at - block_bytes)
        _, data = files.read(path, start, at - start)
        if at == end:
            data = data[:-1]  # the newline of the last line: every other one stands before the line that follows
        cut = len(data)
        while (newline := data.rfind(b"\n", 0, cut)) >= 0:
            raw = None if rest is None else data[newline + 1 : cut] + rest
            yield start + newline + 1, line_end, raw
            line_end, cut, rest = start + newline + 1, newline, b""
            block_bytes = _BLOCK_BYTES
        if rest is not None:
            rest = data[:cut] + rest if len(rest) <= STANDARD_LIMITS.line_bytes else None
        block_bytes = min(block_bytes * 2, STANDARD_LIMITS.line_bytes)
        at = start
    if end > 0:
        yield 0, line_end, rest
