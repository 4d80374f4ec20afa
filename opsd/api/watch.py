"""The live stream of the fleet: one JSON line per change, for as long as both sides want it.

What the lines say, and what a slow reader loses, is the feed's business; here it is carried and ended in good order.
"""

from collections.abc import AsyncIterator

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from opsd.api.endpoint import Call, Services
from opsd.api.handlers import known_run
from opsd.protocol import WatchQuery

MEDIA_TYPE = "application/x-ndjson"
# How long the feed has to say goodbye once the server stops, before the stream is ended without it.
FAREWELL_S = 1.0


async def watch(services: Services, call: Call[WatchQuery, None]) -> "LineStream":
    """Subscribes at once, so that a loop that does not exist is refused before the stream begins."""
    for loop_id in call.query.loop:
        known_run(services, loop_id)
    lines = services.fleet.feed.subscribe(
        call.query.start_id, call.query.after, frozenset(call.query.loop) if call.query.loop else None
    )
    return LineStream(lines, services.stopping)


class LineStream(Response):
    """An ASGI answer that sends lines as they come, until they end, the client leaves, or the server stops."""

    def __init__(self, lines: AsyncIterator[bytes], stopping: anyio.Event) -> None:
        self._lines = lines
        self._stopping = stopping
        self.status_code = 200
        self.media_type = MEDIA_TYPE
        self.background = None
        self.init_headers({"cache-control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_left, receive, tasks.cancel_scope, name="watch: client")
                tasks.start_soon(self._until_stopped, tasks.cancel_scope, name="watch: stop")
                await self._carry(send)
                tasks.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _carry(self, send: Send) -> None:
        try:
            async for line in self._lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        finally:
            # A generator that is merely dropped would hold its place in the feed until it is collected.
            close = getattr(self._lines, "aclose", None)
            if close is not None:
                with anyio.CancelScope(shield=True):
                    await close()

    async def _until_left(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _until_stopped(self, scope: anyio.CancelScope) -> None:
        await self._stopping.wait()
        await anyio.sleep(FAREWELL_S)
        scope.cancel()
