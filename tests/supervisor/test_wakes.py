from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from opsd.model.ids import LoopId
from opsd.supervisor.wakes import WakeList
from tests.doubles.clock import EPOCH, VirtualClock

A, B, C = LoopId("a"), LoopId("b"), LoopId("c")


class Wakes:
    """A wake list beside its clock, so that the tests speak in seconds."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.list = WakeList()

    def put(self, key: LoopId, in_s: float | None) -> None:
        when = None if in_s is None else self.clock.now() + timedelta(seconds=in_s)
        self.list.put(key, when, now=self.clock.now(), now_s=self.clock.monotonic())

    def due_after(self, seconds: float) -> list[LoopId]:
        self.clock.pass_by(seconds)
        return self.list.due(now=self.clock.now(), now_s=self.clock.monotonic())


def test_a_loop_is_due_at_its_deadline_and_not_before() -> None:
    wakes = Wakes()
    wakes.put(A, 10)

    assert wakes.due_after(9) == []
    assert wakes.due_after(1) == [A]


def test_a_deadline_comes_once() -> None:
    wakes = Wakes()
    wakes.put(A, 1)

    assert wakes.due_after(5) == [A]
    assert wakes.due_after(5) == []
    assert len(wakes.list) == 0


def test_the_newest_decision_replaces_the_one_before() -> None:
    wakes = Wakes()
    wakes.put(A, 5)
    wakes.put(B, 50)
    wakes.put(A, 60)
    wakes.put(B, 7)

    assert wakes.due_after(10) == [B]
    assert wakes.due_after(50) == [A]


def test_a_decision_without_a_deadline_cancels_the_one_before() -> None:
    wakes = Wakes()
    wakes.put(A, 5)
    wakes.put(A, None)

    assert wakes.due_after(100) == []
    assert wakes.list.next_s() is None


def test_earliest_deadline_comes_first_and_tells_how_long_to_sleep() -> None:
    wakes = Wakes()
    wakes.put(A, 30)
    wakes.put(B, 10)
    wakes.put(C, 20)

    assert wakes.list.next_s() == wakes.clock.monotonic() + 10
    assert wakes.due_after(30) == [B, C, A]


def test_a_clock_set_forward_makes_deadlines_come_at_once() -> None:
    """A threshold that was crossed by the new time is crossed: verdicts are made by wall time."""
    wakes = Wakes()
    wakes.put(A, 3_600)
    assert wakes.due_after(1) == []

    wakes.clock.step(3_600)

    assert wakes.due_after(1) == [A]


def test_a_clock_set_back_does_not_wake_loops_too_early() -> None:
    wakes = Wakes()
    wakes.put(A, 60)
    assert wakes.due_after(1) == []

    wakes.clock.step(-600)

    assert wakes.due_after(100) == []
    assert wakes.due_after(600) == [A]


def test_a_forgotten_loop_is_never_due() -> None:
    wakes = Wakes()
    wakes.put(A, 5)
    wakes.list.forget(A)

    assert wakes.due_after(10) == []


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 1_000)), min_size=1, max_size=2_000))
def test_every_loop_comes_exactly_at_its_last_deadline(moves: list[tuple[LoopId, int]]) -> None:
    """However often deadlines moved, and however many old ones were left behind on the way."""
    wakes = Wakes()
    for key, in_s in moves:
        wakes.put(key, in_s)
    last = dict(moves)

    come: dict[LoopId, int] = {}
    for second in range(1, 1_001):
        for key in wakes.due_after(1):
            assert key not in come
            come[key] = second

    assert come == last


def test_moving_a_deadline_for_ever_takes_no_memory() -> None:
    """A loop with an event a second moves its deadline 86,400 times a day."""
    wakes = Wakes()
    for _ in range(10_000):
        wakes.put(A, 300)
        wakes.clock.pass_by(0.01)

    assert len(wakes.list._heap) < 100  # the heap is the memory in question, and nothing public shows it


def test_the_list_starts_from_any_wall_time() -> None:
    wakes = WakeList()
    wakes.put(A, EPOCH, now=EPOCH + timedelta(days=1), now_s=5.0)

    assert wakes.due(now=EPOCH + timedelta(days=1), now_s=5.0) == [A]
