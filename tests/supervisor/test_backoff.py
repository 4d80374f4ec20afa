from hypothesis import given
from hypothesis import strategies as st

from opsd.supervisor.backoff import Backoff


def test_the_ceiling_doubles_until_the_longest_wait() -> None:
    backoff = Backoff(first_s=1.0, longest_s=10.0)

    assert [backoff.ceiling_s(attempt) for attempt in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@given(attempt=st.integers(min_value=1, max_value=10**9), jitter=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_wait_stays_below_the_longest_however_often_it_failed(attempt: int, jitter: float) -> None:
    """A loop may fail for months; the arithmetic must neither overflow nor stop trying."""
    delay_s = Backoff(first_s=0.5, longest_s=60.0).delay_s(attempt, jitter)

    assert 0 <= delay_s < 60.0


def test_jitter_spreads_the_whole_wait() -> None:
    backoff = Backoff(first_s=4.0, longest_s=60.0)

    assert backoff.delay_s(2, 0.0) == 0.0
    assert backoff.delay_s(2, 0.25) == 2.0
