"""Every scenario of the runtime, seen on the disk and through a real service: what is made of it is the same.

Two directory trees, two daemons, a service process for each sprite. What may differ is one list,
`tests.parity.differences.MAY_DIFFER`.
"""

import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from opsd.disk import Disk
from opsd.exits import ExitCode
from opsd.model.ids import LoopId
from opsd.model.observation import Seen
from opsd.model.run import LoopRef
from opsd.model.wire import ObserveReply, ObserveSource
from opsd.ports import Ask
from opsd.processes import ProcFs
from opsd.sim.scenarios import SCENARIOS
from opsd.sim.trees import lay_down
from opsd.transports.local import LocalTransport
from tests.parity.differences import differences, eventually_none
from tests.parity.stage import PARTS, Stages, stages

STALLS = "silent-stall"
HURRY = {"OPSD_DEGRADED_INGEST_LAG_SECONDS": "20", "OPSD_CRITICAL_INGEST_LAG_SECONDS": "24"}

Found = dict[str, list[str]]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_a_look_brings_is_the_same_after_its_way_over_the_wire(scenario: str, tmp_path: Path) -> None:
    at = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    loop_id, *_ = lay_down(scenario, tmp_path, at=at)
    (seen,) = LocalTransport(Disk(), ProcFs()).observe([Ask(LoopRef(LoopId(loop_id), str(tmp_path)), None)], at)
    assert isinstance(seen, Seen)
    whole = replace(seen, lines=list(seen.lines))  # what was passed over in none is a range
    reply = ObserveReply(True, "v1", ObserveSource(str(tmp_path), loop_id, "s"), "d", whole)

    carried = msgspec.json.decode(msgspec.json.encode(reply), type=ObserveReply).observation

    assert isinstance(carried, Seen)
    assert replace(carried, events=(), lines=()) == replace(seen, events=(), lines=())
    assert (list(carried.events), list(carried.lines)) == (list(seen.events), list(seen.lines))


@pytest.fixture(scope="module")
def played() -> Found:
    """What differs, by scenario: after each part of the story, and at its end."""
    with tempfile.TemporaryDirectory(prefix="opsd-") as root:
        return _played(Path(root), [scenario for scenario in SCENARIOS if scenario != STALLS])


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("scenario", [scenario for scenario in SCENARIOS if scenario != STALLS])
def test_a_scenario_is_told_alike_wherever_it_is_seen(played: Found, scenario: str) -> None:
    assert played[scenario] == []


@pytest.mark.slow
def test_a_run_that_falls_silent_is_called_so_at_the_same_moment(short_path: Path) -> None:
    """By its evidence; nobody who is asked rarely finds out later than he says."""
    with stages(short_path, [STALLS], **HURRY) as play:
        for number in range(1, PARTS):
            play.show(number)
        play.look()
        (story,), (here, away) = play.stories, play.sides
        (loop_id,) = story.loops
        here.daemon.until(lambda: "ingest_stale" in _critical(here.daemon.loop(loop_id)), "it is called so here")
        away.daemon.until(lambda: "ingest_stale" in _critical(away.daemon.loop(loop_id)), "and away")

        assert eventually_none(lambda: differences(here.files(loop_id), away.files(loop_id))) == []
        rows = [json.loads(row) for row in (here.files(loop_id) / "escalations.jsonl").read_text().splitlines()]
        assert [row["category"] for row in rows][-1] == "health_critical"


def _played(root: Path, scenarios: Sequence[str]) -> Found:
    found: Found = {scenario: [] for scenario in scenarios}
    with stages(root, scenarios) as play:
        for number in range(1, PARTS):
            play.show(number)
            play.look()
            _note(play, found, f"after part {number}")
        for story in play.stories:
            story.end_run()
        play.look()
        _note(play, found, "at the end, its process gone")
        for side in play.sides:
            assert side.daemon.stop() == ExitCode.OK
        _note(play, found, "when all was written down", at_rest=True)
    return found


def _note(play: Stages, found: Found, when: str, *, at_rest: bool = False) -> None:
    here, away = play.sides

    def look() -> list[tuple[str, str]]:
        return [
            (story.scenario, difference)
            for story in play.stories
            for loop_id in story.loops
            for difference in differences(here.files(loop_id), away.files(loop_id), at_rest=at_rest)
        ]

    for scenario, difference in eventually_none(look):
        found[scenario].append(f"{when}: {difference}")


def _critical(picture: dict[str, list[dict[str, str]]]) -> list[str]:
    return [finding["code"] for finding in picture["findings"] if finding["severity"] == "critical"]
