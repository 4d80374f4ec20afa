"""A scenario's files at once: the tree a checkout would have at a named moment, without playing it.

For tests and demos that need a state, not a life. Live runs are in `opsd.sim.runtime` and `opsd.sim.fleet`.
"""

import os
from datetime import datetime

from opsd.sim.checkout import set_up
from opsd.sim.documents import CONFIG
from opsd.sim.fleet import Fleet
from opsd.sim.part import Part, read_part
from opsd.sim.steps import Die, Exit, Mark, Rename, Step
from opsd.sim.story import DEAD_PID, Stage, tell
from opsd.sim.tree import MemoryTree


def lay_down(
    scenario: str,
    repo: str | os.PathLike[str],
    *,
    at: datetime,
    until: str | None = None,
    loop_id: str = "demo-loop",
    part: Part | None = None,
    pid: int = DEAD_PID,
) -> tuple[str, ...]:
    """Write the tree that `scenario` leaves under `repo`, its last timestamp (and file time) being `at`.

    `until` names an earlier moment: one of the recordings' steps (`pending` or `1-pending`, `still-pending`,
    `approved`, `rejected`, `killed`, `cleared`, ...) or a mark inside a run (`running`: the implementer of iteration 1
    is at work; `stalled`; `iteration-2`; `recovered`; `escalated`; `truncated`; `replaced`). `part` may set seed, role
    times and iterations; its scenario is overridden. `pid` goes into `active-run.json`; by default no process has it.
    Returns the ids of the checkout's loops. Also writes `config.json` and `.sim.json`, so that the simulated
    `superloop.sh` can go on from here. Files of an earlier tree that this one lacks are left alone.

    Raises:
        ValueError: `at` is naive, the scenario is unknown, or it never comes to `until`.
    """
    if at.tzinfo is None:
        raise ValueError(f"lay_down needs an aware time for `at`, got {at!r}")
    path = os.path.abspath(repo)
    cast = (part or Part())._replace(scenario=scenario)
    # Nobody sees a moment of emptiness here, and without it the last write's stamp is the time of the write.
    told = cast._replace(gap_s=0.0)
    rehearsed_s = tell(told, MemoryTree(), Stage(path, loop_id, pid), start_s=0.0, until=until)

    tree = MemoryTree()
    written_s: dict[str, float] = {}

    def moved(now_s: float, step: Step) -> None:
        if isinstance(step.op, Rename):
            written_s[step.op.to] = now_s
        elif not isinstance(step.op, Mark | Exit | Die):
            written_s[step.op.path] = now_s

    start_s = at.timestamp() - rehearsed_s
    tell(told, tree, Stage(path, loop_id, pid, moved), start_s=start_s, until=until)

    loops = set_up(path, loop_id, cast)
    os.utime(os.path.join(path, CONFIG), (start_s, start_s))
    for name, text in tree.files.items():
        _write(os.path.join(path, name), text, written_s.get(name, start_s))
    return loops


def lay_down_fleet(fleet: Fleet, *, at: datetime) -> None:
    """Give every checkout of a made fleet the tree that its scenario leaves, ended at `at`, without playing it."""
    for checkout in fleet.checkouts:
        part = read_part(checkout.repo)
        lay_down(checkout.scenario, checkout.repo, at=at, loop_id=checkout.loops[0], part=part)


def _write(path: str, text: str, modified_s: float) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.utime(path, (modified_s, modified_s))
