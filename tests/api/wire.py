"""A client as bare as it gets: bytes in, bytes out, so that what is tested is what travels."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import msgspec

from opsd.protocol import ErrorReply, FeedItem


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes

    def error(self) -> tuple[int, str, str]:
        """HTTP status, code and message of a refusal."""
        error = msgspec.json.decode(self.body, type=ErrorReply).error
        return self.status, error.code, error.message


async def ask(
    path: str, target: str, *, method: str = "GET", body: bytes | None = None, headers: tuple[str, ...] = ()
) -> Answer:
    lines = [f"{method} {target} HTTP/1.1", "host: opsd", "connection: close", *headers]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return answer_in(await exchange(path, "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")))


async def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    with anyio.fail_after(within_s):
        while not holds():  # noqa: ASYNC110  what is waited for happens in code that raises no event for us
            await anyio.sleep(0.005)


async def exchange(path: str, sent: bytes) -> bytes:
    """Everything the server says to `sent` until it closes the connection."""
    async with await anyio.connect_unix(path) as stream:
        try:
            await stream.send(sent)
        except anyio.BrokenResourceError:
            pass  # refused before all of it was heard: the answer is there all the same
        return b"".join([piece async for piece in stream])


def answer_in(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Answer(int(first.split()[1]), headers, body)


class Watching:
    """An open `GET /v1/watch`; `next` is the next line that is no beat."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def next(self) -> FeedItem:
        while True:
            line = await self._chunk_line()
            item = msgspec.json.decode(line, type=FeedItem)
            if item.kind != "beat":
                return item

    async def until(self, kind: str) -> list[FeedItem]:
        """All lines up to and with the first of this kind."""
        items = [await self.next()]
        while items[-1].kind != kind:
            items.append(await self.next())
        return items

    async def _chunk_line(self) -> bytes:
        while True:
            # JSON lines carry no bare line ends; a chunk's frame is a line that is no object.
            while b"\n" not in self._buffer:
                self._buffer += await self.stream.receive()
            line, _, self._buffer = self._buffer.partition(b"\n")
            if line.startswith(b"{"):
                return line


@asynccontextmanager
async def watching(path: str, query: str = "") -> AsyncIterator[Watching]:
    async with await anyio.connect_unix(path) as stream:
        await stream.send(f"GET /v1/watch{query} HTTP/1.1\r\nhost: opsd\r\n\r\n".encode())
        yield Watching(stream)
