"""What a crash kept from being told: the contract's rows of an intent that has settled and whose log says so.

An intent's step stands in its log before its rows go to the files that outside programs read. Which rows those are is
`opsd.core.intents.rows`; they follow from the intent alone, so that they can be made again.
"""

from collections.abc import Iterator, Sequence

import msgspec

from opsd.core.intents.rows import rows
from opsd.model.control import ControlRow, IntentRow, InvocationRow
from opsd.model.effects import Append, Journal
from opsd.model.intent import Intent
from opsd.ports import Files
from opsd.store.codec import decode
from opsd.store.faults import Corrupt, StoreFault
from opsd.store.intents import lines
from opsd.store.journal import Line, newest_first, why_unread

STEPS_MAX = 50
"""So many of the newest steps by which intents settled are looked after; a crash leaves one or two untold."""


class Mended(msgspec.Struct, frozen=True):
    """`rows` were written now, `left` the disk refused; `faults` say so, and what else was found.

    `unread` is why a journal could not be read: nobody knows what it lacks, and nothing may be written to it before.
    """

    rows: tuple[Append, ...] = ()
    left: tuple[Append, ...] = ()
    faults: tuple[StoreFault, ...] = ()
    unread: str | None = None


class Unread(Exception):  # noqa: N818  it says what the journal is
    """The youngest file of a journal cannot be read; the message says which and why."""


_Key = tuple[str, str]
"""An intent's id, and the status that a row gives it. No intent has the same status twice."""


class _Outcome(msgspec.Struct, frozen=True):
    status: str = ""


class _Told(msgspec.Struct, rename="camel"):
    """As much of each of the three rows as names what it tells."""

    intent_id: str | None = None
    status: str = ""
    outcome: _Outcome = _Outcome()


def steps(files: Files, log: Sequence[str]) -> list[Intent]:
    """The newest `STEPS_MAX` steps by which an intent settled, or an ambiguous one settled later; oldest first.

    `log` are the files of the intent log, youngest first. Of rows with the same status the first is the step: later
    ones are about a decision's further way, or copies that a rotation carried on.
    """
    found: dict[_Key, Intent] = {}
    for line in lines(files, log):
        if len(found) >= STEPS_MAX:
            break
        if not isinstance(line, Line):
            continue
        try:
            intent = decode(line.data, Intent, line.path)
        except Corrupt:
            continue  # told when the loop is loaded
        if not intent.is_in_flight:
            found.pop((intent.id, intent.status), None)
            found[intent.id, intent.status] = intent
    return list(reversed(found.values()))


def untold(files: Files, journal: Sequence[str], wanted: Sequence[Append]) -> list[Append]:
    """Those of `wanted`, rows of one journal in their order, that a crash kept from it.

    `journal` are its files, youngest first. Rows are written in order, so that only what follows the newest one there
    can have been lost; what is missing before it somebody took away.

    Raises:
        Unread: nobody knows what is there.
    """
    if not wanted:
        return []
    places = {_key(append): place for place, append in enumerate(wanted)}
    missing: dict[_Key, Append] | None = None
    for key in _keys(files, journal):
        if missing is None:
            if key not in places:
                continue
            missing = {_key(append): append for append in wanted[places[key] + 1 :]}
        missing.pop(key, None)
        if not missing:
            break
    return list(wanted if missing is None else missing.values())


def wanted_rows(settled: Sequence[Intent], journal: Journal) -> list[Append]:
    """The rows that `journal` must have of these steps."""
    return [append for intent in settled for append in rows(intent) if append.journal is journal]


def _keys(files: Files, journal: Sequence[str]) -> Iterator[_Key]:
    for line in newest_first(files, journal):
        if isinstance(line, Line):
            try:
                row = decode(line.data, _Told, line.path)
            except Corrupt:
                continue  # another manager's, or no row at all
            if row.intent_id is not None:
                yield row.intent_id, row.status or row.outcome.status
        elif problem := why_unread([line], journal[0]):
            raise Unread(problem)


def _key(append: Append) -> _Key:
    match append.row:
        case IntentRow() | ControlRow() as row:
            return row.intent_id or "", row.status
        case InvocationRow() as row:
            return row.intent_id or "", row.outcome.status
        case _:
            raise TypeError(f"{append.journal} tells outside programs nothing of intents")
