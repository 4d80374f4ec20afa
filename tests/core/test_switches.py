"""What becomes of the registry's loops by what operators switched."""

from datetime import UTC, datetime

import pytest

from opsd.core.switches import newest, switched, why_not
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.run import LoopRef, ServiceRef
from opsd.model.switch import SwitchRow
from opsd.model.transport import TransportMode

LOCAL, SERVICE = TransportMode.LOCAL, TransportMode.SPRITE_SERVICE
HERE = LoopRef(LoopId("a"), "/checkouts/a")
BOTH = LoopRef(LoopId("a"), "/checkouts/a", SERVICE, service=ServiceRef("http://a:8787"))
THERE = LoopRef(LoopId("a"), "/home", SERVICE, service=ServiceRef("http://a:8787"), has_checkout=False)


def a_row(transport: TransportMode | None, *, events: bool = True, loop_id: str = "a") -> SwitchRow:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return SwitchRow(now, loop_id, "riya", Actor(1, "riya", 2), "v1", transport, events, "why")


def test_the_last_row_of_a_loop_holds() -> None:
    rows = newest([a_row(LOCAL), a_row(None), a_row(SERVICE, loop_id="b")])

    assert {loop_id: row.transport for loop_id, row in rows.items()} == {"a": None, "b": SERVICE}


def test_a_loop_that_nobody_switched_is_reached_as_the_registry_says() -> None:
    assert switched(BOTH, {}) == BOTH


def test_a_loop_with_both_ways_goes_the_one_that_was_switched_to() -> None:
    assert switched(BOTH, newest([a_row(LOCAL)])).transport is LOCAL
    assert switched(BOTH, newest([a_row(LOCAL), a_row(None)])).transport is SERVICE


@pytest.mark.parametrize(("ref", "way"), [(HERE, SERVICE), (THERE, LOCAL)])
def test_there_is_no_switch_to_a_way_that_the_registry_does_not_name(ref: LoopRef, way: TransportMode) -> None:
    """The registry may have changed since: then its own way holds, and nobody is left without one."""
    assert why_not(ref, way) is not None
    assert switched(ref, newest([a_row(way)])) == ref


def test_without_events_a_service_is_asked_for_snapshots_only() -> None:
    service = switched(BOTH, newest([a_row(None, events=False)])).service

    assert service is not None
    assert not service.events


def test_a_loop_that_is_only_listed_stays_as_it_is() -> None:
    listed = LoopRef(LoopId("a"), "/home", SERVICE, fault="loop_id_reserved", service=ServiceRef("http://a"))

    assert switched(listed, newest([a_row(LOCAL)])) == listed
