"""The sim's own record of every call of its command, `.sim-commands.jsonl`.

What opsd says it executed is one thing; tests count executions here. Source of the idea: a command's own log is the
only witness that its caller cannot forge. Faults that a call shows are `opsd.sim.faults`.
"""

import json
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from opsd.sim.part import COMMANDS_FILE


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


def place(repo: str | os.PathLike[str], command: str) -> int:
    """Which call of `command` this process is, counted from 1: calls side by side are different ones."""
    called = [call.pid for call in calls(repo, command) if call.phase == "called"]
    return len(called) - called[::-1].index(os.getpid())


def now(phase: str, command: str, args: Sequence[str], exit_code: int | None = None) -> Call:
    """A call's line for this process at this moment."""
    return Call(phase, command, tuple(args), os.getpid(), time.time(), exit_code)
