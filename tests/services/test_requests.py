"""Every way in which a request can fail: what it is called, what is tried again, and that it ends in time."""

import socket
import time

import pytest
from msgspec.structs import replace

from opsd.model.observation import UnreachableCause
from opsd.model.service import ServiceAnswer
from opsd.services import Limits
from tests.services.asking import QUICK, a_first_look, a_reply, a_seen, malformed, seen, services, unreachable
from tests.services.peer import (
    NEWER,
    Act,
    Peer,
    answers,
    closes_afterwards,
    drips,
    hangs_up,
    listening,
    pours,
    sends,
    stays_silent,
)

GOOD = answers(a_reply(a_seen("loop_start")), headers=NEWER)


async def observed(peer: Peer, *, attempts: int = 1, limits: Limits = QUICK, wait_s: float = 0.0) -> ServiceAnswer:
    async with listening(peer), services(limits=limits) as made:
        return await made.observe(a_first_look(peer, attempts=attempts), known=None, wait_s=wait_s)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (301, UnreachableCause.SERVICE_REQUEST_FAILED),
        (400, UnreachableCause.SERVICE_REQUEST_FAILED),
        (401, UnreachableCause.SERVICE_UNAUTHORIZED),
        (403, UnreachableCause.SERVICE_UNAUTHORIZED),
        (409, UnreachableCause.SERVICE_REQUEST_FAILED),
        (429, UnreachableCause.SERVICE_OVERLOADED),
        (500, UnreachableCause.SERVICE_REQUEST_FAILED),
        (502, UnreachableCause.SERVICE_REQUEST_FAILED),
        (503, UnreachableCause.SERVICE_OVERLOADED),
        (504, UnreachableCause.SERVICE_REQUEST_FAILED),
    ],
)
async def test_an_error_status_is_a_failed_request_of_its_own_kind(status: int, cause: UnreachableCause) -> None:
    peer = Peer(answers("<html>", status, {"Location": "http://127.0.0.1:1/"}))

    answer = await observed(peer)

    found = unreachable(answer.observation)
    assert (found.cause, found.failure_code) == (cause, "service_request_failed")
    assert str(status) in found.problem
    assert (answer.codes, answer.attempts, len(peer.asked)) == ((str(status),), 1, 1)


async def test_what_the_service_says_of_its_error_is_told_and_cannot_steer_a_terminal() -> None:
    peer = Peer(answers({"ok": False, "error": {"code": "runtime_error", "message": "no such\nloop \x1b[31m"}}, 500))

    found = unreachable((await observed(peer)).observation)

    assert found.problem == f"{peer.base_url} answered 500: no such loop \\x1b[31m"


@pytest.mark.parametrize(
    ("first", "word"),
    [
        (answers("", 502), "502"),
        (answers("", 503), "503"),
        (answers("", 504), "504"),
        (hangs_up(), "closed"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "closed"),
        (sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"), "closed"),
        (stays_silent(), "timed_out"),
        (stays_silent(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "timed_out"),
    ],
)
async def test_what_may_pass_is_tried_again(first: Act, word: str) -> None:
    answer = await observed(Peer(first, GOOD), attempts=2)

    assert [event.name for event in seen(answer.observation).events] == ["loop_start"]
    assert (answer.codes, answer.attempts) == ((word, "200"), 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 501])
async def test_a_finished_answer_is_not_asked_for_again(status: int) -> None:
    peer = Peer(answers("", status), GOOD)

    answer = await observed(peer, attempts=3)

    assert (answer.codes, len(peer.asked)) == ((str(status),), 1)


async def test_attempts_end_with_the_number_that_the_registry_allows() -> None:
    peer = Peer(answers("", 503))

    answer = await observed(peer, attempts=3)

    assert unreachable(answer.observation).cause is UnreachableCause.SERVICE_OVERLOADED
    assert (answer.codes, answer.attempts, len(peer.asked)) == (("503",) * 3, 3, 3)


async def test_a_runtime_error_that_our_own_service_vouches_for_is_not_asked_for_again() -> None:
    error = {"code": "runtime_error", "message": "there is no such loop", "reason": "unknown_loop"}
    peer = Peer(answers({"ok": False, "error": error}, 502, NEWER), GOOD)

    assert (await observed(peer, attempts=3)).codes == ("502",)


@pytest.mark.slow
@pytest.mark.parametrize(
    "act",
    [
        stays_silent(),
        stays_silent(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000, 0.02),
        drips(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000, 0.02),
    ],
)
async def test_nothing_outlasts_the_deadline(act: Act) -> None:
    began_s = time.monotonic()

    answer = await observed(Peer(act), attempts=100)

    found = unreachable(answer.observation)
    assert found.cause is UnreachableCause.SERVICE_TIMED_OUT
    assert time.monotonic() - began_s < QUICK.total_s + 1.0
    assert answer.attempts >= 2
    assert answer.took_s <= QUICK.total_s + 0.5


@pytest.mark.slow
async def test_the_last_attempt_has_only_the_time_that_is_left() -> None:
    began_s = time.monotonic()

    answer = await observed(Peer(stays_silent()), attempts=3, limits=replace(QUICK, answer_s=30.0, total_s=1.0))

    assert answer.codes == ("timed_out",)
    assert time.monotonic() - began_s < 5.0


async def test_an_answer_that_is_held_back_has_that_much_longer_and_is_then_asked_for_at_once() -> None:
    peer = Peer(stays_silent(), GOOD)
    began_s = time.monotonic()

    answer = await observed(peer, attempts=2, wait_s=0.5)

    assert time.monotonic() - began_s >= QUICK.answer_s + 0.5
    assert answer.codes == ("timed_out", "200")
    assert [asked.json()["waitS"] for asked in peer.asked] == [0.5, 0.0]


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (answers("<html>gateway</html>"), "no observation"),
        (answers(""), "no observation"),
        (answers("{}"), "no observation"),
        (answers(b'{"ok":true,"x":"\xff"}'), "no observation"),
        (answers(b"[" * 100_000), "no observation"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + b'{"ok":true}'), "no observation"),
        (sends(b"ICY 200 OK\r\n\r\n"), "not HTTP"),
        (sends(b"\x00\x01\x02\x03\r\n\r\n"), "not HTTP"),
        (sends(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300_000), "not HTTP"),
        (answers("x", headers={"Content-Encoding": "gzip"}), "encoding"),
        (pours(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65_536), "more than 262144 bytes"),
        (
            pours(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4000\r\n" + b"x" * 16_384 + b"\r\n"),
            "more than",
        ),
    ],
)
async def test_an_answer_that_is_not_what_was_asked_for_is_malformed(act: Act, says: str) -> None:
    answer = await observed(Peer(act, GOOD), attempts=3)

    found = malformed(answer.observation)
    assert found.failure_code == "service_response_invalid"
    assert says in found.problem
    assert answer.attempts == 1


async def test_the_head_of_a_bad_answer_is_kept_as_evidence_and_cannot_steer_a_terminal() -> None:
    found = malformed((await observed(Peer(answers("<h1>\x1b[2J\n" + "y" * 1_000)))).observation)

    assert found.evidence == "<h1>\\x1b[2J " + "y" * 191


async def test_nobody_listening_is_told_from_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with services() as made:
            refused = await made.observe(a_first_look(f"http://127.0.0.1:{port}", attempts=2), known=None, wait_s=0)
            unknown = await made.observe(a_first_look("http://no-such-host.invalid:1"), known=None, wait_s=0)

    for answer, word, says in (
        (refused, "refused", "refuses connections"),
        (unknown, "unknown_host", "cannot be found"),
    ):
        found = unreachable(answer.observation)
        assert (found.cause, answer.codes[0]) == (UnreachableCause.SERVICE_UNREACHED, word)
        assert says in found.problem
    assert refused.attempts == 2


async def test_a_service_that_does_not_take_up_connections_has_timed_out() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host = full.getsockname()
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(host)
            fillers.append(filler)
        async with services(limits=Limits(connect_s=0.3, answer_s=2.0, total_s=2.0)) as made:
            answer = await made.observe(a_first_look(f"http://127.0.0.1:{host[1]}"), known=None, wait_s=0)
        for filler in fillers:
            filler.close()

    found = unreachable(answer.observation)
    assert (found.cause, answer.codes) == (UnreachableCause.SERVICE_TIMED_OUT, ("timed_out",))
    assert "could not be connected to within 0.3 s" in found.problem


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "sprite",
        "ftp://sprite",
        "http://",
        "http://riya:secret@127.0.0.1:1",
        "http://127.0.0.1:99999999",
        "http://a\nb",
    ],
)
async def test_a_base_url_that_is_none_is_an_answer_like_any_other(base_url: str) -> None:
    async with services() as made:
        answer = await made.observe(a_first_look(base_url), known=None, wait_s=0)

    found = unreachable(answer.observation)
    assert found.cause is UnreachableCause.SERVICE_UNREACHED
    assert "base URL" in found.problem
    assert "secret" not in found.problem
    assert answer.attempts == 0


@pytest.mark.parametrize(
    ("said", "asked_s"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("999999", 900.0),
        ("-5", None),
        ("soon", None),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0.0),
    ],
)
async def test_how_long_a_service_wants_to_be_left_alone_is_reported(said: str, asked_s: float | None) -> None:
    answer = await observed(Peer(answers("", 429, {"Retry-After": said})))

    assert answer.retry_after_s == asked_s


@pytest.mark.slow
async def test_a_wish_to_be_left_alone_is_granted_within_the_deadline_and_else_ends_the_call() -> None:
    began_s = time.monotonic()
    granted = await observed(Peer(answers("", 503, {"Retry-After": "1"}), GOOD), attempts=2)
    granted_s = time.monotonic() - began_s
    refused = await observed(Peer(answers("", 503, {"Retry-After": "2"}), GOOD), attempts=2)

    assert granted_s >= 1.0
    assert granted.codes == ("503", "200")
    assert granted.retry_after_s is None
    assert (refused.codes, refused.retry_after_s) == (("503",), 2.0)


async def test_a_connection_that_was_closed_while_it_was_kept_costs_no_attempt() -> None:
    """It may be closed before the next request is made, or just as it goes out."""
    peer = Peer(closes_afterwards(GOOD), GOOD, hangs_up(), GOOD)
    async with listening(peer), services() as made:
        told = [await made.observe(a_first_look(peer), known=None, wait_s=0.1) for _ in range(3)]

    assert [answer.codes for answer in told] == [("200",)] * 3
    assert [asked.connection for asked in peer.asked] == [1, 2, 2, 3]


async def test_a_connection_that_is_closed_when_it_is_new_costs_one() -> None:
    answer = await observed(Peer(hangs_up()), attempts=2, wait_s=0.1)

    assert answer.codes == ("closed", "closed")


async def test_who_waits_for_news_keeps_his_connection_and_who_does_not_lets_it_go() -> None:
    peer = Peer(GOOD)
    async with listening(peer), services() as made:
        for _ in range(3):
            await made.observe(a_first_look(peer), known=None, wait_s=0.1)
        assert (peer.connections, peer.open) == (1, 1)
        await made.observe(a_first_look(peer), known=None, wait_s=0.0)
        await made.observe(a_first_look(peer), known=None, wait_s=0.0)

    assert peer.connections == 2
    assert [asked.headers.get("connection") for asked in peer.asked] == [None, None, None, "close", "close"]


async def test_nothing_is_asked_for_but_json_as_it_is() -> None:
    peer = Peer(answers(a_reply(a_seen()), headers={**NEWER, "Set-Cookie": "a=b"}))
    async with listening(peer), services() as made:
        for _ in range(2):
            await made.observe(a_first_look(peer), known=None, wait_s=0.1)

    headers = peer.asked[1].headers
    assert (headers["accept-encoding"], headers["accept"]) == ("identity", "application/json")
    assert {"cookie", "authorization", "x-ops-token"}.isdisjoint(headers)


async def test_a_proxy_from_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert seen((await observed(Peer(GOOD))).observation).events
