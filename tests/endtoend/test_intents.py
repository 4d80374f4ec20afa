"""What operators ask of live runs, from the command line to the runtime's own files and back.

One daemon and one fleet serve all tests of this module; each has a loop of its own, called after what is done to it.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from opsctl.exits import Exit
from opsd.model.intent import Stage
from tests.doubles.situations import Plan
from tests.endtoend.operators import Live, family, living, once
from tests.sim.checkouts import QUICK

pytestmark = pytest.mark.slow

SLOW = QUICK._replace(speed=100.0)
"""A run of a few seconds."""
PLANS = {
    "cancelled": Plan("running"),
    "by-hand": Plan("running"),
    "approved": Plan("awaiting approval"),
    "step-by-step": Plan("awaiting approval"),
    "rejected": Plan("awaiting approval"),
    "new": Plan("never run"),
    "again": Plan("complete"),
    "paused": Plan("stopped", then="steady", part=SLOW, faults={"run": [{"kind": "fork", "seconds": 60.0}]}),
    "put-off": Plan("running"),
    "stopped-by-hand": Plan("paused"),
    "killed": Plan("killed"),
    "role-failed": Plan("role failed"),
    "rate-limited": Plan("rate limited"),
    "one": Plan("running"),
    "other": Plan("running"),
}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with living(PLANS) as fleet:
        yield fleet


async def test_a_cancel_ends_the_run_and_quotes_what_proves_it(live: Live) -> None:
    place = live.places["cancelled"]
    pid = place.pid

    done = await live.opsctl("cancel", "cancelled", "--yes", "--note", "wrong branch")

    assert done.code == Exit.OK, done.err
    assert f"Process {pid}" in done.out
    assert "is gone" in done.out
    assert (place.executions("cancel"), place.lives()) == (1, False)
    assert (place.document("state.json"), place.document("active-run.json")) == (None, None)
    assert live.steps("cancelled") == ["recorded", "executing", "executed", "confirmed"]
    assert live.told("cancelled") == once("confirmed")
    row = live.rows("cancelled", "intents.jsonl")[0]
    assert (row["intent"], row["note"], row["confirm"]["reason"]) == ("cancel", "wrong branch", "inactive_not_running")
    assert row["command"] == f"{place.repo}/superloop.sh cancel --repo {place.repo}"
    assert live.picture("cancelled")["phase"] == "cancelled"


async def test_who_asks_is_the_kernels_word_beside_the_name_that_is_claimed(live: Live) -> None:
    done = await live.ask("cancel", "by-hand", "--by", "riya", "--reason", "it is stuck")

    assert done.ends == ("confirmed", Exit.OK)
    assert (done.known.requested_by, done.known.actor.uid, done.known.reason) == ("riya", os.getuid(), "it is stuck")


async def test_an_approval_is_recorded_then_taken_up_then_completed(live: Live) -> None:
    """Nothing runs by it alone, and that is said."""
    place = live.places["step-by-step"]
    waits = await live.opsctl("approvals", "-o", "name")
    assert "step-by-step" in waits.lines()

    done = await live.opsctl("approve", "step-by-step", "--yes", "--by", "riya", "--note", "ship it")

    assert done.code == Exit.OK, done.err
    assert "opsctl start step-by-step" in done.out
    approval = place.approval()
    assert approval is not None
    assert (approval["status"], approval["decision"]["by"], approval["decision"]["note"]) == (
        "approved",
        "riya",
        "ship it",
    )
    assert (place.executions("approve"), place.executions("run")) == (1, 0)
    intent_id = live.rows("step-by-step", "intent-log.jsonl")[0]["id"]
    assert (await live.show(intent_id)).stage is Stage.RECORDED
    assert live.picture("step-by-step")["phase"] == "approved_not_taken_up"

    started = await live.ask("start", "step-by-step", "--wait=complete", "--timeout", "20")

    assert started.ends == ("confirmed", Exit.OK)
    assert place.told() == ["approval_decision", "loop_start", "approval_consumed", "loop_complete"]
    await live.until(
        lambda: "completed" in [row.get("stage") for row in live.rows("step-by-step", "intent-log.jsonl")],
        "it is told",
    )
    assert (await live.show(intent_id)).stage is Stage.COMPLETED
    assert "step-by-step" not in (await live.opsctl("approvals", "-o", "name")).lines()
    assert live.told("step-by-step") == (["confirmed"] * 2,) * 3


async def test_an_approval_and_its_start_are_one_command(live: Live) -> None:
    place = live.places["approved"]

    done = await live.opsctl("approve", "approved", "--yes", "--then-start", "--wait=complete", "--timeout", "20")

    assert done.code == Exit.OK, done.err
    assert "confirmed (completed)" in done.out
    assert (place.executions("approve"), place.executions("run")) == (1, 1)
    assert live.picture("approved")["lifecycle"] == "complete"


async def test_a_rejection_is_taken_up_by_a_run_that_goes_on_and_asks_again(live: Live) -> None:
    place = live.places["rejected"]

    done = await live.opsctl(
        "reject", "rejected", "--yes", "--note", "tests too thin", "--then-start", "--wait=consumed", "--timeout", "20"
    )
    place.until("approval_requested")

    assert done.code == Exit.OK, done.err
    assert place.told()[:3] == ["approval_decision", "loop_start", "approval_rejected"]
    await live.until(lambda: live.picture("rejected")["lifecycle"] == "awaiting_approval", "it asks again")
    assert live.rows("rejected", "intents.jsonl")[0]["intent"] == "reject"


async def test_a_loop_that_never_ran_is_started_outside_of_opsd(live: Live) -> None:
    place = live.places["new"]

    done = await live.ask("start", "new", "--wait=complete", "--timeout", "20")

    assert done.ends == ("confirmed", Exit.OK)
    assert place.executions("run") == 1

    def beat() -> dict[str, Any]:
        return place.document("loops/new/heartbeat.v1.json") or {}

    await live.until(lambda: beat().get("status") == "exited", "its end is on record")
    assert (beat()["launch_id"], beat()["exit_code"]) == (done.known.id, 0)
    assert live.picture("new")["lifecycle"] == "complete"


async def test_a_start_begins_another_run_and_its_output_is_kept(live: Live) -> None:
    place = live.places["again"]

    done = await live.ask("start", "again")
    place.until("loop_complete")

    assert done.known.confirmation is not None
    began = next(one.says for one in done.known.confirmation.evidence if one.where == "events.jsonl")
    new = [event["run_id"] for event in place.events() if event["event"] == "loop_start"][-1]
    assert new in began
    assert (live.home / f".superloop/ops-manager/again/launches/{done.known.id}.log").exists()
    await live.until(lambda: live.picture("again")["lifecycle"] == "complete", "its end is noticed")
    runs = live.opsd.get("/v1/loops/again/runs")["runs"]
    assert [run["ending"] for run in runs] == ["complete", "complete"]


async def test_a_paused_run_stands_still_with_all_its_processes_and_is_expected_to(live: Live) -> None:
    place = live.places["paused"]
    assert (await live.ask("start", "paused")).code == Exit.OK
    place.until("role_start")
    pid = place.pid
    assert len(family(pid)) == 2

    paused = await live.ask("pause", "paused", "--for", "1h", "--reason", "the disk is exchanged", "--by", "riya")

    assert paused.ends == ("confirmed", Exit.OK)
    assert family(pid) == ["stopped", "stopped"]
    shown = (await live.opsctl("status", "paused")).out
    assert "riya" in shown
    assert "the disk is exchanged" in shown
    picture = live.picture("paused")
    assert (picture["phase"], picture["health"], live.findings("paused")) == ("paused", "healthy", ["run_paused"])
    written = len(place.events())
    assert (await live.ask("pause", "paused")).refusal == "already_paused"

    resumed = await live.ask("resume", "paused")

    assert resumed.ends == ("confirmed", Exit.OK)
    assert family(pid) == ["alive", "alive"]
    await live.until(lambda: len(place.events()) > written, "the run goes on")
    assert (await live.ask("resume", "paused")).refusal == "not_paused"
    assert "run_paused" not in live.findings("paused")


async def test_a_paused_run_is_cancelled_in_order_and_not_by_force(live: Live) -> None:
    place = live.places["put-off"]
    assert (await live.ask("pause", "put-off")).code == Exit.OK

    done = await live.ask("cancel", "put-off")

    assert done.ends == ("confirmed", Exit.OK)
    assert done.known.execution is not None
    assert "signal CONTINUE" in done.known.execution.command
    assert "force" not in done.known.execution.output
    assert not place.lives()


async def test_a_run_that_somebody_stopped_by_hand_can_be_resumed(live: Live) -> None:
    place = live.places["stopped-by-hand"]
    assert live.findings("stopped-by-hand") == ["run_paused"]

    assert (await live.ask("resume", "stopped-by-hand")).ends == ("confirmed", Exit.OK)

    assert family(place.pid) == ["alive"]


@pytest.mark.parametrize("loop_id", ["killed", "role-failed", "rate-limited"])
async def test_what_a_dead_run_left_marked_is_cleared_when_that_is_asked_for(live: Live, loop_id: str) -> None:
    place = live.places[loop_id]

    refused = await live.ask("start", loop_id)

    assert (refused.refusal, refused.code) == ("stale_active", Exit.REFUSED)
    assert (place.executions("cancel"), place.executions("run")) == (0, 0)

    done = await live.ask("start", loop_id, "--clear-stale", "--wait=complete", "--timeout", "20")

    assert done.ends == ("confirmed", Exit.OK)
    assert (place.executions("cancel"), place.executions("run")) == (1, 1)
    assert place.told()[0] == "loop_start"
    assert live.picture(loop_id)["lifecycle"] == "complete"


async def test_several_loops_are_one_command(live: Live) -> None:
    done = await live.opsctl("cancel", "one", "other", "--yes")

    assert done.code == Exit.OK, done.err
    assert [live.places[loop].lives() for loop in ("one", "other")] == [False, False]
    assert [live.places[loop].executions("cancel") for loop in ("one", "other")] == [1, 1]


async def test_what_was_done_stays_done_after_a_reload(live: Live) -> None:
    """SIGHUP reads settings anew; intents and their picture stay as they are."""
    before = live.opsd.get("/v1/intents")["intents"]
    live.opsd.process.send_signal(signal.SIGHUP)
    await live.until(lambda: "settings.reloaded" in live.opsd.events(), "the settings are read again")

    assert live.opsd.get("/v1/intents")["intents"] == before
