"""The smallest things a runtime does to its files, and when: what a script is made of.

Scripts (`opsd.sim.script`) yield steps and touch nothing; a tree (`opsd.sim.tree`) carries their operations out; a
player decides whether to wait for a step's time. So one script serves live processes, instant trees and digests.
Named tuples, because dataclasses would cost each of hundreds of processes a third of its start; as tuples of different
classes may be equal, ask for an operation's class and never compare two of them.
"""

from typing import NamedTuple, TypeAlias

Document: TypeAlias = dict[str, object]
"""A JSON object as it goes to disk. Records are the daemon's business; a stand-in writes what the runtime writes."""


class Touch(NamedTuple):
    """Create an empty file unless it is there: what `>>` does a moment before the first line comes."""

    path: str


class Truncate(NamedTuple):
    """Make the file exist with 0 bytes: the first half of every rewrite in place."""

    path: str


class Append(NamedTuple):
    """Add text at the file's end with one write(2)."""

    path: str
    text: str


class Replace(NamedTuple):
    """Write `<path>.tmp` beside the file and rename it: readers see the old text or the new."""

    path: str
    text: str


class Rename(NamedTuple):
    """Move a file away, as a log rotation does. The runtime itself never does this."""

    path: str
    to: str


class Delete(NamedTuple):
    """Remove the file if it is there."""

    path: str


class AddEntry(NamedTuple):
    """Add an entry to `run-summary.json`, which is read, extended and replaced whole, as the runtime does."""

    path: str
    loop_id: str
    entry: Document
    updated_at: str


class Mark(NamedTuple):
    """A named moment of the script; changes nothing on disk."""

    name: str


class Exit(NamedTuple):
    """The run process ends with this code, after saying `says` on stderr (exit code not 0) or stdout."""

    code: int
    says: str = ""


class Die(NamedTuple):
    """The run process is killed outright (SIGKILL): nothing is cleaned up."""


FileOp: TypeAlias = Touch | Truncate | Append | Replace | Rename | Delete | AddEntry
Op: TypeAlias = FileOp | Mark | Exit | Die


class Step(NamedTuple):
    """Do `op` when `at_s` seconds (real ones, the speed is already in them) have passed since the script began."""

    at_s: float
    op: Op
