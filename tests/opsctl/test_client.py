"""The client against servers that answer well, badly, late, or not at all."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from opsctl.client import Client, loop_path, quoted, target
from opsctl.clock import monotonic_s
from opsctl.errors import LostError, OpsctlError, RefusedError, UnreachedError
from opsctl.exits import Exit
from opsctl.feed import is_passing, pauses


@contextmanager
def answering(path: str, *pieces: bytes, hold: bool = False) -> Iterator[list[bytes]]:
    """A server that hears one request, says `pieces`, and closes; with `hold` only when the test is done.

    Yields what it heard.
    """
    heard: list[bytes] = []
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as connection:
                received = b""
                while b"\r\n\r\n" not in received:
                    received += connection.recv(65_536)
                heard.append(received)
                for piece in pieces:
                    connection.sendall(piece)
                if hold:
                    done.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            done.set()
            thread.join(30)


def of_length(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s")


@pytest.mark.parametrize(
    "pieces",
    [
        [of_length(b"hello world")],
        [b"HTTP/1.1 200 OK\r\n\r\nhello world"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"],
        [
            bytes([byte])
            for byte in b"HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"
        ],
    ],
)
def test_a_body_arrives_whole_however_it_is_sent(path: str, pieces: list[bytes]) -> None:
    with answering(path, *pieces) as heard:
        assert Client(path).get("/v1/x") == b"hello world"

    assert heard[0].startswith(b"GET /v1/x HTTP/1.1\r\nHost: opsd\r\n")


def test_a_stream_is_lines_whatever_its_chunks(path: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with answering(path, head, b'4\r\n{"a"\r\n', b"8\r\n:1}\n{}\n1\r\n", b"1\r\n\n\r\n", b"0\r\n\r\n"):
        assert list(Client(path).lines("/v1/watch")) == [b'{"a":1}', b"{}", b"1"]


def test_a_refusal_carries_its_code_and_its_exit(path: str) -> None:
    body = b'{"error":{"code":"unknown_loop","message":"no loop","details":{}}}'
    with answering(path, of_length(body, "404 Not Found")), pytest.raises(RefusedError) as refused:
        Client(path).get("/v1/loops/x")

    assert (refused.value.code, refused.value.exit_code, refused.value.message) == (
        "unknown_loop",
        Exit.UNKNOWN_LOOP,
        "no loop",
    )


@pytest.mark.parametrize(
    ("pieces", "exit_code"),
    [
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], Exit.DAEMON_ERROR),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"], Exit.DAEMON_ERROR),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], Exit.DAEMON_ERROR),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe"], Exit.DAEMON_ERROR),
        ([b"HTTP/1.1 500 Oh\r\n\r\n{}"], Exit.DAEMON_ERROR),
        ([b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>"], Exit.DAEMON_ERROR),
        ([b""], Exit.NO_ANSWER),
        ([b"x" * 100_000], Exit.NO_ANSWER),
    ],
)
def test_a_broken_answer_is_a_loss_not_a_result(path: str, pieces: list[bytes], exit_code: Exit) -> None:
    with answering(path, *pieces), pytest.raises(LostError) as lost:
        Client(path).get("/v1/x")

    assert lost.value.exit_code is exit_code


def test_a_full_daemon_says_so(path: str) -> None:
    with (
        answering(path, of_length(b"Service Unavailable", "503 Service Unavailable")),
        pytest.raises(RefusedError) as full,
    ):
        Client(path).get("/v1/x")

    assert is_passing(full.value)


def test_pauses_grow_and_stay_bounded() -> None:
    """A daemon that comes back is found within two seconds, and not hammered while it is away."""
    first = list(islice(pauses(), 10))

    assert first[:3] == [0.1, 0.2, 0.4]
    assert first == sorted(first)
    assert first[-1] == 2.0


@pytest.mark.parametrize("pieces", [[], [b"HTTP/1.1 200 OK\r\n"], [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"]])
def test_one_deadline_covers_the_whole_answer(path: str, pieces: list[bytes]) -> None:
    with answering(path, *pieces, hold=True), pytest.raises(LostError) as lost:
        Client(path, limit_s=0.1).get("/v1/x")

    assert lost.value.exit_code is Exit.NO_ANSWER


def test_a_stream_ends_with_its_deadline(path: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n"
    with answering(path, head, hold=True), pytest.raises(LostError):
        for _ in Client(path).lines("/v1/watch", deadline_s=monotonic_s() + 0.1):
            pass


def test_no_socket_no_permission_and_nobody_there_are_three_things(tmp_path: Path) -> None:
    """Three causes, three messages, three remedies."""
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(stale))
    plain = tmp_path / "plain"
    plain.touch()

    troubles = [
        trouble(str(tmp_path / "none")),
        trouble(str(plain / "below")),
        trouble(str(stale)),
        trouble(str(plain)),
    ]

    assert [each.exit_code for each in troubles] == [Exit.NO_DAEMON, Exit.NO_DAEMON, Exit.NO_ANSWER, Exit.NO_ANSWER]
    assert "systemctl start opsd" in troubles[0].remedy
    assert "systemctl restart opsd" in troubles[2].remedy
    assert all(isinstance(each, UnreachedError) for each in troubles)


def trouble(path: str) -> OpsctlError:
    with pytest.raises(OpsctlError) as raised:
        Client(path, limit_s=0.2).get("/v1/x")
    return raised.value


def test_a_daemon_too_busy_to_accept_is_given_its_time_then_up(path: str) -> None:
    """A full backlog must not look like a missing daemon at once, nor hold the user for ever."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(path)

            assert trouble(path).exit_code is Exit.NO_ANSWER
        finally:
            for each in waiting:
                each.close()


def test_a_socket_far_down_the_tree_is_reached(tmp_path: Path) -> None:
    """The kernel takes 107 bytes of path; a home repository may lie deeper."""
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    handle = os.open(folder, os.O_PATH)
    try:
        with answering(f"/proc/self/fd/{handle}/s", of_length(b"deep")):
            assert Client(str(folder / "s")).get("/") == b"deep"
    finally:
        os.close(handle)


def test_names_travel_escaped() -> None:
    assert loop_path("a b/../%2e?x", "events") == "/v1/loops/a%20b%2F..%2F%252e%3Fx/events"
    assert quoted("ü") == "%C3%BC"
    assert quoted("\udcff") == "%FF", "a name that is no UTF-8 goes as it came"
    assert target("/v1/watch", startId=None, after=0, loop=("a", "b&c")) == "/v1/watch?after=0&loop=a&loop=b%26c"
    assert target("/v1/watch", loop=()) == "/v1/watch"
