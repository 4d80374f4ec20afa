"""uvicorn inside our task group, on a socket that we made: identity per connection, bounds on what a client may hold.

Making the socket, with its mode and group, is the daemon's; what is answered is `opsd.api.app`. A service that answers
in another form brings a protocol of its own.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import anyio
import anyio.abc
import anyio.lowlevel
import msgspec
import uvicorn
from starlette.datastructures import State
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from opsd.api import replies
from opsd.api.errors import ApiError, ErrorCode
from opsd.api.gate import PEER_EXTENSION
from opsd.api.peer import peer_of

GRACE_S = 3


class Served(Protocol):
    """An ASGI application. `state.stopping` is an event that is set when the server begins to stop."""

    state: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Limits(msgspec.Struct, frozen=True):
    """What clients may hold of us: how many connections, and how much and how long a request's head may be."""

    connections: int = 512
    head_bytes: int = 32_768
    head_s: float = 10.0


STANDARD_LIMITS = Limits()

_NOT_HTTP = ApiError(ErrorCode.BAD_REQUEST, "this is not HTTP/1.1; try curl --unix-socket SOCKET http://opsd/v1/fleet")


class BoundedProtocol(HttpToolsProtocol):
    """Does what uvicorn leaves out: bounds for the head, errors in JSON.

    uvicorn does not promise these methods to subclasses. tests/api/test_server.py fails if one of them goes unused.
    """

    limits = STANDARD_LIMITS
    not_http = _NOT_HTTP
    _head_bytes = 0
    _head_limit: asyncio.TimerHandle | None = None

    @staticmethod
    def error_body(refused: ApiError) -> bytes:
        return replies.error_body(refused)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_limit is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_limit is not None and self._head_bytes > self.limits.head_bytes:
            self._refuse(431, _head_too_large(self.limits.head_bytes))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_arrived()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, self.not_http)

    def _await_head(self) -> None:
        if self._head_limit is None:
            self._head_bytes = 0
            self._head_limit = self.loop.call_later(self.limits.head_s, self.transport.abort)

    def _head_arrived(self) -> None:
        if self._head_limit is not None:
            self._head_limit.cancel()
            self._head_limit = None

    def _refuse(self, status: int, refused: ApiError) -> None:
        self._head_arrived()
        body = self.error_body(refused)
        head = f"HTTP/1.1 {status} \r\ncontent-type: {replies.JSON}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()


class PeerProtocol(BoundedProtocol):
    """Adds to each request who is connected.

    A request without identity is refused, so a change in uvicorn shuts the door rather than opening it.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        peer = peer_of(transport.get_extra_info("socket"))
        inner = self.app

        async def identified(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[PEER_EXTENSION] = peer
            await inner(scope, receive, send)

        self.app = identified


def _head_too_large(limit_bytes: int) -> ApiError:
    return ApiError(
        ErrorCode.HEADERS_TOO_LARGE,
        f"the request line and headers have more than {limit_bytes} bytes; no request here needs that many",
        limit_bytes=str(limit_bytes),
    )


class _Embedded(uvicorn.Server):
    """Leaves signals to the daemon, says when it listens, and sleeps until it is asked to stop."""

    def __init__(self, config: uvicorn.Config, task_status: anyio.abc.TaskStatus[None]) -> None:
        super().__init__(config)
        self._task_status = task_status
        self.asked_to_stop = anyio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._task_status.started()

    async def main_loop(self) -> None:
        # uvicorn's own looks ten times a second whether it should stop; an idle fleet should cost nothing.
        await self.on_tick(0)
        await self.asked_to_stop.wait()
        await self._stop_accepting()

    async def _stop_accepting(self) -> None:
        """Leave who knocks from now on in the socket's backlog, and let who was let in just now take their place.

        Closed in the same turn of the event loop, asyncio loses the connections that it has accepted and not attached
        yet: nobody would answer them or hang up.
        """
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for sock in server.sockets:
                loop.remove_reader(sock.fileno())
        await anyio.lowlevel.checkpoint()


async def serve(
    sock: socket.socket,
    app: Served,
    *,
    limits: Limits = STANDARD_LIMITS,
    protocol: type[BoundedProtocol] = PeerProtocol,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; then stop listening, let requests finish for up to `GRACE_S` seconds, and end.

    `sock` is bound (listening or not) and is closed at the end; its name in the file system is the caller's to remove.
    """
    config = uvicorn.Config(
        app,
        http=type("LimitedProtocol", (protocol,), {"limits": limits}),
        limit_concurrency=limits.connections,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # who asks is not for the request itself to say
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Embedded(config, task_status)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_ask_to_stop_when_cancelled, server, app, name="api: stop")
        # uvicorn is not cancelled but asked: cut off in the middle, it would leave its connections behind.
        with anyio.CancelScope(shield=True):
            await server.serve(sockets=[sock])
        tasks.cancel_scope.cancel()


async def _ask_to_stop_when_cancelled(server: _Embedded, app: Served) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        app.state.stopping.set()
        server.asked_to_stop.set()
