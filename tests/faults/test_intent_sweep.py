"""opsd killed at every step of an intent's life: nothing is lost, nothing is done twice, and what is told is true.

The work is `tests.faults.intents`: the real daemon, real commands, a SIGKILL before the Nth call. What was executed is
counted from the runtime command's own ledger, and whether it had its effect is asked of the runtime's files and
processes.
"""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from opsd.model.intent import NEXT, IntentStatus
from tests.faults.intents import ITS_FILES, Fate, Seen

pytestmark = pytest.mark.slow

TOLD = {
    "confirmed": [["confirmed"], ["confirmed"], ["confirmed"]],
    "ambiguous": [["ambiguous"], ["ambiguous"], ["ambiguous"]],
    "expired": [[], [], ["expired"]],
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("kind", "how"), [("cancel", "between"), ("approve", "torn"), ("start", "between")])
def test_an_intent_whose_daemon_is_killed_anywhere_is_done_once_or_not_at_all(
    kind: str, how: str, short_path: Path
) -> None:
    fates = swept(kind, how, short_path)
    print(f"{kind}, {how}: killed at {len(fates) - 1} calls, survived at N={fates[-1].n}")
    for fate in fates[:-1]:
        print(f"  N={fate.n}: {_call(fate)}: {[one.status for one in fate.known]}, executed {fate.executed}")

    assert [fate.killed for fate in fates] == [True] * (len(fates) - 1) + [False]
    fired = {_call(fate) for fate in fates[:-1]}
    assert fired == {f"{call} {name}" for call in ("write", "fsync") for name in ITS_FILES} | {"fork_exec"}
    assert {one.status for fate in fates for one in fate.known} == set(TOLD), "every way to end was met"
    for fate in fates:
        where = f"killed at N={fate.n}, before {_call(fate)}"
        assert len(fate.known) <= 1, where
        if fate.accepted is not None:
            assert [one.id for one in fate.known] == [fate.accepted], f"{where}: what was accepted is known"
        for one in fate.known:
            _assert_true(one, fate, where)
        _assert_once(fate, where)


def swept(kind: str, how: str, folder: Path) -> list[Fate]:
    child = subprocess.run(
        [sys.executable, "-m", "tests.faults.intents", kind, how, str(folder)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return [msgspec.json.decode(line, type=Fate) for line in child.stdout.splitlines()]


def _call(fate: Fate) -> str:
    """What the daemon was about to do when it was killed."""
    path = fate.at.get("path")
    return f"{fate.at.get('call', 'nothing')} {Path(path).name}" if path else str(fate.at.get("call", "nothing"))


def _assert_true(one: Seen, fate: Fate, where: str) -> None:
    """The outcome is what happened, the log tells how it came to it, and every file has it once."""
    assert (one.status == "confirmed") == (fate.executed == 1) == fate.effect, where
    assert fate.shown == (one.status == "ambiguous"), where
    assert one.steps[0] == "recorded", where
    assert one.steps[-1] == one.status, where
    for before, after in pairwise(map(IntentStatus, one.steps)):
        assert after in NEXT[before], f"{where}: {one.steps}"
    assert one.told == TOLD[one.status], where


def _assert_once(fate: Fate, where: str) -> None:
    """Asked for again under its key, what was or may have been carried out is not carried out again."""
    assert fate.executed <= 1, where
    assert fate.executed_in_all <= 1, where
    executed = [one for one in fate.known if one.status != "expired"]
    assert fate.replayed == bool(executed), where
    if executed:
        assert fate.again == executed[0], where
        assert fate.executed_in_all == fate.executed, where
    else:
        assert (fate.again.status, fate.executed_in_all) == ("confirmed", 1), where
        assert fate.again.told == TOLD["confirmed"], where
