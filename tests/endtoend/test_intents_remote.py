"""What operators ask of runs behind services: a manager, a service for each sprite, and runs that are real processes.

The manager's home has nothing of the runs; how often something was done is counted inside the sprites.
"""

import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from opsctl.exits import Exit
from opsd.exits import ExitCode
from tests.doubles.process import OpsdProcess, spawn, wait_until
from tests.doubles.situations import Plan, situations
from tests.endtoend.operators import Live, once

pytestmark = pytest.mark.slow

PLANS = {
    "cancelled": Plan("running"),
    "approved": Plan("awaiting approval"),
    "new": Plan("never run"),
    "idle": Plan("complete"),
    "paused": Plan("running"),
    "lost": Plan("running"),
}


@contextmanager
def served(repo: Path, port: int) -> Iterator[None]:
    with (repo.parent / f"{repo.name}-service.log").open("wb") as log:
        flags = ("--repo", str(repo), "--port", str(port), "--insecure-no-token")
        process = spawn("sprite-service", *flags, out=log)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), "the service listens")
        assert process.poll() is None, (repo.parent / f"{repo.name}-service.log").read_text()
        yield
    finally:
        process.terminate()
        assert process.wait(20) == ExitCode.OK


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opsd-")))
        sprites = root / "sprites"
        sprites.mkdir()
        fleet = stack.enter_context(situations(sprites, PLANS))
        loops = []
        for loop_id, place in fleet.places.items():
            port = _free_port()
            stack.enter_context(served(Path(place.repo), port))
            service = {"baseUrl": f"http://127.0.0.1:{port}"}
            loops.append({"loopId": loop_id, "transport": "sprite_service", "service": service})
        home = root / "home"
        registry = home / ".superloop/ops-manager/fleet/registry.v1.json"
        registry.parent.mkdir(parents=True)
        registry.write_text(json.dumps({"schemaVersion": "v1", "loops": loops}))
        opsd = stack.enter_context(OpsdProcess(home))
        live = Live(home, fleet.places, opsd)
        wait_until(lambda: live.picture("cancelled")["lifecycle"] == "running", "the fleet is seen")
        yield live


async def test_a_cancel_ends_the_run_in_its_sprite_and_quotes_what_was_seen_there(live: Live) -> None:
    place = live.places["cancelled"]

    done = await live.ask("cancel", "cancelled", "--note", "wrong branch")

    assert done.ends == ("confirmed", Exit.OK), done.err
    assert (place.executions("cancel"), place.lives()) == (1, False)
    assert live.steps("cancelled") == ["recorded", "executing", "executed", "confirmed"]
    assert live.told("cancelled") == once("confirmed")
    row = live.rows("cancelled", "intents.jsonl")[0]
    assert (row["transport"], row["note"]) == ("sprite_service", "wrong branch")
    assert row["command"].endswith("/ops/intents")
    assert all(one["where"].startswith("sprite:") for one in row["confirm"]["evidence"])


async def test_a_decision_is_made_in_the_sprite_and_followed_until_a_run_completes_by_it(live: Live) -> None:
    place = live.places["approved"]

    done = await live.opsctl("approve", "approved", "--yes", "--then-start", "--wait=complete", "--timeout", "30")

    assert done.code == Exit.OK, done.err
    assert (place.executions("approve"), place.executions("run")) == (1, 1)
    assert live.picture("approved")["lifecycle"] == "complete"


async def test_a_loop_that_never_ran_is_started_in_its_sprite(live: Live) -> None:
    done = await live.ask("start", "new", "--timeout", "30")

    assert done.ends == ("confirmed", Exit.OK), done.err
    assert live.places["new"].executions("run") == 1


async def test_a_run_is_paused_and_resumed_in_its_sprite(live: Live) -> None:
    paused = await live.ask("pause", "paused", "--reason", "look")
    assert paused.ends == ("confirmed", Exit.OK), paused.err
    resumed = await live.ask("resume", "paused")

    assert resumed.ends == ("confirmed", Exit.OK), resumed.err


async def test_what_makes_no_sense_is_refused_and_nothing_is_done(live: Live) -> None:
    done = await live.ask("cancel", "idle")

    assert done.refusal == "nothing_to_cancel"
    assert live.places["idle"].executions("cancel") == 0


async def test_a_manager_that_is_killed_asks_after_what_it_had_sent_and_sends_it_no_second_time(live: Live) -> None:
    place = live.places["lost"]
    taken_in = Path(place.repo) / ".superloop/ops-manager/lost/intent-log.jsonl"
    live.opsd.post("/v1/loops/lost/intents", {"intent": "cancel", "by": "riya"})
    await live.until(taken_in.exists, "the sprite has it")
    live.opsd.kill()
    live.opsd.start()
    await live.until(lambda: live.steps("lost")[-1] in ("confirmed", "ambiguous"), "it comes to an end")

    assert live.steps("lost")[-1] == "confirmed"
    assert place.executions("cancel") == 1


def _log_of(live: Live, loop_id: str) -> list[str]:
    return Path(live.places[loop_id].repo, f".superloop/loops/{loop_id}/events.jsonl").read_text().splitlines()


async def test_what_a_run_left_in_its_sprite_can_be_read_as_if_it_were_here(live: Live) -> None:
    logged = _log_of(live, "idle")

    events = await live.opsctl("events", "idle", "-n", "5", "-o", "jsonl")
    logs = await live.opsctl("logs", "idle", "planner")
    unknown = await live.opsctl("logs", "idle", "nobody")

    assert [json.loads(line) for line in events.out.splitlines()] == [json.loads(line) for line in logged[-5:]]
    assert logs.code == Exit.OK, logs.err
    assert "planner" in logs.out
    assert unknown.code == Exit.NO
    assert "iter-1/planner" in unknown.err, "it says which logs there are"


async def test_a_verdict_is_recomputed_where_the_files_are(live: Live) -> None:
    done = await live.opsctl("verify", "idle", "-o", "json")

    (verified,) = json.loads(done.out)["loops"]
    assert (done.code, verified["ok"]) == (Exit.OK, True), done.err
    assert verified["eventsRead"] > 0
