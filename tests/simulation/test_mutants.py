"""The simulation notices when opsd is broken: each small fault that is put into it on purpose is found.

A fault that was not found would mean that a promise is only written down, and not checked.
"""

import subprocess
import sys

import pytest

from tests.simulation.mutants import MUTANTS


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_put_in_on_purpose_breaks_a_promise(mutant: str) -> None:
    """In a process of its own, because the fault goes in while the module is imported."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", "1", "--until", "60", "--steps", "300"]

    found = subprocess.run([*command, "--mutant", mutant], capture_output=True, text=True, timeout=200, check=False)

    assert found.returncode == 1, found.stdout
    assert "again: python -m tests.simulation --seed" in found.stderr, found.stderr
    assert "AssertionError" in found.stderr, "what broke must be a promise, not the mutant itself"
