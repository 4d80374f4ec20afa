"""HTTP/1.1 over the daemon's Unix socket, by hand: the only file that knows it is a socket.

Written on the bare socket because `http.client` alone costs more than the rest of `opsctl status`. One connection per
request; one deadline over all of it.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

from opsctl.clock import monotonic_s
from opsctl.errors import LostError, RefusedError, UnreachedError
from opsctl.exits import Exit

ANSWER_LIMIT_S = 10.0
# The feed says something at least every 10 s; three times that is silence.
QUIET_LIMIT_S = 30.0
_HEAD_BYTES_MAX = 65_536
# A socket's name in the kernel; longer paths are reached by way of their folder.
_PATH_BYTES_MAX = 107
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quoted(text: str) -> str:
    """Percent-encoded for one piece of a path or query; bytes that are no UTF-8 go as they came from the shell."""
    return "".join(chr(b) if b in _UNRESERVED else f"%{b:02X}" for b in text.encode("utf-8", "surrogateescape"))


def target(path: str, **query: object) -> str:
    """A path with its query; None is left out, a tuple or list repeats the parameter."""
    pairs = []
    for name, value in query.items():
        values = value if isinstance(value, (tuple, list)) else [] if value is None else [value]
        pairs += [f"{name}={quoted(str(each))}" for each in values]
    return f"{path}?{'&'.join(pairs)}" if pairs else path


def loop_path(loop_id: str, *below: str) -> str:
    return "/".join(("/v1/loops", quoted(loop_id), *below))


class Client:
    """Asks one daemon. Every method raises an `OpsctlError` with exit code and remedy where there is no answer."""

    def __init__(self, socket_path: str, *, limit_s: float = ANSWER_LIMIT_S) -> None:
        self.socket_path = socket_path
        self.limit_s = limit_s

    def get(self, where: str, *, limit_s: float | None = None) -> bytes:
        """The body of the answer; `limit_s` is for answers that may take longer than others."""
        return self._ask("GET", where, b"", limit_s or self.limit_s)

    def post(self, where: str, body: bytes, *, limit_s: float | None = None) -> bytes:
        return self._ask("POST", where, body, limit_s or self.limit_s)

    def lines(self, where: str, *, deadline_s: float | None = None) -> Iterator[bytes]:
        """The lines of a stream, until it ends; silence of `QUIET_LIMIT_S`, or past `deadline_s`, counts as a loss.

        `deadline_s` is on the monotonic clock.
        """
        with self._connect(self.limit_s) as connection:
            reader = _Reader(connection, monotonic_s() + self.limit_s)
            self._send(connection, "GET", where, b"")
            body = self._open(reader)
            rest = b""
            while True:
                quiet_until_s = monotonic_s() + QUIET_LIMIT_S
                reader.deadline_s = quiet_until_s if deadline_s is None else min(quiet_until_s, deadline_s)
                piece = next(body, None)
                if piece is None:
                    return
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole

    def _ask(self, method: str, where: str, body: bytes, limit_s: float) -> bytes:
        with self._connect(limit_s) as connection:
            reader = _Reader(connection, monotonic_s() + limit_s)
            self._send(connection, method, where, body)
            return b"".join(self._open(reader))

    def _connect(self, limit_s: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # While the daemon's backlog is full, connect waits this long; Python's own timeout would fail at once.
            whole_s, micros = int(limit_s), int(limit_s % 1 * 1_000_000)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole_s, micros))
            _connect_to(connection, self.socket_path)
        except OSError as error:
            connection.close()
            raise self._unreached(error) from None
        return connection

    def _unreached(self, error: OSError) -> UnreachedError:
        path = self.socket_path
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return UnreachedError(
                Exit.NO_DAEMON,
                f"no opsd here: there is no socket {path}",
                "start it (systemctl start opsd, or opsd run --repo REPO), or name its socket with --socket",
            )
        if isinstance(error, PermissionError):
            return UnreachedError(
                Exit.DENIED,
                f"permission denied on the socket {path}",
                f"ask for membership of the socket's group (stat -c %G {path}) and log in anew",
            )
        return UnreachedError(
            Exit.NO_ANSWER,
            f"nobody answers on the socket {path} ({error.strerror or error})",
            "opsd has died or hangs: systemctl status opsd, then systemctl restart opsd",
        )

    def _send(self, connection: socket.socket, method: str, where: str, body: bytes) -> None:
        head = f"{method} {where} HTTP/1.1\r\nHost: opsd\r\nConnection: close\r\nAccept: */*\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        try:
            connection.sendall(head.encode("ascii") + b"\r\n" + body)
        except OSError as error:
            raise LostError(f"opsd closed the connection before it heard the request ({error.strerror})") from None

    def _open(self, reader: "_Reader") -> Iterator[bytes]:
        """The pieces of the body, once status and headers are read; anything but 2xx raises."""
        status, headers = reader.head()
        body = reader.body(headers)
        if status < 300:
            return body
        raise _refused(status, b"".join(body))


def _connect_to(connection: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        connection.connect(path)
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        os.close(folder)


def _refused(status: int, body: bytes) -> RefusedError | LostError:
    import json  # only where something went wrong

    try:
        error = json.loads(body)["error"]
        return RefusedError(status, error["code"], error["message"])
    except (ValueError, KeyError, TypeError):
        if status == 503:  # said before opsd itself is asked
            return RefusedError(
                status, "unavailable", "opsd has as many connections as it takes; try again in a moment"
            )
        return LostError(f"the answer has status {status} and is none of opsd's; is it another program's socket?")


class _Reader:
    """Buffered reading of one answer. `deadline_s` may be moved while a stream goes on."""

    def __init__(self, connection: socket.socket, deadline_s: float) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self.deadline_s = deadline_s

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers, names in lower case."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _HEAD_BYTES_MAX or not self._more():
                raise LostError("the answer is not HTTP, or broke off in its headers", Exit.NO_ANSWER)
        first, *rest = self._take(end + 4)[:-4].decode("latin-1").split("\r\n")
        protocol, _, status = first.partition(" ")
        if not protocol.startswith("HTTP/1.") or not status[:3].isdigit():
            raise LostError("the answer is not HTTP; is it another program's socket?")
        pairs = (line.partition(":") for line in rest)
        return int(status[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def body(self, headers: dict[str, str]) -> Iterator[bytes]:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        length = headers.get("content-length")
        return self._until_closed() if length is None else iter([self._exactly(int(length))])

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size_text = self._line().partition(b";")[0]
            try:
                size = int(size_text, 16)
            except ValueError:
                raise LostError("the answer is garbled: a chunk without a length") from None
            if size == 0:
                return
            yield self._exactly(size)
            self._line()

    def _until_closed(self) -> Iterator[bytes]:
        while self._buffer or self._more():
            yield self._take(len(self._buffer))

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._more_or_lost()
        return self._take(end + 2)[:-2]

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more_or_lost()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _more_or_lost(self) -> None:
        if not self._more():
            raise LostError("opsd broke off in the middle of its answer")

    def _more(self) -> bool:
        left_s = self.deadline_s - monotonic_s()
        try:
            if left_s <= 0:
                raise TimeoutError
            self._connection.settimeout(left_s)
            piece = self._connection.recv(262_144)
        except TimeoutError:
            raise LostError("opsd does not answer in time", Exit.NO_ANSWER) from None
        except OSError as error:
            raise LostError(f"the connection to opsd broke ({error.strerror})") from None
        self._buffer += piece
        return bool(piece)
