"""Intents over real TCP: the control socket's records, followed to their end and settled by a word."""

from collections.abc import Iterator

import msgspec
import pytest

from opsd.model.intent import Intent
from tests.doubles.process import wait_until
from tests.sprite.service.serving import Sprite, Told, sprite


@pytest.fixture
def waiting() -> Iterator[Sprite]:
    """A loop that waits for an approval."""
    with sprite("awaiting approval") as live:
        yield live


def submit(live: Sprite, intent: str, loop_id: str | None = None, **members: object) -> Told:
    return live.service.ask("POST", "/ops/intents", {"loopId": loop_id or live.loop_id, "intent": intent, **members})


def intent(told: Told) -> Intent:
    return msgspec.convert(told.json["intent"], Intent)


def test_an_intent_is_taken_in_and_followed_to_its_end(waiting: Sprite) -> None:
    told = submit(waiting, "approve", by="riya", note="ship it", idempotencyKey="manager-1", traceId="tr-1")
    taken = intent(told)
    settled = waiting.service.get(f"/ops/intents/{taken.id}?wait=20")

    assert told.status in (200, 202)
    assert (taken.requested_by, taken.idempotency_key, taken.trace_id) == ("riya", "manager-1", "tr-1")
    assert intent(settled).id == taken.id
    assert intent(settled).status == "confirmed"
    assert intent(settled).confirmation is not None
    assert "intents.v1" in settled.headers["x-ops-features"].split()


def test_it_is_found_again_by_its_key_and_done_once(waiting: Sprite) -> None:
    first = submit(waiting, "approve", by="riya", idempotencyKey="manager-1", waitS=20)
    waiting.service.stop()
    waiting.service.start()
    again = submit(waiting, "approve", by="riya", idempotencyKey="manager-1")
    other = submit(waiting, "reject", by="riya", idempotencyKey="manager-1")

    assert (again.status, again.json["replayed"]) == (200, True)
    assert intent(again).id == intent(first).id
    assert other.error == (409, "idempotency_conflict", "idempotency_conflict")
    assert waiting.place.executions("approve") == 1


def test_what_would_be_done_is_told_and_not_done(waiting: Sprite) -> None:
    told = submit(waiting, "approve", dryRun=True)

    assert told.status == 200
    assert "superloop.sh approve" in told.json["would"][0]
    assert waiting.place.executions("approve") == 0


def test_a_decision_is_followed_to_the_run_that_takes_it_up(waiting: Sprite) -> None:
    approved = intent(submit(waiting, "approve", waitS=20))
    started = submit(waiting, "start", waitS=20)
    consumed = waiting.service.get(f"/ops/intents/{approved.id}?until=consumed&wait=20")

    assert intent(started).status == "confirmed"
    assert intent(consumed).stage in ("consumed", "completed")


def test_a_loop_that_has_never_run_can_be_started() -> None:
    with sprite("never run") as live:
        assert intent(submit(live, "start", waitS=20)).status == "confirmed"
        assert live.place.executions("run") == 1


def test_a_run_is_paused_resumed_and_cancelled() -> None:
    with sprite("running") as live:
        ends = [intent(submit(live, kind, waitS=20)).status for kind in ("pause", "resume", "cancel")]

        assert ends == ["confirmed"] * 3
        assert not live.place.lives()


def test_a_refusal_is_an_answer(waiting: Sprite) -> None:
    told = submit(waiting, "cancel")
    refusal = intent(told).refusal

    assert told.status == 200
    assert refusal is not None
    assert refusal.code == "nothing_to_cancel"


def test_what_is_ambiguous_is_settled_by_a_word() -> None:
    with sprite("awaiting approval", faults={"approve": [{"kind": "lie"}]}) as live:
        lied = intent(submit(live, "approve", timeoutS=0.2, waitS=20))
        ack = live.service.ask("POST", f"/ops/intents/{lied.id}/ack", {"reason": "looked myself", "by": "riya"})
        again = live.service.ask("POST", f"/ops/intents/{lied.id}/ack", {"reason": "once more"})

        assert lied.status == "ambiguous"
        assert (ack.status, intent(ack).status) == (200, "acknowledged")
        assert again.error == (409, "not_ambiguous", "not_ambiguous")


@pytest.mark.slow
def test_killed_while_it_is_carried_out_it_is_not_carried_out_again() -> None:
    with sprite("awaiting approval", faults={"approve": [{"kind": "slow", "seconds": 2.0}]}) as live:
        taken = intent(submit(live, "approve", idempotencyKey="manager-1", by="riya"))
        wait_until(lambda: live.place.executions("approve") == 1, "the command was called")
        live.service.kill()
        live.service.start()
        again = submit(live, "approve", idempotencyKey="manager-1", by="riya", waitS=25)

        assert intent(again).id == taken.id
        assert intent(again).status in ("confirmed", "ambiguous")
        assert live.place.executions("approve") == 1


@pytest.mark.parametrize(
    ("method", "target", "body", "error"),
    [
        ("POST", "/ops/intents", b"{", (400, "invalid_json", None)),
        ("POST", "/ops/intents", {"intent": "approve"}, (400, "invalid_request", None)),
        ("POST", "/ops/intents", {"loopId": "../x", "intent": "approve"}, (400, "invalid_request", "loop_id_unsafe")),
        ("POST", "/ops/intents", {"loopId": "nobody", "intent": "approve"}, (404, "unknown_loop", "unknown_loop")),
        ("POST", "/ops/intents", {"loopId": "demo-loop", "intent": "destroy"}, (400, "invalid_request", None)),
        ("POST", "/ops/intents", {"loopId": "demo-loop", "intent": "cancel", "x": 1}, (400, "invalid_request", None)),
        (
            "POST",
            "/ops/intents",
            {"loopId": "demo-loop", "intent": "cancel", "clearStale": True},
            (400, "invalid_request", None),
        ),
        ("GET", "/ops/intents/unknown", None, (404, "unknown_intent", "unknown_intent")),
        ("GET", "/ops/intents/unknown?wait=900", None, (400, "invalid_request", None)),
        ("POST", "/ops/intents/unknown/ack", {"reason": "x"}, (404, "unknown_intent", "unknown_intent")),
        ("POST", "/ops/intents/unknown/ack", {"reason": ""}, (400, "invalid_request", None)),
    ],
)
def test_what_makes_no_sense_is_refused(
    still: Sprite, method: str, target: str, body: object, error: tuple[int, str, str | None]
) -> None:
    assert still.service.ask(method, target, body).error == error


@pytest.fixture(scope="module")
def still() -> Iterator[Sprite]:
    """A loop on which nothing is ever done."""
    with sprite("awaiting approval") as live:
        yield live
