"""`ops-manager control` through a service: one request under the caller's key, and a row for every attempt.

Source: control-and-service 2.3, 4.2, 6, 8, 12. The service here knows the contract alone, unless it says otherwise.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batch.checkout import LOOP, Checkout
from tests.batch.cli import Done, run
from tests.batch.through import peer
from tests.services.peer import NEWER, Act, Asked, Peer, Stream, answers, hangs_up

TOKEN = "sesame-5f2b9c"
UNREADABLE = (b"<html>never mind</html>", b"", b'{"ok": tru')


def told(status: str, exit_code: int, http: int, **members: object) -> Act:
    """The contract's control response."""
    result = {"loopId": LOOP, "intent": "approve", "status": status, "exitCode": 0, **members}
    return answers({"ok": exit_code == 0, "exitCode": exit_code, "result": result, "replayed": False}, http)


@pytest.fixture
def home(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def approve(home: Checkout, at: Peer | str, *words: str) -> Done:
    base_url = at if isinstance(at, str) else at.base_url
    way = ("--transport", "sprite_service", "--service-base-url", base_url, "--service-token", TOKEN)
    quick = ("--retry-backoff-seconds", "0", "--by", "riya")
    return run("control", *home.flags, "--intent", "approve", *way, *quick, *words)


def nobody() -> str:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def rows(home: Checkout) -> list[Any]:
    assert len(home.rows("intents.jsonl")) == len(home.rows("telemetry/control.jsonl"))
    return [(row["status"], row["exitCode"]) for row in home.rows("intents.jsonl")]


def test_it_asks_once_as_the_contract_has_it(home: Checkout) -> None:
    with peer(told("confirmed", 0, 200, confirm={"confirmed": True, "reason": "completion_observed"})) as service:
        done = approve(home, service, "--note", "ship it", "--trace-id", "tr-7", "--idempotency-key", "k-1")

    (asked,) = service.asked
    assert (asked.method, asked.target) == ("POST", "/ops/control")
    assert asked.json() == {
        "loopId": LOOP,
        "intent": "approve",
        "by": "riya",
        "note": "ship it",
        "traceId": "tr-7",
        "idempotencyKey": "k-1",
    }
    assert (asked.headers["authorization"], asked.headers["x-ops-token"]) == (f"Bearer {TOKEN}", TOKEN)
    assert asked.headers["x-trace-id"] == "tr-7"
    assert done.document["command"] == f"POST {service.base_url}/ops/control"
    assert (done.document["transport"], done.document["confirm"]["reason"]) == ("sprite_service", "completion_observed")
    (row,) = home.rows("telemetry/control.jsonl")
    assert (row["transportAttempts"], row["transportResultCodes"], row["retryAttempts"]) == (1, ["200"], 3)
    assert TOKEN not in str([path.read_bytes() for path in home.runtime.rglob("*") if path.is_file()])


@pytest.mark.parametrize(
    ("answer", "code", "status", "exit_code"),
    [
        (told("confirmed", 0, 200), 0, "confirmed", 0),
        (told("executed_unconfirmed", 0, 200), 0, "executed_unconfirmed", 0),
        (told("ambiguous", 2, 409), 2, "ambiguous", 2),
        (told("failed_command", 1, 500), 1, "failed_command", 1),
        (answers({"ok": False, "error": {"code": "unauthorized", "message": "no"}}, 401), 1, "failed_command", 1),
        (answers({"ok": False, "error": {"code": "invalid_request", "message": "no"}}, 400), 1, "failed_command", 1),
        (answers({"ok": True}), 2, "ambiguous", 0),
        *((answers(body), 2, "ambiguous", 0) for body in UNREADABLE),
        (answers("<h1>bad gateway</h1>", 502), 2, "ambiguous", 0),
        (hangs_up(), 2, "ambiguous", 0),
    ],
)
def test_what_an_answer_comes_to(home: Checkout, answer: Act, code: int, status: str, exit_code: int) -> None:
    """What may have been executed is never called failed, and everything has its rows."""
    with peer(answer) as service:
        done = approve(home, service)

    assert (done.code, done.document["status"], done.document["exitCode"]) == (code, status, exit_code)
    assert [asked.method for asked in service.asked].count("POST") == 1
    assert rows(home) == [(status, exit_code)]


def test_a_refused_token_is_told(home: Checkout) -> None:
    with peer(answers({"ok": False, "error": {"code": "unauthorized", "message": "no"}}, 401)) as service:
        row = approve(home, service).document

    assert row["commandOutput"].startswith("service request failed: unauthorized: ")
    assert TOKEN not in row["commandOutput"]


def test_every_attempt_of_an_outage_has_a_row_and_the_key_stays_free(home: Checkout) -> None:
    gone = nobody()
    for _ in range(2):
        done = approve(home, gone, "--idempotency-key", "k-1")
        assert (done.code, done.document["status"]) == (1, "failed_command")
        assert done.document["commandOutput"].startswith("service request failed: ")
    with peer(told("confirmed", 0, 200)) as service:
        assert approve(home, service, "--idempotency-key", "k-1").code == 0

    assert rows(home) == [("failed_command", 1), ("failed_command", 1), ("confirmed", 0)]
    first, *_, last = home.rows("telemetry/control.jsonl")
    assert (first["transportAttempts"], first["transportResultCodes"]) == (3, ["refused"] * 3)
    assert last["transportAttempts"] == 1


def test_a_key_tells_again_what_is_known(home: Checkout) -> None:
    with peer(told("confirmed", 0, 200)) as service:
        first = approve(home, service, "--idempotency-key", "k-1")
        assert approve(home, service, "--idempotency-key", "k-1") == first
        other = approve(home, service, "--idempotency-key", "k-1", "--note", "other")

    assert (other.code, "stands for intent" in other.err) == (1, True)
    assert len(service.asked) == len(rows(home)) == 1


def test_what_may_still_be_under_way_is_not_sent_again(home: Checkout) -> None:
    """The contract's own service forgets a key until it is done with it."""
    with peer(hangs_up()) as service:
        first = approve(home, service, "--idempotency-key", "k-1")
        again = approve(home, service, "--idempotency-key", "k-1")

    assert (first.code, again.code, again.document["status"]) == (2, 2, "ambiguous")
    assert [asked.method for asked in service.asked].count("POST") == 1


def loses_answers(intent: Callable[[str], object]) -> Act:
    """A service that has intents: the answer to the request gets lost, and what became of it can be asked."""

    async def act(stream: Stream, asked: Asked) -> bool:
        if asked.method == "POST":
            return False
        key = asked.target.partition("?")[0].rpartition("/")[2]
        return await answers(intent(key), headers=NEWER)(stream, asked)

    return act


def test_a_lost_answer_is_asked_for_under_the_key(home: Checkout) -> None:
    def intent(key: str) -> object:
        at = "2026-11-21T02:00:00Z"
        told_there = {
            "id": "i-1", "loopId": LOOP, "intent": "approve", "status": "confirmed", "recordedAt": at, "updatedAt": at,
            "expiresAt": at, "requestedBy": "riya", "actor": {"uid": 0, "user": "root", "pid": 1}, "traceId": "t",
            "idempotencyKey": key, "fingerprint": "f", "ordinal": 1, "schemaVersion": "v1",
            "execution": {"command": "superloop.sh approve", "startedAt": at, "endedAt": at, "exitCode": 0},
            "confirmation": {"confirmed": True, "reason": "decision_recorded", "attempts": 1, "observedAt": at},
        }  # fmt: skip
        return {"at": at, "intent": told_there, "replayed": False, "would": [], "next": None}

    with peer(loses_answers(intent)) as service:
        done = approve(home, service, "--idempotency-key", "k-1")

    assert (done.code, done.document["status"], done.document["confirm"]["reason"]) == (
        0,
        "confirmed",
        "decision_recorded",
    )
    assert [asked.method for asked in service.asked] == ["POST", "GET"]
