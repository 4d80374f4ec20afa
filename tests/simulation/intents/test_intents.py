"""No history breaks a promise about intents: none lost, none done twice, none confirmed that did not happen.

Each run is a process of its own, in which the order of sets is fixed. A history that breaks a promise is shown again by
the command in its message; what happened how often is printed (`-s`).
"""

import subprocess
import sys
from collections.abc import Iterable

import pytest

from tests.simulation.intents.mutants import MUTANTS
from tests.simulation.intents.pins import CAUGHT, EVERYTHING

KINDS = {"cancel", "approve", "reject", "start", "pause", "resume"}
OUTCOMES = {"refused", "expired", "confirmed", "executed_unconfirmed", "ambiguous", "acknowledged", "failed_command"}
SEARCHED_ON = 100
"""So many more histories are tried for a mutant that is not found where it once was."""


def _run(*words: str | int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation.intents", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    print(done.stdout, done.stderr, sep="")
    return done


def _endings(lines: Iterable[str]) -> set[tuple[str, str]]:
    """Kind and status of each intent that is counted in these lines, as in `3 intent: approve confirmed completed`."""
    words = [line.split() for line in lines]
    return {(each[2], each[3]) for each in words if each[1:2] == ["intent:"]}


@pytest.mark.timeout(180)
def test_histories_in_which_everything_planned_happens_break_no_promise() -> None:
    """Every fault of a command and of the disk, and every moment to be killed at, must really have struck."""
    done = _run("--seed", *EVERYTHING, "--complete", 400)

    assert done.returncode == 0, done.stderr
    ended = _endings(done.stdout.splitlines())
    assert {kind for kind, status in ended if status == "confirmed"} == KINDS
    assert {status for _, status in ended} == OUTCOMES


def test_a_seed_is_a_history() -> None:
    """The second process has its objects at other addresses in memory."""
    one, other = (_run("--seed", *EVERYTHING[:4], "--story").stdout for _ in range(2))

    assert "asks" in one
    assert one == other


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_many_histories_break_no_promise() -> None:
    """Each starts opsd about four times."""
    done = _run("--seed", 1_200, "--until", 1_449)

    assert done.returncode == 0, done.stderr


def test_each_mutant_has_a_history_by_which_it_is_found_out() -> None:
    assert CAUGHT.keys() == MUTANTS.keys()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_put_in_on_purpose_breaks_a_promise(mutant: str) -> None:
    """A fault that was not found would mean that a promise is only written down, and not checked."""
    first = CAUGHT[mutant]

    done = _run("--seed", first, "--until", first + SEARCHED_ON, "--mutant", mutant)

    assert done.returncode == 1, "nothing was noticed: is there another history in which it shows? See `pins`"
    assert "again: python -m tests.simulation.intents --seed" in done.stderr, done.stderr
    broken = done.stderr.replace("AssertionError: a fault of ours", "what opsd met with itself")
    assert "AssertionError" in broken, "what broke must be a promise, not the mutant itself"
