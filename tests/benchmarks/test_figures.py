"""The figures and their table: what is quoted from a run must be what was measured."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Report, figure, percentile, table
from benchmarks.page import BEGIN, END, with_report


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.integers(1, 100))
def test_a_percentile_is_a_value_that_at_least_that_share_does_not_exceed(values: list[float], percent: int) -> None:
    """An interpolated p99 would report a latency that nobody ever had."""
    found = percentile(values, percent / 100)

    assert found in values
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


def test_what_never_arrived_makes_the_percentile_infinite_that_reaches_it() -> None:
    """Two lost changes of a hundred are a p99 of never, though the median knows nothing of them."""
    values = [1.0] * 98 + [math.inf] * 2

    assert percentile(values, 0.5) == 1.0
    assert percentile(values, 0.99) == math.inf


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_an_infinite_figure_misses_its_target_and_says_never() -> None:
    """JSON has no infinity, so it is kept as null; it must not pass for a good figure."""
    lost = figure("a", "latency", math.inf, "ms", at_most=60)

    assert lost.value is None
    assert lost.met is False
    assert "never" in table([lost])


def test_a_miss_is_said_plainly_and_a_limit_kept_exactly_is_met() -> None:
    figures = [
        figure("a", "late", 61, "ms", at_most=60),
        figure("a", "just", 60, "ms", at_most=60),
        figure("c", "slow", 49.9, "%", at_least=50),
        figure("c", "noted", 1234.4, "MB/s"),
    ]

    rows = table(figures).splitlines()

    assert [one.met for one in figures] == [False, True, False, None]
    assert [row.split("|")[-2].strip() for row in rows[2:]] == ["**missed**", "met", "**missed**", ""]
    assert "1,234 MB/s" in rows[5]
    assert len({len(row) for row in rows}) == 1


def test_a_page_without_its_marks_is_refused() -> None:
    report = Report("2026-11-21", quick=True, machine={}, figures=(), details={})

    with pytest.raises(ValueError, match="in this order"):
        with_report(f"{END} before {BEGIN}", report)
