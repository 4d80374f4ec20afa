"""Killed anywhere between looking and having written, opsd goes on: the same picture, nothing counted or told twice.

Two passes over four loops. The first saw their runs at work; the second, which is cut short at every call that changes
the disk, sees one ask for approval, one killed, one stopped, and one complete with a line that is no event.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.model.effects import Journal
from opsd.store.store import Store
from tests.doubles.files import MemoryFiles
from tests.faults.fleet import ENDED, LIVES, RUNNING, Manager, lay_down_lives, managed, seen
from tests.simulation.machine import Killed, Machine

TOLD = {
    ("approval-loop", "approval_pending"): 1,
    ("killed-loop", "run_crashed"): 1,
    ("max-iterations-loop", "run_stopped"): 1,
}
ENDINGS = {
    ("approval-loop", "awaiting_approval"),
    ("max-iterations-loop", "max_iterations"),
    ("torn-lines-loop", "complete"),
}


def journal(store: Store, which: Journal) -> list[dict[str, object]]:
    return [json.loads(row) for life in LIVES for row in store.rows(life.loop_id, which, limit=1_000).rows]


def told(store: Store) -> Counter[tuple[object, object]]:
    return Counter((row["loopId"], row["category"]) for row in journal(store, Journal.ESCALATIONS))


def shown(manager: Manager) -> list[dict[str, object]]:
    return [seen(run) for run in manager.runs]


def assert_gone_on(manager: Manager, expected: Sequence[dict[str, object]], where: str) -> None:
    assert shown(manager) == expected, where
    assert told(manager.store) == TOLD, where
    assert {(row["loopId"], row["ending"]) for row in journal(manager.store, Journal.RUNS)} == ENDINGS, where
    bad_lines = [row["quarantined"] for row in journal(manager.store, Journal.QUARANTINE)]
    assert [row["line"] for row in bad_lines if isinstance(row, dict)][-1:] == [55], where


@pytest.mark.slow
@pytest.mark.parametrize("how", ["between", "torn"])
def test_a_pass_killed_anywhere_is_gone_on_with_as_if_it_had_not_been(how: str, tmp_path: Path) -> None:
    """SIGKILL of a real process before its Nth call, for every N until one survives; then a restart and its pass."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.faults.passes", how, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    outcomes = [json.loads(line) for line in child.stdout.splitlines()]
    survivor = outcomes[-1]["n"]
    print(f"killed at {len(outcomes) - 1} calls, survived at N={survivor}")
    assert [outcome["killed"] for outcome in outcomes] == [True] * (len(outcomes) - 1) + [False]
    assert len(outcomes) > 80, "the sweep must really have met the pass's writes"
    later = lay_down_lives(tmp_path / "checkouts", later=True)
    whole = managed(str(tmp_path / str(survivor)), tmp_path / "checkouts", later, ENDED)
    whole.look_and_commit(later)
    expected = shown(whole)
    assert_gone_on(whole, expected, "the pass that was not killed")

    for outcome in outcomes[:-1]:
        manager = managed(str(tmp_path / str(outcome["n"])), tmp_path / "checkouts", later, ENDED)
        assert manager.faults == [], f"killed at N={outcome['n']}"
        manager.look_and_commit(later)
        assert_gone_on(manager, expected, f"killed at N={outcome['n']}")


def test_a_power_cut_anywhere_in_a_pass_is_gone_on_from_though_all_unflushed_is_lost(tmp_path: Path) -> None:
    """The same pass, with the power gone before its Nth call: what was not flushed is gone, and nothing is lost."""
    checkouts, home = tmp_path / "checkouts", str(tmp_path / "home")
    before = MemoryFiles(home)
    now = lay_down_lives(checkouts, later=False)
    managed(home, checkouts, now, RUNNING, _machine(before, home)).look_and_commit(now)
    before.flush()
    later = lay_down_lives(checkouts, later=True)
    whole = managed(home, checkouts, later, ENDED, _machine(before.after_power_cut(), home))
    whole.look_and_commit(later)
    expected = shown(whole)

    for calls in range(1, 1_000):
        machine = _machine(before.after_power_cut(), home)
        machine.kill_at(calls, torn=False)
        try:
            managed(home, checkouts, later, ENDED, machine).look_and_commit(later)
        except Killed:
            machine.heal()
            machine.lose_power(None)
        else:
            break
        manager = managed(home, checkouts, later, ENDED, machine, boot_id="after the cut")
        manager.look_and_commit(later)
        assert_gone_on(manager, expected, f"power cut before call {calls}")
    else:
        pytest.fail("no pass survived")
    print(f"power cut before each of {calls - 1} calls")
    assert calls > 20, "the sweep must really have met the pass's writes"


def _machine(own: MemoryFiles, home: str) -> Machine:
    return Machine(own, Disk(), f"{home}/.superloop/ops-manager")
