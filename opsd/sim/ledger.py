"""The sim's own record of every call of its command, `.sim-commands.jsonl`, and the faults a call is to show.

What opsd says it executed is one thing; tests count executions here. Source of the idea: a command's own log is the
only witness that its caller cannot forge.
"""

import json
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from opsd.sim.part import COMMANDS_FILE, Part


class Call(NamedTuple):
    """One line: `phase` is `called`, then `ended` with the exit code; a killed call never ends."""

    phase: str
    command: str
    args: tuple[str, ...]
    pid: int
    at_s: float
    exit: int | None = None


def record(repo: str, call: Call) -> None:
    """Append a call's line with one write(2), so that calls side by side never mix."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    file = os.open(os.path.join(repo, COMMANDS_FILE), flags, 0o644)
    try:
        os.write(file, (json.dumps(call._asdict()) + "\n").encode())
    finally:
        os.close(file)


def calls(repo: str | os.PathLike[str], command: str | None = None) -> list[Call]:
    """Everything recorded for the checkout at `repo`, oldest first; only `command`'s where one is named."""
    try:
        with open(os.path.join(repo, COMMANDS_FILE), encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
    except FileNotFoundError:
        return []
    told = [Call(**{**line, "args": tuple(line["args"])}) for line in lines]
    return [call for call in told if command in (None, call.command)]


def executions(repo: str | os.PathLike[str], command: str) -> int:
    """How often `command` was called in the checkout at `repo`, however it went."""
    return sum(call.phase == "called" for call in calls(repo, command))


def now(phase: str, command: str, args: Sequence[str], exit_code: int | None = None) -> Call:
    """A call's line for this process at this moment."""
    return Call(phase, command, tuple(args), os.getpid(), time.time(), exit_code)


class Fault(NamedTuple):
    """How one call misbehaves.

    slow: waits `seconds` first, then does its work. fail: exit `code`, nothing done. lie: exit 0 and the words of
    success, nothing done. partial: stops half-way (`run`: once the implementer works, exit 1; others: exit 0).
    late-fail: does everything, then exit `code`. deaf: a `run` that ignores SIGTERM, so that `cancel` must force it.
    """

    kind: str = ""
    seconds: float = 0.0
    code: int = 1


KINDS = ("slow", "fail", "lie", "partial", "late-fail", "deaf")


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
