"""What can go wrong with our own files: errors for the caller, faults and failures as data for the operator.

StoreError       our own files could not be used
├── Corrupt      ... what a file says makes no sense, and no retry will mend it
└── HomeLocked   ... another process writes in this home; trying again later may help
"""

import errno
from enum import StrEnum

import msgspec

from opsd.model.ids import LoopId


class StoreError(Exception):
    """Our own files could not be used; the message names the file and the remedy."""


class Corrupt(StoreError):  # noqa: N818  it names a state of the file, which no verb or suffix would make clearer
    """`where` is the JSON path of the offence, `$` for the whole file; `problem` says what is wrong there."""

    def __init__(self, path: str, where: str, problem: str) -> None:
        super().__init__(f"{path}: {where}: {problem}")
        self.path = path
        self.where = where
        self.problem = problem


class StoreCode(StrEnum):
    CORRUPT = "store_corrupt"
    UNWRITABLE = "store_unwritable"


class StoreFault(msgspec.Struct, frozen=True):
    """Something found wrong that did not stop the work. `set_aside` is where it lies now, if it had to be moved."""

    loop_id: LoopId
    path: str
    code: StoreCode
    problem: str
    set_aside: str | None = None


def errno_name(error: OSError) -> str:
    """`ENOSPC`, to look up and to judge by."""
    return errno.errorcode.get(error.errno or 0, "unknown")


def in_words(error: OSError) -> str:
    """`No space left on device (ENOSPC)`: the system's sentence, and the name to look up."""
    return f"{error.strerror or error} ({errno_name(error)})"
