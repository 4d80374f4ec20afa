"""Every scenario of the runtime, played live by real processes and watched through the real daemon, all along its way.

One play serves all tests of this module: they ask what was told, and what was left on the disk.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from opsd.exits import ExitCode
from opsd.sim.fleet import FleetPlay
from opsd.sim.scenarios import SCENARIOS
from tests.doubles.process import OpsdProcess
from tests.endtoend.audience import Audience, listening, read_rows, untold
from tests.endtoend.evidence import traces, validated
from tests.endtoend.plays import HURRY, STORIES, Cast, Operators, cast


class Played(NamedTuple):
    cast: Cast
    audience: Audience
    exit_code: int
    log: list[dict[str, Any]]

    @property
    def home(self) -> Path:
        return Path(self.cast.fleet.home)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The whole play. The daemon is stopped while the endless runs are still at work."""
    company = cast(tmp_path_factory.mktemp("play"))
    with OpsdProcess(Path(company.fleet.home), variables=HURRY) as opsd, listening(opsd) as audience:
        opsd.until(lambda: audience.has_met(len(company.loops())), "every loop was looked at")
        with FleetPlay(company.fleet, stagger_s=1.0) as play:
            operators = Operators(company, play, audience)
            try:
                operators.play_on()
                code = opsd.stop()
                log = opsd.log()
            finally:
                operators.end_runs()
    return Played(company, audience, code, log)


def test_every_scenario_has_a_story() -> None:
    assert set(SCENARIOS) <= set(STORIES)


@pytest.mark.parametrize("story", STORIES)
def test_a_live_run_is_told_as_it_goes(played: Played, story: str) -> None:
    """A quick step may be missed between two looks; a wrong one is never told, however short."""
    for loop_id in played.cast.checkouts[story].loops:
        assert untold(played.audience.told(loop_id), STORIES[story]) == []


def test_stopped_in_the_middle_of_it_the_daemon_ends_in_order(played: Played) -> None:
    assert played.exit_code == ExitCode.OK


def test_each_escalation_is_logged_once_as_it_stands_in_its_journal(played: Played) -> None:
    rows = {
        row["id"]: row
        for path in played.home.glob(".superloop/ops-manager/*/escalations.jsonl")
        for row in read_rows(path.read_text())
    }
    logged = [line for line in played.log if line["event"] == "escalation.raised"]

    assert sorted(line["id"] for line in logged) == sorted(rows)
    for line in logged:
        assert (line["category"], line["severity"]) == (
            rows[line["id"]]["category"],
            rows[line["id"]].get("severity"),
        )


def test_all_that_was_written_is_as_its_schema_says(played: Played) -> None:
    counts = validated(played.home)

    loops = len(played.cast.loops())
    assert {name: counts[name] for name in ("state.json", "health.json", "cursor.json")} == {
        "state.json": loops,
        "health.json": loops,
        "cursor.json": loops,
    }
    assert counts["escalations.jsonl"] > 0
    assert counts["runs.jsonl"] > 0


def test_the_disk_ends_where_the_feed_ended(played: Played) -> None:
    """What SIGTERM found in memory is on the disk."""
    for _, loop_id in played.cast.loops():
        state = json.loads((played.home / f".superloop/ops-manager/{loop_id}/state.json").read_bytes())
        assert state["transition"]["currentState"] == played.audience.pictures[loop_id][-1]["lifecycle"]


def test_nothing_but_the_daemons_own_folder_is_ever_touched(played: Played) -> None:
    """Neither by a first look at all that was played, nor by reading every log anew, nor by recomputing it."""
    root = Path(played.cast.fleet.root)
    with OpsdProcess(played.home, variables=HURRY) as opsd:
        loops = [loop_id for _, loop_id in played.cast.loops()]
        before = traces(root)
        for loop_id in loops:
            assert opsd.post(f"/v1/loops/{loop_id}/reconcile", {"fromStart": True})["status"]["eventCount"] > 0
        assert opsd.get("/v1/verify")["loops"]
        assert opsd.stop() == ExitCode.OK

    assert {path: trace for path, trace in traces(root).items() if not path.endswith("opsd.log")} == {
        path: trace for path, trace in before.items() if not path.endswith("opsd.log")
    }
