"""Starting raises no storm: only what needs somebody now is escalated, and that once, however often opsd starts.

Every scenario of the simulator is laid down at its end, and opsd meets it for the first time; or after another
manager; or after hours in which nobody watched.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.model.ids import LoopId
from opsd.model.observation import ProcessSighting
from opsd.model.run import LoopRef
from opsd.sim.scenarios import SCENARIOS, loops_of
from tests.faults.fleet import ENDED, START, Manager, lay_down_from
from tests.faults.strangers import leave_behind
from tests.transports.trees import Table

PID = 4_711
ALIVE = Table({PID: ProcessSighting.ALIVE})
DOWN_FOR = timedelta(hours=5)

Told = set[tuple[str, str]]

# What somebody must be told who looks at these loops for the first time: the rest ended before, and is history.
AT_FIRST_SIGHT: Told = {
    ("approval", "approval_pending"),
    ("rejected", "approval_pending"),
    ("role-error", "run_crashed"),
    ("silent-stall", "run_crashed"),
    ("steady", "run_crashed"),
}
# What became of runs that were known to be at work when opsd went down.
WHILE_DOWN: Told = AT_FIRST_SIGHT - {("role-error", "run_crashed")} | {
    ("stuck", "run_stuck"),
    ("no-progress", "run_stuck"),
    ("max-iterations", "run_stopped"),
    ("tests-failing", "run_stopped"),
    ("lifecycle-failed", "run_stopped"),
    ("recovery", "run_stopped"),
    ("recovery", "recovery_waiting"),
    ("role-timeout", "run_failed"),
    ("usage-limited", "run_failed"),
    ("rate-limited", "run_rate_limited"),
    ("rotated", "ordering_drift_detected"),
    ("rotated", "health_degraded"),
}
# What the next looks tell. That a log went backwards is what one look saw; and where only `active-run.json` was taken
# away, its writer is given two seconds to say more.
SOON: Told = {
    ("rotated", "ordering_drift_detected_resolved"),
    ("rotated", "health_degraded_resolved"),
    ("role-error", "run_crashed"),
}


class Fleet:
    """One loop of each scenario (`two-loops` has two), and opsd started on them again and again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.home.mkdir()
        self.now = START + timedelta(days=1)

    def lay_down(self, scenarios: Sequence[str], *, until: str | None = None, pid: int | None = None) -> None:
        for scenario in scenarios:
            lay_down_from(START, scenario, self.root / scenario, loop_id=scenario, until=until, pid=pid)

    def log(self, scenario: str) -> Path:
        return self.root / scenario / ".superloop/loops" / scenario / "events.jsonl"

    def told(self, scenarios: Sequence[str], processes: Table = ENDED, *, looks: int = 1) -> list[tuple[str, str]]:
        """What a newly started opsd escalates in its first looks, half a minute apart, all committed."""
        loops = [
            LoopRef(LoopId(loop_id), str(self.root / scenario))
            for scenario in scenarios
            for loop_id in loops_of(scenario, scenario)
        ]
        manager = Manager(str(self.home), loops, self.now, processes, Disk(), "boot")
        assert manager.faults == []
        told: list[tuple[str, str]] = []
        for _ in range(looks):
            for result in manager.look_and_commit(self.now):
                assert result.decision is not None
                told += [(result.run.ref.loop_id, row.category) for row in result.decision.escalations]
            self.now += timedelta(seconds=30)
        return told


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


EVERY = tuple(SCENARIOS)


def test_the_first_start_tells_only_what_needs_somebody_now_and_no_later_one_tells_it_again(fleet: Fleet) -> None:
    fleet.lay_down(EVERY)

    first = fleet.told(EVERY)

    assert sorted(first) == sorted(AT_FIRST_SIGHT)
    assert fleet.told(EVERY, looks=3) == []
    assert fleet.told(EVERY, looks=3) == []


def test_a_start_on_another_managers_artifacts_tells_the_same_and_none_of_its_past(fleet: Fleet) -> None:
    """It told its operators what it saw, in its own way; its cursor is taken up, and its state is no divergence."""
    fleet.lay_down(EVERY)
    for scenario in EVERY:
        lines = fleet.log(scenario).read_bytes().count(b"\n")
        leave_behind(fleet.home, fleet.root / scenario, scenario, START, lines)

    first = fleet.told(EVERY)

    assert sorted(first) == sorted(AT_FIRST_SIGHT)
    assert fleet.told(EVERY, looks=3) == []


def test_a_start_on_another_managers_artifacts_of_a_shorter_log_is_no_drift(fleet: Fleet) -> None:
    """The log grew after the other manager's last look."""
    fleet.lay_down(("complete",))
    leave_behind(fleet.home, fleet.root / "complete", "complete", START, lines=3)

    assert fleet.told(("complete",), looks=3) == []


def test_hours_of_downtime_are_told_by_what_has_become_of_each_run_and_nothing_between(fleet: Fleet) -> None:
    began_running = [each for each in EVERY if each not in ("usage-limited", "two-loops")]
    fleet.lay_down(began_running, until="running", pid=PID)
    fleet.lay_down(("two-loops",), until="iteration-1", pid=PID)
    fleet.now = START + timedelta(minutes=3)
    # An older run of the usage-limited loop was known; all of the newest happened while nobody watched.
    fleet.lay_down(("usage-limited",), pid=PID)
    whole = fleet.log("usage-limited").read_bytes()
    fleet.log("usage-limited").write_bytes(whole[: whole.index(b"\n") + 1])
    known = fleet.told(EVERY, ALIVE)
    fleet.log("usage-limited").write_bytes(whole)

    fleet.lay_down(EVERY)
    fleet.now += DOWN_FOR
    first = fleet.told(EVERY)

    assert known == []
    assert sorted(first) == sorted(WHILE_DOWN)
    assert sorted(fleet.told(EVERY, looks=3)) == sorted(SOON)
    assert fleet.told(EVERY, looks=3) == []
