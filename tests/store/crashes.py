"""Run as a program: one commit, killed at its 1st, 2nd, ... call that changes the disk, until one commit survives.

Arguments: scenario, whether a write is torn in half before the kill, folder. For each N it leaves a home in `folder/N`
and prints one JSON line `{"n": N, "killed": true|false}`. The process forks, so it must have no second thread.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType

from opsd.disk import Disk
from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.store.journal import RETENTION, Retention
from opsd.store.layout import Layout
from opsd.store.store import Store
from tests.store.examples import NOW, pass_

LOOPS = (LoopId("first"), LoopId("second"))
SMALL: Mapping[Journal, Retention] = {journal: Retention(1_000, kept=2) for journal in Journal}

# Scenario -> which pass the commit under test is, and how large journals may grow.
SCENARIOS: Mapping[str, tuple[int, Mapping[Journal, Retention]]] = {
    "first-commit-in-an-empty-home": (1, RETENTION),
    "one-more-commit": (3, RETENTION),
    "every-journal-is-rotated": (4, SMALL),
    "a-torn-tail-is-cut-off-first": (3, RETENTION),
}

_CHANGES = (os.open, os.write, os.fsync, os.fdatasync, os.replace, os.unlink, os.ftruncate, os.truncate, os.mkdir)


def main(scenario: str, torn: bool, folder: str) -> None:
    number, retention = SCENARIOS[scenario]
    template = f"{folder}/template"
    os.makedirs(template)
    store = Store(Layout(template), Disk(), retention)
    for earlier in range(1, number):
        store.commit([pass_(earlier, loop_id) for loop_id in LOOPS], NOW)
    if scenario == "a-torn-tail-is-cut-off-first":
        for journal in (Journal.ESCALATIONS, Journal.RECONCILE):
            Disk().append(Layout(template).journal(LOOPS[0], journal), b'{"timestamp":"2026-11', sync=True)
    for n in range(1, 1_000):
        home = f"{folder}/{n}"
        shutil.copytree(template, home)
        child = os.fork()
        if child == 0:
            sys.setprofile(_killer(n, torn))
            Store(Layout(home), Disk(), retention).commit([pass_(number, loop_id) for loop_id in LOOPS], NOW)
            sys.setprofile(None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and status != 0:
            sys.exit(f"the commit itself broke at N={n}: status {status}")
        print(json.dumps({"n": n, "killed": killed}), flush=True)
        if not killed:
            return
    sys.exit("no commit survived")


def _killer(nth: int, torn: bool) -> Callable[[FrameType, str, object], None]:
    """A profile function sees every call into the os module just before it is made, without replacing anything."""
    count = 0

    def watch(frame: FrameType, event: str, called: object) -> None:
        nonlocal count
        if event == "c_call" and called in _CHANGES:
            count += 1
            if count == nth:
                if torn and called is os.write:
                    data = frame.f_locals["data"]
                    os.write(frame.f_locals["fd"], data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)

    return watch


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "torn", sys.argv[3])
