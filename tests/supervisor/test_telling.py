"""Escalations are told once their rows are on the disk, so that a crash takes back nothing that somebody heard."""

import errno

import anyio
import pytest

from opsd.model.ids import LoopId
from tests.doubles.clock import settle
from tests.supervisor.world import World, supervised

A = LoopId("a")


def counted(world: World) -> int:
    """How many escalations have been told."""
    told = world.fleet.metrics()["opsd_escalations_total"]
    assert not isinstance(told, (int, float))
    return int(sum(told.values()))


def in_journal(world: World) -> int:
    path = f"{world.layout.folder(A)}/escalations.jsonl"
    return 0 if world.disk.stat(path) is None else world.disk.read(path, 0, 1 << 20)[1].count(b"\n")


async def lose_sight(world: World) -> None:
    """The loop's files are gone, and a look has found that; the operator who asked for it did not wait."""
    world.transport.missing.add("a")
    with anyio.CancelScope() as gone:
        gone.cancel()
        await world.fleet.reconcile(A, from_start=False)
    await settle()


@pytest.mark.parametrize("operation", ["append", "sync"])
async def test_nobody_hears_of_an_escalation_before_its_row_is_flushed_and_none_is_lost(operation: str) -> None:
    async with supervised(World(), "a") as world:
        world.files.fail(operation, errno.ENOSPC, path="escalations.jsonl")
        await lose_sight(world)
        await world.clock.advance(30)
        run = world.fleet.run(A)
        assert run is not None
        assert run.open_escalations
        assert (counted(world), in_journal(world)) == (0, 0)

        world.files.heal()
        await world.clock.advance(30)

        assert counted(world) == in_journal(world) >= len(run.open_escalations)


async def test_what_else_the_disk_refuses_keeps_nobody_from_hearing() -> None:
    async with supervised(World(), "a") as world:
        world.files.fail("replace", errno.ENOSPC)
        await lose_sight(world)
        await world.clock.advance(1)

        assert (counted(world), in_journal(world)) == (1, 1)


async def test_what_cannot_be_written_until_the_stop_is_told_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    async with supervised(World(), "a") as world:
        world.files.fail("append", errno.ENOSPC)
        await lose_sight(world)
        await world.clock.advance(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.supervisor.stop)
            await world.clock.advance(10)

        lines = b"".join([line async for line in world.fleet.feed.subscribe("start-1", 1)])

    assert counted(world) == 1
    assert lines.count(b'"kind":"escalation"') == 1
    assert lines.rindex(b'"kind":"escalation"') < lines.index(b'"kind":"bye"')
    assert "escalation.unwritten" in capsys.readouterr().out
