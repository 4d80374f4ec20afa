"""The server under clients that lie, stall, leave or overdo it; and who may do what."""

import os
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
import structlog.testing

from opsd.api.gate import Gate
from opsd.api.peer import Access, Peer, peer_of
from opsd.api.routes import ENDPOINTS
from opsd.api.server import STANDARD_LIMITS, Limits
from opsd.protocol import VersionReply
from tests.api.wire import answer_in, ask, eventually, exchange
from tests.api.world import World, a_world, open_folder
from tests.doubles.daemon import serving

IS_ROOT = os.geteuid() == 0
STRANGER_UID, STRANGER_GID = 64_001, 64_002
GROUP_GID = 64_003

# Another user needs no more than this to ask; it prints the HTTP status.
_ASK_AS = """
import os, socket, sys
path, target, method, uid, gid, *groups = sys.argv[1:]
os.setgroups([int(group) for group in groups]); os.setgid(int(gid)); os.setuid(int(uid))
sock = socket.socket(socket.AF_UNIX); sock.settimeout(10); sock.connect(path)
sock.sendall(f"{method} {target} HTTP/1.1\\r\\nhost: o\\r\\nconnection: close\\r\\n\\r\\n".encode())
print(sock.recv(65536).split()[1].decode())
"""


async def ask_as_stranger(path: str, target: str, *groups: int, method: str = "GET") -> int:
    who = [str(number) for number in (STRANGER_UID, STRANGER_GID, *groups)]
    done = await anyio.run_process([sys.executable, "-c", _ASK_AS, path, target, method, *who], stderr=None)
    return int(done.stdout)


async def is_alive(world: World) -> bool:
    answer = await world.get("/v1/version")
    return msgspec.json.decode(answer.body, type=VersionReply).start_id == "start-1"


def test_the_kernel_names_the_peer_and_its_groups() -> None:
    here, there = socket.socketpair()
    with here, there:
        peer = peer_of(here)

    assert peer is not None
    assert (peer.uid, peer.gid, peer.pid) == (os.getuid(), os.getgid(), os.getpid())
    assert peer.groups >= set(os.getgroups())


def test_a_socket_that_names_nobody_has_no_peer() -> None:
    """Over TCP there is no such thing as a peer's uid: the answer must not be root's."""
    with socket.socket(socket.AF_INET) as unconnected:
        assert peer_of(unconnected) is None


@pytest.mark.parametrize(
    ("access", "may_read", "may_write"),
    [
        (Access(owner_uid=1), False, False),
        (Access(owner_uid=500), True, True),
        (Access(owner_uid=1, socket_gid=70), True, True),
        (Access(owner_uid=1, socket_gid=70, operator_gid=71), True, False),
        (Access(owner_uid=1, socket_gid=72, operator_gid=70), True, True),
        (Access(owner_uid=1, socket_gid=72, operator_gid=71), False, False),
        (Access(owner_uid=1, operator_gid=70), True, True),
    ],
)
def test_groups_decide_who_reads_and_who_writes(access: Access, may_read: bool, may_write: bool) -> None:
    peer = Peer(uid=500, gid=500, pid=1, groups=frozenset({500, 70}))

    assert (access.may_read(peer), access.may_write(peer)) == (may_read, may_write)


def test_root_may_always() -> None:
    root = Peer(uid=0, gid=0, pid=1, groups=frozenset({0}))

    assert Access(owner_uid=500).may_write(root)


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
async def test_a_stranger_is_let_in_by_group_only() -> None:
    path = "/v1/loops/docs-17/reconcile"
    readers = Access(owner_uid=0, socket_gid=GROUP_GID, operator_gid=GROUP_GID + 1)
    with open_folder() as folder:
        async with a_world(folder, readers) as world:
            statuses = [
                await ask_as_stranger(world.path, "/v1/fleet"),
                await ask_as_stranger(world.path, "/v1/fleet", GROUP_GID),
                await ask_as_stranger(world.path, path, GROUP_GID, method="POST"),
                await ask_as_stranger(world.path, path, GROUP_GID + 1, method="POST"),
            ]

    assert statuses == [403, 200, 403, 200]
    assert world.fleet.asked == [("docs-17", False)]


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
async def test_whoever_may_only_read_changes_nothing() -> None:
    """Whatever is added to the table is asked here too; a dry run and an empty body are no way around."""
    readers = Access(owner_uid=0, socket_gid=GROUP_GID, operator_gid=GROUP_GID + 1)
    writes = [each for each in ENDPOINTS if each.method != "GET"]
    with open_folder() as folder:
        async with a_world(folder, readers) as world:
            statuses = {
                each.path: await ask_as_stranger(
                    world.path, each.path.replace("{id}", "docs-17"), GROUP_GID, method=each.method
                )
                for each in writes
            }

    assert len(writes) >= 4
    assert statuses == {each.path: 403 for each in writes}
    assert not world.fleet.asked
    assert not world.desk.asked


async def test_a_connection_without_identity_is_refused() -> None:
    """The hook into uvicorn is not promised to us: should it ever be skipped, nobody gets in."""
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def inner(*_: object) -> None:
        raise AssertionError("the request went through")

    gate = Gate(inner, None)  # type: ignore[arg-type]  # it must refuse before it needs any service
    scope = {"type": "http", "method": "GET", "path": "/v1/fleet", "headers": []}
    await gate(scope, receive, send)  # type: ignore[arg-type]  # plain dictionaries are what ASGI messages are

    assert sent[0]["status"] == 403
    assert b"no_peer_identity" in bytes(str(sent[1]["body"]), "utf-8")


async def test_a_write_is_logged_with_who_asked_and_a_read_is_not(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        with structlog.testing.capture_logs() as logged:
            await world.get("/v1/fleet")
            await ask(world.path, "/v1/loops/docs-17/reconcile", method="POST")

    reads, writes = ([line for line in logged if line["log_level"] == level] for level in ("debug", "info"))
    assert [line["path"] for line in reads] == ["/v1/fleet"]
    assert [(line["event"], line["path"], line["status"]) for line in writes] == [
        ("api.request", "/v1/loops/docs-17/reconcile", 200)
    ]
    assert (writes[0]["uid"], writes[0]["pid"]) == (os.getuid(), os.getpid())
    assert writes[0]["user"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\n\n",
        b"\x16\x03\x01\x02\x00",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"\0" * 64,
    ],
)
async def test_garbage_is_answered_or_closed_and_forgotten(tmp_path: Path, garbage: bytes) -> None:
    async with a_world(tmp_path) as world:
        with anyio.fail_after(10):
            received = await exchange(world.path, garbage)

        assert await is_alive(world)
    assert answer_in(received).error()[:2] == (400, "bad_request")


@pytest.mark.parametrize("head", [b"GET /v1/fleet HTTP/1.1\r\n" + b"x: y\r\n" * 50_000, b"GET /" + b"a" * 300_000])
async def test_headers_without_end_are_cut_off(tmp_path: Path, head: bytes) -> None:
    """The parser would collect them for as long as they come."""
    async with a_world(tmp_path) as world:
        with anyio.fail_after(10):
            received = await exchange(world.path, head)

        assert await is_alive(world)
    assert len(head) > STANDARD_LIMITS.head_bytes
    assert answer_in(received).error()[:2] == (431, "headers_too_large")


@pytest.mark.parametrize("sent", [b"", b"GET /v1/fleet HTTP/1.1\r\nhost: "])
async def test_a_client_that_never_comes_to_the_point_is_hung_up_on(tmp_path: Path, sent: bytes) -> None:
    """It would hold its place for ever."""
    async with a_world(tmp_path, limits=Limits(head_s=0.05)) as world:
        with anyio.fail_after(10):
            async with await anyio.connect_unix(world.path) as stream:
                if sent:
                    await stream.send(sent)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await stream.receive()

        assert await is_alive(world)


async def test_connections_are_bounded_and_given_back(tmp_path: Path) -> None:
    async with a_world(tmp_path, limits=Limits(connections=4)) as world:
        async with AsyncExitStack() as held:
            for _ in range(4):
                await held.enter_async_context(await anyio.connect_unix(world.path))
            full = await ask(world.path, "/v1/version")
        with anyio.fail_after(10):
            while not await is_served(world):
                pass

    assert full.status == 503


async def is_served(world: World) -> bool:
    return (await world.get("/v1/version")).status == 200


async def test_a_client_that_leaves_halfway_is_forgotten(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        for sent in (b"", b"GET /v1/fl", b"POST /v1/loops/docs-17/reconcile HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"):
            async with await anyio.connect_unix(world.path) as stream:
                await stream.send(sent)
        async with await anyio.connect_unix(world.path) as half:
            await half.send(b"GET /v1/version HTTP/1.1\r\nhost: o\r\n\r\n")
            await half.send_eof()

        assert await is_alive(world)
    assert not world.fleet.asked


async def test_one_connection_serves_several_requests_even_sent_at_once(tmp_path: Path) -> None:
    request = b"GET /v1/version HTTP/1.1\r\nhost: o\r\n\r\n"
    last = request.replace(b"host: o", b"host: o\r\nconnection: close")
    async with a_world(tmp_path) as world:
        received = await exchange(world.path, request + request + last)

    assert received.count(b"HTTP/1.1 200") == 3


async def test_many_clients_at_once_are_all_served(tmp_path: Path) -> None:
    statuses: list[int] = []

    async def one(path: str) -> None:
        statuses.append((await ask(path, "/v1/fleet")).status)

    async with a_world(tmp_path) as world, anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(one, world.path)

    assert statuses == [200] * 100


async def test_a_stop_lets_held_back_requests_end(tmp_path: Path) -> None:
    """Nobody has to wait for the full time of a client's patience."""
    answers: list[int] = []

    async def hold(path: str) -> None:
        answers.append((await ask(path, "/v1/loops/docs-17/events?offset=0&wait=30")).status)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks, a_world(tmp_path) as world:
            world.write_events("docs-17", [])
            tasks.start_soon(hold, world.path)
            await eventually(lambda: world.queries.events_asked > 0)

    assert answers == [200]


async def test_whoever_knocks_while_it_stops_is_answered_or_turned_away(tmp_path: Path) -> None:
    """Nobody is let in and then forgotten: a client would wait out its whole patience."""
    outcomes: list[str] = []
    for attempt in range(10):
        world = World(tmp_path)
        async with anyio.create_task_group() as tasks, serving(world.path, world.fleet):
            for _ in range(20):
                tasks.start_soon(knock, world.path, outcomes)
            for _ in range(attempt):
                await anyio.lowlevel.checkpoint()

    assert len(outcomes) == 200
    assert "answered" in outcomes


async def knock(path: str, outcomes: list[str]) -> None:
    with anyio.fail_after(5):
        try:
            received = await exchange(path, b"GET /v1/version HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n")
        except (OSError, anyio.BrokenResourceError):
            outcomes.append("turned away")
        else:
            outcomes.append("answered" if received else "turned away")


async def test_curl_gets_through(tmp_path: Path) -> None:
    """The API is meant to be tried out by hand."""
    async with a_world(tmp_path) as world:
        try:
            done = await anyio.run_process(["curl", "-sf", "--unix-socket", world.path, "http://opsd/v1/version"])
        except FileNotFoundError:
            pytest.skip("no curl here")

    assert msgspec.json.decode(done.stdout, type=VersionReply).api_version == "v1"
    assert isinstance(done, subprocess.CompletedProcess)
