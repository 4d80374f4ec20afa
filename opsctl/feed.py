"""Following the fleet across interruptions: every change once, whether the line broke or the daemon was restarted.

Within one start of the daemon the position in its feed is enough. A new start begins with a full picture: what it shows
is compared with what was seen last, loops that are gone are told as removed, escalations and intents are looked up.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from opsctl.client import Client, target
from opsctl.clock import monotonic_s, pause
from opsctl.errors import LostError, OpsctlError, RefusedError, UnreachedError
from opsctl.exits import Exit
from opsd.model.health import Ages
from opsd.model.intent import Intent
from opsd.protocol import EscalationPage, FeedItem, IntentPage, LoopSummary

Note = Callable[[str], None]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
_ESCALATIONS_LOOKED_BACK = 1_000
_INTENTS_LOOKED_BACK = 200

_items = msgspec.json.Decoder(FeedItem)


class _Named(msgspec.Struct, frozen=True, rename="camel", gc=False):
    id: str = ""
    loop_id: str = ""


class News(NamedTuple):
    """One item that is new to this client, as bytes and as a record; `before` is what was known of its loop."""

    raw: bytes
    item: FeedItem
    before: LoopSummary | None = None


class IntentsToo(NamedTuple):
    """That steps of intents are told as well. `history` is how many earlier intents come first, as they stand.

    What an intent went through while there was no connection is told as one step: how it stands now.
    """

    history: int = 0
    open_only: bool = False


def pauses() -> Iterator[float]:
    """How long to wait before each next attempt to reach the daemon, in seconds: doubling, bounded, without end."""
    wait_s = FIRST_PAUSE_S
    while True:
        yield wait_s
        wait_s = min(wait_s * 2, LONGEST_PAUSE_S)


def is_passing(error: OpsctlError) -> bool:
    """Whether the same request may succeed in a moment: a daemon that restarts, not one that says no."""
    if isinstance(error, UnreachedError):
        return error.exit_code is not Exit.DENIED
    return isinstance(error, LostError) or (isinstance(error, RefusedError) and error.status == 503)


class Following:
    """`for news in Following(...)`: the picture first, then changes, without end, or up to `deadline_s` (monotonic).

    The first connection must succeed; later ones are tried again for as long as it takes, with a note to the user.
    `history` is how many earlier escalations come first.
    """

    def __init__(
        self,
        client: Client,
        loops: tuple[str, ...],
        note: Note,
        *,
        deadline_s: float | None = None,
        history: int = 0,
        intents: IntentsToo | None = None,
    ) -> None:
        self._client = client
        self._loops = loops
        self._note = note
        self._deadline_s = deadline_s
        self._history = history
        self._start_id: str | None = None
        self._seq: int | None = None
        self._known: dict[str, LoopSummary] = {}
        self._shown: set[str] | None = None
        """Loops that the picture under way has shown; None while no picture is."""
        self._escalations: set[str] = set()
        self._wanted = intents
        self._intents: dict[str, Intent] = {}
        """How each was told last."""

    def __iter__(self) -> Iterator[News]:
        # What was escalated before we came is history, and must be known as such if the daemon is restarted.
        page = self._escalation_page()
        rows = [row for row in self._escalation_rows(page) if self._is_new(row)]
        for row in rows[-self._history :] if self._history else []:
            yield self._told(FeedItem("escalation", "", 0, page.at, escalation=row))
        if self._wanted is not None:
            yield from self._earlier_intents(self._wanted)
        waits, interrupted, reached = pauses(), False, False
        while not self._is_over():
            try:
                for raw in self._lines():
                    if interrupted:
                        self._note("opsd answers again")
                    waits, interrupted, reached = pauses(), False, True
                    yield from self._news(raw)
                    if self._is_over():
                        return
                # The daemon stops, and has said so: that is an interruption like any other.
            except OpsctlError as error:
                if not (reached and is_passing(error)):
                    raise
                if self._is_over():
                    return
                if not interrupted:
                    self._note(f"{error.message}; trying again until it answers")
                interrupted = True
            pause(self._bounded(next(waits)))

    def _is_over(self) -> bool:
        return self._deadline_s is not None and monotonic_s() >= self._deadline_s

    def _bounded(self, wait_s: float) -> float:
        return wait_s if self._deadline_s is None else max(0.0, min(wait_s, self._deadline_s - monotonic_s()))

    def _lines(self) -> Iterator[bytes]:
        where = target("/v1/watch", startId=self._start_id, after=self._seq, loop=self._loops)
        return self._client.lines(where, deadline_s=self._deadline_s)

    def _news(self, raw: bytes) -> Iterator[News]:
        item = _items.decode(raw)
        if item.kind in ("hello", "lost"):
            self._shown = set()
            yield News(raw, item)
        elif item.loop is not None:
            yield from self._loop(raw, item, item.loop)
        elif item.removed is not None:
            if self._known.pop(item.removed, None) is not None:
                yield News(raw, item)
        elif item.escalation is not msgspec.UNSET:
            if self._is_new(item.escalation):
                yield News(raw, item)
        elif item.intent is not None:
            if self._is_step(item.intent):
                yield News(raw, item)
        elif item.kind == "live":
            yield from self._completed(item)
            yield News(raw, item)
        elif item.kind != "beat":
            yield News(raw, item)
        if item.seq > 0:  # lines of a picture have no position: it is only complete with `live`
            self._start_id, self._seq = item.start_id, item.seq

    def _loop(self, raw: bytes, item: FeedItem, loop: LoopSummary) -> Iterator[News]:
        before = self._known.get(loop.loop_id)
        self._known[loop.loop_id] = loop
        if self._shown is not None:
            self._shown.add(loop.loop_id)
        if before is None or _without_clocks(before) != _without_clocks(loop):
            yield News(raw, item, before)

    def _completed(self, live: FeedItem) -> Iterator[News]:
        """The picture is complete: what it did not show is gone, and what was escalated meanwhile is looked up."""
        if self._shown is None:
            return
        rows = list(self._escalation_rows(self._escalation_page()))
        intents = () if self._wanted is None else self._intent_page().intents
        gone = sorted(self._known.keys() - self._shown)
        self._shown = None
        for loop_id in gone:
            del self._known[loop_id]
            yield self._told(replace(live, kind="removed", removed=loop_id))
        for row in rows:
            if self._is_new(row):
                yield self._told(replace(live, kind="escalation", escalation=row))
        for intent in intents:
            if self._is_step(intent):
                yield self._told(replace(live, kind="intent", intent=intent))

    def _told(self, item: FeedItem) -> News:
        return News(msgspec.json.encode(item), item)

    def _is_new(self, row: msgspec.Raw) -> bool:
        identity = _identity(row)
        if identity in self._escalations:
            return False
        self._escalations.add(identity)
        return True

    def _earlier_intents(self, wanted: IntentsToo) -> Iterator[News]:
        page = self._intent_page()
        for intent in page.intents:
            self._is_step(intent)
        if wanted.history:
            page = self._intent_page(tail=wanted.history, open=str(wanted.open_only).lower())
        for intent in page.intents[-wanted.history :] if wanted.history else ():
            self._is_step(intent)
            yield self._told(FeedItem("intent", "", 0, page.at, intent=intent))

    def _is_step(self, intent: Intent) -> bool:
        """Whether this is further than what was told of it; the log may be behind the feed, or the other way."""
        if self._wanted is None or (self._loops and intent.loop_id not in self._loops):
            return False
        before = self._intents.get(intent.id)
        if before is not None and (before == intent or before.updated_at > intent.updated_at):
            return False
        self._intents[intent.id] = intent
        return True

    def _intent_page(self, **query: object) -> IntentPage:
        """The newest, of the one loop that is followed or of all."""
        loop = self._loops[0] if len(self._loops) == 1 else None
        limit_s = max(0.05, self._bounded(self._client.limit_s))
        where = target("/v1/intents", loop=loop, **({"tail": _INTENTS_LOOKED_BACK} | query))
        page = msgspec.json.decode(self._client.get(where, limit_s=limit_s), type=IntentPage)
        wanted = tuple(each for each in page.intents if not self._loops or each.loop_id in self._loops)
        return replace(page, intents=wanted)

    def _escalation_page(self) -> EscalationPage:
        limit_s = max(0.05, self._bounded(self._client.limit_s))
        body = self._client.get(target("/v1/escalations", tail=_ESCALATIONS_LOOKED_BACK), limit_s=limit_s)
        return msgspec.json.decode(body, type=EscalationPage)

    def _escalation_rows(self, page: EscalationPage) -> Iterator[msgspec.Raw]:
        for row in page.rows:
            if not self._loops or msgspec.json.decode(row, type=_Named).loop_id in self._loops:
                yield row


def _without_clocks(loop: LoopSummary) -> LoopSummary:
    """What of a picture makes it another one: not how old it is, nor how often its daemon has counted it."""
    return replace(loop, ages=Ages(), observed_at=None, revision=0)


def _identity(row: msgspec.Raw) -> str:
    return msgspec.json.decode(row, type=_Named).id or bytes(row).decode("utf-8", "replace")
