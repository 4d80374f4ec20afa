"""Somebody between two TCP peers who speak HTTP, and who does harm on demand: a process of its own, told by lines.

Each line of JSON on stdin is a command (`Open`, `Arm`, `Disarm`, `Tell`), answered by one line on stdout. What passes
is passed on byte for byte. The side that tests talk to is `tests.doubles.sprites.Proxy`.
"""

import asyncio
import os
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal, NamedTuple

import msgspec

PAGE = b"<html><head><title>Bad luck</title></head><body>The gateway says no.</body></html>"
PIECE = b" " * 65_536
FOR_EVER_S = 3_600.0

Kind = Literal[
    "pass", "delay", "cut", "reset", "close", "lose", "hold", "duplicate", "swap", "stale", "status", "html", "drip",
    "flood", "short", "long", "half-open",
]  # fmt: skip


class Fault(msgspec.Struct, frozen=True):
    """What befalls the requests that have `on` in their `METHOD target`, at most `times` of them.

    delay: they are passed on after `seconds`. reset, close: the connection ends before anything is passed on. lose: it
    ends before the answer. hold: the answer is kept back for `seconds`. cut: half of the answer's body, then the end.
    duplicate: passed on twice; the second answer counts. swap: two that come at the same time get each other's answer.
    stale: the answer to the one before. status: an answer with `status` of our own, and html: the same with 200;
    nothing is passed on. drip: the answer a byte at a time, each after `seconds`. flood: an answer without end. short,
    long: the answer with a wrong length. half-open: connections are taken, and never read from.
    """

    kind: Kind
    on: str = ""
    times: int | None = None
    seconds: float = 0.0
    status: int = 0


class Open(msgspec.Struct, frozen=True, tag="open"):
    """A new way to the local port `to`; the answer tells on which `port` it begins."""

    name: str
    to: int


class Arm(msgspec.Struct, frozen=True, tag="arm"):
    name: str
    fault: Fault


class Disarm(msgspec.Struct, frozen=True, tag="disarm"):
    """From now on all is passed on; what is kept back is let go."""

    name: str


class Tell(msgspec.Struct, frozen=True, tag="tell"):
    name: str


Command = Open | Arm | Disarm | Tell


class Told(msgspec.Struct, frozen=True):
    """`fired` counts what was done to requests, by kind; `requests` what came, by `METHOD target`."""

    port: int = 0
    fired: dict[str, int] = {}
    requests: dict[str, int] = {}


class _Message(NamedTuple):
    """A request or an answer: its head with the blank line behind it, and its body, as they came."""

    head: bytes
    body: bytes

    @property
    def words(self) -> str:
        """`METHOD target` of a request."""
        return " ".join(self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2])

    @property
    def ends(self) -> bool:
        """Whether the connection ends behind it."""
        return _header(self.head, b"connection").lower() == b"close"


class _Client(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        self.writer.writelines(pieces)
        await self.writer.drain()

    async def gone(self) -> None:
        """Until whoever asked goes away."""
        await self.reader.read(1)


class _Way:
    def __init__(self, to: int) -> None:
        self.to = to
        self.port = 0
        self.fired: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._fault = Fault("pass")
        self._left: int | None = None
        self._calm = asyncio.Event()
        self._calm.set()
        self._waiting: list[tuple[_Message, asyncio.Future[_Message]]] = []
        self._answers: dict[str, _Message] = {}
        self._acts: dict[str, Callable[[Fault, _Client, _Message], Awaitable[bool]]] = {
            "pass": self._pass, "delay": self._delay, "cut": self._cut, "reset": self._reset, "close": self._close,
            "lose": self._lose, "hold": self._hold, "duplicate": self._duplicate, "swap": self._swap,
            "stale": self._stale, "status": self._status, "html": self._status, "drip": self._drip,
            "flood": self._flood, "short": self._wrong_length, "long": self._wrong_length,
        }  # fmt: skip

    def arm(self, fault: Fault) -> None:
        self._fault, self._left = fault, fault.times
        self._calm = asyncio.Event()

    def disarm(self) -> None:
        self._fault, self._left = Fault("pass"), None
        self._calm.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(reader, writer)
        with suppress(OSError, asyncio.IncompleteReadError, EOFError):
            if self._fault.kind == "half-open" and self._left != 0:
                self.fired["half-open"] += 1
                if self._left is not None:
                    self._left -= 1
                await self._calm.wait()
            else:
                await self._converse(client)
        with suppress(OSError):
            writer.close()

    async def _converse(self, client: _Client) -> None:
        goes_on = True
        while goes_on:
            request = await _read(client.reader)
            self.requests[request.words] += 1
            fault = self._taken(request)
            goes_on = await self._acts[fault.kind](fault, client, request) and not request.ends

    def _taken(self, request: _Message) -> Fault:
        fault = self._fault
        if fault.kind in ("pass", "half-open") or fault.on not in request.words or self._left == 0:
            return Fault("pass")
        if self._left is not None:
            self._left -= 1
        return fault

    async def _pass(self, _: Fault, client: _Client, request: _Message) -> bool:
        answer = await self._asked(client, request)
        await client.send(*answer)
        return not answer.ends

    async def _delay(self, fault: Fault, client: _Client, request: _Message) -> bool:
        self.fired["delay"] += 1
        await asyncio.sleep(fault.seconds)
        return await self._pass(fault, client, request)

    async def _cut(self, _: Fault, client: _Client, request: _Message) -> bool:
        answer = await self._asked(client, request)
        self.fired["cut"] += 1
        await client.send(answer.head, answer.body[: len(answer.body) // 2])
        return False

    async def _reset(self, _: Fault, client: _Client, __: _Message) -> bool:
        self.fired["reset"] += 1
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        return False

    async def _close(self, _: Fault, __: _Client, ___: _Message) -> bool:
        self.fired["close"] += 1
        return False

    async def _lose(self, _: Fault, client: _Client, request: _Message) -> bool:
        await self._asked(client, request)
        self.fired["lose"] += 1
        return False

    async def _hold(self, fault: Fault, client: _Client, request: _Message) -> bool:
        asking = asyncio.ensure_future(self._asked(client, request))
        await asyncio.sleep(0.05)  # it is on its way before anybody hears of it
        self.fired["hold"] += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._calm.wait(), fault.seconds or FOR_EVER_S)
        answer = await asking
        await client.send(*answer)
        return not answer.ends

    async def _duplicate(self, _: Fault, client: _Client, request: _Message) -> bool:
        answer = (await asyncio.gather(self._upstream(request), self._upstream(request)))[1]
        self.fired["duplicate"] += 1
        await client.send(*answer)
        return not answer.ends

    async def _swap(self, fault: Fault, client: _Client, request: _Message) -> bool:
        if self._waiting:
            first, others = self._waiting.pop()
            answer, mine = await asyncio.gather(self._upstream(first), self._upstream(request))
            others.set_result(mine)
        else:
            turn: asyncio.Future[_Message] = asyncio.get_running_loop().create_future()
            self._waiting.append((request, turn))
            answer = await turn
        self.fired["swap"] += 1
        await client.send(*answer)
        return not answer.ends

    async def _stale(self, fault: Fault, client: _Client, request: _Message) -> bool:
        before = self._answers.get(request.words)
        if before is None:
            return await self._pass(fault, client, request)
        await self._asked(client, request)
        self.fired["stale"] += 1
        await client.send(*before)
        return not before.ends

    async def _status(self, fault: Fault, client: _Client, _: _Message) -> bool:
        self.fired[fault.kind] += 1
        await client.send(_answer(fault.status or 200, PAGE))
        return True

    async def _drip(self, fault: Fault, client: _Client, request: _Message) -> bool:
        answer = await self._asked(client, request)
        self.fired["drip"] += 1
        for byte in answer.head + answer.body:
            await client.send(bytes([byte]))
            await asyncio.sleep(fault.seconds)
        return not answer.ends

    async def _flood(self, _: Fault, client: _Client, request: _Message) -> bool:
        await self._asked(client, request)
        self.fired["flood"] += 1
        await client.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{")
        while True:
            await client.send(PIECE)

    async def _wrong_length(self, fault: Fault, client: _Client, request: _Message) -> bool:
        answer = await self._asked(client, request)
        self.fired[fault.kind] += 1
        length = len(answer.body) // 2 if fault.kind == "short" else len(answer.body) * 2
        head = re.sub(rb"(?i)(content-length:) *\d+", rb"\1 %d" % length, answer.head)
        await client.send(head, answer.body)
        return False

    async def _asked(self, client: _Client, request: _Message) -> _Message:
        """The answer; none is waited for on behalf of one who has gone away."""
        asking = asyncio.ensure_future(self._upstream(request))
        leaving = asyncio.ensure_future(client.gone())
        await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving
        if not asking.done():
            asking.cancel()
            raise EOFError
        answer = asking.result()
        self._answers[request.words] = answer
        return answer

    async def _upstream(self, request: _Message) -> _Message:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.to)
        try:
            writer.writelines(request)
            await writer.drain()
            return await _read(reader)
        finally:
            writer.close()


def _header(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"(?im)^" + name + rb":[ \t]*([^\r\n]*)", head)
    return found.group(1).strip() if found else b""


async def _read(reader: asyncio.StreamReader) -> _Message:
    """
    Raises:
        EOFError (asyncio.IncompleteReadError), OSError: the connection ended before it was whole.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    if _header(head, b"transfer-encoding").lower() == b"chunked":
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            line = await reader.readuntil(b"\r\n")
            body += line + await reader.readexactly(int(line.split(b";")[0], 16) + 2)
        return _Message(head, body)
    length = _header(head, b"content-length")
    if length or not head.startswith(b"HTTP/"):
        return _Message(head, await reader.readexactly(int(length or b"0")))
    return _Message(head, await reader.read())


def _answer(status: int, page: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n"
    return head.encode() + page


async def _serve() -> None:
    """Until stdin ends."""
    ways: dict[str, _Way] = {}
    servers: list[asyncio.Server] = []
    commands = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command = msgspec.json.decode(line, type=Command)
        match command:
            case Open(name, to):
                way = ways[name] = _Way(to)
                server = await asyncio.start_server(way.serve, "127.0.0.1", 0, limit=1 << 26)
                servers.append(server)
                way.port = server.sockets[0].getsockname()[1]
            case Arm(name, harm):
                ways[name].arm(harm)
            case Disarm(name):
                ways[name].disarm()
            case Tell():
                pass
        way = ways[command.name]
        told = Told(way.port, dict(way.fired), dict(way.requests))
        os.write(1, msgspec.json.encode(told) + b"\n")


if __name__ == "__main__":
    asyncio.run(_serve())
