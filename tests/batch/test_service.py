"""The contract's service as its callers start it, with a manager working in the very same repository."""

import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.batch.cli import run, spawn
from tests.doubles.process import LIMIT_S, wait_until
from tests.doubles.situations import Place, situation

SCRIPT = Path(__file__).parents[2] / "scripts" / "ops-manager-sprite-service.py"
TOKEN = "sesame-0123456789"


class Told(NamedTuple):
    status: int
    body: Any


class Service:
    """One that listens, until the end of its block."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, token: str = TOKEN) -> Told:
        return self.ask("GET", path, None, token)

    def control(self, place: Place, intent: str, **members: object) -> Told:
        body = {"loopId": place.loop_id, "intent": intent, "by": "riya", **members}
        return self.ask("POST", "/ops/control", json.dumps(body), TOKEN)

    def ask(self, method: str, path: str, body: str | None, token: str) -> Told:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            return Told(answer.status, json.loads(answer.read()))
        finally:
            connection.close()


@contextmanager
def serving(repo: Path, log: Path, *flags: str, variables: Mapping[str, str] | None = None) -> Iterator[Service]:
    told = flags or ("--token", TOKEN)
    words = [str(SCRIPT), "--repo", str(repo), "--host", "127.0.0.1", "--port", "0", *told]
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, env={**os.environ, **(variables or {})})
    try:
        wait_until(lambda: process.poll() is not None or "sprite.listening" in log.read_text(), "it listens")
        assert process.poll() is None, log.read_text()
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        yield Service(next(line["port"] for line in lines if line["event"] == "sprite.listening"), log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(LIMIT_S)


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Place]:
    with situation(tmp_path / "sprite", "awaiting approval") as place:
        yield place


pytestmark = pytest.mark.slow


def test_it_answers_whoever_has_the_token_and_writes_nothing(waiting: Place, tmp_path: Path) -> None:
    with serving(waiting.repo, tmp_path / "log") as service:
        assert service.get("/healthz") == Told(200, {"ok": True})
        assert service.get("/healthz", token="guess").status == 401
        snapshot = service.get(f"/ops/snapshot?loopId={waiting.loop_id}").body
        events = service.get(f"/ops/events?loopId={waiting.loop_id}&cursor=0").body

    assert snapshot["run"]["status"] == "awaiting_approval"
    assert len(events["events"]) == len(waiting.events())
    assert not (waiting.repo / ".superloop" / "ops-manager" / waiting.loop_id).exists()
    assert TOKEN not in (tmp_path / "log").read_text()


def test_a_manager_in_the_same_repository_reads_over_it(waiting: Place, tmp_path: Path) -> None:
    with serving(waiting.repo, tmp_path / "log") as service:
        way = ("--transport", "sprite_service", "--service-base-url", service.url, "--service-token", TOKEN)
        state = run("reconcile", "--repo", str(waiting.repo), "--loop", waiting.loop_id, *way).document

    count = len(waiting.events())
    assert state["transition"]["currentState"] == "awaiting_approval"
    assert state["health"]["transport"]["mode"] == "sprite_service"
    row = waiting.document(f"ops-manager/{waiting.loop_id}/telemetry/transport-health.json")
    assert row is not None
    assert (row["transport"], row["lastResult"]) == ("sprite_service", "success")
    cursor = waiting.document(f"ops-manager/{waiting.loop_id}/cursor.json")
    assert cursor is not None
    assert cursor["eventLineOffset"] == count


def test_an_act_is_carried_out_once_and_told_again_under_its_key(waiting: Place, tmp_path: Path) -> None:
    with serving(waiting.repo, tmp_path / "log") as service:
        first = service.control(waiting, "approve", note="ship it", idempotencyKey="k-1", traceId="tr-9")
        again = service.control(waiting, "approve", note="ship it", idempotencyKey="k-1")
        other = service.control(waiting, "cancel", idempotencyKey="k-1")

    assert (first.status, first.body["ok"], first.body["exitCode"], first.body["replayed"]) == (200, True, 0, False)
    assert first.body["result"]["status"] == "confirmed"
    assert first.body["result"]["traceId"] == first.body["traceId"] == "tr-9"
    assert (again.status, again.body["replayed"], again.body["result"]) == (200, True, first.body["result"])
    assert (other.status, other.body["error"]["reason"]) == (422, "idempotency_conflict")
    assert waiting.executions("approve") == 1
    assert waiting.executions("cancel") == 0


def test_what_the_runtime_refuses_has_failed(tmp_path: Path) -> None:
    with situation(tmp_path / "sprite", "complete") as place, serving(place.repo, tmp_path / "log") as service:
        told = service.control(place, "approve")

    assert (told.status, told.body["ok"], told.body["exitCode"]) == (500, False, 1)
    assert told.body["result"]["status"] == "failed_command"


def test_a_running_loop_is_cancelled(tmp_path: Path) -> None:
    with situation(tmp_path / "sprite", "running") as place, serving(place.repo, tmp_path / "log") as service:
        told = service.control(place, "cancel")

        assert (told.status, told.body["result"]["confirm"]["reason"]) == (200, "inactive_not_running")
        assert not place.lives()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"intent": "cancel"}, "invalid_request"),
        ({"loopId": "../x", "intent": "cancel"}, "invalid_request"),
        ({"loopId": "a", "intent": "start"}, "invalid_request"),
        ({"loopId": "a", "intent": "cancel", "by": "a\0b"}, "invalid_request"),
    ],
)
def test_a_request_that_makes_no_sense_begins_nothing(
    tmp_path: Path, waiting: Place, body: dict[str, str], code: str
) -> None:
    with serving(waiting.repo, tmp_path / "log") as service:
        told = service.ask("POST", "/ops/control", json.dumps(body), TOKEN)

    assert (told.status, told.body["error"]["code"]) == (400, code)
    assert waiting.executions("cancel") == 0


def test_without_a_token_it_serves_this_host_and_says_so(waiting: Place, tmp_path: Path) -> None:
    with serving(waiting.repo, tmp_path / "log", "--token", "") as service:
        assert service.get("/healthz", token="").status == 200

    assert "warning: no token" in (tmp_path / "log").read_text()


def test_the_environment_may_hold_the_token(waiting: Place, tmp_path: Path) -> None:
    variables = {"OPS_MANAGER_SERVICE_TOKEN": TOKEN}
    with serving(waiting.repo, tmp_path / "log", "--scripts-dir", "/opt/superloop", variables=variables) as service:
        assert service.get("/healthz", token="").status == 401
        assert service.get("/healthz").status == 200


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--host", "0.0.0.0"), "--host 0.0.0.0 is for others to reach, and there is no token"),
        (("--port", "eighty"), "--port must be an integer from 0 to 65535"),
        (("--repo", "/no/such/folder"), "there is no such folder"),
    ],
)
def test_what_cannot_be_served_is_told(tmp_path: Path, flags: tuple[str, ...], says: str) -> None:
    done = spawn("sprite-service", "--repo", str(tmp_path), *flags)

    assert (done.code, done.out) == (1, "")
    assert says in done.err
