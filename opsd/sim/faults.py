"""How a call of the command may misbehave, and which call does.

Which faults a checkout's calls show stands in its part (`opsd.sim.part`); what a sound call does is `opsd.sim.control`.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from opsd.sim.commandline import Answer, Options
from opsd.sim.part import Part
from opsd.sim.player import wait_until

HANG_S = 600.0
"""Beyond all patience, and yet an end: a call that nobody kills must not stay on the machine for ever."""
FORK_S = 30.0
FLOOD_BYTES = 4 << 20

KINDS = (
    "slow", "hang", "flood", "fork", "fail", "lie", "partial", "other", "late-fail", "late-hang", "deaf",
)  # fmt: skip

# A title and a colour, characters that turn the reading direction, a cleared screen, and bytes that are no UTF-8.
_FOUL = "\x1b]0;owned\x07\x1b[31mred\u202egnp.exe\u2066\x9b2J\x1b[2J\r\b\b".encode() + b"\xff\xfe"


class Fault(NamedTuple):
    """How one call misbehaves.

    slow: waits `seconds` first, then does its work. hang: does nothing and does not return. flood: prints megabytes
    that no terminal should be given, then does its work. fork: does its work, and leaves a process behind that holds
    stdout for `seconds` (0: half a minute). fail: complains (`says`), exit `code`, nothing done. lie: exit 0 and the
    words of success, nothing done. partial: stops half-way (`run`: once the implementer works, exit 1; others: exit
    0). other: `approve` finds that the request has just been replaced by another one. late-fail: does everything, then
    exit `code`. late-hang: does everything, then does not return. deaf: a `run` that ignores SIGTERM, so that `cancel`
    must force it.
    """

    kind: str = ""
    seconds: float = 0.0
    code: int = 1
    says: str = "simulated failure"


def fault_of(part: Part, command: str, nth: int) -> Fault:
    """What the checkout's part says for the `nth` call of `command`, counted from 1; after the list's end, nothing.

    Raises:
        ValueError: a kind that is not known.
    """
    listed = part.faults.get(command, [])
    if nth > len(listed) or not listed[nth - 1]:
        return Fault()
    fault = Fault(**listed[nth - 1])  # type: ignore[arg-type]  # read from JSON; a wrong member fails aloud here
    if fault.kind not in KINDS:
        raise ValueError(f"fault {nth} of {command!r}: no kind {fault.kind!r}; there are {', '.join(KINDS)}")
    return fault


def answer_with(fault: Fault, command: str, options: Options, act: Callable[[], Answer]) -> Answer:
    """What the call answers, where `act` is its work: the faults that need no process of their own."""
    match fault.kind:
        case "fail":
            return Answer(fault.code, err=f"error: {fault.says}")
        case "lie":
            return Answer(0, _boast(command, options))
        case "late-fail":
            return act()._replace(code=fault.code)
    return act()


def _boast(command: str, options: Options) -> str:
    loop_id = options.values.get("--loop", "")
    verdict = "rejected" if "--reject" in options.plain else "approved"
    return {
        "cancel": "Cancelled loop state and stopped active run process.",
        "approve": f"Recorded approval decision ({verdict}) for loop '{loop_id}'.",
    }.get(command, "")


def before(fault: Fault, *, keeper: int | None) -> None:
    """What this process does before its work. Raises `Ending` when its keeper is gone meanwhile."""
    match fault.kind:
        case "slow":
            wait_until(time.monotonic() + fault.seconds, keeper=keeper)
        case "hang":
            hang(keeper)
        case "flood":
            _flood()
        case "fork":
            _leave_behind(fault.seconds or FORK_S)


def hang(keeper: int | None) -> None:
    """Do nothing for a very long time. Raises `Ending` when the keeper is gone meanwhile."""
    wait_until(time.monotonic() + HANG_S, keeper=keeper)


def _flood() -> None:
    lines, size = (_FOUL * 3 + b"\n") * 1_000, 0
    while size < FLOOD_BYTES:
        size += sys.stdout.buffer.write(lines)
    sys.stdout.buffer.write(_FOUL * 20_000 + b"\n")  # and a line that has no end
    sys.stdout.buffer.flush()


def _leave_behind(seconds: float) -> None:
    if os.fork() == 0:
        time.sleep(seconds)
        os._exit(0)
