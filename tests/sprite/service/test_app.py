"""The application under what no client should do, and what a disk may: over real TCP, on parts that a test holds."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
import structlog.testing

from opsd.api.endpoint import Services
from opsd.api.peer import Access
from opsd.api.server import serve
from opsd.clock import SystemClock
from opsd.disk import Disk
from opsd.ports import FileStat, Offload
from opsd.processes import ProcFs
from opsd.sprite.service.app import ENDPOINTS, ServiceApp
from opsd.sprite.service.calls import Sprite
from opsd.sprite.service.limits import Limits
from opsd.sprite.service.listen import ServiceProtocol, listening
from opsd.sprite.service.observing import Observer
from opsd.sprite.service.oldkeys import OldKeys
from opsd.sprite.service.token import Token
from opsd.store.layout import Layout
from opsd.transports.local import LocalTransport
from tests.api.wire import eventually
from tests.doubles.desk import StandInDesk
from tests.doubles.fleet import StandInFleet, StandInQueries
from tests.doubles.threads import Held

QUICK = Limits(running=2, body_s=0.2, request_s=0.3)


class Told(NamedTuple):
    status: int
    head: str
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


class BadDisk(Disk):
    """Fails at everything in a way that nobody foresaw."""

    def stat(self, path: str) -> FileStat | None:
        raise RuntimeError("the disk sings")


@asynccontextmanager
async def answering(repo: Path, limits: Limits, reads: Offload, files: Disk | None = None) -> AsyncIterator[int]:
    """The port on which the service answers."""
    clock, stopping = SystemClock(), anyio.Event()
    fleet = StandInFleet(clock)
    files = files or Disk()
    observer = Observer(
        LocalTransport(files, ProcFs()),
        repo_path=str(repo),
        service_id="start-1",
        offload=reads,
        clock=clock,
        stopping=stopping,
    )
    services = Services(fleet, StandInDesk(fleet), StandInQueries(), Access(-1), reads, clock, stopping)
    sprite = Sprite(
        repo_path=str(repo),
        services=services,
        files=files,
        observer=observer,
        old_keys=OldKeys(files, Layout(str(repo))),
        reads=reads,
        limits=limits,
        clock=services.clock,
        stopping=services.stopping,
    )
    app = ServiceApp(sprite, Token(files, path=None, value=None), ENDPOINTS)
    sock = listening("127.0.0.1", 0)
    port = sock.getsockname()[1]
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(serve, sock, app, protocol=ServiceProtocol))
            yield port
            tasks.cancel_scope.cancel()


async def say(port: int, sent: bytes) -> Told:
    """Everything that is answered until the connection is closed, or the answer is whole."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(sent)
        head, _, body = b"".join([piece async for piece in stream]).partition(b"\r\n\r\n")
    return Told(int(head.split()[1]), head.decode().lower(), body)


def request(target: str, body: bytes | None = None) -> bytes:
    head = f"{'GET' if body is None else 'POST'} {target} HTTP/1.1\r\nhost: o\r\nconnection: close\r\n"
    length = "" if body is None else f"content-length: {len(body)}\r\n"
    return f"{head}{length}\r\n".encode() + (body or b"")


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    async with answering(tmp_path, QUICK, Held(held=False)) as port:
        head = b"POST /ops/control HTTP/1.1\r\nhost: o\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{"
        told = await say(port, head)

    assert (told.status, told.code) == (408, "invalid_request")


async def test_a_disk_that_hangs_costs_its_request_and_no_other(tmp_path: Path) -> None:
    reads = Held()
    async with answering(tmp_path, QUICK, reads) as port:
        told = await say(port, request("/ops/snapshot?loopId=demo"))
        well = await say(port, request("/healthz"))

    assert (told.status, told.code) == (504, "timed_out")
    assert well.status == 200


async def test_more_at_once_than_can_be_answered_are_sent_away_for_a_while(tmp_path: Path) -> None:
    reads = Held()
    limits = Limits(running=2, request_s=20)
    told: list[Told] = []

    async def ask(port: int) -> None:
        told.append(await say(port, request("/ops/snapshot?loopId=demo")))

    async with answering(tmp_path, limits, reads) as port:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(ask, port)
            await eventually(lambda: reads.waiting == 2)
            refused = await say(port, request("/healthz"))
            reads.release()
        after = await say(port, request("/healthz"))

    assert (refused.status, refused.code) == (503, "overloaded")
    assert "retry-after: 1" in refused.head
    assert [each.status for each in told] == [502, 502]
    assert after.status == 200


def a_long_log(repo: Path, count: int = 40_000) -> None:
    folder = repo / ".superloop/loops/demo"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text('{"timestamp":"2026-11-21T12:00:00Z","event":"role_end"}\n' * count)


async def test_who_knows_no_pieces_has_a_long_answer_in_one(tmp_path: Path) -> None:
    a_long_log(tmp_path)
    async with answering(tmp_path, Limits(page_bytes=1_000), Held(held=False)) as port:
        told = await say(port, b"GET /ops/events?loopId=demo HTTP/1.0\r\nhost: o\r\n\r\n")

    assert len(json.loads(told.body)["events"]) == 40_000
    assert "chunked" not in told.head


async def test_who_does_not_take_his_answer_does_not_hold_a_place_for_ever(tmp_path: Path) -> None:
    a_long_log(tmp_path)
    limits = Limits(page_bytes=1_000, send_s=0.5)
    with structlog.testing.capture_logs() as logged:
        async with answering(tmp_path, limits, Held(held=False)) as port:
            async with await anyio.connect_tcp("127.0.0.1", port) as peer:
                await peer.send(b"GET /ops/events?loopId=demo HTTP/1.1\r\nhost: o\r\n\r\n")
                await eventually(lambda: any("trace" in each for each in logged))
                received = b"".join([piece async for piece in peer])
            after = await say(port, request("/healthz"))

    assert not received.endswith(b"0\r\n\r\n"), "half an answer does not look whole"
    assert after.status == 200


async def test_a_fault_of_ours_is_logged_and_the_service_goes_on(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        async with answering(tmp_path, QUICK, Held(held=False), BadDisk()) as port:
            told = await say(port, request("/ops/snapshot?loopId=demo"))
            after = await say(port, request("/healthz"))

    assert (told.status, told.code, after.status) == (500, "internal", 200)
    assert b"sings" not in told.body
    assert "the disk sings" in next(each["trace"] for each in logged if "trace" in each)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\r\nhost: o\r\nbad header\r\n\r\n", 400, "invalid_request"),
        (b"POST /ops/control HTTP/1.1\r\nhost: o\r\ncontent-length: -5\r\n\r\n", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n", 404, "not_found"),
        (b"BREW /healthz HTTP/1.1\r\nhost: o\r\n\r\n", 400, "invalid_request"),
        (b"TRACE /healthz HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n", 501, "not_implemented"),
    ],
)
async def test_what_is_no_request_is_answered_in_the_contracts_form(
    tmp_path: Path, sent: bytes, status: int, code: str
) -> None:
    async with answering(tmp_path, QUICK, Held(held=False)) as port:
        told = await say(port, sent)
        after = await say(port, request("/healthz"))

    assert (told.status, told.code, after.status) == (status, code, 200)


async def test_whoever_has_connected_is_answered_when_the_service_stops(tmp_path: Path) -> None:
    reads = Held()
    limits = Limits(running=2, request_s=20)
    told: list[Told] = []

    async def ask(port: int) -> None:
        told.append(await say(port, request("/ops/snapshot?loopId=demo")))

    async with anyio.create_task_group() as tasks, answering(tmp_path, limits, reads) as port:
        tasks.start_soon(ask, port)
        await eventually(lambda: reads.waiting == 1)
        reads.release()

    assert [each.status for each in told] == [502]
