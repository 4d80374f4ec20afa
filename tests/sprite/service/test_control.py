"""Control over real TCP: outcomes in the contract's form, and nothing done twice by the runtime's own ledger."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from opsd.sim.ledger import executions
from tests.doubles.process import wait_until
from tests.sprite.service.serving import Sprite, Told, sprite

REQUIRED = {
    "timestamp",
    "loopId",
    "intent",
    "traceId",
    "requestedBy",
    "transport",
    "status",
    "command",
    "idempotencyKey",
    "exitCode",
    "confirmExitCode",
    "confirmed",
}
FILES = ("intents.jsonl", "telemetry/control.jsonl", "telemetry/control-invocations.jsonl")


@pytest.fixture
def waiting() -> Iterator[Sprite]:
    """A loop that waits for an approval."""
    with sprite("awaiting approval") as live:
        yield live


def outcome(told: Told) -> tuple[int, bool, int, str]:
    """HTTP status, ok, exit code, and the intent's status."""
    said = told.json
    return told.status, said["ok"], said["exitCode"], said["result"]["status"]


def test_a_decision_is_confirmed_in_the_contracts_form(waiting: Sprite) -> None:
    told = waiting.service.control(
        waiting.loop_id, "approve", by="riya", note="ship it", traceId="tr-9", idempotencyKey="k-1"
    )
    said = told.json
    result = said["result"]

    assert outcome(told) == (200, True, 0, "confirmed")
    assert (said["replayed"], said["traceId"]) == (False, "tr-9")
    assert "stderr" not in said
    assert result.keys() >= REQUIRED
    assert (result["requestedBy"], result["note"], result["transport"]) == ("riya", "ship it", "local")
    assert (result["traceId"], result["idempotencyKey"]) == ("tr-9", "k-1")
    assert result["command"].endswith("--by riya --note 'ship it'")
    assert (result["confirm"]["confirmed"], result["confirm"]["reason"]) == (True, "decision_recorded")
    assert [len(waiting.service.rows(waiting.loop_id, file)) for file in FILES] == [1, 1, 1]
    assert waiting.place.executions("approve") == 1


def test_who_asks_is_named_and_where_from(waiting: Sprite) -> None:
    waiting.service.control(waiting.loop_id, "reject", by="  ")

    (row,) = waiting.service.rows(waiting.loop_id, "intents.jsonl")
    assert row["requestedBy"] == "ops-service"
    assert row["actor"]["user"] == "service@127.0.0.1"


def test_key_and_trace_id_may_come_in_headers_and_the_body_wins(waiting: Sprite) -> None:
    headers = {"X-Idempotency-Key": "from-header", "X-Trace-Id": "tr-header"}
    body = {"loopId": waiting.loop_id, "intent": "approve", "traceId": "tr-body"}
    result = waiting.service.ask("POST", "/ops/control", body, headers=headers).json["result"]

    assert (result["idempotencyKey"], result["traceId"]) == ("from-header", "tr-body")


def test_without_confirmation_executed_is_enough(waiting: Sprite) -> None:
    told = waiting.service.control(waiting.loop_id, "approve", noConfirm=True)

    assert outcome(told) == (200, True, 0, "executed_unconfirmed")
    assert "confirm" not in told.json["result"]


def test_a_command_that_fails_is_500_and_once_more_200_with_what_is_known() -> None:
    with sprite("awaiting approval", faults={"approve": [{"kind": "fail", "code": 3, "says": "no"}]}) as live:
        first = live.service.control(live.loop_id, "approve", idempotencyKey="k")
        second = live.service.control(live.loop_id, "approve", idempotencyKey="k")

        assert outcome(first) == (500, False, 1, "failed_command")
        assert (first.json["result"]["exitCode"], first.json["replayed"]) == (3, False)
        assert outcome(second) == (200, False, 1, "failed_command")
        assert second.json["replayed"] is True
        assert live.place.executions("approve") == 1


def test_an_answer_that_takes_too_long_comes_before_its_outcome_and_can_be_waited_for() -> None:
    with sprite("awaiting approval", faults={"approve": [{"kind": "slow", "seconds": 1.5}]}) as live:
        body = {"loopId": live.loop_id, "intent": "approve", "idempotencyKey": "k", "wait": 0.1}
        old = live.service.ask("POST", "/ops/control", body)
        new = live.service.ask("POST", "/ops/control", body, headers={"X-Ops-Features": "intents.v1"})
        last = live.service.ask("POST", "/ops/control", {**body, "wait": 20})

        assert outcome(old) == (409, False, 2, "executing")
        assert outcome(new) == (202, True, 2, "executing")
        assert (old.json["accepted"], new.json["accepted"]) == (True, True)
        assert outcome(last) == (200, True, 0, "confirmed")
        assert {each.json["intentId"] for each in (old, new, last)} == {last.json["intentId"]}
        assert live.place.executions("approve") == 1


def test_without_evidence_it_is_ambiguous() -> None:
    with sprite("awaiting approval", faults={"approve": [{"kind": "lie"}]}) as live:
        body = {"loopId": live.loop_id, "intent": "approve", "idempotencyKey": "k", "timeoutS": 0.2}
        followed = live.service.ask("POST", "/ops/intents", {**body, "waitS": 20})
        del body["timeoutS"]
        again = live.service.ask("POST", "/ops/control", {**body, "by": "another"})

        assert followed.json["intent"]["status"] == "ambiguous"
        assert again.error == (422, "refused", "idempotency_conflict")


# Refusals: final for a client that knows the contract alone, and without side effects


def test_what_is_refused_is_neither_repeated_nor_taken_for_done(waiting: Sprite) -> None:
    body = {"loopId": waiting.loop_id, "intent": "cancel", "idempotencyKey": "k"}
    told = waiting.service.ask("POST", "/ops/control", body, headers={"X-Ops-Features": "intents.v1"})

    assert outcome(told) == (422, False, 1, "refused")
    assert told.json["error"]["reason"] == "nothing_to_cancel"
    assert told.status not in (408, 409, 425, 429, 500, 502, 503, 504)
    assert waiting.place.executions("cancel") == 0
    assert [len(waiting.service.rows(waiting.loop_id, file)) for file in FILES] == [0, 0, 1]


def test_who_knows_the_contract_alone_may_act_in_any_state(waiting: Sprite) -> None:
    waiting.service.control(waiting.loop_id, "approve")

    again = waiting.service.control(waiting.loop_id, "approve")
    idle = waiting.service.control(waiting.loop_id, "cancel")

    assert outcome(again) == (500, False, 1, "failed_command")
    assert outcome(idle) == (200, True, 0, "confirmed")
    assert (waiting.place.executions("approve"), waiting.place.executions("cancel")) == (2, 1)


def test_but_never_on_a_neighbour() -> None:
    with sprite("neighbour running") as live:
        told = live.service.control(live.loop_id, "cancel")

        assert (told.status, told.json["error"]["reason"]) == (422, "neighbour_active")
        assert told.json["result"]["status"] == "failed_command"
        assert live.place.executions("cancel") == 0


def test_a_fence_stops_what_was_meant_for_another_run(waiting: Sprite) -> None:
    told = waiting.service.control(waiting.loop_id, "approve", expect={"runId": "2020-01-01T00:00:00Z"})

    assert told.status == 422
    assert told.json["error"]["reason"] == "fence_mismatch"
    assert waiting.place.executions("approve") == 0


def test_a_loop_that_is_not_there_is_not_acted_on(waiting: Sprite) -> None:
    assert waiting.service.control("nobody", "cancel").error == (422, "refused", "unknown_loop")
    assert waiting.place.executions("cancel") == 0


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", (400, "invalid_json", None)),
        (b"\xff\xfe", (400, "invalid_json", None)),
        (b"[" * 60_000, (400, "invalid_json", None)),
        (b"", (400, "invalid_request", "loop_id_missing")),
        (b"[]", (400, "invalid_request", None)),
        ({"intent": "cancel"}, (400, "invalid_request", "loop_id_missing")),
        ({"loopId": " ", "intent": "cancel"}, (400, "invalid_request", "loop_id_missing")),
        ({"loopId": 7, "intent": "cancel"}, (400, "invalid_request", None)),
        ({"loopId": "../up", "intent": "cancel"}, (400, "invalid_request", "loop_id_unsafe")),
        ({"loopId": "demo-loop"}, (400, "invalid_request", None)),
        ({"loopId": "demo-loop", "intent": "start"}, (400, "invalid_request", None)),
        ({"loopId": "demo-loop", "intent": "pause"}, (400, "invalid_request", None)),
        ({"loopId": "demo-loop", "intent": "CANCEL"}, (400, "invalid_request", None)),
        ({"loopId": "demo-loop", "intent": "approve", "noConfirm": "false"}, (400, "invalid_request", None)),
        ({"loopId": "demo-loop", "intent": "approve", "noConfirm": 1}, (400, "invalid_request", None)),
        ({"loopId": "demo-loop", "intent": "approve", "by": ["me"]}, (400, "invalid_request", None)),
        ({"loopId": "demo-loop", "intent": "approve", "note": "a\0b"}, (400, "invalid_request", None)),
        ({"loopId": "demo-loop", "intent": "approve", "wait": 1e9}, (400, "invalid_request", None)),
        ({"loopId": "demo-loop", "intent": "approve", "idempotencyKey": "k" * 300}, (400, "invalid_request", None)),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_anything_is_done(
    still: Sprite, body: object, error: tuple[int, str, str | None]
) -> None:
    assert still.service.ask("POST", "/ops/control", body).error == error
    assert executions(still.place.repo, "approve") == 0


@pytest.fixture(scope="module")
def still() -> Iterator[Sprite]:
    """A loop on which nothing is ever done."""
    with sprite("awaiting approval") as live:
        yield live


# Keys


def test_equal_keys_at_once_execute_once() -> None:
    with sprite("awaiting approval", faults={"approve": [{"kind": "slow", "seconds": 0.5}]}) as live:
        with ThreadPoolExecutor(12) as threads:
            told = list(
                threads.map(
                    lambda _: live.service.control(live.loop_id, "approve", by="riya", idempotencyKey="k"), range(12)
                )
            )

        assert {outcome(each) for each in told} == {(200, True, 0, "confirmed")}
        assert [each.json["replayed"] for each in told].count(False) == 1
        assert len({each.json["intentId"] for each in told}) == 1
        assert live.place.executions("approve") == 1


def test_a_key_is_bound_to_its_request(waiting: Sprite) -> None:
    assert outcome(waiting.service.control(waiting.loop_id, "approve", by="riya", idempotencyKey="k"))[0] == 200
    for members in ({"by": "sam"}, {"by": "riya", "note": "x"}, {"by": "riya", "expect": {"iteration": 3}}):
        told = waiting.service.control(waiting.loop_id, "approve", idempotencyKey="k", **members)
        assert told.error == (422, "refused", "idempotency_conflict")

    assert waiting.place.executions("approve") == 1


def test_a_key_lasts_beyond_a_restart(waiting: Sprite) -> None:
    first = waiting.service.control(waiting.loop_id, "approve", by="riya", idempotencyKey="k", traceId="tr-1")
    waiting.service.stop()
    waiting.service.start()
    again = waiting.service.control(waiting.loop_id, "approve", by="riya", idempotencyKey="k", traceId="tr-2")

    assert again.status == 200
    assert again.json["replayed"] is True
    assert again.json["traceId"] == "tr-1", "a replayed answer carries the original one"
    assert again.json["intentId"] == first.json["intentId"]
    assert waiting.place.executions("approve") == 1


@pytest.mark.slow
def test_killed_between_taking_it_in_and_answering_it_is_done_once() -> None:
    with sprite("awaiting approval", faults={"approve": [{"kind": "slow", "seconds": 2.0}]}) as live:
        body = {"loopId": live.loop_id, "intent": "approve", "by": "riya", "idempotencyKey": "k", "wait": 0}
        assert live.service.ask("POST", "/ops/control", body).status == 409
        wait_until(lambda: live.place.executions("approve") == 1, "the command was called")
        live.service.kill()
        live.service.start()
        again = live.service.ask("POST", "/ops/control", {**body, "wait": 25})

        assert again.json["replayed"] is True
        assert outcome(again)[3] in ("confirmed", "ambiguous")
        assert live.place.executions("approve") == 1


def test_keys_of_the_service_before_us_answer_as_it_did(waiting: Sprite) -> None:
    stored = {"ok": False, "exitCode": 2, "result": {"intent": "approve", "status": "ambiguous"}, "replayed": False}
    own = waiting.place.repo / ".superloop/ops-manager" / waiting.loop_id
    own.mkdir(parents=True, exist_ok=True)
    file = own / "service-idempotency.json"
    waiting.service.stop()
    file.write_text(json.dumps({"old-key": {**stored, "extra": [1, {"kept": None}]}}))
    before = file.read_bytes()
    waiting.service.start()

    told = waiting.service.control(waiting.loop_id, "approve", idempotencyKey="old-key")
    other = waiting.service.control(waiting.loop_id, "reject", idempotencyKey="old-key")

    assert told.status == 200
    assert told.json == {**stored, "extra": [1, {"kept": None}], "replayed": True}
    assert other.error == (422, "refused", "idempotency_conflict")
    assert waiting.place.executions("approve") == 0
    assert file.read_bytes() == before
