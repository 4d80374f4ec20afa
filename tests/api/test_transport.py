"""How a loop is reached: asked, switched for a recorded reason, refused where no such way is; over a real socket."""

import json
from pathlib import Path

import msgspec

from opsd.model.ids import LoopId
from opsd.model.transport import TransportMode
from opsd.protocol import ErrorReply, TransportReply
from tests.api.wire import Answer, ask
from tests.api.world import World, a_world
from tests.doubles.desk import a_full_disk

WHERE = "/v1/loops/docs-17/transport"


async def switch(world: World, **body: object) -> Answer:
    return await ask(world.path, WHERE, method="POST", body=json.dumps(body).encode())


def told_in(answer: Answer) -> TransportReply:
    return msgspec.json.decode(answer.body, type=TransportReply)


def code_in(answer: Answer) -> str:
    return msgspec.json.decode(answer.body, type=ErrorReply).error.code


async def test_a_loop_is_reached_as_the_registry_says_until_somebody_switches_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.served.add(LoopId("docs-17"))
        before = told_in(await world.get(WHERE))
        switched = await switch(world, transport="sprite_service", reason="the disk is slow", by="ana")
        after = told_in(await world.get(WHERE))

    assert (before.transport, before.declared, before.since) == (TransportMode.LOCAL, TransportMode.LOCAL, None)
    assert switched.status == 200
    assert (after.transport, after.by, after.reason) == (TransportMode.SPRITE_SERVICE, "ana", "the disk is slow")


async def test_a_switch_without_a_reason_is_refused_by_name(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        for body in ({"transport": "local"}, {"transport": "local", "reason": ""}):
            answer = await switch(world, **body)
            assert (answer.status, code_in(answer)) == (400, "bad_request")
            assert b"reason" in answer.body


async def test_a_way_that_the_registry_does_not_name_is_refused(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await switch(world, transport="sprite_service", reason="why not")

    assert (answer.status, code_in(answer)) == (409, "cannot_switch")
    assert b"service.baseUrl" in answer.body


async def test_a_switch_that_cannot_be_written_down_does_not_hold(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.broken = a_full_disk()
        answer = await switch(world, events=False, reason="too many")
        world.desk.broken = None
        told = told_in(await world.get(WHERE))

    assert (answer.status, code_in(answer)) == (507, "store_unwritable")
    assert told.events


async def test_nobody_switches_a_loop_that_there_is_not(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/loops/docs-71/transport")

    assert (answer.status, code_in(answer)) == (404, "unknown_loop")
