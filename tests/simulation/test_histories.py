"""No history breaks a promise: no event lost or doubled, nothing told twice, nothing promised and lost, no step back.

A history that does is shown again by the command in its message. What is checked when is in `world`.
"""

import pytest

from tests.simulation.accidents import KINDS
from tests.simulation.history import run
from tests.simulation.world import DEEDS

REFUSALS = {"append ENOSPC", "append EIO", "replace EIO", "sync EIO", "read EIO", "stat EIO"}


def test_a_handful_of_histories_in_which_everything_happens_break_no_promise() -> None:
    """Every kind of deed, accident and refusal must really have struck, or the handful proves less than it says."""
    counts = sum((run(seed, steps=300) for seed in range(1, 12)), start=run(0, steps=300))

    print(f"{counts['steps']} steps, {counts.total() - counts['steps']} deeds and accidents")
    assert set(counts) >= DEEDS | set(KINDS) | REFUSALS
    assert counts["steps"] > 20_000


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 148, 12))
def test_many_histories_break_no_promise(first: int) -> None:
    for seed in range(first, first + 12):
        run(seed, steps=300)
