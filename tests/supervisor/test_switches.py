"""A loop is switched to another way of reaching it: recorded, at once, over restarts, and nothing is read twice."""

import errno

import pytest

from opsd.app.desk import CannotRecord, CannotSwitch
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.transport import TransportMode
from opsd.protocol import TransportRequest
from tests.doubles.clock import VirtualClock
from tests.doubles.services import RUNS, StandInServices
from tests.supervisor.world import World, supervised

LOOP = LoopId("a")
RIYA = Actor(1_000, "riya", 7)
ENTRY = {
    "loopId": "a",
    "transport": "sprite_service",
    "repoPath": "/checkouts/a",
    "service": {"baseUrl": "http://a:8787"},
}


def a_world() -> World:
    clock = VirtualClock()
    services = StandInServices(clock)
    services.sprite("a").log(*RUNS)
    return World(clock=clock, services=services)


def a_request(transport: TransportMode | None, *, events: bool = True) -> TransportRequest:
    return TransportRequest(reason="the service is down", transport=transport, events=events)


async def test_a_switched_loop_is_reached_the_other_way_and_the_registrys_way_again() -> None:
    world = a_world()

    async with supervised(world, ENTRY):
        told = await world.desk.set_transport(LOOP, a_request(TransportMode.LOCAL), RIYA)
        await world.clock.advance(1.0)
        assert (told.transport, told.declared, told.by) == (TransportMode.LOCAL, TransportMode.SPRITE_SERVICE, "riya")
        assert world.transport.looks["a"] > 0

        told = await world.desk.set_transport(LOOP, a_request(None), RIYA)
        assert told.transport is TransportMode.SPRITE_SERVICE


async def test_a_switch_holds_over_a_restart() -> None:
    world = a_world()
    async with supervised(world, ENTRY):
        await world.desk.set_transport(LOOP, a_request(TransportMode.LOCAL, events=False), RIYA)
    again = World(clock=world.clock, disk=world.disk, services=StandInServices(world.clock))

    async with supervised(again):
        told = again.desk.transport(LOOP)
        assert (told.transport, told.events, told.reason) == (TransportMode.LOCAL, False, "the service is down")


async def test_a_way_that_the_registry_does_not_name_is_refused() -> None:
    world = a_world()

    async with supervised(world, {"loopId": "b"}):
        with pytest.raises(CannotSwitch, match=r"service\.baseUrl"):
            await world.desk.set_transport(LoopId("b"), a_request(TransportMode.SPRITE_SERVICE), RIYA)


async def test_a_switch_that_cannot_be_written_down_does_not_hold() -> None:
    world = a_world()

    async with supervised(world, ENTRY):
        world.files.fail("append", errno.ENOSPC, path="transports.jsonl")
        with pytest.raises(CannotRecord):
            await world.desk.set_transport(LOOP, a_request(TransportMode.LOCAL), RIYA)

        assert world.desk.transport(LOOP).transport is TransportMode.SPRITE_SERVICE
