"""What was escalated is known from the journal alone: which conditions are open, and how often each has stood there."""

import msgspec

from opsd.model.escalation import Category, EscalationRow
from opsd.model.ids import EscalationId
from opsd.store.codec import encode
from opsd.store.conditions import Conditions, fold
from opsd.store.journal import Line, Unreadable
from tests.store.examples import an_escalation

FOREIGN = b'{"timestamp":"2026-11-21T01:43:11Z","loopId":"demo-loop","traceId":"t6","category":"divergence_detected"}'


def _fold(*rows: EscalationRow | bytes) -> Conditions:
    data = [row if isinstance(row, bytes) else encode(row).rstrip(b"\n") for row in rows]
    return fold(Line("/o/escalations.jsonl", index, line) for index, line in reversed(list(enumerate(data))))


def _open(conditions: Conditions) -> list[str]:
    return [each.id for each in conditions.open]


def test_a_condition_is_open_until_a_later_row_resolves_it() -> None:
    first, second = an_escalation("a", n=1), an_escalation("b", n=2)

    assert _open(_fold(first, second)) == ["a", "b"]
    assert _open(_fold(first, second, an_escalation("c", resolves="a"))) == ["b"]
    assert _open(_fold(an_escalation("c", resolves="a"), first)) == ["a"]


def test_a_change_of_health_ends_one_condition_and_opens_the_next() -> None:
    worse = msgspec.structs.replace(
        an_escalation("b", n=2), category=Category.HEALTH_CRITICAL, resolves=EscalationId("a")
    )

    found = _fold(an_escalation("a", n=1), worse)

    assert [(each.id, each.category) for each in found.open] == [("b", Category.HEALTH_CRITICAL)]


def test_an_open_condition_keeps_what_identifies_it() -> None:
    (found,) = _fold(an_escalation("a", condition="runtime_heartbeat_stale", n=4)).open

    assert (found.category, found.condition, found.onset) == (
        Category.HEALTH_DEGRADED,
        "runtime_heartbeat_stale",
        "line:4",
    )


def test_occurrences_are_counted_by_category_condition_and_onset() -> None:
    found = _fold(
        an_escalation("a", condition="x", n=1),
        an_escalation("b", resolves="a"),
        an_escalation("c", condition="x", n=1),
        an_escalation("d", n=2),
    )

    assert found.counts == {"health_degraded|x|line:1": 2, "health_degraded||line:2": 1}


def test_a_row_that_stands_twice_is_one_condition() -> None:
    """A rotation carries open rows over, and a retry after a failed flush may repeat some."""
    row = an_escalation("a", condition="x", n=1)

    found = _fold(row, row)

    assert _open(found) == ["a"]
    assert found.counts == {"health_degraded|x|line:1": 1}


def test_rows_of_another_manager_are_counted_and_never_open() -> None:
    found = _fold(FOREIGN, an_escalation("a"), FOREIGN)

    assert (found.foreign_rows, _open(found)) == (2, ["a"])
    assert found.unreadable == ()


def test_an_open_condition_of_a_category_from_the_future_is_carried_and_reported() -> None:
    odd = msgspec.structs.replace(an_escalation("a"), category="moon_phase_wrong")

    found = _fold(odd)

    assert found.open == ()
    assert found.open_rows == (encode(odd).rstrip(b"\n"),)
    assert "moon_phase_wrong" in found.unreadable[0].problem


def test_lines_that_make_no_sense_are_passed_over_and_reported() -> None:
    found = _fold(b"not json", an_escalation("a"), b'{"id":7}')

    assert _open(found) == ["a"]
    assert [type(bad) for bad in found.unreadable] == [Unreadable, Unreadable]
    assert found.unreadable[1].problem == "$.id: Expected `str | null`, got `int`"
