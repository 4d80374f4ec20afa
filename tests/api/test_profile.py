"""By which thresholds a loop is judged: asked, chosen for a recorded reason, refused by name; over a real socket."""

import json
from pathlib import Path

import msgspec

from opsd.protocol import ErrorReply, ProfilePage, ProfileReply, ProfileSource, TuningReply
from tests.api.wire import Answer, ask
from tests.api.world import World, a_world
from tests.doubles.desk import a_full_disk

WHERE = "/v1/loops/docs-17/profile"


async def choose(world: World, where: str = WHERE, **body: object) -> Answer:
    return await ask(world.path, where, method="POST", body=json.dumps(body).encode())


def told_in(answer: Answer) -> ProfileReply:
    return msgspec.json.decode(answer.body, type=ProfileReply)


def refused_in(answer: Answer) -> tuple[int, str]:
    return answer.status, msgspec.json.decode(answer.body, type=ErrorReply).error.code


async def test_a_loop_has_the_thresholds_of_all_until_somebody_chooses_for_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        before = told_in(await world.get(WHERE))
        chosen = await choose(world, profile="strict", reason="quick roles", by="ana")
        after = told_in(await world.get(WHERE))
        ended = told_in(await choose(world, profile=None, reason="no longer"))

    assert (before.source, before.thresholds.profile) == (ProfileSource.CATALOG, "balanced")
    assert chosen.status == 200
    assert (after.source, after.thresholds.profile, after.by, after.reason) == (
        ProfileSource.CHOSEN,
        "strict",
        "ana",
        "quick roles",
    )
    assert (ended.source, ended.chosen) == (ProfileSource.CATALOG, None)


async def test_the_catalog_is_listed(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        page = msgspec.json.decode((await world.get("/v1/profiles")).body, type=ProfilePage)

    assert page.of_all == "balanced"
    assert [item.name for item in page.profiles] == ["balanced", "relaxed", "strict"]
    assert all(item.values is not None for item in page.profiles)


async def test_a_choice_without_a_reason_or_a_profile_is_refused_by_name(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        for body, member in (
            ({"profile": "strict"}, b"reason"),
            ({"profile": "strict", "reason": "  "}, b"reason"),
            ({"reason": "why"}, b"profile"),
            ({"profile": "", "reason": "why"}, b"profile"),
        ):
            answer = await choose(world, **body)
            assert refused_in(answer) == (400, "bad_request")
            assert member in answer.body


async def test_a_profile_that_there_is_not_is_refused_and_those_that_there_are_are_named(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await choose(world, profile="stern", reason="why")
        told = told_in(await world.get(WHERE))

    assert refused_in(answer) == (404, "unknown_profile")
    assert b"balanced, relaxed, strict" in answer.body
    assert told.chosen is None


async def test_a_profile_that_contradicts_what_is_set_for_all_is_refused(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.basis = msgspec.structs.replace(world.desk.basis, overrides={"degraded_ingest_lag_seconds": 600})
        answer = await choose(world, profile="strict", reason="why")

    assert refused_in(answer) == (422, "unusable_profile")
    assert b"degraded_ingest_lag_seconds (600)" in answer.body


async def test_a_choice_that_cannot_be_written_down_does_not_hold(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.desk.broken = a_full_disk()
        answer = await choose(world, profile="strict", reason="why")

    assert refused_in(answer) == (507, "store_unwritable")


async def test_nobody_chooses_for_a_loop_that_there_is_not(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await choose(world, "/v1/loops/docs-71/profile", profile="strict", reason="why")

    assert refused_in(answer) == (404, "unknown_loop")


async def test_before_the_first_sample_there_is_a_profile_and_no_advice(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        told = msgspec.json.decode((await world.get("/v1/loops/docs-17/tuning")).body, type=TuningReply)
        unknown = await world.get("/v1/loops/docs-71/tuning")

    assert (told.tuning, told.drift, told.next) == (None, None, None)
    assert told.profile.thresholds.profile == "balanced"
    assert refused_in(unknown) == (404, "unknown_loop")
