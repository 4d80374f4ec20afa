"""What every command has in common: how it is told what to do, what it prints, and how it ends.

Source: message-fragments (streams), loop-core 1. A command succeeds with one document on standard output and nothing on
standard error; one that cannot even begin says usage and `error: ...` on standard error, and nothing else.
"""

import argparse
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, NoReturn

import msgspec

from opsd.model.ids import LoopId, loop_id_fault
from opsd.ports import Files, Processes

FAILED: Final = 1
"""With what a command ends that was asked for something impossible. Source: loop-core 1, "Errors"."""
_HELP_COLUMNS: Final = 100


class CommandError(Exception):
    """The command cannot do what was asked; the message names file, flag or field, its value and the remedy."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Outcome(msgspec.Struct, frozen=True):
    """What goes to standard output, whole, and the process's exit code."""

    stdout: bytes = b""
    exit_code: int = 0


class Outside(msgspec.Struct, frozen=True):
    """What a command needs of the world. `variables` is the environment; `program` how the command was called."""

    variables: Mapping[str, str]
    files: Files
    processes: Processes
    now: Callable[[], datetime]
    monotonic: Callable[[], float]

    def later(self, at: datetime) -> datetime:
        """Wait until it is `at`; what time it is then."""
        while (left_s := (at - self.now()).total_seconds()) > 0:
            threading.Event().wait(left_s)
        return self.now()

    def variable(self, name: str) -> str | None:
        """None where it is unset or empty, which the contract does not tell apart."""
        return self.variables.get(name) or None


Run = Callable[[argparse.Namespace, Outside], Outcome]


class Parser(argparse.ArgumentParser):
    """Flags as the contract has them: spelled out, and a wrong one is exit code 1 with the usage."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(prog=f"ops-manager {name}", description=description, allow_abbrev=False)

    def _get_formatter(self) -> argparse.HelpFormatter:
        # Every argument that is added asks for one, and one that is told no width loads a library to find out.
        return argparse.HelpFormatter(self.prog, width=_HELP_COLUMNS)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise CommandError(message)


def add_loop(parser: Parser) -> None:
    """`--repo` and `--loop`, which almost every command takes."""
    parser.add_argument("--repo", required=True, metavar="PATH", help="the repository that holds `.superloop`")
    parser.add_argument("--loop", required=True, metavar="ID", help="the loop")


def add_pretty(parser: Parser) -> None:
    parser.add_argument("--pretty", action="store_true", help="print indented")


def repo_of(given: argparse.Namespace) -> str:
    """The absolute path of `--repo`; links in it stay what they are. Source: loop-core 1."""
    path: str = os.path.abspath(given.repo)
    if not given.repo or not os.path.isdir(path):
        raise CommandError(f"--repo {given.repo}: there is no such folder; name the repository that holds .superloop")
    return path


def loop_of(given: argparse.Namespace) -> LoopId:
    """`--loop`, if it may name a folder: ids travel into paths."""
    if not given.loop:
        raise CommandError("--loop is required")
    if fault := loop_id_fault(given.loop):
        raise CommandError(
            f"--loop {given.loop!a} cannot name a folder ({fault}): letters, digits, spaces and _@+=,:~%.- are taken, "
            "at most 128, not beginning with a dot or a space"
        )
    return LoopId(given.loop)


def whole_number(flag: str, text: str | int, *, least: int = 0) -> int:
    """`text` as an integer of at least `least`; a zero in front is no octal number, and `08` means 8."""
    told = str(text)
    if told.isascii() and told.isdecimal() and int(told) >= least:
        return int(told)
    what = {0: "a non-negative integer", 1: "an integer of at least 1"}.get(least, f"an integer of at least {least}")
    raise CommandError(f"{flag} must be {what}, not {told!r}")


def one_of(flag: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise CommandError(f"{flag} must be one of {', '.join(allowed)}, not {text!r}")
    return text


def trace_id_of(given: argparse.Namespace, outside: Outside) -> str:
    """`--trace-id`, else OPS_MANAGER_TRACE_ID, else a new one. Source: loop-core 11."""
    told = given.trace_id or outside.variable("OPS_MANAGER_TRACE_ID")
    if told:
        return str(told)
    import uuid

    return str(uuid.uuid4())


def printed(document: msgspec.Struct | msgspec.Raw | bytes | Mapping[str, object], *, pretty: bool) -> bytes:
    """One JSON document and a newline: compact, or indented by two blanks."""
    data = bytes(document) if isinstance(document, msgspec.Raw | bytes) else msgspec.json.encode(document)
    return (msgspec.json.format(data, indent=2) if pretty else data) + b"\n"
