"""When to look again although nothing is new: at the instants where time alone turns a verdict, and at no other."""

from typing import Any

import pytest
from msgspec.structs import replace

from opsd.core.wake import next_look
from opsd.model.intent import ControlState, PauseNote
from opsd.model.lifecycle import DivergenceFlags, Phase, RunFacts
from opsd.model.observation import Artifact, Artifacts, StreamChange, StreamNote
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.run import Run
from opsd.model.runtime import LoopConfig, Presence, Timeouts
from opsd.model.thresholds import Thresholds
from tests.core.builders import RUN_ID, a_run, moment, on_file, stamp
from tests.core.judging import LIMITS, a_beat, a_projection, a_story, drifted, projected

QUIET = projected(Phase.COMPLETE)
PAUSED_UNTIL_30 = ControlState(pause=PauseNote("i-1", "riya", moment(0), until=moment(30)))
OVERDUE = projected(
    Phase.BUSY,
    fold=a_story(run=RunFacts(RUN_ID, 1, role="tester", activity="role_start", activity_since=moment(0))),
    process=ProcessMemory(pid=1, liveness=Liveness.ALIVE),
    artifacts=Artifacts(config=on_file(LoopConfig(timeouts=Timeouts(True, tester=300)))),
)


def due(run: Run, after_s: float = 0, limits: Thresholds = LIMITS) -> float | None:
    """Seconds after dawn; None where nothing is due."""
    look = next_look(run, limits, moment(after_s))
    return None if look is None else (look.when - moment(0)).total_seconds()


@pytest.mark.parametrize(
    ("run", "instants"),
    [
        (projected(), [300, 900]),
        (projected(beat=a_beat(0)), [120, 300, 900]),
        (projected(Phase.BUSY, beat=a_beat(0)), [120, 300]),
        (projected(Phase.STARTING, fold=a_story(-9), process=ProcessMemory(pid=1, begun=stamp(0))), [600, 900]),
        (OVERDUE, [360]),
        (replace(QUIET, fold=a_story(quarantined_count=1), quarantined_at=moment(0)), [900]),
        (replace(QUIET, stream_note=StreamNote(StreamChange.TRUNCATED, moment(0), 0)), [3600]),
        (replace(QUIET, backlog_bytes=1, backlog_since=moment(0)), [60]),
        (replace(QUIET, fold=a_story(3600)), [3595]),
        (replace(QUIET, process=ProcessMemory(settles_at=moment(10))), [10]),
        (replace(QUIET, projection=a_projection(Phase.COMPLETE, holds_until=moment(2))), [2]),
        (projected(Phase.PAUSED, control=PAUSED_UNTIL_30), [30]),
        (projected(Phase.RUNNING, control=PAUSED_UNTIL_30), [300, 900]),
        (replace(QUIET, artifacts=Artifacts(approval=Artifact(Presence.SETTLING, since=moment(0)))), [2]),
    ],
)
def test_each_instant_that_turns_a_verdict_is_named_in_its_turn(run: Run, instants: list[float]) -> None:
    """Looking at each of them leads to the next; after the last there is nothing to wait for."""
    found: list[float] = []
    now_s = 0.0
    while (next_s := due(run, now_s)) is not None:
        found.append(next_s)
        now_s = next_s

    assert found == instants


@pytest.mark.parametrize(
    "phase",
    [
        phase
        for phase in Phase
        if phase not in (Phase.RUNNING, Phase.UNKNOWN, Phase.STARTING, Phase.BUSY, Phase.LIMITED, Phase.CRASHED)
    ],
)
def test_a_loop_at_rest_costs_nothing(phase: Phase) -> None:
    assert due(projected(phase, beat=a_beat(0))) is None


def test_a_loop_never_looked_at_waits_for_its_first_look() -> None:
    assert due(a_run()) is None


@pytest.mark.parametrize(
    "run",
    [replace(QUIET, sequence=drifted()), projected(Phase.COMPLETE, flags=DivergenceFlags(cursor_regression=True))],
)
def test_a_log_that_went_backwards_gets_a_clean_look(run: Run) -> None:
    """Only another look ends that finding, and an idle loop would wait for ever for a reason to have one."""
    assert due(run, 5) == 65


def test_the_reason_names_the_threshold_that_comes_first() -> None:
    look = next_look(projected(beat=a_beat(0)), LIMITS, moment(0))

    assert look is not None
    assert look.why == "runtime_heartbeat_stale"


def test_the_profile_decides_when() -> None:
    hasty: dict[str, Any] = {"degraded_ingest_lag_seconds": 7, "critical_ingest_lag_seconds": 8}

    assert due(projected(), limits=Thresholds(**hasty)) == 7
