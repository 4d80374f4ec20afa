"""Asking services for intents, and older ones for control: what was surely not done, what may have been, what was."""

import socket
from datetime import UTC, datetime

import anyio
import anyio.to_thread
import msgspec
import pytest

from opsd.model.ids import LoopId
from opsd.model.intent import Actor, Intent, IntentKind, IntentStatus
from opsd.model.observation import Malformed, UnreachableCause
from opsd.model.service import ControlAnswer, ControlRequest, IntentAnswer
from opsd.protocol import AckRequest, IntentReply, IntentRequest, SpriteIntentRequest
from opsd.services import Limits
from opsd.services.acts import CONTROL_BYTES_MAX
from tests.services.asking import LOOP, a_loop, services, unreachable
from tests.services.peer import NEWER, Act, Peer, answers, hangs_up, listening, sends, stays_silent

AT = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
CONTROL = ControlRequest("demo-loop", "cancel", "riya", "tr-1", "key-1")


def an_intent(*, intent_id: str = "i-1", loop_id: str = LOOP, key: str = "key-1") -> Intent:
    return Intent(
        id=intent_id,
        loop_id=LoopId(loop_id),
        intent=IntentKind.CANCEL,
        status=IntentStatus.CONFIRMED,
        recorded_at=AT,
        updated_at=AT,
        expires_at=AT,
        requested_by="riya",
        actor=Actor(0, "root", 1),
        trace_id="tr-1",
        idempotency_key=key,
        fingerprint="f",
        ordinal=1,
        schema_version="v1",
    )


def a_reply(intent: Intent | None = None, *, replayed: bool = False) -> IntentReply:
    return IntentReply(AT, intent or an_intent(), replayed=replayed)


async def submitted(
    peer: Peer, *, attempts: int = 1, key: str | None = "key-1", wait_s: float = 0.0, dry_run: bool = False
) -> IntentAnswer:
    request = IntentRequest(
        IntentKind.CANCEL, by="riya", idempotency_key=key, trace_id="tr-1", wait_s=wait_s, dry_run=dry_run
    )
    async with listening(peer), services() as made:
        return await made.submit(a_loop(peer, attempts=attempts), request)


async def asked_after(peer: Peer, intent_id: str = "i-1") -> IntentAnswer:
    async with listening(peer), services() as made:
        return await made.intent(a_loop(peer), intent_id, wait_s=0.1)


async def controlled(peer: Peer, *, attempts: int = 3) -> ControlAnswer:
    async with listening(peer), services() as made:
        return await made.control(a_loop(peer, attempts=attempts), CONTROL)


async def test_an_intent_is_asked_for_under_its_key_and_comes_back_as_the_service_has_it() -> None:
    peer = Peer(answers(a_reply(replayed=True), 202, NEWER))

    answer = await submitted(peer, wait_s=0.1)

    assert (answer.intent, answer.replayed, answer.problem) == (an_intent(), True, None)
    [asked] = peer.asked
    assert (asked.method, asked.target, asked.headers["x-trace-id"]) == ("POST", "/ops/intents", "tr-1")
    sent = msgspec.json.decode(asked.body, type=SpriteIntentRequest)
    assert (sent.loop_id, sent.idempotency_key, sent.wait_s) == (LOOP, "key-1", 0.1)


@pytest.mark.parametrize("first", [hangs_up(), stays_silent(), answers("", 502), answers("", 503), answers("", 504)])
async def test_under_a_key_it_may_be_asked_for_again(first: Act) -> None:
    peer = Peer(first, answers(a_reply(), headers=NEWER))

    answer = await submitted(peer, attempts=2, wait_s=0.05)

    assert (answer.intent, answer.attempts) == (an_intent(), 2)
    assert [asked.json()["waitS"] for asked in peer.asked] == [0.05, 0.0]


async def test_without_a_key_it_may_not_but_where_nothing_can_happen() -> None:
    peers = [Peer(hangs_up(), answers(a_reply(), headers=NEWER)) for _ in range(2)]

    once = await submitted(peers[0], attempts=3, key=None)
    dry = await submitted(peers[1], attempts=3, key=None, dry_run=True)

    assert (len(peers[0].asked), once.intent) == (1, None)
    assert (len(peers[1].asked), dry.intent) == (2, an_intent())


@pytest.mark.parametrize(
    ("act", "turned_down"),
    [
        (
            answers({"ok": False, "error": {"code": "idempotency_conflict", "message": "no"}}, 409),
            "idempotency_conflict",
        ),
        (answers({"ok": False, "error": {"code": "unauthorized", "message": "no"}}, 401), "unauthorized"),
        (answers({"ok": False, "error": {"code": "not_found", "message": "no"}}, 404), "not_found"),
        (answers("<html>", 404), None),
        (answers({"ok": False, "error": {"code": "broken", "message": "no"}}, 500), None),
    ],
)
async def test_what_a_service_turns_down_is_told_from_what_may_have_been_done(
    act: Act, turned_down: str | None
) -> None:
    answer = await submitted(Peer(act), attempts=1)

    unreachable(answer.problem)
    assert (answer.turned_down, answer.surely_not_sent, answer.unknown) == (turned_down, False, False)


@pytest.mark.parametrize(
    "intent",
    [an_intent(loop_id="other"), an_intent(key="other")],
)
async def test_the_intent_of_somebody_else_is_not_ours(intent: Intent) -> None:
    answer = await submitted(Peer(answers(a_reply(intent))))

    assert isinstance(answer.problem, Malformed)
    assert (answer.problem.failure_code, answer.intent) == ("projection_failed", None)


@pytest.mark.parametrize("name", ["i-1", "key-1"])
async def test_an_intent_can_be_asked_after_by_its_id_or_by_its_key(name: str) -> None:
    answer = await asked_after(Peer(answers(a_reply())), name)

    assert answer.intent == an_intent()


async def test_an_answer_that_is_no_intent_is_malformed() -> None:
    answer = await submitted(Peer(answers({"ok": True})))

    assert isinstance(answer.problem, Malformed)
    assert (answer.problem.failure_code, answer.surely_not_sent) == ("service_response_invalid", False)


async def test_an_intent_is_asked_about_by_its_id() -> None:
    peer = Peer(answers(a_reply(an_intent(intent_id="a/b c")), headers=NEWER))

    answer = await asked_after(peer, "a/b c")

    assert answer.intent is not None
    assert (peer.asked[0].method, peer.asked[0].target) == ("GET", "/ops/intents/a%2Fb%20c?wait=0.1")


async def test_another_intent_than_the_one_asked_about_is_not_believed() -> None:
    answer = await asked_after(Peer(answers(a_reply(an_intent(intent_id="i-2")))))

    assert isinstance(answer.problem, Malformed)


async def test_after_an_answer_that_is_not_believed_its_connection_is_not_either() -> None:
    peer = Peer(answers(a_reply(an_intent(intent_id="i-2")), headers=NEWER), answers(a_reply(), headers=NEWER))
    async with listening(peer), services() as made:
        await made.intent(a_loop(peer), "i-1", wait_s=0.1)
        answer = await made.intent(a_loop(peer), "i-1", wait_s=0.1)

    assert answer.intent == an_intent()
    assert peer.connections == 2


@pytest.mark.parametrize("word", ["i-1", "key-1"])
async def test_an_intent_is_settled_there_by_its_id_or_its_key(word: str) -> None:
    peer = Peer(answers(a_reply(), headers=NEWER))
    async with listening(peer), services() as made:
        answer = await made.acknowledge(a_loop(peer), word, AckRequest(reason="seen by eye", by="riya"))

    assert answer.intent == an_intent()
    [asked] = peer.asked
    assert (asked.method, asked.target, asked.json()["reason"]) == ("POST", f"/ops/intents/{word}/ack", "seen by eye")


@pytest.mark.parametrize(
    ("headers", "unknown"), [(NEWER, True), ({}, False), ({"X-Ops-Features": "observe.v1"}, False)]
)
async def test_only_a_service_that_has_intents_can_say_that_it_has_not_this_one(
    headers: dict[str, str], unknown: bool
) -> None:
    answer = await asked_after(Peer(answers({"ok": False, "error": {"code": "unknown_intent"}}, 404, headers)))

    assert answer.unknown is unknown


async def test_what_could_not_be_sent_was_surely_not_done() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with services() as made:
            ref = a_loop(base_url, attempts=3)
            submit = await made.submit(ref, IntentRequest(IntentKind.CANCEL, idempotency_key="key-1"))
            control = await made.control(ref, CONTROL)
            nowhere = await made.control(a_loop("http://riya:pw@sprite"), CONTROL)

    assert submit.surely_not_sent
    assert submit.attempts == 3
    assert control.surely_not_sent
    assert nowhere.surely_not_sent
    assert unreachable(control.problem).cause is UnreachableCause.SERVICE_UNREACHED


@pytest.mark.parametrize("first", [hangs_up(), sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")])
async def test_control_is_never_repeated_once_it_may_have_been_received(first: Act) -> None:
    peer = Peer(first, answers({"ok": True, "exitCode": 0}))

    answer = await controlled(peer)

    assert len(peer.asked) == 1
    assert (answer.status, answer.surely_not_sent) == (None, False)
    assert unreachable(answer.problem).cause is UnreachableCause.SERVICE_UNREACHED


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_nor_after_an_answer_that_others_get_asked_for_again(status: int) -> None:
    peer = Peer(answers("", status), answers({"ok": True, "exitCode": 0}))

    answer = await controlled(peer)

    assert (len(peer.asked), answer.status) == (1, status)


async def test_control_never_goes_out_on_a_connection_that_may_be_closed_already() -> None:
    """What is written into such a one may or may not have arrived, and nobody could tell."""
    peer = Peer(answers(b"{}", 500), answers({"ok": True, "exitCode": 0}))
    async with listening(peer), services() as made:
        ref = a_loop(peer)
        await made.intent(ref, "i-1", wait_s=0.1)
        answer = await made.control(ref, CONTROL)

    assert (answer.status, answer.problem) == (200, None)
    assert [asked.connection for asked in peer.asked] == [1, 2]


async def test_what_may_have_been_heard_once_stays_so_however_the_next_attempt_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hears_one() -> None:
            with listener.accept()[0] as stream:
                stream.recv(65_536)
                listener.close()

        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with anyio.create_task_group() as tasks, services() as made:
            tasks.start_soon(anyio.to_thread.run_sync, hears_one)
            request = IntentRequest(IntentKind.CANCEL, idempotency_key="key-1")
            answer = await made.submit(a_loop(base_url, attempts=2), request)

    assert "refuses connections" in unreachable(answer.problem).problem
    assert (answer.attempts, answer.surely_not_sent) == (2, False)


async def test_a_control_response_without_bound_is_none() -> None:
    """It goes on into rows of ours as it stands."""
    body = {"ok": True, "x": "y" * CONTROL_BYTES_MAX}
    async with listening(Peer(answers(body))) as peer, services(limits=Limits()) as made:
        answer = await made.control(a_loop(peer), CONTROL)

    assert isinstance(answer.problem, Malformed)
    assert "control response has more" in answer.problem.problem


async def test_control_carries_what_the_contract_asks_for() -> None:
    peer = Peer(answers({"ok": True, "exitCode": 0}))

    await controlled(peer)

    assert peer.asked[0].json() == {
        "loopId": "demo-loop",
        "intent": "cancel",
        "by": "riya",
        "traceId": "tr-1",
        "idempotencyKey": "key-1",
    }
    assert peer.asked[0].headers["x-trace-id"] == "tr-1"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"ok": True, "exitCode": 0, "result": {"status": "confirmed"}}),
        (200, {"ok": True}),
        (202, {"ok": True, "accepted": True}),
        (409, {"ok": False, "exitCode": 2, "result": {"status": "ambiguous"}}),
        (500, {"ok": False, "exitCode": 1, "error": None}),
    ],
)
async def test_a_control_response_is_handed_on_whatever_it_says(status: int, body: object) -> None:
    answer = await controlled(Peer(answers(body, status)))

    assert (answer.status, answer.problem, answer.turned_down) == (status, None, None)
    assert msgspec.json.decode(answer.body) == body


@pytest.mark.parametrize(
    ("status", "body", "turned_down"),
    [
        (200, "<html>", None),
        (204, "", None),
        (200, "[]", None),
        (200, {"exitCode": 0}, None),
        (200, {"ok": False, "error": {"code": "x"}}, None),
        (500, "<html>", None),
        (500, {"ok": False, "error": {"code": "broken"}}, None),
        (409, {"ok": False, "error": {"code": "fence_mismatch"}}, "fence_mismatch"),
        (400, {"ok": False, "error": {"code": "invalid_request"}}, "invalid_request"),
        (401, {"ok": False, "error": {"code": "unauthorized"}}, "unauthorized"),
        (404, "<html>", None),
    ],
)
async def test_anything_else_is_none(status: int, body: object, turned_down: str | None) -> None:
    answer = await controlled(Peer(answers(body, status)))

    assert answer.problem is not None
    assert (answer.turned_down, answer.surely_not_sent, bytes(answer.body)) == (turned_down, False, b"null")


def test_the_request_of_an_intent_is_the_control_sockets_with_its_loop() -> None:
    """Members are handed on by name: one that is added there must not get lost here."""
    asked = IntentRequest(IntentKind.PAUSE, by="riya", reason="r", pause_for_s=3.0, wait_s=1.0)
    sent = SpriteIntentRequest(**msgspec.structs.asdict(asked), loop_id=LoopId("demo-loop"))

    assert msgspec.json.decode(msgspec.json.encode(sent)) == msgspec.json.decode(msgspec.json.encode(asked)) | {
        "loopId": "demo-loop"
    }
