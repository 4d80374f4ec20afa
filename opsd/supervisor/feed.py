"""What changed in the fleet, in order, for everyone who watches: the picture first, then each change.

One ring of positions serves all readers; each reader is a place in it and nothing else, so that a reader who stops
reading costs no memory and holds nobody up. What a line shows is `opsd.app.view`; carrying it is `opsd.api`.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

import anyio
import anyio.lowlevel
import msgspec

from opsd.model.ids import LoopId
from opsd.model.intent import Intent
from opsd.ports import Clock
from opsd.protocol import FeedItem, LoopSummary

QUIET_S = 10.0
HELD_CHANGES = 8_192
# As many lines are encoded in one go as cost a few milliseconds; then others have their turn.
_LINES_PER_TURN = 128
_NO_POSITION = 0
"""Lines of a picture carry this: a reader that is cut off in the middle must not resume behind what it never saw."""


class Picture(Protocol):
    """The loops as they are now."""

    def loop_ids(self) -> Sequence[LoopId]: ...

    def summary(self, loop_id: LoopId) -> LoopSummary | None:
        """None where the loop is not (or no longer) in the fleet."""


class _Change(msgspec.Struct, gc=False):
    """A place in the ring. `line` is made when the first reader comes by: what nobody watches costs nothing.

    A `row` is what happened at that moment, and not only that something is other than before.
    """

    seq: int
    kind: str
    loop_id: LoopId
    row: msgspec.Struct | None = None
    line: bytes | None = None


class Feed:
    """Positions count from 1 and mean something within one `start_id` only.

    A reader who lags sees each loop once, as it is now: of several changes of one loop only the newest is a line.
    Escalations and steps of intents are lines of their own and are never merged.
    """

    def __init__(self, start_id: str, picture: Picture, clock: Clock, *, held: int = HELD_CHANGES) -> None:
        self.start_id = start_id
        self.seq = 0
        self.readers = 0
        self.lines_encoded = 0
        self.lost_changes = 0
        self._picture = picture
        self._clock = clock
        self._ring: list[_Change | None] = [None] * held
        self._newest: dict[LoopId, int] = {}
        self._news = anyio.Event()
        self._sleeping = 0
        self._closed = False
        self._encoder = msgspec.json.Encoder()

    def changed(self, loop_id: LoopId) -> None:
        """The loop looks different from now on."""
        self._publish("loop", loop_id)

    def removed(self, loop_id: LoopId) -> None:
        self._publish("removed", loop_id)

    def escalated(self, loop_id: LoopId, row: msgspec.Struct) -> None:
        self._publish("escalation", loop_id, row)

    def intent(self, loop_id: LoopId, intent: Intent) -> None:
        """The intent was taken in, or has come a step further."""
        self._publish("intent", loop_id, intent)

    def tick(self) -> None:
        """To be called about once a second: readers who heard nothing for `QUIET_S` get a `beat`."""
        self._wake_readers()

    def close(self) -> None:
        """Readers get what is left, a `bye`, and the end."""
        self._closed = True
        self._wake_readers()

    async def subscribe(
        self, start_id: str | None = None, after: int | None = None, loops: frozenset[str] | None = None
    ) -> AsyncIterator[bytes]:
        """Pieces of one or more whole lines (`FeedItem`), for `loops` or for all.

        With a `start_id` and position that are still held, only what followed. Otherwise `hello` (or `lost`, where the
        position was of this start), a full picture, `live`, and then what follows.
        """
        self.readers += 1
        try:
            position = after if self._holds(start_id, after) else None
            if position is None:
                resuming = start_id == self.start_id and after is not None and after > _NO_POSITION
                yield self._line("lost", lost=self._lost_since(after or 0)) if resuming else self._line("hello")
            heard_s = self._clock.monotonic()
            while True:
                now_s = self._clock.monotonic()
                if position is None:
                    # Changes during the picture follow it: at worst a loop is shown twice, never an older time.
                    position = self.seq
                    for lines in self._whole_picture(loops):
                        yield lines
                        await anyio.lowlevel.checkpoint()
                    yield self._line("live", position)
                elif position < self._oldest() - 1:
                    yield self._line("lost", lost=self._lost_since(position))
                    position = None
                    continue
                elif position < self.seq:
                    position, lines = self._following(position, loops)
                    if not lines:
                        continue
                    yield lines
                    await anyio.lowlevel.checkpoint()
                elif self._closed:
                    yield self._line("bye", position)
                    return
                elif now_s - heard_s >= QUIET_S:
                    yield self._line("beat", position)
                else:
                    await self._sleep()
                    continue
                heard_s = now_s
        finally:
            self.readers -= 1

    def _publish(self, kind: str, loop_id: LoopId, row: msgspec.Struct | None = None) -> None:
        self.seq += 1
        if row is None:
            self._newest[loop_id] = self.seq
        place = self.seq % len(self._ring)
        forgotten = self._ring[place]
        if forgotten is not None and self._newest.get(forgotten.loop_id) == forgotten.seq:
            del self._newest[forgotten.loop_id]
        self._ring[place] = _Change(self.seq, kind, loop_id, row)
        self._wake_readers()

    def _wake_readers(self) -> None:
        if self._sleeping:
            self._news.set()
            self._news = anyio.Event()

    async def _sleep(self) -> None:
        self._sleeping += 1
        try:
            await self._news.wait()
        finally:
            self._sleeping -= 1

    def _oldest(self) -> int:
        """The oldest position still held."""
        return max(1, self.seq - len(self._ring) + 1)

    def _holds(self, start_id: str | None, after: int | None) -> bool:
        return start_id == self.start_id and after is not None and max(1, self._oldest() - 1) <= after <= self.seq

    def _lost_since(self, after: int) -> int:
        lost = max(0, self._oldest() - 1 - after)
        self.lost_changes += lost
        return lost

    def _whole_picture(self, loops: frozenset[str] | None) -> Iterator[bytes]:
        wanted = [loop_id for loop_id in self._picture.loop_ids() if loops is None or loop_id in loops]
        for start in range(0, len(wanted), _LINES_PER_TURN):
            piece = [self._loop_line(loop_id, _NO_POSITION) for loop_id in wanted[start : start + _LINES_PER_TURN]]
            yield b"".join(piece)

    def _following(self, position: int, loops: frozenset[str] | None) -> tuple[int, bytes]:
        """The next lines behind `position`, and the position behind them."""
        lines: list[bytes] = []
        while position < self.seq and len(lines) < _LINES_PER_TURN:
            position += 1
            change = self._ring[position % len(self._ring)]
            assert change is not None
            if loops is not None and change.loop_id not in loops:
                continue
            if change.row is None and self._newest.get(change.loop_id) != change.seq:
                continue  # the same loop changed again since: its newest picture comes at that place
            if change.line is None:
                change.line = self._encoded(change)
            lines.append(change.line)
        return position, b"".join(lines)

    def _encoded(self, change: _Change) -> bytes:
        match change.kind:
            case "loop":
                return self._loop_line(change.loop_id, change.seq)
            case "removed":
                return self._line("removed", change.seq, removed=change.loop_id)
            case "intent":
                assert isinstance(change.row, Intent)
                return self._line("intent", change.seq, intent=change.row)
            case _:
                return self._line("escalation", change.seq, escalation=msgspec.Raw(self._encoder.encode(change.row)))

    def _loop_line(self, loop_id: LoopId, seq: int) -> bytes:
        summary = self._picture.summary(loop_id)
        return b"" if summary is None else self._line("loop", seq, loop=summary)

    def _line(
        self,
        kind: str,
        seq: int = _NO_POSITION,
        *,
        loop: LoopSummary | None = None,
        removed: str | None = None,
        escalation: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET,
        lost: int | None = None,
        intent: Intent | None = None,
    ) -> bytes:
        self.lines_encoded += 1
        item = FeedItem(kind, self.start_id, seq, self._clock.now(), loop, removed, escalation, lost, intent)
        return self._encoder.encode(item) + b"\n"
