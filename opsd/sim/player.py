"""Plays a script's steps in real time against a real checkout, as the one run of one process.

Many scripts in one process are played by `opsd.sim.host`; the end of a signalled run is in `opsd.sim.runtime`.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator

from opsd.sim.documents import ACTIVE_RUN
from opsd.sim.steps import Delete, Die, Exit, Mark, Step
from opsd.sim.tree import Tree

KEEPER = "SUPERLOOP_SIM_KEEPER"
"""Environment variable with the pid of whose play this is; the run ends when that process is gone.

Not named as opsd's own are, which it keeps from what it starts: a run that it starts has the same keeper.
"""

LOOK_UP_S = 1.0


class Ending(Exception):  # noqa: N818 -- the way out of a wait, not an error
    """The run must end now with this exit code: a signal came, or its keeper is gone."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def keeper_of(environment: dict[str, str]) -> int | None:
    """The keeper's pid, if there is one."""
    said = environment.get(KEEPER, "")
    return int(said) if said.isdigit() else None


def end_on_signals() -> None:
    """Turn SIGTERM, SIGINT and SIGHUP into `Ending`, with the exit codes of a shell script."""

    def end(number: int, _: object) -> None:
        raise Ending(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)


def wait_until(due_s: float, *, keeper: int | None) -> None:
    """Sleep until `time.monotonic()` says `due_s`. Raises Ending(143) when the keeper goes meanwhile."""
    while (left_s := due_s - time.monotonic()) > 0:
        time.sleep(min(left_s, LOOK_UP_S) if keeper is not None else left_s)
        if keeper is not None and not alive(keeper):
            raise Ending(143)


def alive(pid: int) -> bool:
    """Whether a process of this pid exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return False


def play(steps: Iterator[Step], tree: Tree, *, keeper: int | None, until: str = "") -> int:
    """Carry the steps out, each at its time from now; returns the exit code. With `until`, ends at that mark with 1.

    Whatever ends the run short of SIGKILL takes `active-run.json` with it, as the runtime's exit trap does; a run that
    was refused never wrote the file and leaves another's alone.
    """
    begin_s, entered = time.monotonic(), False
    try:
        for step in steps:
            wait_until(begin_s + step.at_s, keeper=keeper)
            match step.op:
                case Exit(code, says):
                    if says:
                        print(says, file=sys.stderr if code else sys.stdout, flush=True)
                    return code
                case Die():
                    os.kill(os.getpid(), signal.SIGKILL)
                case Mark(name):
                    if until and name == until:
                        raise Ending(1)
                case op:
                    entered = entered or op.path == ACTIVE_RUN
                    tree.perform(op)
    except Ending as ending:
        if entered:
            tree.perform(Delete(ACTIVE_RUN))
        return ending.code
    return 0
