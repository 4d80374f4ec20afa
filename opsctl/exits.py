"""The exit codes of opsctl: what each means, in one table. Scripts rely on them."""

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
    INTERRUPTED = 130
    PIPE_CLOSED = 141


SAYS = {
    Exit.OK: "what was asked for was done or shown",
    Exit.NO: "the answer is no: verify found a difference, there is no such log, the loop is not managed",
    Exit.USAGE: "the command line is wrong, or the daemon refused a parameter",
    Exit.UNKNOWN_LOOP: "no loop of that name is in the fleet",
    Exit.NO_DAEMON: "there is no socket: opsd does not run, or elsewhere",
    Exit.DENIED: "the socket or the daemon does not let this user in",
    Exit.NO_ANSWER: "there is a socket and nobody answers on it",
    Exit.TIMEOUT: "wait: the condition did not come true in time",
    Exit.DAEMON_ERROR: "the daemon could not do it, or broke off in the middle",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
    Exit.PIPE_CLOSED: "the reader of the output went away",
}
