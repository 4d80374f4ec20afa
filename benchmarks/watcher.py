"""The child that reads the daemon's feed over the real socket, and remembers when each piece of it came.

It only stamps and keeps: what the bytes say is found out when the measurement is over, so that reading does not
compete with what is measured.
"""

import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from benchmarks.child import leave, task, tell
from benchmarks.wire import Connection

PIECE_BYTES = 1 << 20


class WatcherTask(msgspec.Struct, frozen=True):
    socket: str
    pieces_file: str


class Picture(NamedTuple):
    """A loop as the feed showed it, at `at_ns` of the monotonic clock."""

    at_ns: int
    loop_id: str
    name: str | None
    iteration: int
    timestamp: str | None


def pictures(pieces: Iterable[tuple[int, bytes]]) -> Iterator[Picture]:
    """What the feed showed, in the order in which it came. A line counts from when its last byte was there."""
    rest = b""
    for at_ns, piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            picture = _picture(at_ns, line)
            if picture is not None:
                yield picture


def _picture(at_ns: int, line: bytes) -> Picture | None:
    loop = json.loads(line).get("loop") if line else None
    if loop is None:
        return None
    return Picture(
        at_ns,
        loop["loopId"],
        loop.get("lastEventName"),
        loop["progress"].get("iteration", 0),
        loop.get("lastEventAt"),
    )


def main() -> None:
    mine = task(WatcherTask)
    pieces: list[tuple[int, bytes]] = []
    connection = Connection(mine.socket, timeout_s=None)
    feed = connection.stream("/v1/watch")
    # Waiting for both the feed and the word to stop takes a thread: a response holds back bytes that no `select` sees.
    threading.Thread(target=_hang_up, args=(connection.sock,), name="stop", daemon=True).start()
    try:
        while piece := feed.read1(PIECE_BYTES):
            pieces.append((time.monotonic_ns(), piece))
            if len(pieces) == 1:
                tell("ready")
    except http.client.IncompleteRead:
        pass  # hung up in the middle, as meant
    leave(mine.pieces_file, pieces)


def _hang_up(sock: socket.socket) -> None:
    sys.stdin.readline()
    sock.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
