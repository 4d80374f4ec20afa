"""Run as a program: what a desk writes of intents, killed at its 1st, 2nd, ... call that changes the disk.

Arguments: scenario, whether a write is torn in half before the kill, folder. What it leaves there and prints is said
in `tests.doubles.killing`.
"""

import os
import sys
from collections.abc import Mapping

from opsd.disk import Disk
from opsd.model.effects import Journal
from opsd.model.intent import Intent, IntentKind, IntentStatus
from opsd.store.journal import RETENTION, Retention
from opsd.store.layout import Layout
from opsd.store.store import Store
from tests.doubles.killing import sweep
from tests.store.examples import LOOP, NOW
from tests.store.intents import WORKED, an_intent, commits_of, life_of

SMALL: Mapping[Journal, Retention] = {journal: Retention(2_500, kept=30) for journal in Journal}
"""Every third step or so, the log is rotated; no row is ever let go."""

_AMBIGUOUS = life_of(an_intent(2), *WORKED, IntentStatus.AMBIGUOUS, IntentStatus.ACKNOWLEDGED)
STORY: tuple[Intent, ...] = (
    *life_of(an_intent(1, kind=IntentKind.PAUSE), *WORKED, IntentStatus.CONFIRMED),
    *_AMBIGUOUS[:-1],
    *life_of(an_intent(3), IntentStatus.REFUSED)[1:],
    *life_of(an_intent(4, kind=IntentKind.APPROVE), *WORKED, IntentStatus.CONFIRMED),
    _AMBIGUOUS[-1],
    *life_of(an_intent(5, kind=IntentKind.START), IntentStatus.EXECUTING, IntentStatus.FAILED_COMMAND),
)
"""Every step that was ever taken, in order."""

# Scenario -> how many steps are on the disk already, and how large journals may grow.
SCENARIOS: Mapping[str, tuple[int, Mapping[Journal, Retention]]] = {
    "the-first-intents-of-a-home": (0, RETENTION),
    "one-is-settled-later": (11, RETENTION),
    "every-journal-is-rotated": (6, SMALL),
}
STEPS_SWEPT = 6


def write(home: str, retention: Mapping[Journal, Retention], steps: slice) -> None:
    store = Store(Layout(home), Disk(), retention)
    for commit in commits_of(STORY)[steps]:
        assert store.commit([commit], NOW).failures == ()


def main(scenario: str, torn: bool, folder: str) -> None:
    begin, retention = SCENARIOS[scenario]
    template = f"{folder}/template"
    os.makedirs(template)
    write(template, retention, slice(0, begin))
    steps = slice(begin, begin + STEPS_SWEPT)

    def work(home: str) -> None:
        store = Store(Layout(home), Disk(), retention)
        store.load([LOOP], NOW)
        store.mend_intents(LOOP, NOW)
        for commit in commits_of(STORY)[steps]:
            store.commit([commit], NOW)

    sweep(folder, torn=torn, work=work)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "torn", sys.argv[3])
