"""`ops-manager reconcile --transport sprite_service`: what a service's answers come to. Source: loop-core 5.3."""

from pathlib import Path

import pytest

from opsd.clock import SystemClock
from tests.batch.checkout import LOOP, Checkout
from tests.batch.cli import Done, run
from tests.batch.through import peer
from tests.services.contract import OldService
from tests.services.peer import NEWER, Act, Asked, Peer, Stream, answers, hangs_up

TOKEN = "sesame-5f2b9c"


@pytest.fixture
def home(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "home")


def reconcile(home: Checkout, service: Peer, *words: str) -> Done:
    way = ("--transport", "sprite_service", "--service-base-url", f"{service.base_url}/", "--service-token", TOKEN)
    return run("reconcile", *home.flags, *way, "--retry-backoff-seconds", "0", *words)


def older(tmp_path: Path) -> tuple[Checkout, Act]:
    """A service with the contract's endpoints alone, over a run that began just now."""
    sprite = Checkout(tmp_path / "sprite", SystemClock().now()).running()
    return sprite, OldService(sprite.folder, LOOP).act()


def test_a_service_that_knows_the_contract_alone(home: Checkout, tmp_path: Path) -> None:
    sprite, act = older(tmp_path)
    with peer(act) as service:
        first = reconcile(home, service, "--trace-id", "tr-1").document
        sprite.event("role_end", role="implementer", status="ok")
        second = reconcile(home, service).document

    assert (first["transition"]["currentState"], first["cursor"]["eventLineOffset"]) == ("running", 3)
    assert (second["transition"]["previousState"], second["cursor"]["eventLineOffset"]) == ("running", 4)
    assert home.document("cursor.json")["eventLineOffset"] == 4
    rows = home.rows("telemetry/reconcile.jsonl")
    assert [(row["status"], row["transport"], row["eventsIngested"]) for row in rows] == [
        ("success", "sprite_service", 3),
        ("success", "sprite_service", 1),
    ]
    assert (rows[0]["transportAttempts"], rows[0]["transportResultCodes"]) == (3, ["404", "200", "200"])
    assert rows[0]["transportLatencyBucket"] in ("<100ms", "<500ms", "<2s")
    assert {asked.headers["authorization"] for asked in service.asked} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("answer", "failure", "reason", "codes"),
    [
        (hangs_up(), "service_request_failed", "transport_unreachable", ["closed", "closed", "closed"]),
        (answers({}, 502), "service_request_failed", "transport_unreachable", ["502", "502", "502"]),
        (
            answers({"ok": False, "error": {"code": "unauthorized", "message": "no"}}, 401),
            "service_request_failed",
            "transport_unreachable",
            ["401"],
        ),
        (answers("no json", headers=NEWER), "service_response_invalid", "invalid_transport_payload", ["200"]),
        (answers("", headers=NEWER), "service_response_invalid", "invalid_transport_payload", ["200"]),
    ],
)
def test_a_failure_is_a_verdict_with_everything_written(
    home: Checkout, answer: Act, failure: str, reason: str, codes: list[str]
) -> None:
    with peer(answer) as service:
        done = reconcile(home, service)

    assert (done.code, done.document["reasonCodes"]) == (1, [reason])
    assert done.document == home.document("health.json")
    (row,) = home.rows("telemetry/reconcile.jsonl")
    assert (row["status"], row["failureCode"], row["transportResultCodes"]) == ("failed", failure, codes)
    assert home.document("telemetry/transport-health.json")["failureStreak"] == 1
    assert not (home.ours / "state.json").exists()


@pytest.mark.parametrize("body", ["no json", "", "[]", '{"ok": true}'])
@pytest.mark.parametrize("broken", ["/ops/snapshot", "/ops/events"])
def test_an_older_services_answer_that_is_none_is_a_clean_failure(
    home: Checkout, tmp_path: Path, broken: str, body: str
) -> None:
    _, sound = older(tmp_path)

    async def act(stream: Stream, asked: Asked) -> bool:
        if asked.target.startswith(broken):
            return await answers(body)(stream, asked)
        return await sound(stream, asked)

    with peer(act) as service:
        done = reconcile(home, service)

    assert (done.code, done.document["transport"]["ingestStatus"]) == (1, "failed")
    (row,) = home.rows("telemetry/reconcile.jsonl")
    assert row["failureCode"] in ("service_response_invalid", "projection_failed")


def test_after_a_failure_the_next_one_goes_on(home: Checkout, tmp_path: Path) -> None:
    _, sound = older(tmp_path)
    with peer(sound) as service:
        reconcile(home, service)
    with peer(hangs_up()) as service:
        assert reconcile(home, service).code == 1
    with peer(sound) as service:
        assert reconcile(home, service).document["cursor"]["eventLineOffset"] == 3

    assert [row["eventsIngested"] for row in home.rows("telemetry/reconcile.jsonl")] == [3, 0, 0]
    assert TOKEN not in str([path.read_bytes() for path in home.runtime.rglob("*") if path.is_file()])
