"""A loop in a certain situation, at once: a checkout, its simulated command, a real process where one runs.

`situation` gives one, `situations` a whole fleet under one home. Every way on is a call of the command or a signal;
whatever processes there are in the checkouts at the end of the block, whoever started them, end with it.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from opsd.sim.checkout import set_up
from opsd.sim.fleet import REGISTRY
from opsd.sim.ledger import calls
from opsd.sim.part import Part, write_part
from opsd.sim.player import alive
from opsd.sim.runtime import write_command
from opsd.sim.steps import Document
from opsd.sim.story import DEAD_PID
from opsd.sim.trees import lay_down
from tests.sim.checkouts import LOOP, QUICK, Sandbox, eventually

AGE_S = 60.0
"""How long ago what is laid down had happened."""
DAYS_S = 1e9
"""A role that outlasts every test, whatever the speed."""


class _Way(NamedTuple):
    """How a situation comes about: a scenario's tree at a moment, or a live run. `then` is what later runs play."""

    scenario: str
    until: str | None = None
    then: str = "complete"
    live: bool = False
    stopped: bool = False


SITUATIONS: Mapping[str, _Way] = {
    "never run": _Way(""),
    "running": _Way("silent-stall", live=True),
    "paused": _Way("silent-stall", live=True, stopped=True),
    "neighbour running": _Way("two-loops", live=True, then="two-loops"),
    "awaiting approval": _Way("approval", then="approval"),
    "approved": _Way("approved", "approved", then="approval"),
    "rejected": _Way("rejected", "rejected", then="approval"),
    "killed": _Way("killed", "killed"),
    "role failed": _Way("role-error", "failed"),
    "rate limited": _Way("rate-limited"),
    "cancelled": _Way("cancelled"),
    "stopped": _Way("max-iterations"),
    "complete": _Way("complete"),
}
"""`killed`, `role failed` and `rate limited` leave a state that says active and nobody who lives.

`running` stays so until something is done to it: its implementer is at work and silent. In `neighbour running` the
place's own loop is idle, and the other loop of its checkout runs.
"""

Faults = Mapping[str, list[Document]]
"""Command to how its first, second, ... call from now on misbehaves (`opsd.sim.faults`); `{}` is a sound one."""


class Plan(NamedTuple):
    """What is wanted of one loop. `scenario` is what a live run, or with `then` a later one, plays instead."""

    situation: str
    faults: Faults = {}  # noqa: RUF012 -- a NamedTuple default; nobody writes to it
    part: Part = QUICK
    scenario: str = ""
    then: str = ""


class Place(Sandbox):
    """A loop's checkout. Its command lies in it, so that opsd finds it without any setting."""

    def __init__(self, repo: Path, loop_id: str, plan: Plan) -> None:
        way = SITUATIONS[plan.situation]
        self.repo, self.loop_id = repo, loop_id
        self.run: subprocess.Popen[bytes] | None = None
        """The live run that the situation is about."""
        self._started: list[subprocess.Popen[bytes]] = []
        self.command = write_command(str(repo))
        self._plan, self._way = plan, way
        self._scenario = plan.scenario or way.scenario
        if way.live or not way.scenario:
            role_s = DAYS_S if self._scenario == "two-loops" else plan.part.role_s
            cast = plan.part._replace(scenario=self._scenario or "complete", role_s=role_s)
            self.loops = set_up(str(repo), loop_id, cast)
        else:
            at = datetime.now(UTC) - timedelta(seconds=AGE_S)
            self.loops = lay_down(self._scenario, repo, at=at, until=way.until, loop_id=loop_id, part=plan.part)
        self._told_before, self._called_before = 0, 0

    def begin(self) -> None:
        """Start what runs, and from now on misbehave as planned."""
        if self._way.live:
            self._begin_run()
        self._called_before = len(calls(self.repo))
        self._told_before = len(self.events())
        plan, repo = self._plan, str(self.repo)
        faults = {
            command: [*[{} for _ in range(self._calls(command))], *listed] for command, listed in plan.faults.items()
        }
        then = plan.then or plan.scenario or self._way.then
        write_part(repo, plan.part._replace(scenario=then, faults=faults))

    def _begin_run(self) -> None:
        loop_id = self.loops[-1]
        role = "planner" if len(self.loops) > 1 else "implementer"
        self.run = self.start(loop_id=loop_id)
        eventually(lambda: any(one.get("role") == role for one in self.events(loop_id)), f"{loop_id} is at work")
        if self._way.stopped:
            os.killpg(self.run.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, self.run.pid, os.WSTOPPED | os.WNOWAIT)

    def start(self, *, own_group: bool = True, loop_id: str | None = None) -> "subprocess.Popen[bytes]":
        self._started.append(super().start(own_group=own_group, loop_id=loop_id))
        return self._started[-1]

    @property
    def pid(self) -> int:
        """Of the process that `active-run.json` names."""
        run = self.document("active-run.json")
        assert run is not None, f"{self.repo} has no active run"
        return int(run["pid"])

    def lives(self) -> bool:
        """Whether there is a process of the run on file, or of the one that was started for the situation."""
        run = self.document("active-run.json")
        pid = run["pid"] if run else self.run.pid if self.run else DEAD_PID
        return alive(int(pid))

    def executions(self, command: str) -> int:
        """How often the command was called since the situation came about, by its own ledger."""
        return sum(call.phase == "called" for call in calls(self.repo, command)) - self._calls(command)

    def told(self) -> list[str]:
        """The names of the events since the situation came about."""
        return [event["event"] for event in self.events()[self._told_before :]]

    def until(self, event: str, count: int = 1) -> None:
        """Wait for an event since the situation came about."""
        eventually(lambda: self.told().count(event) >= count, f"{self.loop_id} tells {event}")

    def end(self) -> None:
        """Kill every process that was told to work in this checkout."""
        for pid in _working_in(str(self.repo)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in self._started:
            process.wait(10)

    def _calls(self, command: str) -> int:
        """How often it had been called before the situation was there."""
        before = calls(self.repo)[: self._called_before]
        return sum(call.command == command and call.phase == "called" for call in before)


class Situations(NamedTuple):
    """A fleet in which each loop is in a situation. `home` is what opsd is started on."""

    home: Path
    places: Mapping[str, Place]


@contextmanager
def situations(root: Path, plans: Mapping[str, Plan]) -> Iterator[Situations]:
    """A checkout per loop, under a home whose registry lists them; of a pair, both loops."""
    with ExitStack() as stack:
        places = {}
        for loop_id, plan in plans.items():
            place = places[loop_id] = Place(root / "checkouts" / loop_id, loop_id, plan)
            stack.callback(place.end)
            place.begin()
        _register(root / "home", *places.values())
        yield Situations(root / "home", places)


@contextmanager
def situation(
    root: Path,
    name: str,
    *,
    faults: Faults | None = None,
    part: Part = QUICK,
    scenario: str = "",
    then: str = "",
    loop_id: str = LOOP,
) -> Iterator[Place]:
    """One loop in one checkout below `root`, which is its own home: opsd is started on `repo`.

    `name` is one of `SITUATIONS`; the rest is as in `Plan`.
    """
    place = Place(root / "repo", loop_id, Plan(name, faults or {}, part, scenario, then))
    try:
        place.begin()
        _register(place.repo, place)
        yield place
    finally:
        place.end()


def _register(home: Path, *places: Place) -> None:
    entries = [
        {"loopId": loop_id, "transport": "local", "repoPath": str(place.repo)}
        for place in places
        for loop_id in place.loops
    ]
    registry = home / REGISTRY
    registry.parent.mkdir(parents=True)
    registry.write_text(json.dumps({"schemaVersion": "v1", "fleetId": "situations", "loops": entries}))


def _working_in(repo: str) -> Iterator[int]:
    """The processes that have the checkout as an argument of its own."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if repo.encode() in words and int(folder.name) != os.getpid():
            yield int(folder.name)
