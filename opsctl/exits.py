"""The exit codes of opsctl: what each means, in one table. Scripts rely on them."""

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    NO = 1
    USAGE = 2
    UNKNOWN_LOOP = 3
    NO_DAEMON = 4
    DENIED = 5
    NO_ANSWER = 6
    TIMEOUT = 7
    DAEMON_ERROR = 8
    REFUSED = 10
    FAILED = 11
    AMBIGUOUS = 12
    INTERRUPTED = 130
    PIPE_CLOSED = 141


SAYS = {
    Exit.OK: "what was asked for was done or shown",
    Exit.NO: "the answer is no: verify found a difference, there is no such log or intent, a run did not complete, "
    "the loop is not managed, or nobody said yes",
    Exit.USAGE: "the command line is wrong, or the daemon refused a parameter",
    Exit.UNKNOWN_LOOP: "no loop of that name is in the fleet",
    Exit.NO_DAEMON: "there is no socket: opsd does not run, or elsewhere",
    Exit.DENIED: "the socket or the daemon does not let this user in",
    Exit.NO_ANSWER: "there is a socket and nobody answers on it",
    Exit.TIMEOUT: "the time to wait ran out; what was asked for goes on",
    Exit.DAEMON_ERROR: "the daemon could not do it, or broke off in the middle",
    Exit.REFUSED: "the intent was refused or has expired: nothing was done",
    Exit.FAILED: "the intent's command failed",
    Exit.AMBIGUOUS: "the intent was carried out, and nothing proves its effect: look before repeating it",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
    Exit.PIPE_CLOSED: "the reader of the output went away",
}

WORST_FIRST = (
    Exit.AMBIGUOUS,
    Exit.FAILED,
    Exit.DAEMON_ERROR,
    Exit.NO_ANSWER,
    Exit.NO_DAEMON,
    Exit.TIMEOUT,
    Exit.DENIED,
    Exit.UNKNOWN_LOOP,
    Exit.USAGE,
    Exit.REFUSED,
    Exit.NO,
)
"""Which code is given where several loops end differently: first what somebody has to look after."""


def worst(exits: Iterable[Exit]) -> Exit:
    """The first of `WORST_FIRST` that is among them; OK where none is."""
    given = set(exits)
    return next((each for each in WORST_FIRST if each in given), Exit.OK)
