"""The service beside a daemon that holds the home: files from here, acts by the daemon, and nothing twice."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.doubles.process import OpsdProcess, wait_until
from tests.doubles.situations import Place, situation
from tests.sprite.service.serving import SpriteService

pytestmark = pytest.mark.slow


class Beside(NamedTuple):
    place: Place
    daemon: OpsdProcess
    service: SpriteService

    @property
    def loop_id(self) -> str:
        return self.place.loop_id


@pytest.fixture
def beside() -> Iterator[Beside]:
    """A loop that waits for an approval, the daemon that holds its home, and a service over the same repository."""
    with (
        tempfile.TemporaryDirectory(prefix="opsd-") as root,
        situation(Path(root), "awaiting approval") as place,
        OpsdProcess(place.repo) as daemon,
        SpriteService(place.repo) as service,
    ):
        wait_until(lambda: daemon.loop(place.loop_id)["phase"] == "awaiting_approval", "the daemon knows the loop")
        yield Beside(place, daemon, service)


def test_files_are_read_here(beside: Beside) -> None:
    log = beside.place.repo / ".superloop" / "loops" / beside.loop_id / "events.jsonl"
    lines = len(log.read_text().splitlines())

    assert beside.service.get("/healthz").json == {"ok": True}
    assert beside.service.get(f"/ops/snapshot?loopId={beside.loop_id}").json["cursor"]["eventLineCount"] == lines
    assert len(beside.service.get(f"/ops/events?loopId={beside.loop_id}").json["events"]) == lines
    told = beside.service.ask("POST", "/ops/observe", {"loopId": beside.loop_id}).json
    assert len(told["observation"]["events"]) == lines
    page = beside.service.ask("POST", "/ops/pages", {"loopId": beside.loop_id, "kind": "events", "query": {"tail": 2}})
    assert len(page.json["items"]) == 2


def test_an_act_is_the_daemons_and_done_once(beside: Beside) -> None:
    first = beside.service.control(beside.loop_id, "approve", by="riya", idempotencyKey="k-1", traceId="tr-9")
    again = beside.service.control(beside.loop_id, "approve", by="riya", idempotencyKey="k-1")

    assert (first.status, first.json["result"]["status"]) == (200, "confirmed")
    assert (first.json["replayed"], again.json["replayed"]) == (False, True)
    assert (first.json["traceId"], first.json["result"]["requestedBy"]) == ("tr-9", "riya")
    assert beside.place.executions("approve") == 1
    (intent,) = beside.daemon.get("/v1/intents")["intents"]
    assert intent["id"] == first.json["intentId"] == again.json["intentId"]
    shown = beside.service.get(f"/ops/intents/{intent['id']}").json
    assert shown["intent"]["status"] == "confirmed"


def test_what_the_desk_refuses_is_refused_alike(beside: Beside) -> None:
    assert beside.service.control(beside.loop_id, "approve", idempotencyKey="k-1").status == 200

    other = beside.service.control(beside.loop_id, "reject", idempotencyKey="k-1")
    nowhere = beside.service.control("nowhere", "cancel")
    body = {"loopId": beside.loop_id, "intent": "reject", "idempotencyKey": "k-1"}
    conflict = beside.service.ask("POST", "/ops/intents", body)

    assert other.error == (422, "refused", "idempotency_conflict")
    assert nowhere.error == (422, "refused", "unknown_loop")
    assert conflict.error == (409, "idempotency_conflict", "idempotency_conflict")


def test_an_intent_of_a_manager_is_the_daemons(beside: Beside) -> None:
    body = {"loopId": beside.loop_id, "intent": "approve", "by": "riya", "waitS": 20}
    told = beside.service.ask("POST", "/ops/intents", body)

    assert (told.status, told.json["intent"]["status"]) == (200, "confirmed")
    assert beside.place.executions("approve") == 1


def test_while_the_daemon_is_away_files_are_read_and_nothing_is_done(beside: Beside) -> None:
    beside.daemon.kill()

    assert beside.service.control(beside.loop_id, "approve", idempotencyKey="k-1").error[:2] == (503, "holder_gone")
    assert beside.service.get("/healthz").error[:2] == (503, "holder_gone")
    assert beside.service.get(f"/ops/snapshot?loopId={beside.loop_id}").status == 200
    assert beside.place.executions("approve") == 0

    beside.daemon.start()
    wait_until(lambda: beside.service.get("/healthz").status == 200, "the daemon is found again")
    assert beside.service.control(beside.loop_id, "approve", idempotencyKey="k-1").json["ok"] is True
    assert beside.place.executions("approve") == 1


def test_news_end_a_wait(beside: Beside) -> None:
    known = beside.service.ask("POST", "/ops/observe", {"loopId": beside.loop_id}).json
    beside.service.control(beside.loop_id, "reject")
    body = {"loopId": beside.loop_id, "known": known["digest"], "waitS": 20}

    told = beside.service.ask("POST", "/ops/observe", body).json

    assert told["digest"] != known["digest"]


def test_the_token_is_asked_for_and_logged_nowhere(beside: Beside) -> None:
    assert beside.service.ask("GET", "/healthz", token=None).status == 401
    said = [line["event"] for line in beside.service.log()]
    assert "sprite.beside" in said
    assert beside.service.stop() == 0
    assert json.dumps(beside.service.log()).count("sesame") == 0
