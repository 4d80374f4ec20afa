"""opsd is killed and stopped while intents are under way: who waits goes on waiting, and nothing is done twice.

Each test has a daemon of its own. What was executed is counted from the runtime command's own ledger.
"""

import anyio
import pytest

from opsctl.exits import Exit
from opsd.sim.player import alive
from tests.doubles.situations import Plan
from tests.endtoend.operators import Live, living, once, outcomes
from tests.opsctl.cli import Done, Running, running
from tests.sim.checkouts import QUICK

pytestmark = pytest.mark.slow

TAKES_A_WHILE = {"cancel": [{"kind": "slow", "seconds": 2.0}]}
LONG = QUICK._replace(speed=250.0)
"""A run of two or three seconds."""


async def called(live: Live, command: str) -> None:
    await live.until(lambda: live.places["a"].executions(command) == 1, f"{command} is called")


async def ended(command: Running) -> Done:
    """What a command that was waited for says in the end."""
    assert command.process.stdout is not None
    out = await command.line()
    return Done(await command.ended(), out, "")


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_who_waits_hears_of_the_outcome_though_opsd_was_restarted(end: str) -> None:
    """The command goes on without its caller, and what it did is found by its evidence."""
    with living({"a": Plan("running", TAKES_A_WHILE)}) as live:
        async with running(live.opsd.socket, "cancel", "a", "--yes", "-o", "json") as waiting:
            await called(live, "cancel")
            await anyio.to_thread.run_sync(getattr(live.opsd, end))
            assert live.steps("a") == ["recorded", "executing"]
            await anyio.to_thread.run_sync(live.opsd.start)
            (done,) = outcomes(await ended(waiting))

        assert done.ends == ("confirmed", Exit.OK)
        assert live.places["a"].executions("cancel") == 1
        assert not live.places["a"].lives()
        assert live.told("a") == once("confirmed")


async def test_an_act_that_died_with_opsd_is_ambiguous_and_not_done_again() -> None:
    """Nobody knows how far it came: that is said, and left to whoever looks."""
    with living({"a": Plan("running", {"cancel": [{"kind": "hang"}]})}) as live:
        words = ("cancel", "a", "--yes", "-o", "json", "--confirm-within", "2")
        async with running(live.opsd.socket, *words) as waiting:
            await called(live, "cancel")
            live.opsd.kill()
            await anyio.to_thread.run_sync(live.opsd.start)
            (done,) = outcomes(await ended(waiting))

        assert done.ends == ("ambiguous", Exit.AMBIGUOUS)
        assert live.places["a"].executions("cancel") == 1
        assert live.told("a") == once("ambiguous")
        assert "control_ambiguous" in live.findings("a")
        again = await live.ask("cancel", "a")
        assert again.ends == ("confirmed", Exit.OK)
        assert live.places["a"].executions("cancel") == 2, "asked for a second time, by a human"


async def test_opsd_killed_again_and_again_does_it_once() -> None:
    with living({"a": Plan("running", TAKES_A_WHILE)}) as live:
        async with running(live.opsd.socket, "cancel", "a", "--yes", "-o", "json") as waiting:
            await called(live, "cancel")
            for _ in range(3):
                live.opsd.kill()
                await anyio.to_thread.run_sync(live.opsd.start)
            (done,) = outcomes(await ended(waiting))

        assert done.ends == ("confirmed", Exit.OK)
        assert live.places["a"].executions("cancel") == 1
        assert live.told("a") == once("confirmed")


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_restart_of_opsd_stops_no_run_that_it_started(end: str) -> None:
    with living({"a": Plan("stopped", then="complete", part=LONG)}) as live:
        place = live.places["a"]
        assert (await live.ask("start", "a")).ends == ("confirmed", Exit.OK)
        pid = place.pid
        await anyio.to_thread.run_sync(getattr(live.opsd, end))
        assert alive(pid)
        await anyio.to_thread.run_sync(live.opsd.start)
        await live.until(lambda: live.picture("a")["phase"] == "running", "it is seen to run")
        assert place.pid == pid
        place.until("loop_complete")
        await live.until(lambda: live.picture("a")["lifecycle"] == "complete", "its end is noticed")
        await live.until(lambda: _beat(live)["status"] == "exited", "its end is on record")

        assert _beat(live)["exit_code"] == 0
        assert place.executions("run") == 1


def _beat(live: Live) -> dict[str, object]:
    return live.places["a"].document("loops/a/heartbeat.v1.json") or {}


async def test_a_run_that_began_while_opsd_was_dead_is_the_one_that_was_asked_for() -> None:
    """The launcher began, opsd died, the run began: its evidence is there for the next start."""
    with living({"a": Plan("stopped", {"run": [{"kind": "slow", "seconds": 2.0}]}, then="silent-stall")}) as live:
        async with running(live.opsd.socket, "start", "a", "--yes", "-o", "json") as waiting:
            await called(live, "run")
            live.opsd.kill()
            live.places["a"].until("loop_start")
            await anyio.to_thread.run_sync(live.opsd.start)
            (done,) = outcomes(await ended(waiting))

        assert done.ends == ("confirmed", Exit.OK)
        assert live.places["a"].executions("run") == 1
        assert _beat(live)["launch_id"] == done.known.id


async def test_a_paused_run_is_still_paused_by_the_same_hand_after_a_restart() -> None:
    with living({"a": Plan("running")}) as live:
        assert (await live.ask("pause", "a", "--by", "riya", "--reason", "the disk", "--for", "1h")).code == Exit.OK
        before = live.picture("a")["control"]
        live.opsd.kill()
        await anyio.to_thread.run_sync(live.opsd.start)
        await live.until(lambda: live.picture("a")["phase"] == "paused", "it is seen to be paused")

        assert live.picture("a")["control"] == before
        assert live.findings("a") == ["run_paused"]
        assert (await live.ask("resume", "a")).ends == ("confirmed", Exit.OK)
        assert live.picture("a")["control"] is None


async def test_an_approval_taken_up_while_opsd_was_away_is_told_to_the_end() -> None:
    with living({"a": Plan("awaiting approval")}) as live:
        approved = await live.ask("approve", "a")
        live.opsd.kill()
        assert live.places["a"].call("run", "--loop", "a").returncode == 0
        await anyio.to_thread.run_sync(live.opsd.start)
        await live.until(
            lambda: any(row.get("stage") == "completed" for row in live.rows("a", "intent-log.jsonl")), "it is followed"
        )

        assert (await live.show(approved.known.id)).stage == "completed"
        assert live.told("a") == once("confirmed")


async def test_ctrl_c_ends_the_waiting_and_nothing_else() -> None:
    with living({"a": Plan("running", TAKES_A_WHILE)}) as live:
        async with running(live.opsd.socket, "cancel", "a", "--yes") as waiting:
            await called(live, "cancel")
            assert await waiting.interrupt() == Exit.INTERRUPTED
            while "goes on: opsctl intent show" not in await waiting.note():
                pass
        await live.until(lambda: live.steps("a")[-1] == "confirmed", "it goes on")

        assert live.places["a"].executions("cancel") == 1


async def test_who_does_not_wait_so_long_is_told_that_it_goes_on() -> None:
    with living({"a": Plan("running", TAKES_A_WHILE)}) as live:
        late = await live.ask("cancel", "a", "--timeout", "0.3")
        assert late.code == Exit.TIMEOUT
        assert "it goes on" in late.err
        await live.until(lambda: live.steps("a")[-1] == "confirmed", "it went on")
        unheard = await live.ask("start", "a", "--no-wait")

        assert unheard.ends == ("recorded", Exit.OK)
        await live.until(lambda: live.steps("a")[-1] == "confirmed", "it is carried out all the same")
