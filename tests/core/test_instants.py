"""The contract compares only times of one exact form, in whole seconds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.core.instants import lag_s, parse, whole
from tests.core.builders import DAWN, moment

SECONDS = st.integers(0, int(datetime(8999, 12, 31, tzinfo=UTC).timestamp()))


@given(SECONDS)
def test_the_contracts_form_is_read_back(seconds: int) -> None:
    instant = datetime.fromtimestamp(seconds, UTC)
    text = f"{instant.year:04}" + instant.strftime("-%m-%dT%H:%M:%SZ")

    assert parse(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "2026-11-21",
        "2026-11-21T02:00:00",
        "2026-11-21T02:00:00z",
        "2026-11-21t02:00:00Z",
        "2026-11-21 02:00:00Z",
        "2026-11-21T02:00:00.5Z",
        "2026-11-21T02:00:00+00:00",
        "2026-11-21T02:00:00Z\n",
        " 2026-11-21T02:00:00Z",
        "2026-02-30T02:00:00Z",
        "2026-11-21T25:00:00Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",  # whatever patience is added to it, no calendar holds
        "\uff12\uff1026-11-21T02:00:00Z",  # full-width digits are digits to Python, not to the contract
    ],
)
def test_anything_else_is_not_comparable(text: str | None) -> None:
    """A time that some library would read, and the contract would not, must not be judged by."""
    assert parse(text) is None


def test_the_first_second_of_1970_is_comparable() -> None:
    assert parse("1970-01-01T00:00:00Z") == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("after_s", "expected"), [(0, 0), (0.999, 0), (1, 1), (119.999, 119), (120, 120), (-5, 0)])
def test_a_lag_is_whole_seconds_and_never_negative(after_s: float, expected: int) -> None:
    assert lag_s(DAWN, moment(after_s)) == expected


def test_documents_carry_whole_seconds() -> None:
    assert whole(DAWN + timedelta(microseconds=999_999)) == DAWN
