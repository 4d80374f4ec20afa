"""Who is looked at, when, and what becomes of it: the whole supervisor, with a virtual clock."""

import errno
import threading
from pathlib import Path

import anyio
import pytest

from opsd.core.reconcile import Rules
from opsd.disk import Disk
from opsd.model.ids import LoopId
from opsd.model.thresholds import Thresholds
from opsd.supervisor.fleet import NotManaged, PassBroke, UnknownLoop
from opsd.supervisor.offload import Threads
from tests.doubles.clock import settle
from tests.doubles.threads import Held
from tests.supervisor.world import HOME, Entry, World, eventually, supervised

A, B = LoopId("a"), LoopId("b")


async def test_every_loop_is_looked_at_once_after_the_start() -> None:
    async with supervised(World(), *(f"loop-{n}" for n in range(200))) as world:
        assert len(world.transport.looks) == 200
        assert world.listed()[:2] == ["loop-0", "loop-1"]
        assert world.stored("loop-199")


async def test_an_idle_fleet_is_left_alone() -> None:
    async with supervised(World(), "a", "b") as world:
        await world.clock.advance(5)
        before = world.transport.looks.total()
        await world.clock.advance(600)

        assert world.transport.looks.total() == before


async def test_loops_that_are_disabled_or_faulty_are_listed_and_never_asked() -> None:
    """A reserved or unsafe id must not even become part of a path."""
    entries: tuple[str | Entry, ...] = (
        "a",
        {"loopId": "off", "enabled": False},
        {"loopId": "fleet"},
        {"loopId": "../x"},
    )
    async with supervised(World(), *entries) as world:
        summaries = {summary.loop_id: summary for summary in world.fleet.summaries(world.clock.now())}

        assert set(world.transport.looks) == {"a"}
        assert summaries["fleet"].fault == "loop_id_reserved"
        assert summaries["../x"].fault == "loop_id_unsafe"
        assert not summaries["off"].enabled


async def test_a_changed_file_is_noticed_by_the_sweep_and_looked_at() -> None:
    async with supervised(World(), "a", "b") as world:
        await world.clock.advance(15)
        before = world.transport.looks.copy()
        world.write("/checkouts/b/.superloop/loops/b/events.jsonl", b"{}\n")
        await world.clock.advance(11)

        assert world.transport.looks["b"] > before["b"]
        assert world.transport.looks["a"] == before["a"]


async def test_a_change_of_the_checkouts_own_files_wakes_all_its_loops() -> None:
    """`state.json` may speak of another loop than before, and proves something about both."""
    shared: list[Entry] = [{"loopId": name, "repoPath": "/shared"} for name in "ab"]
    async with supervised(World(), *shared, "elsewhere") as world:
        await world.clock.advance(15)
        before = world.transport.looks.copy()
        world.write("/shared/.superloop/state.json", b"{}")
        await world.clock.advance(11)

        assert {key for key, looks in world.transport.looks.items() if looks > before[key]} == {"a", "b"}


async def test_loops_come_and_go_with_the_registry() -> None:
    async with supervised(World(), "a", "b") as world:
        world.registry("c", "b")
        await world.clock.advance(2)

        assert world.listed() == ["c", "b"]
        assert world.transport.looks["c"] >= 1
        assert world.transport.forgotten == ["a"]
        with pytest.raises(UnknownLoop):
            await world.fleet.reconcile(A, from_start=False)


async def test_a_faulty_registry_changes_nothing_and_is_said() -> None:
    async with supervised(World(), "a", "b") as world:
        world.write(world.layout.registry, b'{"schemaVersion": "v1", "loops": [{"loopId": 7}]}')
        await world.clock.advance(3)
        assert world.listed() == ["a", "b"]
        (finding,) = world.fleet.daemon_status(world.clock.now()).findings
        assert finding.code == "registry_invalid"
        assert "loops[0].loopId" in finding.evidence

        world.registry("b")
        await world.clock.advance(3)

        assert world.listed() == ["b"]
        assert world.codes() == []


async def test_a_registry_that_is_being_replaced_does_not_empty_the_fleet() -> None:
    async with supervised(World(), "a") as world:
        world.disk.remove(world.layout.registry)
        await world.clock.advance(1.5)
        assert world.listed() == ["a"]

        world.registry("a", "b")
        await world.clock.advance(3)

        assert world.listed() == ["a", "b"]


async def test_without_a_registry_the_loops_of_the_home_are_the_fleet(tmp_path: Path) -> None:
    loops = f"{tmp_path}/.superloop/loops"
    world = World(str(tmp_path), disk=Disk())
    world.disk.make_dirs(f"{loops}/first")
    async with supervised(world):
        assert world.listed() == ["first"]
        world.disk.make_dirs(f"{loops}/second")
        await world.clock.advance(5)

        assert world.listed() == ["first", "second"]
        assert world.fleet.daemon_status(world.clock.now()).registry == "discovery"


async def test_a_loop_that_is_disabled_and_enabled_again_is_taken_up_where_it_was() -> None:
    async with supervised(World(), "a") as world:
        world.registry({"loopId": "a", "enabled": False})
        await world.clock.advance(3)
        with pytest.raises(NotManaged):
            await world.fleet.reconcile(A, from_start=False)
        looks = world.transport.looks["a"]

        world.registry("a")
        await world.clock.advance(3)

        run = world.fleet.run(A)
        assert world.transport.looks["a"] > looks
        assert run is not None
        assert run.baselined


async def test_an_operators_request_is_answered_once_it_is_on_the_disk() -> None:
    async with supervised(World(), "a") as world:
        world.files.fail("replace", errno.ENOSPC)
        world.files.fail("append", errno.ENOSPC)
        world.transport.missing.add("a")  # something new to write
        replies = []

        async def operator() -> None:
            replies.append(await world.fleet.reconcile(A, from_start=True))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(operator)
            await world.clock.advance(5)
            assert replies == []
            assert "store_unwritable" in world.codes()
            world.files.heal()
            await world.clock.advance(20)

        assert replies[0].status.summary.loop_id == "a"
        assert any(ask.from_start for ask in world.transport.asks)
        assert world.codes() == []


async def test_an_operators_request_does_not_wait_for_a_backoff() -> None:
    async with supervised(World(), "a") as world:
        world.transport.missing.add("a")
        world.supervisor.retune(world.tuning)
        for _ in range(8):  # up the ladder
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: world.fleet.reconcile(A, from_start=False))
                await world.clock.advance(0.5)
        looks = world.transport.looks["a"]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: world.fleet.reconcile(A, from_start=False))
            await world.clock.advance(0.5)

        assert world.transport.looks["a"] == looks + 1


async def test_a_fault_of_ours_in_a_pass_is_contained_said_and_tried_again() -> None:
    async with supervised(World(), "a", "b") as world:
        world.transport.breaks.add("a")
        with pytest.raises(PassBroke, match="a fault of ours at a"):
            await world.fleet.reconcile(A, from_start=False)
        assert world.codes() == ["pass_failed"]

        world.transport.breaks.clear()
        await world.clock.advance(70)

        assert world.codes() == []


async def test_a_loop_that_hangs_holds_up_nobody_else() -> None:
    """Its thread is left behind, its neighbours in that batch get another look, and all is well once it returns."""
    disk_mended = threading.Event()
    world = World(passes=Threads(8, may_be_left_behind=True), deadline_s=0.05)
    world.transport.on_look = lambda loop_id: disk_mended.wait(20) if loop_id == "hangs" else None
    world.registry("x", "hangs", "y", "z")
    await world.supervisor.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.supervisor.run)
        try:
            await eventually(lambda: all(world.fleet.run(LoopId(name)).revision for name in "xyz"))  # type: ignore[union-attr]  # they are in the registry
            await eventually(lambda: world.supervisor.threads_left_behind == 2)
            (finding,) = world.fleet.daemon_status(world.clock.now()).findings
            assert finding.code == "pass_overdue"
            assert finding.evidence.startswith("hangs:")
        finally:
            disk_mended.set()

        async def time_goes_on() -> None:
            while True:
                await world.clock.advance(1)
                await anyio.sleep(0.002)

        tasks.start_soon(time_goes_on)
        await eventually(lambda: world.supervisor.threads_left_behind == 0 and world.codes() == [])
        tasks.cancel_scope.cancel()


async def test_passes_that_do_not_get_on_are_not_well() -> None:
    """Everything may hang below us; then health must not go on saying that all is fine."""
    held = Held()
    async with supervised(World(passes=held, deadline_s=1e9), *(f"loop-{n}" for n in range(300))) as world:
        await world.clock.advance(15)
        assert world.pulses[-1]

        await world.clock.advance(30)

        ill = [part.name for part in world.fleet.daemon_status(world.clock.now()).subsystems if not part.ok]
        assert ill == ["passes"]
        assert not world.pulses[-1]


async def test_new_rules_have_every_loop_judged_anew() -> None:
    async with supervised(World(), "a", "b") as world:
        before = world.transport.looks.copy()
        world.supervisor.retune(world.tuning.__class__(Rules(HOME, thresholds=Thresholds(profile="strict"))))
        await world.clock.advance(1)

        assert all(world.transport.looks[key] == before[key] + 1 for key in ("a", "b"))
        assert world.fleet.thresholds().profile == "strict"


async def test_the_stop_writes_what_waits_and_says_goodbye() -> None:
    world = World()
    world.registry("a")
    await world.supervisor.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.supervisor.run)
        await settle()
        world.transport.missing.add("a")
        world.supervisor.retune(world.tuning.__class__(Rules(HOME, thresholds=Thresholds(profile="strict"))))
        await settle()

        assert await world.supervisor.stop()

    assert world.stored("a")
    lines = [line async for line in world.fleet.feed.subscribe()]
    assert b'"kind":"bye"' in lines[-1]


async def test_the_stop_lets_no_operator_wait() -> None:
    async with supervised(World(passes=Held(), deadline_s=1e9), "a") as world, anyio.create_task_group() as tasks:

        async def operator() -> None:
            with pytest.raises(PassBroke, match="the daemon stops"):
                await world.fleet.reconcile(A, from_start=False)

        tasks.start_soon(operator)
        await settle()
        with anyio.move_on_after(0.01):
            await world.supervisor.stop()


async def test_metrics_count_loops_by_what_is_believed_of_them() -> None:
    async with supervised(World(), "a", "b", {"loopId": "off", "enabled": False}) as world:
        metrics = world.fleet.metrics()

        loops = metrics["opsd_loops"]
        assert not isinstance(loops, (int, float))
        assert sum(loops.values()) == 3
        assert loops["lifecycle", "unmanaged"] == 1
        passes = metrics["opsd_passes_total"]
        assert isinstance(passes, int)
        assert passes >= 2
