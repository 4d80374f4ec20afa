"""What is told of recorded runs, all along their way: by someone who sees every change, by one who looks now and then,
by one who comes late, and by one who is restarted between any two looks."""

import copy
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from opsd.model.ids import LoopId
from opsd.model.lifecycle import Fold
from opsd.model.observation import Artifacts, ProcessSighting
from opsd.model.process import ProcessMemory
from opsd.model.runtime import EventLine
from tests.core.builders import LOOP, moment
from tests.core.histories import logs, trees
from tests.core.story import NAMES, Moment, Watch, moments, watched

LOOPS = {name: (LoopId("loop-a"), LoopId("loop-b")) if name == "two-loops" else (LOOP,) for name in NAMES}

UNTIL_IT_RUNS = ["never_run/unknown", "starting/running", "running/running"]
STORIES = {
    "approved": [
        *UNTIL_IT_RUNS,
        "awaiting_approval/awaiting_approval",  # and a second run, which finds it pending, changes nothing
        "approved_not_taken_up/idle",
        "starting/running",
        "running/running",
        "complete/complete",
    ],
    "cancelled": [*UNTIL_IT_RUNS, "cancelled/stopped"],
    "complete": [*UNTIL_IT_RUNS, "complete/complete"],
    "killed": [
        *UNTIL_IT_RUNS,
        "crashed/failed",  # and a run that is refused changes nothing
        "cancelled/stopped",
        "starting/running",
        "running/running",
        "complete/complete",
    ],
    "max-iterations": [*UNTIL_IT_RUNS, "stopped/stopped"],
    "no-progress": [*UNTIL_IT_RUNS, "stuck/stopped"],
    "rate-limited": [*UNTIL_IT_RUNS, "rate_limited/stopped"],
    "rejected": [
        *UNTIL_IT_RUNS,
        "awaiting_approval/awaiting_approval",
        "rejected_not_taken_up/idle",
        "starting/running",
        "running/running",
        "awaiting_approval/awaiting_approval",
    ],
    "role-error": [*UNTIL_IT_RUNS, "crashed/failed"],
    "role-timeout": [*UNTIL_IT_RUNS, "failed/failed"],
    "stuck": [*UNTIL_IT_RUNS, "stuck/stopped", "starting/running", "stuck/stopped"],
    "tests-failing": [*UNTIL_IT_RUNS, "stopped/stopped"],
    "two-loops": [*UNTIL_IT_RUNS, "complete/complete"],
}

every_loop = pytest.mark.parametrize(("name", "loop_id"), [(name, loop) for name in NAMES for loop in LOOPS[name]])


@every_loop
def test_a_recorded_run_is_told_as_it_went(name: str, loop_id: LoopId) -> None:
    """No phase flickers between two writes of the runtime, and none is missed."""
    assert watched(name, loop_id).story() == STORIES[name]


@every_loop
def test_a_recorded_run_never_diverges(name: str, loop_id: LoopId) -> None:
    """Files written a few seconds apart disagree for that long, and nobody need hear of it."""
    assert not [told.basis for told in watched(name, loop_id).told if told.divergence.any]


@every_loop
def test_run_and_iteration_never_lag_behind_the_log(name: str, loop_id: LoopId) -> None:
    """The contract's own fields name the last finished iteration; ours the one at work."""
    watch = Watch(loop_id)
    for found in moments(name, loop_id):
        told = watch.look(found)
        starts = [event for event in found.events if event.event == "loop_start"]
        begun = [event for event in found.events if event.event in ("loop_start", "iteration_start")]
        if starts:
            assert (told.run_id, told.iteration) == (starts[-1].run_id, begun[-1].iteration)


@given(st.data())
def test_however_seldom_one_looks_no_other_story_is_told(data: st.DataObject) -> None:
    """Any subset of looks tells a part of the story, in its order."""
    name = data.draw(st.sampled_from(NAMES))
    loop_id = LOOPS[name][0]
    seen = moments(name, loop_id)
    chosen = data.draw(st.lists(st.sampled_from(range(len(seen))), unique=True, max_size=12))

    watch = Watch(loop_id)
    for index in sorted(chosen):
        watch.look(seen[index])

    assert _is_part_of(watch.story(), STORIES[name]), watch.story()


@given(st.data())
def test_a_log_read_later_than_the_files_tells_no_other_story(data: st.DataObject) -> None:
    """Files first, the log last: what is written in between, within half a second here, is seen in the log only."""
    name = data.draw(st.sampled_from(NAMES))
    loop_id = data.draw(st.sampled_from(LOOPS[name]))
    seen = moments(name, loop_id)

    watch = Watch(loop_id)
    for index, found in enumerate(seen):
        within = [later for later in seen[index:] if later.at <= found.at + timedelta(seconds=0.5)]
        watch.look(found, log=data.draw(st.sampled_from(within)))

    assert _is_part_of(watch.story(), STORIES[name]), watch.story()
    assert not any(told.divergence.any for told in watch.told)


@every_loop
def test_who_comes_late_believes_the_same(name: str, loop_id: LoopId) -> None:
    """A first look at any found settles on what was believed by one who saw it all."""
    witness = Watch(loop_id)
    for found in moments(name, loop_id):
        witness.look(found)
        settled = copy.copy(witness)
        settled.look_when_due(found, None)

        stranger = Watch(loop_id)
        stranger.look(found)
        stranger.look_when_due(found, None)

        assert stranger.projection is not None
        assert settled.projection is not None
        assert stranger.projection.phase == settled.projection.phase, found.at


@every_loop
def test_a_restart_between_any_two_looks_changes_nothing(name: str, loop_id: LoopId) -> None:
    """What is remembered survives the disk."""
    watch = Watch(loop_id)
    for found in moments(name, loop_id):
        watch.fold = msgspec.json.decode(msgspec.json.encode(watch.fold), type=Fold)
        watch.process = msgspec.json.decode(msgspec.json.encode(watch.process), type=ProcessMemory)
        watch.look(found)

    assert _is_part_of(watch.story(), STORIES[name])
    assert watch.fold == watched(name, loop_id).fold


@settings(max_examples=400)
@given(logs(), trees(), st.sampled_from(ProcessSighting), st.integers(0, 1500), st.integers(0, 999))
def test_a_verdict_holds_until_it_says(
    events: list[EventLine], artifacts: Artifacts, sighting: ProcessSighting, after_s: int, per_mille: int
) -> None:
    """The wake list relies on it: where nothing new is seen, nothing may change before the moment that was named."""
    found = Moment(moment(after_s), events, artifacts, sighting)
    watch = Watch(LOOP)
    first = watch.look(found)
    due = [at for at in (watch.process.settles_at, first.holds_until) if at is not None]
    assert all(at > found.at for at in due)

    longest = (min(due) - found.at).total_seconds() if due else 100_000.0
    event(f"phase {first.phase}, settles: {bool(due)}")
    liveness = watch.process.liveness
    again = watch.look(replace(found, at=found.at + timedelta(seconds=longest * per_mille / 1000)))

    assert (again.phase, again.basis, again.divergence) == (first.phase, first.basis, first.divergence)
    assert watch.process.liveness is liveness


def _is_part_of(told: list[str], story: list[str]) -> bool:
    rest: Iterator[str] = iter(story)
    return all(word in rest for word in told)
