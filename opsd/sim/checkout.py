"""A checkout before its first run: its `config.json` and its part, and what that config says.

Runs are played by `opsd.sim.player`; many checkouts at once are a fleet (`opsd.sim.fleet`).
"""

import json
import os
from collections.abc import Sequence

from opsd.sim import documents
from opsd.sim.part import Part, write_part
from opsd.sim.scenarios import loops_of
from opsd.sim.script import behaviour_for, look
from opsd.sim.tree import Tree, pretty


def set_up(repo: str, loop_id: str, part: Part) -> tuple[str, ...]:
    """Write `config.json` and `.sim.json` into the checkout at `repo`; returns the ids of its loops."""
    loops = loops_of(part.scenario, loop_id)
    os.makedirs(os.path.join(repo, ".superloop"), exist_ok=True)
    with open(os.path.join(repo, documents.CONFIG), "w", encoding="utf-8") as file:
        file.write(pretty(documents.config(loops, behaviour_for(part))))
    write_part(repo, part)
    return loops


def loops_in(repo: str) -> tuple[str, ...]:
    """The loop ids of a checkout's `config.json`, in order. Raises FileNotFoundError without one."""
    with open(os.path.join(repo, documents.CONFIG), encoding="utf-8") as file:
        return tuple(loop["id"] for loop in json.load(file)["loops"])


def decision_on_file(tree: Tree, loop_ids: Sequence[str]) -> str | None:
    """The status of the first approval request on file, or None: `pending`, or a decision no run has taken up yet."""
    for loop in look(tree, loop_ids).loops.values():
        if loop.approval is not None:
            return str(loop.approval.get("status"))
    return None
