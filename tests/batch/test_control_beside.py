"""`ops-manager control` on a home that a daemon holds: the same row, files and exit code as without one.

Executions are counted by the command's own ledger.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.batch.checkout import LOOP
from tests.batch.controlled import Controlled
from tests.batch.test_control_service import told
from tests.batch.through import peer
from tests.doubles.process import OpsdProcess
from tests.doubles.sprites import SpriteProcess
from tests.services.peer import hangs_up

pytestmark = pytest.mark.slow
VARYING = frozenset({"timestamp", "traceId", "intentId", "idempotencyKey", "actor", "command", "startedAt"})


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUPERLOOP_BIN", "OPS_MANAGER_CONFIRM_SCRIPT", "OPS_MANAGER_TRACE_ID", "OPS_MANAGER_SERVICE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USER", "riya")


@pytest.fixture
def held(short_path: Path) -> Iterator[Controlled]:
    (short_path / "held").mkdir()
    loop = Controlled(short_path / "held")
    with OpsdProcess(loop.folder):
        yield loop


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Without what is different each time."""
    confirm = {name: value for name, value in row.get("confirm", {}).items() if name not in ("observedAt", "evidence")}
    return {**{name: value for name, value in row.items() if name not in VARYING}, "confirm": confirm}


def test_it_is_what_it_is_without_one(held: Controlled, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    alone = Controlled(tmp_path / "alone")
    for words in (
        ("cancel",),
        ("approve", "--note", "ship it", "--timeout-seconds", "0"),
        ("approve",),
        ("reject", "--timeout-seconds", "0"),
    ):
        there, here = held.control(*words), alone.control(*words)

        assert there.code == here.code
        assert plain(there.document) == plain(here.document)
    assert [call.split()[0] for call in held.calls] == [call.split()[0] for call in alone.calls]
    for name in ("intents.jsonl", "telemetry/control.jsonl"):
        assert [row["status"] for row in held.rows(name)] == [row["status"] for row in alone.rows(name)]
    assert held.intents[0]["idempotencyKey"].startswith("cancel-")


def test_a_command_that_is_not_there_has_failed(held: Controlled, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    alone = Controlled(tmp_path / "alone")
    held.command.unlink()
    alone.command.unlink()

    there, here = held.control("approve"), alone.control("approve")

    assert (there.code, there.document["exitCode"]) == (here.code, here.document["exitCode"]) == (1, 127)
    assert plain(there.document) == plain(here.document)


def test_a_key_and_a_neighbour_and_an_unknown_loop(held: Controlled) -> None:
    first = held.control("approve", "--idempotency-key", "k-1")
    assert held.control("approve", "--idempotency-key", "k-1") == first
    other = held.control("cancel", "--idempotency-key", "k-1")
    assert (other.code, other.out, "stands for intent" in other.err) == (1, "", True)
    held.checkout.state(current_loop_id="neighbour")
    refused = held.control("cancel")
    assert (refused.code, refused.document["status"]) == (1, "failed_command")
    assert refused.document == held.intents[-1]
    assert len(held.calls) == 1


def test_a_service_is_asked_by_the_daemon_with_the_callers_token(held: Controlled) -> None:
    def asked(base_url: str, *words: str) -> Any:
        way = ("--transport", "sprite_service", "--service-base-url", base_url, "--service-token", "sesame-1")
        return held.control("approve", *way, "--retry-backoff-seconds", "0", *words)

    with peer(told("confirmed", 0, 200)) as service:
        first = asked(service.base_url, "--idempotency-key", "k-1")
        assert asked(service.base_url, "--idempotency-key", "k-1") == first
    with peer(hangs_up()) as broken:
        lost = asked(broken.base_url)
    gone = asked(broken.base_url, "--idempotency-key", "k-2")
    with peer(told("confirmed", 0, 200)) as service:
        assert asked(service.base_url, "--idempotency-key", "k-2").code == 0

    assert (first.code, first.document["transport"], lost.code, gone.code) == (0, "sprite_service", 2, 1)
    assert [row["status"] for row in held.intents] == ["confirmed", "ambiguous", "failed_command", "confirmed"]
    assert held.calls == []
    assert b"sesame-1" not in b"".join(path.read_bytes() for path in held.folder.rglob("*") if path.is_file())


def test_manager_and_sprite_in_one_directory(short_path: Path) -> None:
    """The service holds the home, the command is handed to it, and it asks itself: two rows, one execution."""
    (short_path / "both").mkdir()
    loop = Controlled(short_path / "both")
    with SpriteProcess(loop.folder) as service:
        base_url = f"http://127.0.0.1:{service.port}"
        way = ("--transport", "sprite_service", "--service-base-url", base_url, "--service-token", "sesame-5f2b9c")
        first = loop.control("approve", "--idempotency-key", "k-1", *way)
        again = loop.control("approve", "--idempotency-key", "k-1", *way)
        cancelled = loop.control("cancel", *way)

    assert (first.code, first.document["status"], again, cancelled.code) == (0, "confirmed", first, 0)
    assert [row["transport"] for row in loop.intents] == ["local", "sprite_service"] * 2
    assert [call.split()[0] for call in loop.calls] == ["approve", "cancel"]
    assert json.loads(first.document["commandOutput"])["result"]["loopId"] == LOOP
