"""Reading our journals from the end, across rotations, so that a reader pays for the rows it wants and no others.

A line that makes no sense is reported and passed over; a last line without newline was torn by a crash and is not
there yet. Writing is `append`; what the rows mean is not decided here.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from opsd.model.effects import Journal
from opsd.model.runtime import Aware
from opsd.ports import Files
from opsd.store.faults import Corrupt, in_words
from opsd.store.layout import rotated

_MEBIBYTE = 1 << 20
# One read brings some hundred rows; a longer line makes the reads grow, so that it is not copied once per read.
_CHUNK_BYTES = 1 << 16


class Retention(msgspec.Struct, frozen=True):
    """A journal above `size_bytes` is rotated before the next row; `kept` older files stay beside it."""

    size_bytes: int
    kept: int = 3


RETENTION: Mapping[Journal, Retention] = {
    Journal.RECONCILE: Retention(8 * _MEBIBYTE),
    Journal.HEARTBEAT: Retention(8 * _MEBIBYTE),
    Journal.SEQUENCE: Retention(8 * _MEBIBYTE),
    Journal.PROFILE_DRIFT: Retention(8 * _MEBIBYTE),
    Journal.QUARANTINE: Retention(8 * _MEBIBYTE),
    Journal.ESCALATIONS: Retention(32 * _MEBIBYTE),
    Journal.INTENTS: Retention(32 * _MEBIBYTE),
    Journal.INTENT_LOG: Retention(4 * _MEBIBYTE),
    Journal.CONTROL: Retention(8 * _MEBIBYTE),
    Journal.INVOCATIONS: Retention(8 * _MEBIBYTE),
    Journal.RUNS: Retention(32 * _MEBIBYTE),
}


class Line(msgspec.Struct, frozen=True, gc=False):
    """A whole line without its newline; `offset` is where it begins in the file at `path`."""

    path: str
    offset: int
    data: bytes


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A line that makes no sense, or from `offset` downwards a file that cannot be read (`is_file`)."""

    path: str
    offset: int
    problem: str
    is_file: bool = False


class Tail(msgspec.Struct, frozen=True):
    """The newest rows of a journal, oldest of them first, each a JSON object as it stands in the file."""

    rows: tuple[bytes, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


class _Head(msgspec.Struct):
    timestamp: Aware | None = None


def generations(path: str, retention: Retention) -> list[str]:
    """The journal's files, youngest first; most of them usually do not exist."""
    return [path, *(rotated(path, age) for age in range(1, retention.kept + 1))]


def read_tail(files: Files, paths: Iterable[str], *, rows_max: int, since: datetime | None = None) -> Tail:
    """At most `rows_max` rows, and none before `since`; a row without a time counts as being of its neighbour's.

    The first row older than `since` ends the search: rows are in the order of their writing, so a clock that was set
    back in between can only lengthen the answer.
    """
    from opsd.store.codec import decode  # brings every record there is, which readers of mere lines do without

    rows: list[bytes] = []
    unreadable: list[Unreadable] = []
    for line in newest_first(files, paths) if rows_max > 0 else ():
        if isinstance(line, Unreadable):
            unreadable.append(line)
            continue
        try:
            at = decode(line.data, _Head, line.path).timestamp
        except Corrupt as error:
            unreadable.append(Unreadable(line.path, line.offset, f"{error.where}: {error.problem}"))
            continue
        if since is not None and at is not None and at < since:
            break
        rows.append(line.data)
        if len(rows) == rows_max:
            break
    return Tail(tuple(reversed(rows)), tuple(reversed(unreadable)))


def why_unread(unreadable: Iterable[Unreadable], path: str) -> str | None:
    """Why the file at `path` itself could not be read, if it was not."""
    return next((f"{path}: {each.problem}" for each in unreadable if each.is_file and each.path == path), None)


def newest_first(files: Files, paths: Iterable[str], *, physical: bool = False) -> Iterator[Line | Unreadable]:
    """Every whole line of the files at `paths`, from the last line of the first file back to the oldest.

    Blank lines are passed over, and so is a last one without its end; not so if lines are counted as they stand in
    the files (`physical`).
    A rotation under way hides no line and shows none twice: a file is known by its inode, under whichever name.
    """
    unread_below: dict[tuple[int, int], int] = {}
    for path in paths:
        try:
            yield from _backwards(files, path, unread_below, physical=physical)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Unreadable(path, 0, in_words(error), is_file=True)


def _backwards(files: Files, path: str, unread_below: dict[tuple[int, int], int], *, physical: bool) -> Iterator[Line]:
    found, _ = files.read(path, 0, 0)
    identity = found.device, found.inode
    position = end = unread_below.get(identity, found.size_bytes)
    chunk_bytes = _CHUNK_BYTES
    pending = b""  # from `position` to `end`: a line whose beginning is not read yet
    torn = True  # what follows the last newline of the file is no line
    while position > 0:
        start = max(0, position - chunk_bytes)
        now, chunk = files.read(path, start, position - start)
        if (now.device, now.inode) != identity or len(chunk) < position - start:
            return  # rotated or cut under our hands: `unread_below` says where to go on
        pending, newline, rest = (chunk + pending).partition(b"\n")
        position = start
        if not newline:
            chunk_bytes *= 2
            continue
        for data in reversed(rest.split(b"\n")):
            begin = end - len(data)
            if (data and not torn) or (physical and (data or not torn)):
                yield Line(path, begin, data)
            torn = False
            unread_below[identity] = begin
            end = begin - 1
    if (pending and not torn) or (physical and (pending or not torn)):
        yield Line(path, 0, pending)
    unread_below[identity] = 0
