"""What a restart finds of a loop: its documents, the conditions still open, its intents and how the last one ended.

What cannot be read is set aside and reported, and the loop starts without it: a replay of its log rebuilds the rest.
What is concluded from all this is the core's business.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from opsd.model.cursor import Cursor
from opsd.model.effects import Document, Journal
from opsd.model.escalation import OpenEscalation
from opsd.model.health import HealthDocument
from opsd.model.heartbeat import HeartbeatDocument
from opsd.model.ids import LoopId, loop_id_fault
from opsd.model.intent import Intent
from opsd.model.sequence import SequenceDocument
from opsd.model.state import StateDocument
from opsd.model.transport import TransportHealth
from opsd.model.tuning import DriftDocument
from opsd.ports import Files
from opsd.store import conditions
from opsd.store.aside import free_name
from opsd.store.codec import decode
from opsd.store.faults import Corrupt, StoreCode, StoreFault, in_words
from opsd.store.intents import read_intents
from opsd.store.journal import Retention, Unreadable, generations, newest_first, read_tail, why_unread
from opsd.store.layout import Layout

T = TypeVar("T")

SETTLED_MAX = 200
"""So many settled intents of a loop are loaded; older ones are looked for when somebody asks for them."""
_DOCUMENT_BYTES_MAX = 1 << 26


class LastControl(msgspec.Struct, frozen=True):
    """The status of the newest row of `intents.jsonl`, and whether the intent log knows the intent behind it."""

    status: str | None = None
    ours: bool = False


class StoredLoop(msgspec.Struct, frozen=True):
    """`intents` are the newest rows of every open intent and of the last settled ones, oldest first by ordinal.

    `foreign_escalations` counts rows without an id: the loop was in another manager's care before ours. `unread` is why
    its intent log could not be read, so that nobody knows which intents there are.
    """

    loop_id: LoopId
    cursor: Cursor | None = None
    state: StateDocument | None = None
    health: HealthDocument | None = None
    sequence: SequenceDocument | None = None
    heartbeat: HeartbeatDocument | None = None
    transport_health: TransportHealth | None = None
    drift: DriftDocument | None = None
    open_escalations: tuple[OpenEscalation, ...] = ()
    escalation_counts: dict[str, int] = {}
    foreign_escalations: int = 0
    intents: tuple[Intent, ...] = ()
    last_control: LastControl = LastControl()
    unread: str | None = None
    faults: tuple[StoreFault, ...] = ()


class _Outcome(msgspec.Struct, rename="camel"):
    status: str | None = None
    intent_id: str | None = None


class Loader:
    """Reads whole loops. With `mend`, for the writer of the home only, what is unreadable is moved out of the way."""

    def __init__(self, layout: Layout, files: Files, retention: Mapping[Journal, Retention]) -> None:
        self._layout = layout
        self._files = files
        self._retention = retention

    def load(self, loop_id: LoopId, now: datetime, *, mend: bool) -> StoredLoop:
        if loop_id_fault(loop_id):
            return StoredLoop(loop_id)  # such a loop is listed and not managed, so it never had files of ours
        faults: list[StoreFault] = []

        def read(document: Document, record: type[T]) -> T | None:
            return self._document(loop_id, document, record, faults, now, mend=mend)

        escalations = conditions.fold(newest_first(self._files, self._generations(loop_id, Journal.ESCALATIONS)))
        log = read_intents(self._files, self._generations(loop_id, Journal.INTENT_LOG), settled_max=SETTLED_MAX)
        told = read_tail(self._files, self._generations(loop_id, Journal.INTENTS), rows_max=1)
        faults.extend(_journal_faults(loop_id, (*escalations.unreadable, *log.unreadable, *told.unreadable)))
        return StoredLoop(
            loop_id=loop_id,
            cursor=read(Document.CURSOR, Cursor),
            state=read(Document.STATE, StateDocument),
            health=read(Document.HEALTH, HealthDocument),
            sequence=read(Document.SEQUENCE, SequenceDocument),
            heartbeat=read(Document.HEARTBEAT, HeartbeatDocument),
            transport_health=read(Document.TRANSPORT_HEALTH, TransportHealth),
            drift=read(Document.PROFILE_DRIFT, DriftDocument),
            open_escalations=escalations.open,
            escalation_counts=escalations.counts,
            foreign_escalations=escalations.foreign_rows,
            intents=log.intents,
            last_control=_last_control(told.rows, log.intents),
            unread=why_unread(log.unreadable, self._layout.journal(loop_id, Journal.INTENT_LOG)),
            faults=tuple(faults),
        )

    def _generations(self, loop_id: LoopId, journal: Journal) -> list[str]:
        return generations(self._layout.journal(loop_id, journal), self._retention[journal])

    def _document(
        self,
        loop_id: LoopId,
        document: Document,
        record: type[T],
        faults: list[StoreFault],
        now: datetime,
        *,
        mend: bool,
    ) -> T | None:
        path = self._layout.document(loop_id, document)
        try:
            found, data = self._files.read(path, 0, _DOCUMENT_BYTES_MAX)
            if found.size_bytes == 0:
                # The reference manager truncates and writes in place; there is nothing in it worth keeping aside.
                faults.append(StoreFault(loop_id, path, StoreCode.CORRUPT, "the file is empty and counts as absent"))
                return None
            if found.size_bytes > _DOCUMENT_BYTES_MAX:
                raise Corrupt(path, "$", f"{found.size_bytes} bytes, and no document is that large")
            return decode(data, record, path)
        except FileNotFoundError:
            return None
        except Corrupt as error:
            problem = f"{error.where}: {error.problem}"
        except OSError as error:
            problem = in_words(error)
        faults.append(self._out_of_the_way(loop_id, path, problem, now) if mend else _fault(loop_id, path, problem))
        return None

    def _out_of_the_way(self, loop_id: LoopId, path: str, problem: str, now: datetime) -> StoreFault:
        try:
            aside = free_name(self._files, path, now)
            self._files.rename(path, aside)
        except OSError as error:
            return _fault(loop_id, path, f"{problem}; it could not be set aside: {in_words(error)}")
        return _fault(loop_id, path, problem, aside)


def _fault(loop_id: LoopId, path: str, problem: str, aside: str | None = None) -> StoreFault:
    return StoreFault(loop_id, path, StoreCode.CORRUPT, problem, aside)


def _journal_faults(loop_id: LoopId, unreadable: tuple[Unreadable, ...]) -> list[StoreFault]:
    """One fault per file, however many of its lines are bad: the first says enough to find the others."""
    by_path: dict[str, list[Unreadable]] = {}
    for each in unreadable:
        by_path.setdefault(each.path, []).append(each)
    return [
        _fault(loop_id, path, f"{len(bad)} line(s) passed over, the first at byte {bad[0].offset}: {bad[0].problem}")
        for path, bad in by_path.items()
    ]


def _last_control(rows: tuple[bytes, ...], intents: tuple[Intent, ...]) -> LastControl:
    try:
        last = decode(rows[-1], _Outcome, "") if rows else _Outcome()
    except Corrupt:
        return LastControl()  # a status that is no string is no status that a reader would know
    return LastControl(last.status, ours=any(intent.id == last.intent_id for intent in intents))
