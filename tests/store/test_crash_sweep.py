"""Killed at any moment, a commit leaves files to go on from: nothing torn, nothing ahead, nothing told twice.

The kill is a real SIGKILL of a real process just before its Nth call that changes the disk, for every N.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.model.ids import LoopId
from opsd.store.commit import Committed, LoopCommit
from opsd.store.layout import Layout
from opsd.store.store import Store
from tests.store import crashes
from tests.store.examples import NOW, pass_
from tests.store.findings import cursor_line, escalation_ids, once_more, sampled, state_line


@pytest.mark.parametrize("how", ["between", "torn"])
@pytest.mark.parametrize("scenario", crashes.SCENARIOS)
def test_a_commit_killed_anywhere_can_be_gone_on_from(scenario: str, how: str, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.store.crashes", scenario, how, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    outcomes = [json.loads(line) for line in child.stdout.splitlines()]
    print(f"{scenario}: killed at {len(outcomes) - 1} calls, survived at N={outcomes[-1]['n']}")
    assert [outcome["killed"] for outcome in outcomes] == [True] * (len(outcomes) - 1) + [False]
    assert len(outcomes) > 20, "the sweep must really have met the commit's writes"

    number, retention = crashes.SCENARIOS[scenario]
    unfinished = 0
    for outcome in outcomes:
        store = Store(Layout(str(tmp_path / str(outcome["n"]))), Disk(), retention)
        for loop_id in crashes.LOOPS:
            (found,) = store.load([loop_id], NOW)
            escalated = escalation_ids(store, loop_id)
            where = f"{loop_id} killed at N={outcome['n']}"

            assert found.faults == (), where
            unfinished += cursor_line(found) < number
            assert number - 1 <= cursor_line(found) <= state_line(found), where
            if cursor_line(found) == number:
                assert f"on-{number}" in escalated, where
                assert number in sampled(store, loop_id), where

            # The next start sees the same line again and decides the same, save for what the journal already tells.
            again = LoopCommit(loop_id, once_more(number, loop_id, escalated))
            assert store.commit([again], NOW).failures == (), where
            _assert_complete(store, loop_id, number, where)
    assert unfinished >= len(outcomes) - 1


def _assert_complete(store: Store, loop_id: LoopId, number: int, where: str) -> None:
    (found,) = store.load([loop_id], NOW)
    escalated = escalation_ids(store, loop_id)
    assert found.faults == (), where
    assert (cursor_line(found), state_line(found)) == (number, number), where
    assert [each.id for each in found.open_escalations] == [f"on-{number}"], where
    assert escalated.count(f"on-{number}") == 1, where
    assert store.commit([pass_(number + 1, loop_id)], NOW) == Committed(), where
