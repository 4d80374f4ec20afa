"""The intent log of one loop, read from its end across rotations: the newest row of each intent.

Of all rows of an intent the newest holds, wherever copies of older ones stand. What the intents of a loop mean together
is `opsd.core.intents.book`; what a crash kept from being told of them is `mend`.
"""

from collections.abc import Iterator, Sequence

import msgspec

from opsd.model.intent import NEVER_EXECUTED, Intent
from opsd.ports import Files
from opsd.store.codec import decode
from opsd.store.faults import Corrupt
from opsd.store.journal import Unreadable, newest_first


class IntentRows(msgspec.Struct, frozen=True):
    """`intents` are oldest first, by their ordinals."""

    intents: tuple[Intent, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


class _Named(msgspec.Struct):
    id: str


def read_intents(files: Files, paths: Sequence[str], *, settled_max: int) -> IntentRows:
    """Every open intent, and of the settled ones the newest `settled_max`. One stat where there is no log.

    `paths` are the log's files, youngest first. Every rotation carries what is open into the youngest, so that older
    ones are read for settled intents only.
    """
    if not _is_there(files, paths[0]):
        return IntentRows()
    newest: dict[str, Intent] = {}
    unreadable: list[Unreadable] = []
    settled = 0
    for line in newest_first(files, paths):
        if isinstance(line, Unreadable):
            unreadable.append(line)
            continue
        if line.path != paths[0] and settled >= settled_max:
            break
        try:
            if decode(line.data, _Named, line.path).id in newest:
                continue
            intent = decode(line.data, Intent, line.path)
        except Corrupt as error:
            unreadable.append(Unreadable(line.path, line.offset, f"{error.where}: {error.problem}"))
            continue
        newest[intent.id] = intent
        settled += not intent.is_open
    return IntentRows(_bounded(list(newest.values()), settled_max), tuple(reversed(unreadable)))


def find_by_key(files: Files, paths: Sequence[str], key: str) -> Intent | None:
    """What an operator asked for under `key`, however long ago; one that was carried out before one that was not."""
    found = None
    seen: set[str] = set()
    for intent in _rows_with(files, paths, key):
        if intent.id in seen or not intent.key_given or intent.idempotency_key != key:
            continue
        if intent.status not in NEVER_EXECUTED:
            return intent
        seen.add(intent.id)
        found = found or intent
    return found


def find_by_id(files: Files, paths: Sequence[str], intent_id: str) -> Intent | None:
    return next((intent for intent in _rows_with(files, paths, intent_id) if intent.id == intent_id), None)


def _rows_with(files: Files, paths: Sequence[str], text: str) -> Iterator[Intent]:
    """Newest first. Only lines in which `text` stands are looked into: a log holds thousands."""
    if not _is_there(files, paths[0]):
        return
    spelt = msgspec.json.encode(text)
    for line in newest_first(files, paths):
        if isinstance(line, Unreadable) or spelt not in line.data:
            continue
        try:
            yield decode(line.data, Intent, line.path)
        except Corrupt:
            continue  # told when the loop is loaded


def _is_there(files: Files, path: str) -> bool:
    try:
        return files.stat(path) is not None
    except OSError:
        return True  # reading it says what is wrong


def _bounded(intents: list[Intent], settled_max: int) -> tuple[Intent, ...]:
    intents.sort(key=lambda intent: intent.ordinal)
    settled = [intent.id for intent in intents if not intent.is_open]
    kept = set(settled[max(0, len(settled) - settled_max) :])
    return tuple(intent for intent in intents if intent.is_open or intent.id in kept)
