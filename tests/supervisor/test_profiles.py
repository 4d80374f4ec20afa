"""A profile is chosen for one loop: recorded, at once, over restarts; and one that cannot be used harms nobody."""

import errno

import pytest
from msgspec.structs import replace

from opsd.app.desk import CannotRecord, UnknownProfile, UnusableProfile
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.thresholds import Profile, ProfileCatalog, ThresholdBasis
from opsd.protocol import ProfileRequest, ProfileSource
from opsd.supervisor.fleet import UnknownLoop
from tests.supervisor.world import World, supervised

A, B = LoopId("a"), LoopId("b")
RIYA = Actor(1_000, "riya", 7)
CATALOG = ProfileCatalog(
    "v1", {"balanced": Profile(300, 900, 2, 4), "strict": Profile(120, 300, 1, 2, "Short fuse.")}, "balanced"
)


def a_world(world: World | None = None) -> World:
    made = World() if world is None else World(clock=world.clock, disk=world.disk)
    made.tuning = replace(made.tuning, basis=ThresholdBasis(CATALOG))
    made.supervisor.retune(made.tuning)
    return made


def a_choice(profile: str | None) -> ProfileRequest:
    return ProfileRequest(profile, "quick roles")


def judged_by(world: World, loop_id: LoopId) -> str | None:
    run = world.fleet.run(loop_id)
    assert run is not None
    assert run.health is not None
    return run.health.thresholds.profile


async def test_a_loop_is_judged_by_its_own_profile_at_once_and_the_others_as_before() -> None:
    async with supervised(a_world(), "a", "b") as world:
        before = world.transport.looks.copy()

        told = await world.desk.set_profile(A, a_choice("strict"), RIYA)
        await world.clock.advance(1)

        assert (told.source, told.thresholds.critical_ingest_lag_seconds, told.description) == (
            ProfileSource.CHOSEN,
            300,
            "Short fuse.",
        )
        assert (told.by, told.reason) == ("riya", "quick roles")
        assert (judged_by(world, A), judged_by(world, B)) == ("strict", "balanced")
        assert world.transport.looks["a"] == before["a"] + 1
        assert world.transport.looks["b"] == before["b"]
        assert world.desk.profile(B).source is ProfileSource.CATALOG


async def test_a_choice_holds_over_a_restart_until_it_is_ended() -> None:
    async with supervised(a_world(), "a") as world:
        await world.desk.set_profile(A, a_choice("strict"), RIYA)

    async with supervised(a_world(world)) as again:
        assert judged_by(again, A) == "strict"
        assert again.desk.profile(A).chosen == "strict"
        ended = await again.desk.set_profile(A, a_choice(None), RIYA)
        await again.clock.advance(1)
        assert (ended.source, ended.chosen) == (ProfileSource.CATALOG, None)
        assert judged_by(again, A) == "balanced"

    async with supervised(a_world(again)) as third:
        assert judged_by(third, A) == "balanced"


async def test_a_profile_that_leaves_the_catalog_is_told_and_comes_back_with_it() -> None:
    async with supervised(a_world(), "a") as world:
        await world.desk.set_profile(A, a_choice("strict"), RIYA)
        without = ProfileCatalog("v1", {"balanced": CATALOG.profiles["balanced"]}, "balanced")

        world.supervisor.retune(replace(world.tuning, basis=ThresholdBasis(without)))
        await world.clock.advance(1)

        told = world.desk.profile(A)
        assert judged_by(world, A) == "balanced"
        assert (told.source, told.chosen) == (ProfileSource.CATALOG, "strict")
        assert "unknown threshold profile: strict" in (told.problem or "")
        assert world.codes() == ["profile_unusable"]

        world.supervisor.retune(world.tuning)
        await world.clock.advance(1)

        assert judged_by(world, A) == "strict"
        assert world.codes() == []

        world.supervisor.retune(replace(world.tuning, basis=ThresholdBasis(without)))
        await world.desk.set_profile(A, a_choice(None), RIYA)

        assert world.codes() == []


async def test_what_there_is_not_or_makes_no_sense_changes_nothing() -> None:
    async with supervised(a_world(), "a") as world:
        with pytest.raises(UnknownProfile, match="the catalog has: balanced, strict"):
            await world.desk.set_profile(A, a_choice("stern"), RIYA)
        with pytest.raises(UnknownLoop):
            await world.desk.set_profile(LoopId("c"), a_choice("strict"), RIYA)
        single = ThresholdBasis(CATALOG, None, {"degraded_ingest_lag_seconds": 600})
        world.supervisor.retune(replace(world.tuning, basis=single))
        with pytest.raises(UnusableProfile, match=r"degraded_ingest_lag_seconds \(600\)"):
            await world.desk.set_profile(A, a_choice("strict"), RIYA)

        assert world.desk.profile(A).chosen is None
        assert world.disk.stat(world.layout.profiles) is None


async def test_a_choice_that_cannot_be_written_down_does_not_hold() -> None:
    async with supervised(a_world(), "a") as world:
        world.files.fail("append", errno.ENOSPC, path="profiles.jsonl")
        with pytest.raises(CannotRecord):
            await world.desk.set_profile(A, a_choice("strict"), RIYA)

        assert world.desk.profile(A).chosen is None


async def test_the_choice_for_a_loop_that_has_left_the_fleet_can_be_ended() -> None:
    async with supervised(a_world(), "a", "b") as world:
        await world.desk.set_profile(A, a_choice("strict"), RIYA)
    world.registry("b")

    async with supervised(a_world(world)) as again:
        await again.desk.set_profile(A, a_choice(None), RIYA)

        rows, _ = again.store.load_profiles()
        assert [row.profile for row in rows] == ["strict", None]


async def test_a_line_that_cannot_be_read_is_told_until_somebody_chooses_anew() -> None:
    world = a_world()
    world.write(world.layout.profiles, b"<<<<\n")
    async with supervised(world, "a"):
        assert world.codes() == ["profiles_unreadable"]

        await world.desk.set_profile(A, a_choice("strict"), RIYA)

        assert world.codes() == []
