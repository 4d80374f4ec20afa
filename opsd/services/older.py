"""Looking at a loop through a service that has the contract's endpoints alone: a snapshot, then the events behind it.

Such a log has no identity but its lines. That it shrank shows in the snapshot's count; that it is another one shows in
the last line that was taken, which is asked for again with what follows it. What the answers say is `envelopes`.
"""

from typing import Final
from urllib.parse import urlencode

import msgspec

from opsd.model.cursor import by_line
from opsd.model.ids import LoopId
from opsd.model.observation import ProcessSighting, Seen, StreamChange
from opsd.model.run import ServiceRef
from opsd.ports import Ask, Clock
from opsd.services.calls import Calls
from opsd.services.envelopes import Page, Snapshot, read_page, read_snapshot
from opsd.services.message import Called, Limits, Request, Trouble

PAGE_FIRST: Final = 256
PAGE_MIN: Final = 2  # one line may be the one that is known already
PAGE_MAX: Final = 4_096
_QUICK_S: Final = 3.0


class Looked(msgspec.Struct, frozen=True):
    """`seen` is None where nothing has changed. `digest` is None where there is more to read at once."""

    seen: Seen | Trouble | None
    digest: str | None
    calls: tuple[Called, ...]


class _Start(msgspec.Struct, frozen=True):
    """Behind which line to read on, and of which log that is. `fingerprint` is that line's, empty where not known."""

    line: int
    epoch: int
    fingerprint: str = ""
    change: StreamChange | None = None


class Older:
    """Looks at loops by two requests; without `events` in their reference, by the first of them alone."""

    def __init__(self, calls: Calls, limits: Limits, clock: Clock) -> None:
        self._calls = calls
        self._limits = limits
        self._clock = clock
        # How many events are asked for at once. Some services take a tenth of a second for each of them, and from the
        # beginning with every request: what does not come in time is asked for in smaller pieces.
        self._pages: dict[LoopId, int] = {}

    def forget(self, loop_id: LoopId) -> None:
        self._pages.pop(loop_id, None)

    async def look(self, ask: Ask, service: ServiceRef, *, known: str | None) -> Looked:
        """`known` is the digest of the newest look."""
        loop_id = ask.ref.loop_id
        called = await self._get(service, "/ops/snapshot", {"loopId": loop_id})
        if called.reply is None:
            return Looked(called.trouble, None, (called,))
        snapshot = read_snapshot(called.reply.body, loop_id, self._clock.now())
        if isinstance(snapshot, Trouble):
            return Looked(snapshot, None, (called,))
        start = _start(ask, snapshot)
        if known is not None and known == _digest(snapshot, start.epoch, start.line, service) and start.change is None:
            return Looked(None, known, (called,))
        if not service.events:
            seen = self._seen(snapshot, start, Page((), is_full=False))
            return Looked(seen, _digest(snapshot, start.epoch, start.line, service), (called,))
        page, start, more = await self._events(ask, service, snapshot, start)
        if isinstance(page, Trouble):
            return Looked(page, None, (called, *more))
        seen = self._seen(snapshot, start, page)
        digest = None if seen.backlog_bytes else _digest(snapshot, start.epoch, seen.line_offset, service)
        return Looked(seen, digest, (called, *more))

    async def _events(
        self, ask: Ask, service: ServiceRef, snapshot: Snapshot, start: _Start
    ) -> tuple[Page | Trouble, _Start, tuple[Called, ...]]:
        """What follows `start`, or the log from its first line where it turns out to be another one."""
        overlaps = bool(start.fingerprint)
        page, called = await self._page(ask, service, snapshot, start.line - overlaps)
        if isinstance(page, Trouble) or not overlaps:
            return page, start, (called,)
        if page.lines and page.lines[0].number == start.line and page.lines[0].fingerprint() == start.fingerprint:
            return Page(page.lines[1:], page.is_full), start, (called,)
        anew = _Start(0, start.epoch + 1, change=StreamChange.REPLACED)
        page, again = await self._page(ask, service, snapshot, 0)
        return page, anew, (called, again)

    async def _page(
        self, ask: Ask, service: ServiceRef, snapshot: Snapshot, behind: int
    ) -> tuple[Page | Trouble, Called]:
        loop_id = ask.ref.loop_id
        asked = self._pages.get(loop_id, PAGE_FIRST)
        query: dict[str, str | int] = {"loopId": loop_id, "cursor": behind, "maxEvents": asked}
        called = await self._get(service, "/ops/events", query)
        if called.reply is None:
            assert called.trouble is not None
            if called.is_sent:
                self._pages[loop_id] = max(PAGE_MIN, asked // 4)
            return called.trouble, called
        page = read_page(called.reply.body, loop_id, snapshot.repo_path, behind=behind, asked=asked)
        if called.took_s > self._limits.total_s / 2:
            self._pages[loop_id] = max(PAGE_MIN, asked // 2)
        elif isinstance(page, Page) and page.is_full and called.took_s < _QUICK_S:
            self._pages[loop_id] = min(PAGE_MAX, asked * 2)
        return page, called

    async def _get(self, service: ServiceRef, path: str, query: dict[str, str | int]) -> Called:
        # One attempt may take all the time there is: these services do nothing quickly.
        request = Request("GET", f"{path}?{urlencode(query)}", patience_s=self._limits.total_s)
        return await self._calls.call(service, request)

    def _seen(self, snapshot: Snapshot, start: _Start, page: Page) -> Seen:
        last = page.lines[-1] if page.lines else None
        line = last.number if last is not None else start.line
        fingerprint = last.fingerprint() if last is not None else start.fingerprint
        left = max(0, snapshot.line_count - line) if page.is_full else 0
        return Seen(
            at=self._clock.now(),
            events=[line.event for line in page.lines],
            lines=[line.number for line in page.lines],
            last_raw=last.raw if last is not None else b"",
            line_offset=line,
            stream=by_line(start.epoch, fingerprint),
            artifacts=snapshot.artifacts,
            process=ProcessSighting.UNKNOWN,
            change=start.change,
            # By the lines that are left: no more is known of them.
            backlog_bytes=max(1, left * snapshot.log_bytes // snapshot.line_count) if left else 0,
        )


def _start(ask: Ask, snapshot: Snapshot) -> _Start:
    cursor = ask.cursor
    if cursor is None:
        return _Start(0, 0)
    stream = cursor.stream or by_line(0)
    if cursor.event_line_offset > snapshot.line_count:
        return _Start(0, stream.epoch + 1, change=StreamChange.TRUNCATED)
    if ask.from_start:
        return _Start(0, stream.epoch, change=StreamChange.CURSOR_RESET)
    return _Start(cursor.event_line_offset, stream.epoch, stream.fingerprint if stream.is_by_line else "")


def _digest(snapshot: Snapshot, epoch: int, line: int, service: ServiceRef) -> str:
    return f"{snapshot.gist}-{epoch}-{line}{'' if service.events else '-snapshots'}"
