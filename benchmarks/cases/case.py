"""What every benchmark is given, and what it gives back."""

from typing import NamedTuple

from benchmarks.figures import Figure


class Plan(NamedTuple):
    """How large a run is. `loops` replaces the sizes of the live benchmark; `profile` samples what is measured."""

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
