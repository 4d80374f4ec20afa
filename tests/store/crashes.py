"""Run as a program: one commit, killed at its 1st, 2nd, ... call that changes the disk, until one commit survives.

Arguments: scenario, whether a write is torn in half before the kill, folder. What it leaves there and prints is said
in `tests.doubles.killing`.
"""

import os
import sys
from collections.abc import Mapping

from opsd.disk import Disk
from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.store.journal import RETENTION, Retention
from opsd.store.layout import Layout
from opsd.store.store import Store
from tests.doubles.killing import sweep
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
    sweep(
        folder,
        torn=torn,
        work=lambda home: Store(Layout(home), Disk(), retention).commit([pass_(number, loop) for loop in LOOPS], NOW),
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "torn", sys.argv[3])
