"""What is remembered of a loop's intents, and what that means for its picture.

A book follows from the newest row of each intent alone, in whatever order they came: what a restart reads from the log
and what was noted step by step are the same book. The log itself is the store's.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from opsd.model.intent import (
    DECISIONS,
    IN_FLIGHT,
    NEVER_EXECUTED,
    ControlState,
    Intent,
    IntentKind,
    IntentStatus,
    OpenIntent,
    PauseNote,
    Stage,
)
from opsd.model.mode import ModeRow

KEYS_MAX: Final = 256
"""So many keys are remembered of a loop; an older one is looked up in the log."""

_DONE: Final = frozenset({IntentStatus.CONFIRMED, IntentStatus.EXECUTED_UNCONFIRMED})
_ABOUT_PAUSE: Final = frozenset({IntentKind.PAUSE, IntentKind.RESUME, IntentKind.CANCEL, IntentKind.START})


class Keyed(msgspec.Struct, frozen=True, gc=False):
    """Which intent came with a key; `ordinal` is its own."""

    id: str
    ordinal: int


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """A key came again with another request; `intent_id` is the intent that has it."""

    intent_id: str


class Book(msgspec.Struct, frozen=True):
    """The newest row of every intent that still matters.

    `open` is sorted by ordinal; `ordinal` is the highest one ever given, `last` the intent that has it. `keys` are
    those that callers gave. `turn` is the newest act that decides whether somebody paused the run, `decision` the
    newest confirmed decision.
    """

    ordinal: int = 0
    open: tuple[Intent, ...] = ()
    last: Intent | None = None
    keys: Mapping[str, Keyed] = {}
    turn: Intent | None = None
    decision: Intent | None = None

    @property
    def in_flight(self) -> Intent | None:
        return next((intent for intent in self.open if intent.is_in_flight), None)

    @property
    def ambiguous(self) -> tuple[Intent, ...]:
        return tuple(intent for intent in self.open if intent.status is IntentStatus.AMBIGUOUS)

    @property
    def tracked(self) -> Intent | None:
        """The newest confirmed decision, as long as its stage may still move."""
        return self.decision if self.decision is not None and self.decision.stage is not Stage.COMPLETED else None

    @property
    def pause(self) -> PauseNote | None:
        """The newest pause that was done, unless the run was resumed, cancelled or started since."""
        intent = self.turn
        if intent is None or intent.intent is not IntentKind.PAUSE:
            return None
        ended_at = intent.execution.ended_at if intent.execution is not None else None
        return PauseNote(
            intent_id=intent.id,
            by=intent.requested_by,
            since=ended_at or intent.settled_at or intent.updated_at,
            reason=intent.reason or intent.note,
            until=intent.options.pause_until,
            pid=intent.watermark.pid if intent.watermark is not None else None,
        )


EMPTY: Final = Book()


def book_of(intents: Iterable[Intent]) -> Book:
    """The book of a loop whose log holds `intents` (the newest row of each id, oldest first)."""
    book = EMPTY
    for intent in intents:
        book = noted(book, intent)
    return book


def noted(book: Book, intent: Intent) -> Book:
    """The book after another row: of a new intent, or of one that came a step further."""
    others = [one for one in book.open if one.id != intent.id]
    if intent.is_open:
        others.append(intent)
        others.sort(key=_ordinal)
    done = intent.status in _DONE
    decides = intent.status is IntentStatus.CONFIRMED and intent.intent in DECISIONS
    return Book(
        ordinal=max(book.ordinal, intent.ordinal),
        open=tuple(others),
        last=_newer(book.last, intent),
        keys=_keys(book.keys, intent) if intent.key_given else book.keys,
        turn=_newer(book.turn, intent) if done and intent.intent in _ABOUT_PAUSE else book.turn,
        decision=_newer(book.decision, intent) if decides else book.decision,
    )


def settled(book: Book) -> int:
    """How many intents of the loop have left the flight: what a default key counts."""
    return book.ordinal - sum(intent.is_in_flight for intent in book.open)


def replay(intents: Iterable[Intent], key: str, fingerprint: str) -> Intent | Conflict | None:
    """What a request that comes with `key` leads to: an intent that it repeats, a conflict, or None for a new one.

    A key that a caller gave is bound to its request for good, unless that was never executed: then it is free again. A
    key that we made is shared by presses of the same wish; another wish under it is simply another one.
    """
    holder: Intent | None = None
    for intent in intents:
        if intent.idempotency_key == key and intent.status not in NEVER_EXECUTED:
            holder = _newer(holder, intent)
    if holder is None or holder.fingerprint == fingerprint:
        return holder
    return Conflict(holder.id) if holder.key_given else None


def control_state(book: Book, last_status: str | None, last_is_ours: bool, mode_row: ModeRow | None) -> ControlState:
    """What a loop's intents mean for its picture. `mode_row` is the row that has it observe (`modes.in_force`).

    Callers of the contract's command know one end of ambiguity, a newer row in `intents.jsonl`, and have no way to
    acknowledge one: what they asked for is told until then. It is looked after all the same. Source: loop-core 8.2.
    """
    in_flight = book.in_flight
    superseded = last_status not in (None, IntentStatus.AMBIGUOUS)
    ambiguous = [intent for intent in book.ambiguous if not (superseded and intent.options.as_contract)]
    return ControlState(
        last_status=last_status,
        last_is_ours=last_is_ours,
        in_flight=_told(in_flight) if in_flight is not None else None,
        ambiguous=tuple(_told(intent) for intent in ambiguous),
        pause=book.pause,
        observing=mode_row is not None,
        observe_until=mode_row.until if mode_row is not None else None,
    )


def _told(intent: Intent) -> OpenIntent:
    since = intent.recorded_at if intent.status in IN_FLIGHT else intent.settled_at or intent.updated_at
    return OpenIntent(intent.id, intent.intent, intent.status, intent.requested_by, since, intent.transport)


def _newer(one: Intent | None, other: Intent) -> Intent:
    return other if one is None or one.ordinal <= other.ordinal else one


def _keys(keys: Mapping[str, Keyed], intent: Intent) -> Mapping[str, Keyed]:
    key = intent.idempotency_key
    held = keys.get(key)
    if intent.status in NEVER_EXECUTED:
        if held is None or held.id != intent.id:
            return keys
        return {one: keyed for one, keyed in keys.items() if one != key}
    if held is not None and held.ordinal >= intent.ordinal:
        return keys
    kept = {**keys, key: Keyed(intent.id, intent.ordinal)}
    if len(kept) > KEYS_MAX:
        del kept[min(kept, key=lambda one: kept[one].ordinal)]
    return kept


def _ordinal(intent: Intent) -> int:
    return intent.ordinal
