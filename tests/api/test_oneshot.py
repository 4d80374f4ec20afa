"""The endpoints of one-shot commands, over a real socket: what they hand on, what they refuse, and what they keep."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.oneshot import ControlCommand, DriftRequest, OneShotReply, PassOptions, ProjectRequest
from opsd.supervisor.fleet import FleetError, NotManaged, PassBroke, UnknownLoop
from tests.api.wire import Answer, ask
from tests.api.world import World
from tests.doubles.daemon import serving

TOKEN = "sesame-7d31"


class StandIn:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, reply: OneShotReply | FleetError) -> None:
        self.asked: list[tuple[str, msgspec.Struct]] = []
        self.actors: list[Actor] = []
        self._reply = reply

    async def reconcile(self, loop_id: LoopId, options: PassOptions) -> OneShotReply:
        return self._answer(loop_id, options)

    async def project_state(self, loop_id: LoopId, request: ProjectRequest) -> OneShotReply:
        return self._answer(loop_id, request)

    async def profile_drift(self, loop_id: LoopId, request: DriftRequest) -> OneShotReply:
        return self._answer(loop_id, request)

    async def control(self, loop_id: LoopId, command: ControlCommand, actor: Actor) -> OneShotReply:
        self.actors.append(actor)
        return self._answer(loop_id, command)

    def _answer(self, loop_id: LoopId, request: msgspec.Struct) -> OneShotReply:
        self.asked.append((loop_id, request))
        if isinstance(self._reply, FleetError):
            raise self._reply
        return self._reply


@asynccontextmanager
async def answering(folder: Path, reply: OneShotReply | FleetError) -> AsyncIterator[tuple[World, StandIn]]:
    world, stand_in = World(folder), StandIn(reply)
    async with serving(world.path, world.fleet, oneshots=stand_in):
        yield world, stand_in


async def post(world: World, what: str, body: bytes, loop: str = "docs-17") -> Answer:
    return await ask(world.path, f"/v1/loops/{loop}/oneshot/{what}", method="POST", body=body)


PASS = msgspec.json.encode(PassOptions("tr-1", max_events=3))


@pytest.mark.parametrize("loop", ["docs-17", "nobody-knows-it"])
async def test_what_a_command_prints_is_handed_on(tmp_path: Path, loop: str) -> None:
    reply = OneShotReply(1, msgspec.Raw(b'{"overallStatus":"degraded"}'))
    async with answering(tmp_path, reply) as (world, stand_in):
        answer = await post(world, "reconcile", PASS, loop)

    assert answer.status == 200
    assert msgspec.json.decode(answer.body, type=OneShotReply) == reply
    assert stand_in.asked == [(loop, PassOptions("tr-1", max_events=3))]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotManaged("it is disabled"), 409, "loop_not_managed"),
        (UnknownLoop("no such loop"), 404, "unknown_loop"),
        (PassBroke("it broke off"), 503, "unavailable"),
    ],
)
async def test_what_came_to_nothing_says_why(tmp_path: Path, error: FleetError, status: int, code: str) -> None:
    async with answering(tmp_path, error) as (world, _):
        answer = await post(world, "reconcile", PASS)

    assert answer.error()[:2] == (status, code)
    assert str(error) in answer.error()[2]


async def test_an_intent_is_asked_for_by_who_the_kernel_says(tmp_path: Path) -> None:
    command = ControlCommand("cancel", "riya", "tr-1", "k-1")
    async with answering(tmp_path, OneShotReply(0)) as (world, stand_in):
        await post(world, "control", msgspec.json.encode(command))

    assert stand_in.asked == [("docs-17", command)]
    assert [actor.uid for actor in stand_in.actors] == [os.getuid()]


async def test_an_id_that_is_no_folders_name_is_refused(tmp_path: Path) -> None:
    async with answering(tmp_path, OneShotReply(0)) as (world, stand_in):
        answer = await post(world, "reconcile", PASS, "..%2Ffleet")

    assert answer.status in (400, 404)
    assert stand_in.asked == []


async def test_envelopes_may_be_large_and_options_not(tmp_path: Path) -> None:
    blanks = b" " * 100_000
    async with answering(tmp_path, OneShotReply(0)) as (world, _):
        statuses = [(await post(world, what, b"{}" + blanks)).status for what in ("project-state", "profile-drift")]

    assert statuses == [200, 413]


@pytest.mark.parametrize("broken", [b"", b',"maxEvents":"many"', b',"thresholds":{"profile":7}', b",nonsense"])
async def test_a_token_is_told_nobody(tmp_path: Path, broken: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    service = b'{"baseUrl":"http://127.0.0.1:1","token":"%s"}' % TOKEN.encode()
    body = b'{"traceId":"tr-1","transport":"sprite_service","service":%s%s}' % (service, broken)
    async with answering(tmp_path, PassBroke("it broke off")) as (world, stand_in):
        answer = await post(world, "reconcile", body)

    said = capfd.readouterr()
    assert "oneshot/reconcile" in said.out + said.err
    assert TOKEN not in said.out + said.err + answer.body.decode() + repr(stand_in.asked)
