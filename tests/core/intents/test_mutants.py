"""The tests of intents notice when a rule is broken: each small fault that is put into one on purpose is found."""

import subprocess
import sys

import pytest

from tests.core.intents.mutants import MUTANTS


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_rule_that_is_broken_on_purpose_breaks_a_test(mutant: str) -> None:
    """In a process of its own, because the fault goes in while the module is imported."""
    command = [sys.executable, "-m", "tests.core.intents.mutants", mutant]

    found = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)

    assert found.returncode == 1, found.stdout + found.stderr
    assert "AssertionError" in found.stdout or "assert " in found.stdout, "what broke must be a test, not the mutant"
