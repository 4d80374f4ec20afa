"""The intent log of one loop, read from its end across rotations: the newest row of each intent.

Of all rows of an intent the newest holds, wherever copies of older ones stand. What the intents of a loop mean together
is `opsd.core.intents.book`; what a crash kept from being told of them is `mend`.
"""

from collections.abc import Iterator, Sequence

import msgspec

from opsd.core.intents.book import book_of
from opsd.model.intent import NEVER_EXECUTED, Intent
from opsd.ports import Files
from opsd.store.codec import decode
from opsd.store.faults import Corrupt
from opsd.store.journal import Line, Unreadable, newest_first

_READINGS_MAX = 3


class IntentRows(msgspec.Struct, frozen=True):
    """`intents` are oldest first, by their ordinals."""

    intents: tuple[Intent, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


class _Found(msgspec.Struct):
    """The newest row of each intent, decoded and as it stands."""

    intents: list[Intent]
    lines: dict[str, bytes]
    unreadable: list[Unreadable]


class _Named(msgspec.Struct):
    id: str


def read_intents(files: Files, paths: Sequence[str], *, settled_max: int) -> IntentRows:
    """What `book_of` needs: every open intent, the newest `settled_max` settled ones, and older ones that still matter.

    `paths` are the log's files, youngest first. Every rotation carries into the youngest what the book stands on, so
    that older files are read for settled intents only. Where there is no log, it costs one stat.
    """
    found = _read(files, paths, settled_max)
    kept = _needed(found.intents)
    settled = [intent.id for intent in found.intents if not intent.is_open]
    kept.update(settled[max(0, len(settled) - settled_max) :])
    intents = tuple(intent for intent in found.intents if intent.id in kept)
    return IntentRows(intents, tuple(reversed(found.unreadable)))


def carried(files: Files, paths: Sequence[str]) -> tuple[bytes, ...]:
    """The lines without which a reader of a new file would know less: those that the book stands on, oldest first."""
    found = _read(files, paths, 0)
    kept = _needed(found.intents)
    return tuple(found.lines[intent.id] for intent in found.intents if intent.id in kept)


def find_by_key(files: Files, paths: Sequence[str], key: str, transport: str) -> Intent | None:
    """The newest intent under `key` that was carried out that way, however old; where there is none, the newest."""
    found: dict[str, Intent] = {}
    for intent in rows_with(files, paths, key):
        if intent.idempotency_key == key and intent.transport == transport:
            found.setdefault(intent.id, intent)
    return max(found.values(), key=lambda one: (one.status not in NEVER_EXECUTED, one.ordinal), default=None)


def find_by_id(files: Files, paths: Sequence[str], intent_id: str) -> Intent | None:
    """The newest row of this intent, however old."""
    return next((intent for intent in rows_with(files, paths, intent_id) if intent.id == intent_id), None)


def rows_with(files: Files, paths: Sequence[str], text: str) -> Iterator[Intent]:
    """The rows in which `text` stands as a string, newest first: others are not looked into. A log holds thousands."""
    spelt = msgspec.json.encode(text)
    for line in lines(files, paths):
        if isinstance(line, Line) and spelt in line.data:
            try:
                yield decode(line.data, Intent, line.path)
            except Corrupt:
                continue  # told when the loop is loaded


def lines(files: Files, paths: Sequence[str]) -> Iterator[Line | Unreadable]:
    """The log's lines, newest first. A log whose youngest file is missing has none: no rotation ever leaves it so."""
    if _youngest(files, paths) is not None:
        yield from newest_first(files, paths)


def _youngest(files: Files, paths: Sequence[str]) -> int | None:
    """Which file is the youngest now; None where there is no log."""
    try:
        found = files.stat(paths[0])
    except OSError:
        return -1  # reading it says what is wrong
    return None if found is None else found.inode


def _read(files: Files, paths: Sequence[str], settled_max: int) -> _Found:
    found = _Found([], {}, [])
    for _ in range(_READINGS_MAX):
        youngest = _youngest(files, paths)
        if youngest is None:
            break
        found = _read_once(files, paths, settled_max)
        if _youngest(files, paths) == youngest:
            break  # else it was rotated meanwhile, and what is open may stand in a part that was not read
    return found


def _read_once(files: Files, paths: Sequence[str], settled_max: int) -> _Found:
    intents: list[Intent] = []
    found: dict[str, bytes] = {}
    unreadable: list[Unreadable] = []
    settled = 0
    for line in newest_first(files, paths):
        if isinstance(line, Unreadable):
            unreadable.append(line)
            continue
        if line.path != paths[0] and settled >= settled_max:
            break
        try:
            if decode(line.data, _Named, line.path).id in found:
                continue
            intent = decode(line.data, Intent, line.path)
        except Corrupt as error:
            unreadable.append(Unreadable(line.path, line.offset, f"{error.where}: {error.problem}"))
            continue
        found[intent.id] = line.data
        intents.append(intent)
        settled += not intent.is_open
    intents.sort(key=lambda intent: intent.ordinal)
    return _Found(intents, found, unreadable)


def _needed(intents: Sequence[Intent]) -> set[str]:
    """The ids of the intents that a book of these stands on."""
    book = book_of(intents)
    return {one.id for one in (*book.open, book.last, book.turn, book.decision) if one is not None}
