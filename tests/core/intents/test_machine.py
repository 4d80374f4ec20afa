"""Intents in any order, on a checkout where anything may happen, by an opsd that may die at any step.

Whatever comes: nothing is carried out twice or after a restart, no neighbour is reached, statuses go along the table,
and what is called confirmed has truly happened after the intent was carried out.
"""

import random
from collections import Counter
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from opsd.model.intent import IntentKind
from tests.core.intents.checkouts import WAYS, Checkout
from tests.core.intents.desks import Desk

Happening = Callable[[Checkout], bool | None]
HAPPENINGS: tuple[Happening, ...] = (
    Checkout.starts_by_hand,
    Checkout.role_starts,
    Checkout.asks_for_approval,
    Checkout.decides_by_hand,
    Checkout.takes_up,
    Checkout.starts_by_hand,
    Checkout.is_paused,
    Checkout.dies,
    Checkout.neighbour_begins,
    Checkout.starts_by_hand,
    Checkout.completes,
    Checkout.goes_on,
    Checkout.neighbour_dies,
    Checkout.gets_stuck,
    Checkout.role_fails,
    Checkout.asks_for_approval,
    Checkout.rate_limited,
    Checkout.is_cancelled,
)
"""What may happen beside intents: from a place that is drawn, the first that makes sense."""

BEGINNINGS: dict[str, tuple[Happening, ...]] = {
    "never run": (),
    "runs": (Checkout.starts_by_hand,),
    "asks": (Checkout.starts_by_hand, Checkout.asks_for_approval),
    "paused": (Checkout.starts_by_hand, Checkout.is_paused),
    "left over": (Checkout.starts_by_hand, Checkout.dies),
    "completed": (Checkout.starts_by_hand, Checkout.completes),
    "beside a neighbour": (Checkout.neighbour_begins,),
}
PAUSES_S = (0.3, 1.0, 12.0)
KEYS = (None, None, "k1", "k2")
NOTES = ("", "", "so")


def begun(beginning: str) -> Desk:
    desk = Desk()
    for happening in BEGINNINGS[beginning]:
        happen(desk, HAPPENINGS.index(happening), 1.3)
    return desk


def happen(desk: Desk, first: int, after_s: float) -> None:
    desk.checkout.clock_s += after_s
    for happening in (*HAPPENINGS[first:], *HAPPENINGS[:first]):
        if happening(desk.checkout) is not False:
            desk.done[happening.__name__] += 1
            return


class Life(RuleBasedStateMachine):
    desk: Desk

    @initialize(beginning=st.sampled_from([*BEGINNINGS]))
    def begin(self, beginning: str) -> None:
        self.desk = begun(beginning)

    @rule(first=st.integers(0, len(HAPPENINGS) - 1), after_s=st.sampled_from(PAUSES_S))
    def something_happens(self, first: int, after_s: float) -> None:
        happen(self.desk, first, after_s)

    @rule(
        which=st.integers(0, len(IntentKind) - 1),
        fits=st.sampled_from([True, True, True, False]),
        key=st.sampled_from(KEYS),
        note=st.sampled_from(NOTES),
        ways=st.lists(st.sampled_from(("works", *WAYS)), max_size=3),
    )
    def something_is_asked(self, which: int, fits: bool, key: str | None, note: str, ways: list[str]) -> None:
        self.desk.is_asked(which, fits=fits, key=key, note=note)
        for way in ways:
            self.desk.takes_a_step(way)

    @rule(way=st.sampled_from(("works", *WAYS)))
    def it_goes_on(self, way: str) -> None:
        self.desk.takes_a_step(way)

    @rule(closes=st.booleans())
    def evidence_is_looked_for(self, closes: bool) -> None:
        self.desk.looks(closes=closes)

    @rule()
    def somebody_settles_it(self) -> None:
        self.desk.is_settled_by_somebody()

    @rule()
    def opsd_dies(self) -> None:
        self.desk.restarts()

    @invariant()
    def what_must_hold_holds(self) -> None:
        self.desk.check()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def lived(seed: int) -> Desk:
    """Eighty steps, all of a kind equally likely, so that the rare ones are taken too."""
    dice = random.Random(seed)
    desk = begun(dice.choice([*BEGINNINGS]))
    for _ in range(80):
        match dice.choice(("happens", "asked", "asked", "step", "step", "step", "looks", "looks", "settled", "dies")):
            case "happens":
                happen(desk, dice.randrange(len(HAPPENINGS)), dice.choice(PAUSES_S))
            case "asked":
                fits = dice.random() < 0.8
                desk.is_asked(
                    dice.randrange(len(IntentKind)), fits=fits, key=dice.choice(KEYS), note=dice.choice(NOTES)
                )
            case "step":
                desk.takes_a_step(dice.choice(WAYS))
            case "looks":
                desk.looks(closes=dice.random() < 0.3)
            case "settled":
                desk.is_settled_by_somebody()
            case "dies":
                desk.restarts()
        desk.check()
    return desk


def test_whatever_comes_what_is_told_is_true() -> None:
    """Of all that can happen everything did; what was never tried would be proven of nothing."""
    done: Counter[str] = Counter()
    for seed in range(300):
        done += lived(seed).done

    acted = {f"{kind} {way}" for kind in IntentKind for way in WAYS}
    proven = {f"{kind} confirmed from {before}" for kind in IntentKind for before in ("executed", "executing")}
    wanted = {one.__name__ for one in HAPPENINGS} | acted | proven
    wanted |= {
        "approve ambiguous from executed",
        "approve completed",
        "approve consumed",
        "cancel confirmed from ambiguous",
        "confirmed by another's hand",
        "reject consumed",
        "start failed_command from executed",
        "acknowledged",
        "conflict",
        "expired by a restart",
        "refused",
        "refused at the last moment",
        "replayed",
    }
    assert wanted - set(done) == set()
