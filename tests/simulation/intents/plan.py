"""What is drawn for one history before it begins: how things stand, what misbehaves, when opsd is killed.

Everything that can be planned has its turn, so that some hundred histories meet all of it; the rest is drawn by lot.
"""

import errno
from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from opsd.model.intent import IntentKind
from tests.simulation.intents.disk import ANY, ON_DISK, Crash
from tests.simulation.intents.hands import AROUND_ACTS

CRASHES = (*ON_DISK, *AROUND_ACTS)
ANYWHERE = tuple(Crash(ANY, moment) for moment in ("before", "torn"))
"""At whichever write is drawn by lot."""

COMMAND_FAULTS: tuple[tuple[str, str], ...] = (
    *(("approve", kind) for kind in ("fail", "lie", "partial", "late-fail", "slow", "hang", "late-hang", "other")),
    *(("cancel", kind) for kind in ("fail", "lie", "partial", "late-fail", "slow", "hang", "late-hang")),
    *(("start", kind) for kind in ("fail", "lie", "unavailable")),
    *(("stop", kind) for kind in ("fail", "lie")),
    *(("continue", kind) for kind in ("fail", "lie")),
    ("any", "missing"),
)
"""What is done (`tests.doubles.controls.Done`), and how a call of it misbehaves."""
_HIDES = ("lie", "partial", "hang")
"""Whatever misbehaves so leaves an intent ambiguous."""


class Trouble(NamedTuple):
    """`operations` on our own files whose path contains `path` are refused for a while."""

    operations: tuple[str, ...]
    error: int
    path: str

    def __str__(self) -> str:
        return f"disk: {'+'.join(self.operations)} {errno.errorcode[self.error]} {self.path or 'anywhere'}"


DISK_TROUBLES = (
    Trouble(("append",), errno.ENOSPC, "intent-log.jsonl"),
    Trouble(("append",), errno.EIO, "intent-log.jsonl"),
    Trouble(("sync",), errno.EIO, "intent-log.jsonl"),
    Trouble(("sync", "truncate"), errno.EIO, "intent-log.jsonl"),
    Trouble(("read",), errno.EIO, "intent-log.jsonl"),
    Trouble(("append",), errno.ENOSPC, "intents.jsonl"),
    Trouble(("sync",), errno.EIO, "intents.jsonl"),
    Trouble(("append",), errno.ENOSPC, "control.jsonl"),
    Trouble(("sync",), errno.EIO, "control.jsonl"),
    Trouble(("append",), errno.ENOSPC, "control-invocations.jsonl"),
    Trouble(("sync",), errno.EIO, "control-invocations.jsonl"),
    Trouble(("append",), errno.ENOSPC, "modes.jsonl"),
    Trouble(("append", "replace"), errno.ENOSPC, ""),
    Trouble(("replace",), errno.EIO, ""),
    Trouble(("make_dirs",), errno.EACCES, "launches"),
    Trouble(("read",), errno.EIO, "intents.jsonl"),
    Trouble(("read",), errno.EIO, "control.jsonl"),
    Trouble(("read",), errno.EIO, "control-invocations.jsonl"),
    Trouble(("read",), errno.EIO, "modes.jsonl"),
    Trouble(("read",), errno.EIO, "approval.json"),
    Trouble(("read",), errno.EIO, "active-run.json"),
)

FITTING: Mapping[str, tuple[str, ...]] = {
    "approve": ("awaiting",),
    "cancel": ("running", "killed", "paused", "rate-limited"),
    "start": ("idle", "decided", "killed"),
    "stop": ("running",),
    "continue": ("paused",),
    "any": ("awaiting", "running"),
}
"""The situations in which something is asked for at all."""
PAIR_SITUATIONS = ("idle", "first running", "second running", "first awaiting", "second killed")
SITUATIONS = ("idle", "running", "awaiting", "decided", "killed", "role-error", "rate-limited", "paused", "just killed")


class Plan(NamedTuple):
    """`situations` are those of the single checkouts, `pair` that of one with two loops.

    The first start of opsd ends by the first of `crashes`, and so on, or in the way that `stops` says, which also says
    what becomes of the disk. `fault` strikes the first call that it can, and later ones by lot. `trouble` comes once,
    at the second start or at any time. `script` is what the first operator asks for first. `tempo` is how many seconds
    people think before they act.
    """

    situations: tuple[str, ...]
    pair: str | None
    crashes: tuple[Crash | None, ...]
    fault: tuple[str, str] | None
    trouble: Trouble | None
    trouble_at_start: bool
    script: tuple[IntentKind, ...]
    tempo: float
    gap_s: float
    rotating: bool
    modes_often: float
    stops: tuple[str, ...]


def drawn(seed: int) -> Plan:
    dice = Random(f"plan/{seed}")
    crash = CRASHES[seed % len(CRASHES)]
    fault = COMMAND_FAULTS[seed // 2 % len(COMMAND_FAULTS)] if seed % 2 else None
    trouble = DISK_TROUBLES[seed // 3 % len(DISK_TROUBLES)] if seed % 3 == 0 else None
    situation = dice.choice(SITUATIONS)
    other = dice.choice((None, dice.choice(CRASHES), dice.choice(ANYWHERE)._replace(nth=dice.randint(1, 120))))
    crashes: tuple[Crash | None, ...] = (crash, other)
    script: tuple[IntentKind, ...] = ()
    if fault is not None:
        situation = dice.choice(FITTING[fault[0]])
    match crash.step:
        case "expired":
            crashes = (Crash("recorded", "flushed"), crash)
        case "later" | "intents later":
            fault = dice.choice([each for each in COMMAND_FAULTS if each[1] in _HIDES and each[0] != "start"])
            situation = dice.choice(FITTING[fault[0]])
        case "staged":
            fault, situation, crashes = None, "awaiting", (None, crash)
            script = (dice.choice((IntentKind.APPROVE, IntentKind.REJECT)), IntentKind.START)
        case "act" if crash.moment == "between":
            situation, kind = dice.choice((("paused", IntentKind.CANCEL), ("rate-limited", IntentKind.START)))
            script = (kind,)
    return Plan(
        situations=(situation, *dice.choices(SITUATIONS, k=dice.choice((0, 0, 1)))),
        pair=dice.choice(PAIR_SITUATIONS) if dice.random() < 0.4 else None,
        crashes=crashes,
        fault=fault,
        trouble=trouble,
        trouble_at_start=dice.random() < (0.8 if trouble is not None and "read" in trouble.operations else 0.3),
        script=script,
        tempo=dice.choice((0.2, 1.0, 3.0)),
        gap_s=dice.choice((0.0, 0.0, 0.0, 0.0, 0.02)),
        rotating=dice.random() < 0.2,
        modes_often=0.5 if crash.step == "mode" or (trouble is not None and "modes" in trouble.path) else 0.08,
        stops=tuple(dice.choices(("kill", "power", "power with luck", "stop"), (5, 2, 2, 2), k=4)),
    )
