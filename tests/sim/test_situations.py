"""Each situation is what it is called, comes about at once, and leaves nothing alive behind it."""

import os
import signal
import time
from pathlib import Path

import pytest

from opsd.sim.ledger import executions
from opsd.sim.player import alive
from opsd.sim.steps import Document
from tests.doubles.situations import SITUATIONS, Plan, situation, situations
from tests.sim.checkouts import LOOP, QUICK, eventually

STALE = ("killed", "role failed", "rate limited")


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_is_there_at_once_and_ends_with_its_block(name: str, tmp_path: Path) -> None:
    begin_s = time.monotonic()
    with situation(tmp_path, name) as place:
        took_s = time.monotonic() - begin_s
        pid = place.run.pid if place.run else None
        living, state, request = place.lives(), place.document("state.json"), place.approval()

    assert took_s < 5.0, "a test should not wait for its situation"
    assert living is (name in ("running", "paused", "neighbour running"))
    assert (state is not None and state["active"]) is (living or name in STALE)
    assert (request or {}).get("status") == {"awaiting approval": "pending"}.get(
        name, name if name in ("approved", "rejected") else None
    )
    assert pid is None or not alive(pid)


def test_a_running_loop_stays_so_until_it_is_cancelled(tmp_path: Path) -> None:
    with situation(tmp_path, "running") as place:
        assert place.told() == []
        assert (place.pid, place.executions("run")) == (place.run.pid if place.run else None, 0)

        done = place.call("cancel")

        assert done.returncode == 0
        assert place.executions("cancel") == 1
        assert not place.lives()
        assert place.call("run", "--loop", LOOP).returncode == 0
        assert place.told()[-1] == "loop_complete"


def test_a_paused_run_is_stopped_and_goes_on_when_it_is_continued(tmp_path: Path) -> None:
    with situation(tmp_path, "paused", scenario="complete", part=QUICK._replace(role_s=600.0)) as place:
        told = len(place.told())
        os.killpg(place.pid, signal.SIGCONT)

        place.until("loop_complete")

        assert told == 0


def test_what_waits_for_approval_is_approved_and_then_completed_by_a_run(tmp_path: Path) -> None:
    with situation(tmp_path, "awaiting approval") as place:
        assert place.call("approve", "--loop", LOOP, "--by", "alex").returncode == 0
        assert place.told() == ["approval_decision"]

        place.start()

        place.until("approval_consumed")
        place.until("loop_complete")


@pytest.mark.parametrize("name", STALE)
def test_what_is_stale_refuses_runs_until_it_is_cleared(name: str, tmp_path: Path) -> None:
    with situation(tmp_path, name) as place:
        assert place.call("run", "--loop", LOOP).returncode == 1
        assert place.call("cancel").returncode == 0
        assert place.call("run", "--loop", LOOP).returncode == 0
        assert place.told()[-1] == "loop_complete"


def test_beside_a_running_neighbour_the_loop_itself_is_idle(tmp_path: Path) -> None:
    with situation(tmp_path, "neighbour running") as place:
        run = place.document("active-run.json")

        assert place.loop_id == LOOP
        assert place.events() == []
        assert run is not None
        assert run["loop_id"] == place.loops[1] != LOOP


def test_faults_are_those_of_the_calls_that_follow(tmp_path: Path) -> None:
    """The call that made the situation does not use one up."""
    faults: dict[str, list[Document]] = {"run": [{}, {"kind": "fail", "code": 9}], "cancel": [{"kind": "lie"}]}
    with situation(tmp_path, "running", faults=faults) as place:
        assert place.call("cancel").returncode == 0
        assert place.lives()
        assert place.call("run", "--loop", LOOP).returncode == 1
        assert place.call("run", "--loop", LOOP).returncode == 9
        assert (executions(place.repo, "run"), place.executions("run")) == (3, 2)


def test_runs_that_others_started_end_with_the_block_too(tmp_path: Path) -> None:
    with situation(tmp_path, "cancelled", then="silent-stall") as place:
        run = place.start()
        eventually(lambda: place.document("active-run.json") is not None, "it has begun")

    assert run.wait(10) == -signal.SIGKILL


def test_a_fleet_of_situations_is_registered_under_one_home(tmp_path: Path) -> None:
    plans = {"payments": Plan("running"), "search": Plan("awaiting approval"), "pair": Plan("neighbour running")}
    with situations(tmp_path, plans) as fleet:
        registry = (fleet.home / ".superloop/ops-manager/fleet/registry.v1.json").read_text()

        assert [place.lives() for place in fleet.places.values()] == [True, False, True]
        assert all(f'"{loop}"' in registry for place in fleet.places.values() for loop in place.loops)
        assert fleet.places["search"].call("approve", "--loop", "search").returncode == 0
