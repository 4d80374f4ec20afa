"""The live stream: what a watcher sees, how it goes on after an interruption, and that it hurts nobody."""

from pathlib import Path

import anyio

from opsd.model.lifecycle import Lifecycle, Phase
from tests.api.wire import ask, eventually, watching
from tests.api.world import a_world
from tests.doubles.fleet import a_supervised_run


async def test_a_watcher_sees_the_picture_then_the_changes(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, watching(world.path) as watch:
        picture = await watch.until("live")
        world.fleet.put(a_supervised_run("docs-17", world.clock.now(), lifecycle=Lifecycle.IDLE, phase=Phase.IDLE))
        change = await watch.next()

    assert [item.kind for item in picture] == ["hello", "loop", "loop", "loop", "live"]
    assert change.loop is not None
    assert (change.loop.loop_id, change.loop.phase) == ("docs-17", "idle")


async def test_a_watcher_goes_on_from_its_position(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        async with watching(world.path) as watch:
            await watch.until("live")
            world.fleet.put(a_supervised_run("docs-17", world.clock.now(), iteration=4))
            last = await watch.next()
        world.fleet.put(a_supervised_run("docs-17", world.clock.now(), iteration=5))
        async with watching(world.path, f"?startId={last.start_id}&after={last.seq}") as watch:
            missed = await watch.next()

    assert missed.loop is not None
    assert missed.loop.progress.iteration == 5


async def test_a_watcher_may_choose_its_loops(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, watching(world.path, "?loop=docs-17") as watch:
        picture = await watch.until("live")
        world.fleet.put(a_supervised_run("api 03", world.clock.now()))
        world.fleet.put(a_supervised_run("docs-17", world.clock.now(), iteration=9))
        change = await watch.next()

    assert [item.loop.loop_id for item in picture if item.loop] == ["docs-17"]
    assert change.loop is not None
    assert change.loop.loop_id == "docs-17"


async def test_watching_a_loop_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A stream that stays silent for ever would look like a quiet loop."""
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/watch?loop=docs-71")

    assert answer.error()[:2] == (404, "unknown_loop")


async def test_a_stopping_daemon_says_goodbye(tmp_path: Path) -> None:
    seen: list[str] = []

    async def watch_to_the_end(path: str, live: anyio.Event) -> None:
        async with watching(path) as watch:
            await watch.until("live")
            live.set()
            seen.extend(item.kind for item in await watch.until("bye"))

    live = anyio.Event()
    async with anyio.create_task_group() as tasks, a_world(tmp_path) as world:
        tasks.start_soon(watch_to_the_end, world.path, live)
        await live.wait()

    assert seen[-1] == "bye"


async def test_a_watcher_who_leaves_frees_its_place(tmp_path: Path) -> None:
    """Otherwise each interrupted `opsctl watch` would cost the daemon a reader for good."""
    async with a_world(tmp_path) as world:
        async with watching(world.path) as watch:
            await watch.until("live")
            assert world.fleet.feed.readers == 1
        await eventually(lambda: world.fleet.feed.readers == 0)


async def test_a_reader_who_stops_reading_delays_nobody(tmp_path: Path) -> None:
    """Its connection fills up and waits; others see each change, and the daemon stops in time."""
    async with a_world(tmp_path) as world, watching(world.path) as slow, watching(world.path) as quick:
        await slow.until("live")
        await quick.until("live")
        seen = []
        for iteration in range(1_000):
            world.fleet.put(
                a_supervised_run("docs-17", world.clock.now(), iteration=iteration, backlog_bytes=iteration)
            )
            item = await quick.next()
            seen.append(item.loop.progress.iteration if item.loop else None)
        answer = await ask(world.path, "/v1/version")
        caught_up = []
        while 999 not in caught_up:
            item = await slow.next()
            caught_up.append(item.loop.progress.iteration if item.loop else None)

    assert seen == list(range(1_000))
    assert answer.status == 200
    assert len(caught_up) < 1_000, "the slow one was never behind: this shows nothing"
