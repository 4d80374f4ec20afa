"""What a live run does next, event by event: the simulator's own script, cut at each line of the event log.

When each move is made is the schedule of `benchmarks.runtime`; here are only their content and their order.
"""

import itertools
import json
import os
from collections.abc import Iterator
from typing import NamedTuple

from opsd.sim.checkout import set_up
from opsd.sim.documents import CONFIG, folder
from opsd.sim.part import Part
from opsd.sim.script import look, run_script
from opsd.sim.steps import Append, Die, Document, Exit, FileOp, Mark
from opsd.sim.tree import DiskTree, compact, pretty

# So fast that the history laid down ends about now, and so that no file stays half written between two moves.
_PART = Part(speed=1000.0, gap_s=0.0)


class Move(NamedTuple):
    """One event, and what the runtime does to its other files just before it."""

    before: tuple[FileOp, ...]
    event: Document


class Life:
    """One checkout and its run, as `scenario` has it: laid down to some moment, then moved on."""

    def __init__(self, repo: str, loop_id: str, scenario: str, *, pid: int, start_s: float) -> None:
        part = _PART._replace(scenario=scenario)
        set_up(repo, loop_id, part)
        self.loop_id = loop_id
        self.tree = DiskTree(repo)
        self.log = f"{folder(loop_id)}/events.jsonl"
        self.lines = 0
        """How many lines the log has."""
        found = look(self.tree, (loop_id,))
        self._steps = run_script(
            part, repo=repo, loop_ids=(loop_id,), only=loop_id, found=found, pid=pid, pgid=pid, start_s=start_s
        )

    def lay_down(self, until: str | None) -> None:
        """Write all the files up to the script's mark `until`, or to the run's end."""
        for step in self._steps:
            match step.op:
                case Mark(name) if name == until:
                    return
                case Mark() | Exit() | Die():
                    pass
                case op:
                    self.perform(op)

    def moves(self) -> Iterator[Move]:
        """The events that follow; without end where the scenario has none."""
        before: list[FileOp] = []
        for step in self._steps:
            match step.op:
                case Append(path, text) if path == self.log:
                    yield Move(tuple(before), json.loads(text))
                    before = []
                case Mark() | Exit() | Die():
                    pass
                case op:
                    before.append(op)

    def advance(self, moves: int) -> None:
        """Make so many moves at once, so that loops laid down alike are not in step with each other."""
        for move in itertools.islice(self.moves(), moves):
            for op in (*move.before, Append(self.log, compact(move.event))):
                self.perform(op)

    def perform(self, op: FileOp) -> None:
        self.lines += isinstance(op, Append) and op.path == self.log
        self.tree.perform(op)


def allow_silence(repo: str, limit_s: int) -> None:
    """Configure a checkout's roles to be silent for up to `limit_s` seconds, as an operator of slow roles would."""
    path = os.path.join(repo, CONFIG)
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    for loop in config["loops"]:
        loop["timeouts"] = {"enabled": True, "default": limit_s}
    with open(path, "w", encoding="utf-8") as file:
        file.write(pretty(config))
