"""Observe mode and the inbox of decisions, over a real socket."""

import os
from pathlib import Path

import msgspec
import pytest

from opsd.api.peer import user_name
from opsd.model.intent import IntentStatus
from opsd.model.mode import Mode
from opsd.protocol import ApprovalPage, FleetStatus, IntentReply, LoopStatus, ModePage
from tests.api.wire import Answer, ask
from tests.api.world import World, a_world
from tests.doubles.desk import a_full_disk
from tests.doubles.fleet import a_finding, a_supervised_run


async def set_mode(world: World, body: bytes) -> Answer:
    return await ask(world.path, "/v1/mode", method="POST", body=body)


def page_in(answer: Answer) -> ModePage:
    return msgspec.json.decode(answer.body, type=ModePage)


async def test_no_mode_is_the_normal_state_of_things(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/mode")

    assert (answer.status, page_in(answer).modes) == (200, ())


async def test_a_mode_is_set_with_who_why_and_until_when(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        set_ = await set_mode(world, b'{"mode": "observe", "reason": "drill", "forS": 7200}')
        shown = await world.get("/v1/mode")
        fleet = msgspec.json.decode((await world.get("/v1/fleet")).body, type=FleetStatus)
        loop = msgspec.json.decode((await world.get("/v1/loops/docs-17")).body, type=LoopStatus)

    (mode,) = page_in(shown).modes
    assert page_in(set_).modes == (mode,)
    assert (mode.mode, mode.by, mode.reason, mode.loop_id) == (Mode.OBSERVE, user_name(os.getuid()), "drill", None)
    assert mode.until is not None
    assert (mode.until - mode.since).total_seconds() == 7200
    assert fleet.daemon.mode == mode
    assert loop.summary.control is not None
    assert (loop.summary.control.observing, loop.summary.control.observe_until) == (True, mode.until)


async def test_in_observe_mode_an_intent_is_refused_and_says_how_to_end_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await set_mode(world, b'{"mode": "observe", "loopId": "docs-17"}')
        answers = [
            await ask(world.path, f"/v1/loops/{loop}/intents", method="POST", body=b'{"intent": "cancel"}')
            for loop in ("docs-17", "api%2003")
        ]

    observed, normal = (msgspec.json.decode(answer.body, type=IntentReply) for answer in answers)
    assert observed.intent.refusal is not None
    assert observed.intent.refusal.code == "observe_mode"
    assert "opsctl mode normal" in (observed.next or "")
    assert normal.intent.status is IntentStatus.RECORDED


async def test_normal_mode_ends_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await set_mode(world, b'{"mode": "observe", "by": "riya"}')
        answer = await set_mode(world, b'{"mode": "normal"}')
        loop = msgspec.json.decode((await world.get("/v1/loops/docs-17")).body, type=LoopStatus)

    assert page_in(answer).modes == ()
    assert loop.summary.control is None


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b"", 400, "bad_request", "body: object missing required field mode"),
        (b'{"mode": "off"}', 400, "bad_request", "body member 'mode': invalid enum value 'off'"),
        (b'{"mode": "observe", "forS": 0}', 400, "bad_request", "body member 'forS': expected float > 0.0"),
        (b'{"mode": "normal", "forS": 60}', 400, "bad_request", "body member 'forS': normal mode has no end"),
        (b'{"mode": "observe", "loopId": "docs-71"}', 404, "unknown_loop", "no loop 'docs-71'"),
    ],
)
async def test_a_mode_that_makes_no_sense_is_not_set(
    tmp_path: Path, body: bytes, status: int, code: str, says: str
) -> None:
    async with a_world(tmp_path) as world:
        answer = await set_mode(world, body)
        shown = await world.get("/v1/mode")

    assert answer.error()[:2] == (status, code)
    assert answer.error()[2].startswith(says)
    assert page_in(shown).modes == ()


async def test_a_mode_that_could_not_be_written_down_does_not_hold(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.broken = a_full_disk()
        answer = await set_mode(world, b'{"mode": "observe"}')
        shown = await world.get("/v1/mode")

    assert answer.error()[:2] == (507, "store_unwritable")
    assert page_in(shown).modes == ()


async def test_the_inbox_lists_what_waits_for_a_decision(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        empty = await world.get("/v1/approvals")
        taken_up = a_finding("decision_not_taken_up", since=world.clock.now())
        world.fleet.put(a_supervised_run("docs-17", world.clock.now(), findings=(taken_up,)))
        world.desk.outcomes["api 03"] = IntentStatus.AMBIGUOUS
        await ask(world.path, "/v1/loops/api%2003/intents", method="POST", body=b'{"intent": "cancel"}')
        full = await world.get("/v1/approvals")

    assert msgspec.json.decode(empty.body, type=ApprovalPage).items == ()
    assert [(item.loop_id, item.kind) for item in msgspec.json.decode(full.body, type=ApprovalPage).items] == [
        ("docs-17", "decision_not_taken_up"),
        ("api 03", "control_ambiguous"),
    ]
