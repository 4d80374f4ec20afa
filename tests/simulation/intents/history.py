"""Histories by seed: live through one, and say how to see it again if something in it did not hold."""

import traceback
from collections.abc import Iterator

from tests.simulation.intents.world import World

STORY_TOLD = 60
"""So many of the last things that happened are told of a history that broke."""


class Broken(AssertionError):  # noqa: N818  it says what became of a history, not which error did it
    """Something did not hold, or an exception came out. The message ends with the command that shows it again."""


def live(seed: int) -> World:
    """The world after one history.

    Raises:
        Broken: something did not hold.
    """
    world = World(seed)
    try:
        world.live()
    except Exception as error:
        raise Broken(
            "\n".join(
                (
                    *("".join(traceback.format_exception(each)) for each in _leaves(error)),
                    str(world.plan),
                    *world.story[-STORY_TOLD:],
                    f"in history {seed}; again: python -m tests.simulation.intents --seed {seed}",
                )
            )
        ) from error
    return world


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors themselves, without the groups they come in."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
