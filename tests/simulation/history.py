"""Histories by seed: run one, and say how to run it again if something in it did not hold."""

import traceback
from collections import Counter

from tests.simulation.world import World


class Broken(AssertionError):  # noqa: N818  it says what became of a history, not which error did it
    """Something did not hold, or an exception came out. The message ends with the command that shows it again."""


def run(seed: int, steps: int) -> Counter[str]:
    """What happened how often in `steps` steps and a last rest, in which everything is checked once more.

    Raises:
        Broken: something did not hold.
    """
    world = World(seed)
    step = 0
    try:
        while step < steps:
            step += 1
            world.step()
        world.rest()
    except Exception as error:
        raise Broken(
            f"{''.join(traceback.format_exception(error, limit=-4))}\n"
            f"in step {step} of history {seed}; again: python -m tests.simulation --seed {seed} --steps {step}"
        ) from error
    return world.counts + world.machine.fired
