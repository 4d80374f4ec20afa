"""Plays many loops' scripts in one process, on one schedule: for fleets beyond what processes can carry.

`active-run.json` then names this process, whose command line is a `run` as well. A loop is let go when its
`active-run.json` vanishes (`cancel`); one that dies gets a pid there that no process has.
"""

import heapq
import json
import os
import random
import time
from collections.abc import Generator, Iterator, Sequence

from opsd.sim import documents
from opsd.sim.checkout import decision_on_file, loops_in
from opsd.sim.part import Part, read_part
from opsd.sim.player import Ending, end_on_signals, keeper_of, wait_until
from opsd.sim.script import behaviour_for, look, run_script
from opsd.sim.steps import Delete, Die, Exit, Mark, Replace
from opsd.sim.story import DEAD_PID
from opsd.sim.tree import DiskTree, pretty, read_document

DECISION_LOOK_S = 1.0
"""How often a loop that waits for approval is asked whether it was decided."""


def host(cast_file: str) -> int:
    """Play every checkout named in `cast_file` (see `casting`) until all are done; exit code.

    Starts are spread over `stagger_s` seconds. With `rerun`, an approved or rejected loop is run again, as its operator
    would.
    """
    with open(cast_file, encoding="utf-8") as file:
        cast = json.load(file)
    end_on_signals()
    keeper = keeper_of(dict(os.environ))
    dice = random.Random(cast["seed"])
    begin_s = time.monotonic()
    lives = [_life(repo, begin_s + dice.uniform(0, cast["stagger_s"]), rerun=cast["rerun"]) for repo in cast["repos"]]
    queue = [(next(life), number) for number, life in enumerate(lives)]
    heapq.heapify(queue)
    try:
        while queue:
            due_s, number = queue[0]
            wait_until(due_s, keeper=keeper)
            wanted_s = next(lives[number], None)
            if wanted_s is None:
                heapq.heappop(queue)
            else:
                heapq.heapreplace(queue, (wanted_s, number))
    except Ending as ending:
        for life in lives:
            life.close()
        return ending.code
    return 0


def _life(repo: str, start_s: float, *, rerun: bool) -> Generator[float, None, None]:
    """One checkout's runs, one after the other. Yields the monotonic time at which it is to be resumed."""
    tree, part, loop_ids = DiskTree(repo), read_part(repo), loops_in(repo)
    while True:
        yield start_s
        ended = yield from _run(tree, part, loop_ids, start_s)
        decision = decision_on_file(tree, loop_ids)
        if not ended or not rerun or decision is None:
            return
        while decision == "pending":
            yield time.monotonic() + DECISION_LOOK_S
            decision = decision_on_file(tree, loop_ids)
        start_s = time.monotonic()


def _run(tree: DiskTree, part: Part, loop_ids: Sequence[str], begin_s: float) -> Generator[float, None, bool]:
    """One run; returns whether it came to its own end. Closed early, it ends as a terminated process does."""
    found = look(tree, loop_ids)
    first = not any(loop.ran_before for loop in found.loops.values())
    entered = False
    steps = run_script(
        part,
        repo=tree.repo,
        loop_ids=loop_ids,
        only=loop_ids[0] if len(loop_ids) == 1 else None,
        found=found,
        pid=os.getpid(),
        pgid=os.getpgid(0),
        start_s=time.time() + (begin_s - time.monotonic()),
    )
    try:
        for step in steps:
            yield begin_s + step.at_s
            if entered and not os.path.exists(os.path.join(tree.repo, documents.ACTIVE_RUN)):
                entered = False
                return False
            match step.op:
                case Exit():
                    entered = False
                    return True
                case Die():
                    entered = False
                    _leave_dead(tree)
                    return False
                case Mark("running") if first and behaviour_for(part).ending == "cancel":
                    yield begin_s + step.at_s + part.role_s / part.speed
                    tree.perform(Delete(documents.STATE))
                    return False
                case Mark():
                    pass
                case op:
                    tree.perform(op)
                    if op.path == documents.ACTIVE_RUN:
                        entered = not isinstance(op, Delete)
    finally:
        if entered:
            tree.perform(Delete(documents.ACTIVE_RUN))
    return True


def _leave_dead(tree: DiskTree) -> None:
    """Name a process that does not exist: this one lives on, and would make a killed run look alive."""
    run = read_document(tree, documents.ACTIVE_RUN)
    tree.perform(Replace(documents.ACTIVE_RUN, pretty({**(run or {}), "pid": DEAD_PID, "pgid": DEAD_PID})))


def casting(repos: Iterator[str], *, stagger_s: float, seed: int, rerun: bool) -> str:
    """The text of a cast file for `host`."""
    return json.dumps({"repos": list(repos), "stagger_s": stagger_s, "seed": seed, "rerun": rerun})
