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
    *(("cancel", kind) for kind in ("fail", "lie", "partial", "late-fail", "slow", "hang", "late-hang", "survives")),
    *(("start", kind) for kind in ("fail", "lie", "unavailable")),
    *(("stop", kind) for kind in ("fail", "lie")),
    *(("continue", kind) for kind in ("fail", "lie")),
    ("any", "missing"),
)
"""What is done (`tests.doubles.controls.Done`), and how a call of it misbehaves."""
_HIDES = ("lie", "partial", "hang", "survives")
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

PLANNED = frozenset(
    [*map(str, (*CRASHES, *ANYWHERE, *DISK_TROUBLES)), *(f"command: {' '.join(each)}" for each in COMMAND_FAULTS)]
)
"""By the names under which the world counts it: whatever was never met, nothing was learnt of."""

FITTING: Mapping[str, tuple[str, ...]] = {
    "approve": ("awaiting",),
    "cancel": ("running", "killed", "paused", "rate-limited", "replaced"),
    "start": ("idle", "decided", "killed"),
    "stop": ("running",),
    "continue": ("paused",),
    "any": ("awaiting", "running"),
}
"""The situations in which something is asked for at all."""
ASKED: Mapping[str, tuple[IntentKind, ...]] = {
    "approve": (IntentKind.APPROVE,),
    "cancel": (IntentKind.CANCEL,),
    "start": (IntentKind.START,),
    "stop": (IntentKind.PAUSE,),
    "continue": (IntentKind.RESUME,),
    "any": (IntentKind.CANCEL, IntentKind.APPROVE, IntentKind.START),
}
"""What is asked for in order to have it done."""
PAIR_SITUATIONS = ("idle", "first running", "second running", "first awaiting", "second killed", "first starting")
"""While the `first starting` is not yet at work, the state still speaks of the second, which was killed before."""
SITUATIONS = (
    "idle", "running", "paused", "awaiting", "decided", "killed", "role-error", "rate-limited", "just killed",
    "replaced",
)  # fmt: skip
"""`just killed` has only logged its start. The number of what was `replaced` belongs to another program by now."""


class Plan(NamedTuple):
    """`situations` are those of the single checkouts, `pair` that of one with two loops.

    The first start of opsd ends by the first of `crashes`, and so on, or in the way that `stops` says, which also says
    what becomes of the disk. `fault` strikes the first call that it can, and later ones by lot. `trouble` comes once,
    at the second start or at any time. `script` is what the first operator asks first, of which loop. `tempo` is how
    many seconds people think before they act.
    """

    situations: tuple[str, ...]
    pair: str | None
    crashes: tuple[Crash | None, ...]
    fault: tuple[str, str] | None
    trouble: Trouble | None
    trouble_at_start: bool
    script: tuple[tuple[str, IntentKind], ...]
    tempo: float
    gap_s: float
    rotating: bool
    modes_often: float
    stops: tuple[str, ...]


def drawn(seed: int) -> Plan:
    dice = Random(f"plan/{seed}")
    crash = CRASHES[seed % len(CRASHES)]
    fault = COMMAND_FAULTS[seed // 2 % len(COMMAND_FAULTS)] if seed % 2 else None
    trouble = DISK_TROUBLES[seed // 2 % len(DISK_TROUBLES)] if seed % 2 == 0 else None
    is_read_trouble = trouble is not None and "read" in trouble.operations
    other = dice.choice((None, dice.choice(CRASHES), dice.choice(ANYWHERE)._replace(nth=dice.randint(1, 120))))
    about_modes = crash.step == "mode" or (trouble is not None and "modes" in trouble.path)
    plan = Plan(
        situations=tuple(dice.choices(SITUATIONS, k=dice.choice((1, 1, 2)))),
        pair=dice.choice(PAIR_SITUATIONS) if dice.random() < 0.4 else None,
        crashes=(crash, other),
        fault=fault,
        trouble=trouble,
        trouble_at_start=dice.random() < (0.8 if is_read_trouble else 0.2),
        script=(),
        tempo=dice.choice((0.2, 1.0, 3.0)),
        gap_s=dice.choice((0.0, 0.0, 0.0, 0.0, 0.02)),
        rotating=dice.random() < 0.2,
        modes_often=0.5 if about_modes else 0.08,
        stops=tuple(dice.choices(("kill", "power", "power with luck", "stop"), (5, 2, 2, 2), k=2)),
    )
    plan = _fitting_fault(_fitting_trouble(plan, dice), dice)
    return _fitting_crash(plan, crash, dice)


def _fitting_trouble(plan: Plan, dice: Random) -> Plan:
    """Something is asked for that comes upon the trouble."""
    if plan.pair == "first starting":
        return plan._replace(script=(("pair-docs", dice.choice((IntentKind.CANCEL, IntentKind.START))),))
    if plan.trouble is None or dice.random() < 0.3:
        return plan
    match plan.trouble.path:
        case "launches":
            return _asking(plan, "idle", IntentKind.START)
        case "approval.json":
            return _asking(plan, "awaiting", IntentKind.APPROVE)
    return _asking(plan, "running", IntentKind.CANCEL)


def _fitting_fault(plan: Plan, dice: Random) -> Plan:
    """The command is called that misbehaves."""
    if plan.fault is None:
        return plan
    if plan.fault == ("start", "lie"):
        # The log ends with the start of a run that is gone, in this very second.
        return _asking(plan, "just killed", IntentKind.START)._replace(crashes=(None, plan.crashes[0]))
    return _asking(plan, dice.choice(FITTING[plan.fault[0]]), *ASKED[plan.fault[0]])


def _fitting_crash(plan: Plan, crash: Crash, dice: Random) -> Plan:
    """The step is come to at which opsd is killed."""
    if crash.moment == "written":
        # What was not flushed is read by the next start, and lost by the one after it.
        plan = plan._replace(stops=("kill", "power"))
    match crash.step:
        case "expired":
            return plan._replace(crashes=(Crash("recorded", "flushed"), crash))
        case "later" | "intents later":
            hiding = [each for each in COMMAND_FAULTS if each[1] in _HIDES and each[0] != "start"]
            return _fitting_fault(plan._replace(fault=dice.choice(hiding), trouble=None), dice)
        case "staged":
            verdict = dice.choice((IntentKind.APPROVE, IntentKind.REJECT))
            plan = _asking(plan, "awaiting", verdict, IntentKind.START)
            return plan._replace(fault=None, trouble=None, crashes=(crash, None))
        case "act" if crash.moment == "between":
            return _asking(plan, *dice.choice((("paused", IntentKind.CANCEL), ("rate-limited", IntentKind.START))))
    return plan


def _asking(plan: Plan, situation: str, *kinds: IntentKind) -> Plan:
    """The first checkout is in this situation, and this is asked of its loop."""
    script = tuple(("alpha", kind) for kind in kinds)
    return plan._replace(situations=(situation, *plan.situations[1:]), script=script)
