"""No history breaks a promise about intents: none lost, none done twice, none confirmed that did not happen.

Each run is a process of its own, in which the order of sets is fixed. A history that breaks a promise is shown again by
the command in its message; what happened how often is printed (`-s`).
"""

import subprocess
import sys

import pytest

from tests.simulation.intents.mutants import MUTANTS

KINDS = {"cancel", "approve", "reject", "start", "pause", "resume"}
OUTCOMES = {"refused", "expired", "confirmed", "executed_unconfirmed", "ambiguous", "acknowledged", "failed_command"}


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation.intents", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    print(done.stdout, done.stderr, sep="")
    return done


def test_histories_in_which_everything_planned_happens_break_no_promise() -> None:
    """Every fault of a command and of the disk, and every moment to be killed at, must really have struck."""
    done = _run("--seed", "0", "--until", "119", "--complete", "400")

    assert done.returncode == 0, done.stderr
    ended = [line.split()[2:4] for line in done.stdout.splitlines() if " intent: " in line]
    assert {kind for kind, status in ended if status == "confirmed"} == KINDS
    assert {status for _, status in ended} == OUTCOMES


def test_a_seed_is_a_history() -> None:
    one, other = (_run("--seed", "5", "--until", "7", "--story").stdout for _ in range(2))

    assert "asks" in one
    assert one == other


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("first", range(1_000, 2_200, 300))
def test_many_histories_break_no_promise(first: int) -> None:
    """Each starts opsd about four times."""
    done = _run("--seed", str(first), "--until", str(first + 299))

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_put_in_on_purpose_breaks_a_promise(mutant: str) -> None:
    """A fault that was not found would mean that a promise is only written down, and not checked."""
    done = _run("--seed", "0", "--until", "399", "--mutant", mutant)

    assert done.returncode == 1, "nothing was noticed"
    assert "again: python -m tests.simulation.intents --seed" in done.stderr, done.stderr
    assert "AssertionError" in done.stderr, "what broke must be a promise, not the mutant itself"
