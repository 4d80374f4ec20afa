"""opsctl over a live fleet, as its users run it: what they see, how it ends, and what a restart of opsd costs them.

The daemon is killed and stopped in the middle; nothing may be missed or told twice.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from opsctl.exits import Exit
from opsd.sim.fleet import Fleet, FleetPlay, make_fleet
from opsd.sim.part import Part
from tests.doubles.process import LIMIT_S, OpsdProcess, wait_until
from tests.endtoend.audience import read_rows
from tests.opsctl.cli import COMMAND, Running, environment, opsctl, running

pytestmark = pytest.mark.slow

MIX = ("steady", "approval", "stuck", "complete", "steady")
STEADY, ASKING, STUCK, FINISHING, _ = range(len(MIX))


class Live:
    """A fleet at play, the daemon over it, and the names of its loops."""

    def __init__(self, fleet: Fleet, opsd: OpsdProcess, play: FleetPlay) -> None:
        self.fleet, self.opsd, self.play = fleet, opsd, play
        self.loops = [checkout.loops[0] for checkout in fleet.checkouts]

    @property
    def socket(self) -> str:
        return self.opsd.socket

    def log(self, number: int) -> list[dict[str, Any]]:
        """The loop's own event log, as far as its lines are whole."""
        checkout = self.fleet.checkouts[number]
        text = Path(checkout.repo, ".superloop/loops", checkout.loops[0], "events.jsonl").read_text()
        return read_rows(text[: text.rfind("\n") + 1])

    def escalations(self) -> list[dict[str, Any]]:
        folder = Path(self.fleet.home, ".superloop/ops-manager")
        return [row for path in folder.glob("*/escalations.jsonl") for row in read_rows(path.read_text())]


@pytest.fixture
def live() -> Iterator[Live]:
    """In a folder that every user may enter, for one of the tests asks as somebody else."""
    root = tempfile.mkdtemp(prefix="opsd-users-")
    os.chmod(root, 0o755)
    fleet = make_fleet(root, len(MIX), seed=5, speed=40.0, mix=MIX, part=Part(role_s=15.0))
    try:
        with OpsdProcess(Path(fleet.home)) as opsd, FleetPlay(fleet, stagger_s=0.5) as play:
            yield Live(fleet, opsd, play)
    finally:
        shutil.rmtree(root)


# The interpreter may lie where no other user can read it: asking once in vain loads all that is needed.
_AS_NOBODY = """
import os, sys
from opsctl.__main__ import main
given, sys.argv[1:] = sys.argv[1:], ["--socket", "/nowhere", "status"]
main()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.argv[1:] = given
sys.exit(main())
"""


def _as_somebody_else(live: Live) -> int:
    words = [sys.executable, "-c", _AS_NOBODY, "--socket", live.socket, "status"]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S).returncode


async def test_each_question_has_an_answer_about_a_live_fleet(live: Live) -> None:
    asking, steady, stuck = live.loops[ASKING], live.loops[STEADY], live.loops[STUCK]
    over = await opsctl(live.socket, "wait", asking, stuck, "--for", "awaiting_approval", "--for", "stuck")
    assert over.code == Exit.OK

    fleet = await opsctl(live.socket, "status", "-o", "json")
    shown = {loop["loopId"]: loop for loop in json.loads(fleet.out)["loops"]}
    assert (shown[steady]["phase"], shown[asking]["phase"], shown[stuck]["phase"]) == (
        "running",
        "awaiting_approval",
        "stuck",
    )
    assert [shown[loop]["needsHuman"] for loop in (steady, asking)] == [False, True]
    for words, told in {
        ("status", asking): "approve",
        ("explain", stuck): "run_stuck",
        ("runs", stuck): "stuck",
        ("logs", steady): "step",
        ("events", stuck, "-n", "5"): "loop_stop",
        ("escalations", asking): "approval",
        ("version",): "opsd",
    }.items():
        done = await opsctl(live.socket, *words)
        assert done.code == Exit.OK, done.err
        assert told in done.out
    verified = await opsctl(live.socket, "verify", stuck)
    assert verified.code == Exit.OK


async def test_every_exit_code_means_what_it_says(live: Live) -> None:
    loop = live.loops[STEADY]
    seen = {await _code(live, "status"): "status"}
    seen |= {await _code(live, "logs", loop, "nobody"): "a log that is not there"}
    seen |= {await _code(live, "status", "--frobnicate"): "a wrong command line"}
    seen |= {await _code(live, "status", "no-such-loop"): "an unknown loop"}
    seen |= {(await opsctl(f"{live.socket}.gone", "status")).code: "no socket"}
    seen |= {await _code(live, "wait", loop, "--for", "complete", "--timeout", "0.5"): "a wait in vain"}
    async with running(live.socket, "watch") as watch:
        await watch.line()
        seen |= {await watch.interrupt(): "Ctrl-C"}
    seen |= {_with_closed_pipe(live): "a reader that went away"}
    if os.geteuid() == 0:
        seen |= {_as_somebody_else(live): "another user"}
    live.opsd.process.send_signal(signal.SIGSTOP)
    async with running(live.socket, "--answer-within", "20", "reconcile", loop) as asked:
        # It is connected once the kernel has its request: then the daemon dies over it.
        await asyncio.to_thread(wait_until, lambda: _is_connected(asked.process.pid), "the request is under way")
        live.opsd.kill()
        seen |= {await asked.ended(): "a daemon that broke off"}
    seen |= {await _code(live, "status"): "a socket without a daemon"}

    assert seen == {
        Exit.OK: "status",
        Exit.NO: "a log that is not there",
        Exit.USAGE: "a wrong command line",
        Exit.UNKNOWN_LOOP: "an unknown loop",
        Exit.NO_DAEMON: "no socket",
        Exit.TIMEOUT: "a wait in vain",
        Exit.INTERRUPTED: "Ctrl-C",
        Exit.PIPE_CLOSED: "a reader that went away",
        Exit.DAEMON_ERROR: "a daemon that broke off",
        Exit.NO_ANSWER: "a socket without a daemon",
    } | ({Exit.DENIED: "another user"} if os.geteuid() == 0 else {})


async def _code(live: Live, *words: str) -> int:
    return (await opsctl(live.socket, *words)).code


def _with_closed_pipe(live: Live) -> int:
    """`opsctl watch -o jsonl | head -1`, while the fleet goes on changing."""
    process = subprocess.Popen(
        [*COMMAND, "watch", "-o", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(live.socket),
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process.wait(LIMIT_S)


def _is_connected(pid: int) -> bool:
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # it may be closed in this very moment
            if os.readlink(f"{folder}/{name}").startswith("socket:"):
                return True
    return False


async def test_who_follows_through_restarts_misses_nothing_and_hears_nothing_twice(live: Live) -> None:
    steady, finishing = live.loops[STEADY], live.loops[FINISHING]
    await asyncio.to_thread(live.opsd.until, lambda: live.opsd.loop(steady)["lifecycle"] == "running", "it runs")
    async with (
        running(live.socket, "events", steady, "-f", "-n", "10000", "-o", "jsonl") as events,
        running(live.socket, "escalations", "-f", "-o", "jsonl") as escalations,
        running(live.socket, "watch", "-o", "jsonl") as watch,
        running(
            live.socket, "wait", finishing, live.loops[ASKING], "--for", "complete", "--for", "awaiting_approval"
        ) as wait,
    ):
        heard: dict[str, list[dict[str, Any]]] = {}
        async with asyncio.TaskGroup() as group:
            readers = [
                group.create_task(_read(name, follower, heard))
                for name, follower in {"events": events, "escalations": escalations, "watch": watch}.items()
            ]
            for end in (live.opsd.kill, live.opsd.stop, live.opsd.kill):
                before = len(live.log(STEADY))
                await asyncio.to_thread(wait_until, lambda: len(live.log(STEADY)) > before + 20, "the run goes on")  # noqa: B023 -- waited for at once
                await asyncio.to_thread(end)
                journal = _ids_of(live.escalations())
                for loop, told in _ids_of(heard["escalations"]).items():
                    assert told == journal[loop][: len(told)], "somebody heard what is not in the journal"
                await asyncio.to_thread(live.opsd.start)
            assert await wait.ended() == Exit.OK
            live.play.stop()
            last = live.log(STEADY)
            await asyncio.to_thread(wait_until, lambda: len(heard["events"]) >= len(last), "all events are told")
            await asyncio.to_thread(
                live.opsd.until, lambda: live.opsd.loop(steady)["lifecycle"] == "failed", "its end is noticed"
            )
            await asyncio.to_thread(
                wait_until,
                lambda: {row["id"] for row in heard["escalations"]} >= {row["id"] for row in live.escalations()},
                "all escalations are told",
            )
            await asyncio.to_thread(
                wait_until, lambda: _latest(heard["watch"])[steady]["lifecycle"] == "failed", "the watcher heard it too"
            )
            for reader in readers:
                reader.cancel()

    assert heard["events"] == last
    ids = [row["id"] for row in heard["escalations"]]
    assert _ids_of(heard["escalations"]) == _ids_of(live.escalations())
    watched = [line["escalation"]["id"] for line in heard["watch"] if "escalation" in line]
    assert len(watched) == len(set(watched))
    assert set(watched) <= set(ids)
    pictures = [_without_clocks(line["loop"]) for line in heard["watch"] if "loop" in line]
    for loop in live.loops:
        own = [picture for picture in pictures if picture["loopId"] == loop]
        assert all(one != other for one, other in pairwise(own)), "a picture was told twice"


async def _read(name: str, follower: Running, heard: dict[str, list[dict[str, Any]]]) -> None:
    heard[name] = []
    while True:
        heard[name].append(json.loads(await follower.line()))


def _ids_of(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The escalations of each loop in their order."""
    found: dict[str, list[str]] = {}
    for row in list(rows):
        found.setdefault(row["loopId"], []).append(row["id"])
    return found


def _latest(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {line["loop"]["loopId"]: line["loop"] for line in list(lines) if "loop" in line}


def _without_clocks(picture: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in picture.items() if name not in ("ages", "observedAt", "revision")}
