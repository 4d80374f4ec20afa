"""Two worlds in which the same happens: a sprite here, watched on its own disk, and one away, behind its service.

Each has its own checkouts and its own daemon. What happens is a scenario, told step by step from its seed; the daemons
hold their breath while a part of it is written, so that both see it whole.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from opsd.sim.checkout import set_up
from opsd.sim.fleet import REGISTRY
from opsd.sim.part import Part
from opsd.sim.scenarios import loops_of
from opsd.sim.steps import Append, Delete, Die, Exit, FileOp, Mark, Rename, Replace, Step
from opsd.sim.story import Stage, tell
from opsd.sim.tree import DiskTree, MemoryTree
from tests.doubles.process import LIMIT_S, OpsdProcess
from tests.doubles.sprites import VARIABLES, SpriteProcess

SIDES = ("here", "away")
SEED = 7
STORY_S = 6.0
"""In how many seconds a scenario happens, by its own timestamps."""
AT_ONCE = 4
"""So many services are started side by side."""
PARTS = 5
"""In so many parts it is shown."""


class Story(NamedTuple):
    """A scenario as parts of file operations. `pid` is the process of its runs, that of `keeper`."""

    scenario: str
    loops: tuple[str, ...]
    part: Part
    parts: tuple[tuple[FileOp, ...], ...]
    keeper: subprocess.Popen[bytes]

    def end_run(self) -> None:
        self.keeper.kill()
        self.keeper.wait(LIMIT_S)


class Side(NamedTuple):
    """One of the worlds. `services` are empty here, and by scenario away."""

    name: str
    root: Path
    daemon: OpsdProcess
    services: dict[str, SpriteProcess]

    def repo(self, scenario: str) -> Path:
        return self.root / "sprites" / scenario

    def files(self, loop_id: str) -> Path:
        """What the daemon wrote about the loop."""
        return self.root / "home/.superloop/ops-manager" / loop_id

    def reconcile(self, loop_id: str) -> None:
        self.daemon.post(f"/v1/loops/{loop_id}/reconcile", {})


class Stages(NamedTuple):
    stories: tuple[Story, ...]
    sides: tuple[Side, ...]

    def show(self, number: int) -> None:
        """The next part of every story, in both worlds."""
        with self._breath_held():
            for story in self.stories:
                for op in story.parts[number]:
                    for side in self.sides:
                        DiskTree(str(side.repo(story.scenario))).perform(op)

    def look(self) -> None:
        """Both daemons have looked at all there is."""
        for side in self.sides:
            for story in self.stories:
                for loop_id in story.loops:
                    side.reconcile(loop_id)

    @contextmanager
    def _breath_held(self) -> Iterator[None]:
        watching = [side.daemon.process for side in self.sides]
        watching += [service.process for side in self.sides for service in side.services.values()]
        for process in watching:
            process.send_signal(signal.SIGSTOP)
        try:
            for process in watching:
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            yield
        finally:
            for process in watching:
                process.send_signal(signal.SIGCONT)


@contextmanager
def stages(root: Path, scenarios: Sequence[str], **variables: str) -> Iterator[Stages]:
    """The first part of each story has happened before both daemons were started, and both have seen it.

    A loop that is not there at all is looked for at different paces, and how often that failed is counted.
    """
    with ExitStack() as stack:
        stories = tuple(_story(scenario, stack) for scenario in scenarios)
        told_s = time.monotonic() + STORY_S
        sides = []
        for name in SIDES:
            for story in stories:
                repo = root / name / "sprites" / story.scenario
                set_up(str(repo), story.loops[0], story.part)
                for op in story.parts[0]:
                    DiskTree(str(repo)).perform(op)
            services = _services(root / name, stories, stack) if name == "away" else {}
            time.sleep(max(0.0, told_s - time.monotonic()))  # what is not yet over by its own account is not shown
            entries = [
                services[story.scenario].entry(loop_id) if services else _local(root / name, story, loop_id)
                for story in stories
                for loop_id in story.loops
            ]
            daemon = stack.enter_context(_daemon(root / name / "home", entries, variables))
            sides.append(Side(name, root / name, daemon, services))
        play = Stages(stories, tuple(sides))
        play.look()
        yield play


def _local(root: Path, story: Story, loop_id: str) -> dict[str, object]:
    return {"loopId": loop_id, "transport": "local", "repoPath": str(root / "sprites" / story.scenario)}


def _services(root: Path, stories: Sequence[Story], stack: ExitStack) -> dict[str, SpriteProcess]:
    services = {story.scenario: SpriteProcess(root / "sprites" / story.scenario) for story in stories}
    waiting = list(services.values())
    while waiting:
        few, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        for service in few:
            service.begin()
            stack.callback(service.kill)
        for service in few:
            service.await_ready()
    return services


def _daemon(home: Path, entries: Sequence[dict[str, object]], variables: dict[str, str]) -> OpsdProcess:
    registry = home / REGISTRY
    registry.parent.mkdir(parents=True)
    registry.write_text(json.dumps({"schemaVersion": "v1", "fleetId": "parity", "loops": entries}))
    return OpsdProcess(home, variables={**VARIABLES, **variables})


def _story(scenario: str, stack: ExitStack) -> Story:
    keeper = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
    stack.callback(keeper.wait, LIMIT_S)
    stack.callback(keeper.kill)
    loop_id, start_s = f"{scenario}-loop", time.time()
    calm = Part(scenario, seed=SEED, gap_s=0.0)
    life_s = tell(calm, MemoryTree(), Stage("/sprite", loop_id, keeper.pid), start_s=0.0)
    part = calm._replace(speed=max(1.0, life_s / STORY_S))
    steps: list[Step] = []
    stage = Stage("/sprite", loop_id, keeper.pid, lambda _, step: steps.append(step))
    tell(part, MemoryTree(), stage, start_s=start_s)
    return Story(scenario, loops_of(scenario, loop_id), part, _in_parts(scenario, steps), keeper)


def _in_parts(scenario: str, steps: Sequence[Step]) -> tuple[tuple[FileOp, ...], ...]:
    """Cut where a look may well fall: not into the moment in which a file is empty because it is rewritten.

    The first part is long enough for every loop to have a log.
    """
    ops = [step.op for step in steps if not isinstance(step.op, Mark | Exit | Die)]
    begun: dict[str, int] = {}
    for number, op in enumerate(ops):
        if isinstance(op, Append) and op.path.endswith("/events.jsonl"):
            begun.setdefault(op.path, number)
    first = max(begun.values())
    whole = [n + 1 for n, op in enumerate(ops) if n >= first and isinstance(op, Append | Replace | Delete | Rename)]
    cuts = sorted(random.Random(f"{SEED}/{scenario}").sample(whole[:-1], PARTS - 1))
    return tuple(tuple(ops[begin:end]) for begin, end in zip((0, *cuts), (*cuts, len(ops)), strict=True))
