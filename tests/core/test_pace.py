"""How often a service is asked: rarely, unless its run changes; never in step."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from opsd.core import pace
from opsd.core.pace import Pace
from opsd.model.lifecycle import EventMark, Fold, Lifecycle, Phase
from opsd.model.run import Run
from opsd.model.thresholds import Thresholds
from tests.doubles.clock import EPOCH as NOW
from tests.doubles.fleet import a_supervised_run

PACE = Pace()
IDLE = (Lifecycle.COMPLETE, Lifecycle.STOPPED, Lifecycle.FAILED, Lifecycle.IDLE, Lifecycle.AWAITING_APPROVAL)


def a_run(lifecycle: Lifecycle = Lifecycle.RUNNING, *, event_age_s: float = 1.0) -> Run:
    run = a_supervised_run("a", NOW, lifecycle=lifecycle, phase=Phase.RUNNING)
    at = NOW - timedelta(seconds=event_age_s)
    return replace(run, fold=Fold(line=3, last=EventMark(3, "role_start", at.isoformat(), at)))


def after(run: Run, *, quiet_s: float = 0.0, wait_s: float = 0.0, jitter: float = 0.5) -> pace.Next:
    return pace.after_answer(run, PACE, Thresholds(), quiet_s=quiet_s, wait_s=wait_s, jitter=jitter, now=NOW)


def test_whatever_does_not_run_is_asked_at_the_idle_pace() -> None:
    for lifecycle in IDLE:
        assert after(a_run(lifecycle)).in_s == PACE.idle_s
        assert after(a_run(lifecycle), wait_s=25).wait_s == 0


def test_a_run_that_changes_is_asked_at_the_fast_pace() -> None:
    assert after(a_run()).in_s == PACE.fast_s


def test_a_service_that_can_wait_is_asked_at_once_and_holds_its_answer_back() -> None:
    following = after(a_run(), wait_s=25)

    assert following.in_s <= PACE.fast_s * 0.1
    assert following.wait_s == 25


def test_a_run_that_is_still_is_asked_ever_more_rarely() -> None:
    asked = [after(a_run(event_age_s=5_000), quiet_s=quiet_s).in_s for quiet_s in (60, 120, 400, 1_000, 5_000)]

    assert asked == sorted(asked)
    assert asked[0] == 60
    assert asked[-1] == PACE.idle_s


def test_a_silent_run_is_asked_just_when_its_silence_would_count() -> None:
    """Nobody is called stale unasked."""
    assert after(a_run(event_age_s=250), quiet_s=250).in_s == 51
    assert after(a_run(event_age_s=800), quiet_s=800).in_s == 101


def test_no_answer_is_held_back_beyond_the_moment_at_which_silence_counts() -> None:
    """With nothing new to tell the service would wait, and the verdict with it."""
    assert after(a_run(event_age_s=295), wait_s=25).wait_s == 6
    assert after(a_run(event_age_s=10), wait_s=25).wait_s == 25


def test_failures_are_retried_ever_later_and_rest_after_some() -> None:
    steps = [pace.after_failure(n, retry_after_s=None, jitter=1.0).in_s for n in range(1, 12)]

    assert steps[0] == pace.RETRY_FIRST_S
    assert steps == sorted(steps)
    assert steps[-1] == pace.RETRY_LONGEST_S
    assert pace.after_failure(40, retry_after_s=None, jitter=0.0).in_s == pace.RETRY_LONGEST_S / 2


def test_a_service_that_asks_to_be_left_alone_is() -> None:
    assert pace.after_failure(1, retry_after_s=120, jitter=0.0).in_s == 120


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_no_failure_is_retried_at_once_and_none_is_given_up(failures: int, jitter: float) -> None:
    assert 1.0 <= pace.after_failure(failures, retry_after_s=None, jitter=jitter).in_s <= pace.RETRY_LONGEST_S


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1e5), st.sampled_from([*IDLE, Lifecycle.RUNNING]))
def test_no_answer_is_later_than_the_idle_pace_allows(jitter: float, quiet_s: float, lifecycle: Lifecycle) -> None:
    assert 0 <= after(a_run(lifecycle), quiet_s=quiet_s, jitter=jitter).in_s <= PACE.idle_s * 1.1


def test_the_budget_is_spent_above_its_share_and_not_at_it() -> None:
    assert not pace.is_spent(asked=100, failed=10, pace=PACE)
    assert pace.is_spent(asked=100, failed=11, pace=PACE)


def test_a_few_polls_say_nothing_of_the_budget() -> None:
    assert not pace.is_spent(asked=pace.BUDGET_POLLS_MIN - 1, failed=pace.BUDGET_POLLS_MIN - 1, pace=PACE)
