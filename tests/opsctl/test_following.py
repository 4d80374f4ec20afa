"""Commands that go on: over changes, restarts of the daemon and new logs, nothing twice and nothing left out."""

import json
from pathlib import Path

from opsctl.exits import Exit
from opsd.model.intent import IntentStatus
from opsd.model.lifecycle import Lifecycle, Phase
from tests.api.wire import eventually
from tests.api.world import World
from tests.doubles.daemon import Daemon, serving
from tests.doubles.fleet import a_supervised_run
from tests.opsctl.cli import Running, opsctl, running


def a_row(number: int, loop_id: str = "docs-17") -> bytes:
    return (
        f'{{"timestamp":"2026-01-01T00:00:00Z","loopId":"{loop_id}","category":"run_stuck","id":"e{number}"}}'.encode()
    )


async def next_change(watch: Running) -> dict[str, object]:
    """The next line of `watch -o jsonl` that tells of a loop, a removal or an escalation."""
    while True:
        item: dict[str, object] = json.loads(await watch.line())
        if item["kind"] in ("loop", "removed", "escalation"):
            return item


def iteration_of(item: dict[str, object]) -> int:
    loop = item["loop"]
    assert isinstance(loop, dict)
    number = loop["progress"]["iteration"]
    assert isinstance(number, int)
    return number


async def test_watch_shows_a_picture_then_changes(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with serving(world.path, world.fleet), running(world.path, "watch", "docs-17") as watch:
        first = await watch.line()
        world.fleet.put(a_supervised_run("docs-17", world.clock.now(), phase=Phase.BUSY, repo_path=world.repo))
        second = await watch.line()

    assert "docs-17  running  healthy  3/20 implementer" in first
    assert "docs-17  running -> running (busy)" in second


async def test_watch_over_a_restart_tells_what_changed_meanwhile_and_nothing_twice(tmp_path: Path) -> None:
    """The new daemon shows everything anew, its revisions begin at one, and only one loop is really different."""
    world = World(tmp_path)
    world.queries.journal = [a_row(1)]
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet, world.queries)
        async with running(world.path, "watch", "-o", "jsonl") as watch:
            picture = [await next_change(watch) for _ in range(3)]
            world.fleet.put(a_supervised_run("docs-17", world.clock.now(), iteration=4, repo_path=world.repo))
            change = await next_change(watch)
            await daemon.stop()
            assert "trying again until it answers" in await watch.note()

            after = world.fleet.restarted("start-2")
            after.put(a_supervised_run("docs-17", world.clock.now(), iteration=5, repo_path=world.repo))
            after.remove("fleet")
            world.queries.journal = [a_row(1), a_row(2)]
            await daemon.start(after, world.queries)
            assert "answers again" in await watch.note()
            changed, removed, escalated = [await next_change(watch) for _ in range(3)]
            after.put(a_supervised_run("docs-17", world.clock.now(), iteration=6, repo_path=world.repo))
            later = await next_change(watch)

    assert {item["kind"] for item in picture} == {"loop"}
    assert iteration_of(change) == 4
    assert iteration_of(changed) == 5
    assert (removed["kind"], removed["removed"]) == ("removed", "fleet")
    assert (escalated["kind"], escalated["escalation"]) == ("escalation", json.loads(a_row(2)))
    assert iteration_of(later) == 6


async def test_watch_over_a_broken_line_goes_on_from_its_position(tmp_path: Path) -> None:
    """The same daemon, another connection: what happened between the two is told once."""
    world = World(tmp_path)
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet)
        async with running(world.path, "watch", "-o", "jsonl", "docs-17") as watch:
            seen = [iteration_of(await next_change(watch))]
            world.fleet.put(a_supervised_run("docs-17", world.clock.now(), iteration=4, repo_path=world.repo))
            seen.append(iteration_of(await next_change(watch)))
            await daemon.stop()
            await watch.note()
            world.fleet.reopen()
            world.fleet.put(a_supervised_run("docs-17", world.clock.now(), iteration=5, repo_path=world.repo))
            await daemon.start(world.fleet)
            seen.append(iteration_of(await next_change(watch)))

    assert seen == [3, 4, 5]


async def test_wait_goes_on_over_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet)
        async with running(world.path, "wait", "docs-17", "--for", "complete", "--timeout", "30") as wait:
            await eventually(lambda: world.fleet.feed.readers > 0)
            await daemon.stop()
            await wait.note()
            after = world.fleet.restarted("start-2")
            now = world.clock.now()
            after.put(a_supervised_run("docs-17", now, lifecycle=Lifecycle.COMPLETE, phase=Phase.COMPLETE))
            await daemon.start(after)

            assert await wait.line() == "docs-17: complete"
            assert await wait.ended() == Exit.OK


async def test_wait_ends_in_time_though_the_daemon_stays_away(tmp_path: Path) -> None:
    """There is one deadline for all of it, and the laggard is named with what was last known."""
    world = World(tmp_path)
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet)
        async with running(world.path, "wait", "docs-17", "--for", "complete", "--timeout", "1.5") as wait:
            await eventually(lambda: world.fleet.feed.readers > 0)
            await daemon.stop()
            notes = [await wait.note()]
            while "docs-17: running" not in notes[-1]:
                notes.append(await wait.note())

            assert await wait.ended() == Exit.TIMEOUT


async def test_events_follow_over_a_restart_and_a_new_log(tmp_path: Path) -> None:
    """The position lies in the file: what was written while the daemon was away is there."""
    world = World(tmp_path)
    world.write_events("docs-17", ["a", "b"])
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet, world.queries)
        async with running(world.path, "events", "docs-17", "-f", "-o", "jsonl") as follow:

            async def name() -> str:
                event = json.loads(await follow.line())["event"]
                assert isinstance(event, str)
                return event

            seen = [await name(), await name()]
            world.write_events("docs-17", ["c"])
            seen.append(await name())
            await daemon.stop()
            world.write_events("docs-17", ["d"])
            await daemon.start(world.fleet.restarted("start-2"), world.queries)
            seen.append(await name())
            world.write_events("docs-17", ["e"], anew=True)
            seen.append(await name())
            notes = [await follow.note()]
            while "another one now" not in notes[-1]:
                notes.append(await follow.note())

    assert seen == ["a", "b", "c", "d", "e"]


async def test_logs_follow_to_the_role_that_writes_by_now(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write_log("docs-17", 1, "planner", "plan\n")
    async with serving(world.path, world.fleet, world.queries), running(world.path, "logs", "docs-17", "-f") as follow:
        seen = [await follow.line()]
        world.write_log("docs-17", 1, "planner", "more\n")
        seen.append(await follow.line())
        world.write_log("docs-17", 1, "tester", "tests\n")
        seen.append(await follow.line())

    assert seen == ["plan", "more", "tests"]


async def test_escalations_follow_begins_with_the_last_and_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.queries.journal = [a_row(number) for number in range(5)]
    args = ("escalations", "-f", "-n", "2", "-o", "jsonl")
    async with serving(world.path, world.fleet, world.queries), running(world.path, *args) as follow:
        seen = [json.loads(await follow.line())["id"] for _ in range(2)]
        await eventually(lambda: world.fleet.feed.readers > 0)
        world.fleet.escalate("docs-17", a_row(9))
        seen.append(json.loads(await follow.line())["id"])

    assert seen == ["e3", "e4", "e9"]


async def test_an_intent_is_followed_over_a_restart_to_its_outcome(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet, world.queries, world.desk)
        async with running(world.path, "cancel", "docs-17", "--yes") as cancel:
            await eventually(lambda: world.desk.waiting > 0)
            world.desk.move("intent-1", IntentStatus.EXECUTING)
            await daemon.stop()
            await until_note(cancel, "trying again until it answers")
            fleet = world.fleet.restarted("start-2")
            desk = world.desk.restarted(fleet)
            await daemon.start(fleet, world.queries, desk)
            await until_note(cancel, "opsd answers again")
            desk.move("intent-1", IntentStatus.AMBIGUOUS)

            assert (await cancel.line()).startswith("docs-17  cancel  ambiguous")
            assert await cancel.ended() == Exit.AMBIGUOUS


async def test_what_a_restart_kept_from_being_done_is_told_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet, world.queries, world.desk)
        async with running(world.path, "cancel", "docs-17", "--yes") as cancel:
            await eventually(lambda: world.desk.waiting > 0)
            await daemon.stop()
            await until_note(cancel, "trying again until it answers")
            fleet = world.fleet.restarted("start-2")
            await daemon.start(fleet, world.queries, world.desk.restarted(fleet))

            assert "opsd_restarted" in (await cancel.until("opsd_restarted"))[-1]
            assert await cancel.ended() == Exit.REFUSED


async def test_an_intent_that_nobody_knows_any_more_is_an_error_not_an_outcome(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet, world.queries, world.desk)
        async with running(world.path, "cancel", "docs-17", "--yes") as cancel:
            await eventually(lambda: world.desk.waiting > 0)
            await daemon.stop()
            await until_note(cancel, "trying again until it answers")
            world.desk.lose("intent-1")
            fleet = world.fleet.restarted("start-2")
            await daemon.start(fleet, world.queries, world.desk.restarted(fleet))
            await until_note(cancel, "knows nothing of it any more")

            assert await cancel.ended() == Exit.DAEMON_ERROR


async def test_waiting_for_an_intent_ends_in_time_though_the_daemon_stays_away(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet, world.queries, world.desk)
        async with running(world.path, "cancel", "docs-17", "--yes", "--timeout", "1.5") as cancel:
            await eventually(lambda: world.desk.waiting > 0)
            await daemon.stop()
            await until_note(cancel, "nobody can say what became of intent intent-1")

            assert await cancel.ended() == Exit.TIMEOUT


async def test_intents_follow_tells_every_step_once_over_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with Daemon(world.path) as daemon:
        await daemon.start(world.fleet, world.queries, world.desk)
        await opsctl(world.path, "cancel", "docs-17", "--yes", "--no-wait")
        async with running(world.path, "intents", "-f", "-o", "jsonl") as follow:

            async def step() -> tuple[str, str]:
                intent = json.loads(await follow.line())
                return intent["id"], intent["status"]

            assert await step() == ("intent-1", "recorded"), "what there is comes first"
            await opsctl(world.path, "cancel", "api 03", "--yes", "--no-wait")
            assert await step() == ("intent-2", "recorded"), "from here on it follows"
            world.desk.move("intent-1", IntentStatus.EXECUTED)
            assert [await step(), await step()] == [("intent-1", "executing"), ("intent-1", "executed")]
            await daemon.stop()
            await until_note(follow, "trying again until it answers")
            fleet = world.fleet.restarted("start-2")
            desk = world.desk.restarted(fleet)
            desk.move("intent-1", IntentStatus.AMBIGUOUS)
            await daemon.start(fleet, world.queries, desk)
            assert [await step(), await step()] == [("intent-1", "ambiguous"), ("intent-2", "expired")]
            await opsctl(world.path, "cancel", "api 03", "--yes", "--no-wait")
            assert await step() == ("intent-3", "recorded")


async def test_intents_follow_begins_with_those_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with serving(world.path, world.fleet, world.queries, desk=world.desk):
        world.desk.outcomes["docs-17"] = IntentStatus.CONFIRMED
        for loop_id in ("docs-17", "docs-17", "api 03"):
            await opsctl(world.path, "cancel", loop_id, "--yes", "--no-wait")
        async with running(world.path, "intents", "-f", "-n", "2", "-o", "name") as newest:
            assert [await newest.line(), await newest.line()] == ["intent-2", "intent-3"]
        async with running(world.path, "intents", "-f", "--open", "-o", "name") as still_open:
            assert await still_open.line() == "intent-3"
        async with running(world.path, "intents", "docs-17", "-f", "-o", "name") as of_loop:
            assert [await of_loop.line(), await of_loop.line()] == ["intent-1", "intent-2"]


async def test_watch_tells_of_intents_and_of_observe_mode(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with serving(world.path, world.fleet, world.queries, desk=world.desk):
        await opsctl(world.path, "mode", "observe", "--by", "ana", "--reason", "disks")
        async with running(world.path, "watch", "docs-17") as watch:
            assert "observe mode for the fleet: by ana since" in await watch.note()
            assert "observe mode" in await watch.line()
            await opsctl(world.path, "mode", "normal")
            assert "normal mode" in await watch.line()
            await opsctl(world.path, "cancel", "docs-17", "--yes", "--no-wait", "--by", "ana")
            assert "docs-17  cancel recorded  by ana: -" in await watch.line()
            world.desk.move("intent-1", IntentStatus.AMBIGUOUS)
            told = await watch.until("cancel ambiguous")
            assert told[-1].endswith("(next: opsctl intent show intent-1)")


async def until_note(command: Running, text: str) -> None:
    while text not in await command.note():
        pass
