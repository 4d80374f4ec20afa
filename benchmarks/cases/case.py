"""What every benchmark is given, and what it gives back."""

import time
from typing import NamedTuple

from benchmarks.figures import Figure


class Plan(NamedTuple):
    """How large a run is, and the folder to work in (`benchmarks.scratch.part`).

    `loops` replaces the number of loops, `seconds` how long is measured; `profile` samples the daemon.
    """

    scratch: str
    quick: bool = False
    loops: int | None = None
    seconds: float | None = None
    profile: bool = False


class Outcome(NamedTuple):
    """`details` are counts beside the figures: how much was measured, and how well. `profile` is text to print."""

    figures: tuple[Figure, ...]
    details: dict[str, float | None]
    profile: str = ""


def sleep_until(due_s: float) -> None:
    """Until `due_s` on the monotonic clock: a measurement lasts as long as it is planned to, whatever happens."""
    time.sleep(max(0.0, due_s - time.monotonic()))
