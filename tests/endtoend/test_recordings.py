"""Runs of the real runtime, as they were recorded, told by the real daemon while their files change again."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.doubles.process import OpsdProcess
from tests.endtoend.audience import Audience, listening, untold
from tests.endtoend.evidence import validated
from tests.endtoend.plays import BEGINS, CANCELLED, COMPLETE, CRASHED, QUICKLY, STARTS, WAITS
from tests.endtoend.recordings import Recording, play_together

STORIES = {
    "approved": (
        *BEGINS,
        WAITS,  # and a second run, which finds it pending, changes nothing
        "?approved_not_taken_up/idle healthy decision_not_taken_up",
        *QUICKLY,
        COMPLETE,
    ),
    # The fresh run follows the cancel within a tenth of a second: a busy machine may miss what lay between.
    "killed": (*BEGINS, CRASHED, f"?{CANCELLED}", *QUICKLY, COMPLETE),
    "role-error": (*BEGINS, CRASHED),
    "rejected": (*BEGINS, WAITS, "?rejected_not_taken_up/idle healthy decision_not_taken_up", *STARTS, WAITS),
}


class Replayed(NamedTuple):
    home: Path
    audience: Audience


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """Each recording under its own name in a fleet of one daemon."""
    root = tmp_path_factory.mktemp("replay")
    recordings = {name: Recording(name, root / name, loop_id=name) for name in STORIES}
    home = root / "home"
    registry = home / ".superloop" / "ops-manager" / "fleet" / "registry.v1.json"
    registry.parent.mkdir(parents=True)
    for recording in recordings.values():
        recording.prepare()
    entries = [{"loopId": name, "repoPath": str(root / name)} for name in STORIES]
    registry.write_text(json.dumps({"schemaVersion": "v1", "loops": entries}))
    with OpsdProcess(home) as opsd, listening(opsd) as audience:
        opsd.until(lambda: audience.has_met(len(STORIES)), "every loop was looked at")
        recordings["killed"].found_dead = lambda: audience.told("killed")[-1] == CRASHED
        play_together(list(recordings.values()))
        opsd.until(lambda: _is_over(audience), "every recording is told to its end")
        opsd.stop()
    return Replayed(home, audience)


def _is_over(audience: Audience) -> bool:
    try:
        return not any(untold(audience.told(name), story) for name, story in STORIES.items())
    except AssertionError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_a_recorded_run_is_told_as_it_went(replayed: Replayed, name: str) -> None:
    assert untold(replayed.audience.told(name), STORIES[name]) == []


@pytest.mark.slow
def test_all_that_was_written_is_as_its_schema_says(replayed: Replayed) -> None:
    assert validated(replayed.home)["state.json"] == len(STORIES)
