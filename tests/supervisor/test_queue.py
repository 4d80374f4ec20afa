from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from opsd.model.ids import LoopId
from opsd.supervisor.backoff import Backoff
from opsd.supervisor.queue import WorkQueue

A, B, C = LoopId("a"), LoopId("b"), LoopId("c")
RETRY = Backoff(first_s=1.0, longest_s=60.0)


def a_queue(jitter: float = 0.999) -> WorkQueue:
    return WorkQueue(retry=RETRY, jitter=lambda: jitter)


def failed_queue(times: int) -> WorkQueue:
    """A queue in which A failed `times` times in a row, the last time at second 0."""
    queue = a_queue()
    for _ in range(times):
        queue.add(A, 0.0, asked=True)
        queue.take(1, 0.0)
        queue.done(A, 0.0, failed=True)
    return queue


def test_ten_triggers_of_a_waiting_loop_are_one_pass() -> None:
    queue = a_queue()
    for _ in range(10):
        queue.add(A, 0.0)

    assert queue.take(64, 0.0) == [A]
    assert queue.take(64, 0.0) == []


def test_a_trigger_during_a_pass_is_one_more_pass_afterwards() -> None:
    """What changed while we looked may have been missed by that look."""
    queue = a_queue()
    queue.add(A, 0.0)
    queue.take(1, 0.0)
    queue.add(A, 1.0)
    queue.add(A, 1.0)

    assert queue.take(64, 1.0) == []
    queue.done(A, 2.0)
    assert queue.take(64, 2.0) == [A]
    queue.done(A, 3.0)
    assert queue.take(64, 3.0) == []


def test_loops_are_taken_in_the_order_of_their_first_trigger() -> None:
    queue = a_queue()
    for key in (B, A, C, B):
        queue.add(key, 0.0)

    assert queue.take(2, 0.0) == [B, A]
    assert queue.take(2, 0.0) == [C]


def test_a_hot_loop_goes_behind_those_who_wait() -> None:
    queue = a_queue()
    queue.add(A, 0.0)
    queue.take(1, 0.0)
    queue.add(A, 1.0)
    queue.add(B, 2.0)
    queue.done(A, 3.0)

    assert queue.take(1, 3.0) == [B]
    assert queue.take(1, 3.0) == [A]


def test_a_loop_with_a_backlog_goes_behind_those_who_wait() -> None:
    """A log of a gigabyte is caught up in slices while other loops go on."""
    queue = a_queue()
    queue.add(A, 0.0)
    queue.add(B, 0.0)
    queue.take(1, 0.0)
    queue.done(A, 0.0, again=True)

    assert queue.take(1, 0.0) == [B]
    assert queue.take(1, 0.0) == [A]


def test_a_failed_loop_is_tried_again_by_itself_after_its_backoff() -> None:
    queue = failed_queue(3)

    assert queue.take(1, 3.9) == []
    assert queue.next_s(3.9) == pytest.approx(4 * 0.999)
    assert queue.take(1, 4.0) == [A]


def test_news_shorten_a_backoff_to_its_first_step() -> None:
    """What changed may be the cure; but a broken loop that is written to all the time must stay cheap."""
    queue = failed_queue(6)
    for moment_s in (0.1, 0.5, 0.9):
        queue.add(A, moment_s)
        assert queue.take(1, moment_s) == []

    assert queue.take(1, 1.0) == [A]


def test_news_during_a_failing_pass_count_as_news() -> None:
    queue = failed_queue(5)
    queue.add(A, 0.0, asked=True)
    queue.take(1, 0.0)
    queue.add(A, 0.0)
    queue.done(A, 0.0, failed=True)

    assert queue.take(1, 0.9) == []
    assert queue.take(1, 1.0) == [A]


def test_an_operator_jumps_the_backoff() -> None:
    queue = failed_queue(6)
    queue.add(A, 0.1, asked=True)

    assert queue.take(1, 0.1) == [A]


def test_an_operator_who_asked_during_a_failing_pass_gets_one_at_once() -> None:
    queue = failed_queue(6)
    queue.add(A, 0.0, asked=True)
    queue.take(1, 0.0)
    queue.add(A, 0.0, asked=True)
    queue.done(A, 0.0, failed=True)

    assert queue.take(1, 0.0) == [A]


def test_success_starts_the_ladder_anew() -> None:
    queue = failed_queue(6)
    queue.add(A, 0.0, asked=True)
    queue.take(1, 0.0)
    queue.done(A, 0.0)
    queue.add(A, 0.0)
    queue.take(1, 0.0)
    queue.done(A, 0.0, failed=True)

    assert queue.take(1, 1.0) == [A]


def test_a_forgotten_loop_is_not_taken_and_its_running_pass_has_no_consequence() -> None:
    queue = a_queue()
    queue.add(A, 0.0)
    queue.add(B, 0.0)
    queue.take(1, 0.0)
    queue.forget(A)
    queue.forget(B)
    queue.done(A, 0.0, again=True)

    assert queue.take(64, 100.0) == []
    assert queue.next_s(100.0) is None


def test_a_loop_that_came_back_during_its_last_pass_is_looked_at_again() -> None:
    queue = a_queue()
    queue.add(A, 0.0)
    queue.take(1, 0.0)
    queue.forget(A)
    queue.add(A, 0.0)
    assert queue.take(1, 0.0) == []  # still one pass at a time
    queue.done(A, 0.0)

    assert queue.take(1, 0.0) == [A]


def test_no_pass_begins_while_somebody_holds_the_loop() -> None:
    queue, granted = a_queue(), list[str]()
    queue.hold(A, lambda: granted.append("first"))
    queue.add(A, 0.0)

    assert granted == ["first"]
    assert queue.take(64, 0.0) == []
    queue.done(A, 1.0)
    assert queue.take(64, 1.0) == [A], "it was triggered meanwhile"


def test_a_holder_waits_for_the_pass_and_comes_before_the_next() -> None:
    queue, granted = a_queue(), list[str]()
    queue.add(A, 0.0)
    queue.take(1, 0.0)
    for name in ("first", "second"):
        queue.hold(A, lambda name=name: granted.append(name))  # type: ignore[misc]
    assert granted == []

    queue.done(A, 1.0, again=True)
    assert (granted, queue.take(64, 1.0)) == (["first"], [])
    queue.done(A, 2.0)
    assert (granted, queue.take(64, 2.0)) == (["first", "second"], [])
    queue.done(A, 3.0)
    assert queue.take(64, 3.0) == [A], "the pass had asked for another one"


def test_what_waited_is_the_holders_to_look_at() -> None:
    queue = failed_queue(3)
    queue.hold(A, list[str]().clear)
    queue.done(A, 0.0)

    assert queue.take(64, 1_000.0) == []


def test_a_holder_that_waits_no_longer_is_passed_over() -> None:
    queue, granted = a_queue(), list[str]()

    def impatient() -> None:
        granted.append("impatient")

    queue.hold(A, list[str]().clear)
    queue.hold(A, impatient)
    queue.unhold(A, impatient)
    queue.done(A, 0.0)

    assert granted == []
    queue.add(A, 0.0)
    assert queue.take(1, 0.0) == [A]


KEYS = [LoopId(f"loop-{n}") for n in range(6)]


class Histories(RuleBasedStateMachine):
    """Any history of triggers, passes and failures, against what the queue promises."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.queue = WorkQueue(retry=RETRY, jitter=lambda: 0.5)
        self.running: set[LoopId] = set()
        # Whom the queue owes a pass.
        self.owed: set[LoopId] = set()
        self.vanished: set[LoopId] = set()
        self.holders: Counter[LoopId] = Counter()

    @rule(key=st.sampled_from(KEYS), asked=st.booleans())
    def trigger(self, key: LoopId, asked: bool) -> None:
        self.queue.add(key, self.now_s, asked=asked)
        self.owed.add(key)
        self.vanished.discard(key)

    @rule(seconds=st.floats(min_value=0.0, max_value=5.0))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(most=st.integers(1, 3))
    def take(self, most: int) -> None:
        for key in self.queue.take(most, self.now_s):
            assert key not in self.running, "two passes of one loop at once"
            self.running.add(key)
            self.owed.discard(key)

    @rule(key=st.sampled_from(KEYS))
    def hold(self, key: LoopId) -> None:
        def granted() -> None:
            assert key not in self.running, "a holder beside a pass, or beside another holder"
            self.running.add(key)

        if key in self.running:
            self.holders[key] += 1
        else:
            self.owed.discard(key)
        self.queue.hold(key, granted)
        assert key in self.running

    @rule(data=st.data(), failed=st.booleans(), again=st.booleans())
    def finish(self, data: st.DataObject, failed: bool, again: bool) -> None:
        if not self.running:
            return
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.running.remove(key)
        self.queue.done(key, self.now_s, failed=failed, again=again)
        if (failed or again) and key not in self.vanished:
            self.owed.add(key)
        if self.holders[key]:
            self.holders[key] -= 1
            assert key in self.running, "the next holder is granted at once"
        else:
            self.vanished.discard(key)

    @rule(key=st.sampled_from(KEYS))
    def vanish(self, key: LoopId) -> None:
        self.queue.forget(key)
        self.owed.discard(key)
        if key in self.running:
            self.vanished.add(key)

    @invariant()
    def the_next_moment_is_known_while_work_is_owed(self) -> None:
        if self.owed - self.running:
            assert self.queue.next_s(self.now_s) is not None

    def teardown(self) -> None:
        """Whatever happened, everything owed is handed out once time passes and running passes end."""
        while self.running:
            self.queue.done(self.running.pop(), self.now_s)
        self.now_s += RETRY.longest_s
        left = self.queue.take(len(KEYS), self.now_s)
        assert len(left) == len(set(left))
        assert set(left) == self.owed
        # ... and in a bounded number of turns: a round of one at a time reaches each once before any comes twice.
        for key in left:
            self.queue.done(key, self.now_s, again=True)
        turns = []
        for _ in left:
            (key,) = self.queue.take(1, self.now_s)
            turns.append(key)
            self.queue.done(key, self.now_s, again=True)
        assert turns == left


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
