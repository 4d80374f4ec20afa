"""Somebody on a real socket who answers as a test tells it to: well, badly, slowly, for ever, or not at all."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import msgspec
from anyio.streams.tls import TLSListener

from opsd.model.wire import FEATURES, FEATURES_HEADER

Stream = anyio.abc.ByteStream
NEWER = {FEATURES_HEADER: " ".join(FEATURES)}
"""The header of a service that has all there is."""


class Asked(msgspec.Struct, frozen=True):
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    def json(self) -> dict[str, object]:
        said = json.loads(self.body)
        assert isinstance(said, dict)
        return said


Act = Callable[[Stream, Asked], Awaitable[bool]]
"""What to do with a request; whether to go on listening on its connection."""


class Peer:
    """`script` says what becomes of each request, in order; what is beyond its end is answered like its last one.

    With a `greeting`, whoever connects is told that, and nothing else.
    """

    def __init__(self, *script: Act, greeting: bytes | None = None) -> None:
        self.script = list(script)
        self.greeting = greeting
        self.asked: list[Asked] = []
        self.connections = 0
        self.open = 0
        self.base_url = ""

    def targets(self) -> list[str]:
        return [asked.target for asked in self.asked]

    async def serve(self, stream: Stream) -> None:
        self.connections += 1
        self.open += 1
        try:
            async with stream:
                if self.greeting is not None:
                    await stream.send(self.greeting)
                    return
                await self._converse(stream, self.connections)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, ssl.SSLError):
            pass  # it went away: whoever asks may
        finally:
            self.open -= 1

    async def _converse(self, stream: Stream, connection: int) -> None:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                buffer += await stream.receive()
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            first, *rest = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
            length = int(headers.get("content-length", "0"))
            while len(buffer) < length:
                buffer += await stream.receive()
            body, buffer = buffer[:length], buffer[length:]
            method, target, _ = first.split(" ", 2)
            asked = Asked(method, target, headers, body, connection)
            self.asked.append(asked)
            act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if not await act(stream, asked) or headers.get("connection") == "close":
                return


def answers(body: bytes | str | object = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> Act:
    """A whole answer; what is no text is sent as JSON."""
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return sends("\r\n".join(lines).encode() + b"\r\n\r\n" + data, goes_on=True)


def sends(data: bytes, *, goes_on: bool = False) -> Act:
    """These bytes, and then the connection ends, unless it `goes_on`."""

    async def act(stream: Stream, _: Asked) -> bool:
        await stream.send(data)
        return goes_on

    return act


def closes_afterwards(act: Act) -> Act:
    """The connection looks like one that may be kept, and is closed all the same."""

    async def done(stream: Stream, asked: Asked) -> bool:
        await act(stream, asked)
        return False

    return done


def hangs_up() -> Act:
    async def act(_: Stream, __: Asked) -> bool:
        return False

    return act


def stays_silent(before: bytes = b"") -> Act:
    """Takes the request, and never answers to its end."""

    async def act(stream: Stream, _: Asked) -> bool:
        if before:
            await stream.send(before)
        while True:
            await stream.receive()  # until whoever asks goes away

    return act


def drips(data: bytes, every_s: float) -> Act:
    """One byte after the other: no single wait is long."""

    async def act(stream: Stream, _: Asked) -> bool:
        for byte in data:
            await stream.send(bytes([byte]))
            await anyio.sleep(every_s)
        return False

    return act


def pours(head: bytes, piece: bytes) -> Act:
    """A body without end."""

    async def act(stream: Stream, _: Asked) -> bool:
        await stream.send(head)
        while True:
            await stream.send(piece)

    return act


@asynccontextmanager
async def listening(
    peer: Peer, *, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Peer]:
    """`peer` on a port of its own, for as long as this lasts; with `context` over TLS."""
    listener: anyio.abc.Listener[Stream] = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    peer.base_url = f"{'http' if context is None else 'https'}://{host}:{port}"
    if context is not None:
        listener = TLSListener(listener, context, standard_compatible=False)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, peer.serve)
        yield peer
        tasks.cancel_scope.cancel()
