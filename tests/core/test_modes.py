"""Which mode is in force: the newest row of a scope, until its time is over; a fleet that observes holds every loop."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.core.modes import in_force, listed, modes_of, next_change
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.mode import Mode, ModeRow, Modes
from tests.core.builders import moment

DOCS, OTHER = LoopId("docs-17"), LoopId("other")
RIYA = Actor(uid=1000, user="riya", pid=77)


def row(mode: Mode, after_s: float = 0, *, loop_id: str | None = None, until_s: float | None = None) -> ModeRow:
    until = moment(until_s) if until_s is not None else None
    return ModeRow(moment(after_s), mode, "riya", RIYA, "v1", loop_id=loop_id, until=until)


def observe(after_s: float = 0, **members: Any) -> ModeRow:
    return row(Mode.OBSERVE, after_s, **members)


def normal(after_s: float = 0, **members: Any) -> ModeRow:
    return row(Mode.NORMAL, after_s, **members)


def observing(*rows: ModeRow, loop_id: LoopId = DOCS, at_s: float = 60) -> bool:
    return in_force(modes_of(rows), loop_id, moment(at_s)) is not None


class TestInForce:
    def test_without_a_row_everything_is_normal(self) -> None:
        assert not observing()

    def test_a_fleet_that_observes_holds_every_loop(self) -> None:
        assert observing(observe())
        assert observing(observe(), loop_id=OTHER)

    def test_a_loop_that_observes_holds_itself_alone(self) -> None:
        assert observing(observe(loop_id=DOCS))
        assert not observing(observe(loop_id=DOCS), loop_id=OTHER)

    def test_the_newest_row_of_a_scope_holds(self) -> None:
        assert not observing(observe(), normal(10))
        assert observing(normal(), observe(10))
        assert not observing(observe(loop_id=DOCS), normal(10, loop_id=DOCS))

    def test_a_loops_normal_does_not_lift_the_fleets_observe(self) -> None:
        """One command must be enough to be sure that nothing acts."""
        assert observing(observe(), normal(10, loop_id=DOCS))
        assert observing(observe(loop_id=DOCS), normal(10)), "nor does the fleet's lift the loop's own"

    @pytest.mark.parametrize(("at_s", "expected"), [(59.999, True), (60, False), (61, False)])
    def test_at_its_moment_a_row_is_over(self, at_s: float, expected: bool) -> None:
        assert observing(observe(until_s=60), at_s=at_s) is expected

    def test_an_earlier_row_does_not_come_back_when_a_later_one_runs_out(self) -> None:
        assert not observing(observe(), observe(10, until_s=30))

    @pytest.mark.parametrize(
        ("rows", "until_s"),
        [
            ((observe(until_s=90), observe(loop_id=DOCS, until_s=120)), 120),
            ((observe(until_s=120), observe(loop_id=DOCS, until_s=90)), 120),
            ((observe(), observe(loop_id=DOCS, until_s=120)), None),
            ((observe(until_s=120), observe(loop_id=DOCS)), None),
            ((observe(until_s=30), observe(loop_id=DOCS, until_s=90)), 90),
        ],
    )
    def test_of_two_that_hold_the_one_that_lasts_is_told(self, rows: Any, until_s: float | None) -> None:
        found = in_force(modes_of(rows), DOCS, moment(60))

        assert found is not None
        assert found.until == (moment(until_s) if until_s is not None else None)

    def test_rows_that_cannot_be_read_hold_everything(self) -> None:
        """Somebody may have asked for it, and nobody can say that he did not."""
        modes = modes_of([normal()], unreadable="line 3 is no row")

        for loop_id in (DOCS, OTHER):
            found = in_force(modes, loop_id, moment(60))
            assert found is not None
            assert (found.mode, found.until) == (Mode.OBSERVE, None)
            assert "line 3 is no row" in found.reason
        assert listed(modes, moment(60)) == (in_force(modes, DOCS, moment(60)),)


class TestListed:
    def test_the_fleets_comes_first_and_then_the_loops(self) -> None:
        fleet, docs, other = observe(), observe(loop_id=DOCS), observe(loop_id=OTHER)

        assert listed(modes_of([other, docs, fleet]), moment(60)) == (fleet, docs, other)

    def test_what_is_normal_or_over_is_not_listed(self) -> None:
        assert listed(modes_of([normal(), observe(loop_id=DOCS, until_s=60)]), moment(60)) == ()


class TestNextChange:
    def test_it_is_the_earliest_end_that_lies_ahead(self) -> None:
        modes = modes_of([observe(until_s=90), observe(loop_id=DOCS, until_s=70), observe(loop_id=OTHER)])

        assert next_change(modes, moment(60)) == moment(70)
        assert next_change(modes, moment(70)) == moment(90)
        assert next_change(modes, moment(90)) is None

    def test_what_does_not_hold_changes_nothing(self) -> None:
        assert next_change(modes_of([normal(until_s=90)]), moment(60)) is None
        assert next_change(Modes(), moment(60)) is None


ROWS = st.builds(
    row,
    st.sampled_from(Mode),
    loop_id=st.sampled_from([None, DOCS, OTHER]),
    until_s=st.none() | st.integers(0, 120),
)


@given(st.lists(ROWS, max_size=8), st.integers(0, 120), st.integers(0, 120))
def test_between_two_changes_nothing_changes(rows: list[ModeRow], one_s: int, other_s: int) -> None:
    """Whoever waits until `next_change` has missed nothing."""
    modes, (early, late) = modes_of(rows), sorted((moment(one_s), moment(other_s)))
    change = next_change(modes, early)
    if change is not None and late >= change:
        late = early

    assert listed(modes, late) == listed(modes, early)
    assert all(in_force(modes, loop_id, late) == in_force(modes, loop_id, early) for loop_id in (DOCS, OTHER))


@given(st.lists(ROWS, max_size=8), st.integers(0, 120))
def test_a_loop_observes_where_the_fleet_or_itself_is_listed(rows: list[ModeRow], at_s: int) -> None:
    modes, now = modes_of(rows), moment(at_s)
    scopes = {found.loop_id for found in listed(modes, now)}

    for loop_id in (DOCS, OTHER):
        assert (in_force(modes, loop_id, now) is not None) == bool(scopes & {None, loop_id})
