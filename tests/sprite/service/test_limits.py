"""How often a peer may ask."""

from hypothesis import given
from hypothesis import strategies as st

from opsd.sprite.service.limits import Allowance, Limits

LIMITS = Limits(requests_s=10.0, burst=5, peers=3)


def test_a_burst_is_answered_and_then_a_steady_rate() -> None:
    allowance = Allowance(LIMITS)

    assert [allowance.take("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert allowance.take("a", 0.0) == 0.1
    assert allowance.take("a", 0.1) == 0.0
    assert allowance.take("a", 0.1) > 0.0


def test_peers_do_not_take_from_each_other() -> None:
    allowance = Allowance(LIMITS)
    for _ in range(9):
        allowance.take("a", 0.0)

    assert allowance.take("b", 0.0) == 0.0


def test_only_the_latest_peers_are_remembered() -> None:
    allowance = Allowance(LIMITS)
    for number in range(1_000):
        allowance.take(str(number), 0.0)

    assert len(allowance) == LIMITS.peers


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_over_any_time_no_more_than_burst_and_rate_together_are_answered(steps: list[float]) -> None:
    allowance, now_s, answered = Allowance(LIMITS), 0.0, 0
    for step_s in steps:
        now_s += step_s
        answered += allowance.take("a", now_s) == 0.0
        assert answered <= LIMITS.burst + now_s * LIMITS.requests_s + 1e-6


@given(st.floats(0, 100))
def test_after_the_time_that_was_told_the_next_one_is_answered(start_s: float) -> None:
    allowance, wait_s = Allowance(LIMITS), 0.0
    while not wait_s:
        wait_s = allowance.take("a", start_s)

    assert allowance.take("a", start_s + wait_s + 1e-6) == 0.0
