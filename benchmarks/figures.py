"""A measured figure beside its target, the table they make, and the JSON that keeps them.

How a figure is measured is in `benchmarks.cases`; what a target is good for is in docs/performance.md.
"""

import math
from collections.abc import Sequence

import msgspec


class Target(msgspec.Struct, frozen=True, rename="camel"):
    """What a figure should keep: at most `limit`, or at least `limit` where `at_least` is set."""

    limit: float
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


class Figure(msgspec.Struct, frozen=True, rename="camel"):
    """One row. `value` is None where it is infinite: something that had to arrive never did.

    `case` is the letter of the benchmark, `note` what the value alone does not say.
    """

    case: str
    what: str
    value: float | None
    unit: str
    target: Target | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is kept; None where there is none."""
        return None if self.target is None else self.target.met_by(math.inf if self.value is None else self.value)


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """A whole run: when, on what machine, how large, and what came out. `details` are counts beside the figures."""

    date: str
    quick: bool
    machine: dict[str, str]
    figures: tuple[Figure, ...]
    details: dict[str, dict[str, float | None]]
    schema_version: str = "v1"


def figure(
    case: str, what: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None,
    note: str = "",
) -> Figure:  # fmt: skip
    """A figure with at most one target; an infinite `value` is kept as "never"."""
    target = None
    if at_most is not None:
        target = Target(at_most)
    elif at_least is not None:
        target = Target(at_least, at_least=True)
    return Figure(case, what, value if math.isfinite(value) else None, unit, target, note)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed: one of them, never between two.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a percentile of nothing")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


HEAD = ("", "what", "measured", "target", "")
_LEFT = (True, True, False, False, True)


def table(figures: Sequence[Figure]) -> str:
    """The figures as an aligned Markdown table, which is also what a terminal shows."""
    rows = [HEAD, *(_row(one) for one in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rule = tuple("-" * width if left else "-" * (width - 1) + ":" for width, left in zip(widths, _LEFT, strict=True))
    return "\n".join(_line(row, widths) for row in (rows[0], rule, *rows[1:]))


def _row(one: Figure) -> tuple[str, ...]:
    target = ""
    if one.target is not None:
        target = f"{'≥' if one.target.at_least else '≤'} {_number(one.target.limit)} {one.unit}"
    said = "never" if one.value is None else f"{_number(one.value)} {one.unit}"
    return (one.case, one.what, said, target, {True: "met", False: "**missed**", None: ""}[one.met])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.ljust(width) if left else cell.rjust(width) for cell, width, left in zip(row, widths, _LEFT, strict=True)
    )
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    """Three digits: more than a noisy machine can promise."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 10 else f"{value:,.0f}"
