"""One-shot passes within the whole supervisor, on a virtual clock: who may look when, and what memory has of it."""

import errno

import anyio
import msgspec
import pytest

from opsd.model.ids import LoopId
from opsd.model.oneshot import DriftRequest, OneShotReply, PassOptions
from opsd.model.thresholds import Thresholds
from opsd.supervisor.fleet import NotManaged, PassBroke
from tests.doubles.clock import settle
from tests.doubles.threads import Held
from tests.supervisor.world import World, supervised

A = LoopId("a")
OPTIONS = PassOptions("tr-1")
OTHERS = PassOptions("tr-1", thresholds=Thresholds("mine", 1, 2, 1, 2, 1, 2))


async def reconciled(world: World, options: PassOptions = OPTIONS, loop_id: LoopId = A) -> OneShotReply:
    """What the command prints, with commits made as the clock goes on."""
    assert world.supervisor.oneshots is not None
    replies: list[OneShotReply] = []

    async def ask() -> None:
        assert world.supervisor.oneshots is not None
        replies.append(await world.supervisor.oneshots.reconcile(loop_id, options))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await settle()
        await world.clock.advance(1)
    return replies[0]


async def test_memory_disk_and_answer_say_the_same() -> None:
    async with supervised(World(), "a") as world:
        reply = await reconciled(world, OTHERS)

        assert (reply.exit_code, reply.error) == (0, None)
        path = f"{world.layout.folder(A)}/state.json"
        assert msgspec.json.decode(reply.document) == msgspec.json.decode(world.disk.read(path, 0, 1 << 20)[1])
        run = world.fleet.run(A)
        assert run is not None
        assert run.health is not None
        assert run.health.thresholds.profile == "mine"


async def test_the_loops_own_thresholds_hold_again_before_long() -> None:
    async with supervised(World(), "a") as world:
        await world.clock.advance(60)
        await reconciled(world, OTHERS)
        await world.clock.advance(3)

        run = world.fleet.run(A)
        assert run is not None
        assert run.health is not None
        assert run.health.thresholds.profile == Thresholds().profile


async def test_a_pass_with_the_loops_own_thresholds_asks_for_no_other() -> None:
    async with supervised(World(), "a") as world:
        await world.clock.advance(60)
        before = world.transport.looks["a"]
        await reconciled(world)
        await world.clock.advance(10)

        assert world.transport.looks["a"] == before + 1


async def test_no_other_pass_begins_meanwhile_and_what_was_triggered_follows() -> None:
    threads = Held(held=False)
    async with supervised(World(passes=threads), "a") as world:
        await world.clock.advance(60)
        before = world.transport.looks["a"]
        threads.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reconciled, world)
            await settle()
            world.write("/checkouts/a/.superloop/loops/a/events.jsonl", b"{}\n")
            await world.clock.advance(10)
            assert world.transport.looks["a"] == before
            threads.release()
            await settle()
            await world.clock.advance(5)

        assert world.transport.looks["a"] == before + 2


async def test_a_disk_that_refuses_is_said_to_and_everything_is_written_later() -> None:
    async with supervised(World(), "a") as world:
        await world.clock.advance(60)
        world.files.fail("append", errno.ENOSPC)
        reply = await reconciled(world, OTHERS)

        assert (reply.exit_code, bytes(reply.document)) == (1, b"null")
        assert "cannot be written" in (reply.error or "")
        assert "ENOSPC" in (reply.error or "")
        world.files.heal()
        await world.clock.advance(30)
        path = f"{world.layout.folder(A)}/telemetry/reconcile.jsonl"
        rows = [msgspec.json.decode(line) for line in world.disk.read(path, 0, 1 << 20)[1].splitlines()]
        assert [row["traceId"] for row in rows].count("tr-1") == 1


async def test_a_pass_that_breaks_is_told_and_the_loop_goes_on() -> None:
    async with supervised(World(), "a") as world:
        world.transport.breaks.add("a")
        with pytest.raises(PassBroke, match="broke off"):
            await _one(world)
        assert "pass_failed" in world.codes()

        world.transport.breaks.clear()
        await world.clock.advance(2)
        assert world.codes() == []


async def test_a_disabled_loop_is_refused() -> None:
    async with supervised(World(), "a", {"loopId": "off", "enabled": False}) as world:
        with pytest.raises(NotManaged, match="disabled"):
            await _one(world, LoopId("off"))


async def test_who_waits_when_the_daemon_stops_hears_so() -> None:
    async with supervised(World(), "a") as world:
        world.supervisor._intake.close()
        with pytest.raises(PassBroke, match="stops"):
            await _one(world)


async def test_drift_is_taken_over() -> None:
    async with supervised(World(), "a") as world:
        assert world.supervisor.oneshots is not None
        request = DriftRequest("balanced", "strict", "high")
        for _ in range(2):
            await world.supervisor.oneshots.profile_drift(A, request)

        run = world.fleet.run(A)
        assert run is not None
        assert run.drift is not None
        assert run.drift.mismatch_streak == 2


async def _one(world: World, loop_id: LoopId = A) -> OneShotReply:
    assert world.supervisor.oneshots is not None
    return await world.supervisor.oneshots.reconcile(loop_id, OPTIONS)
