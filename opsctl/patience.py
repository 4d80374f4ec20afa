"""Asking again while the daemon restarts: for requests whose position lies in a file, so that nothing is lost by it."""

from collections.abc import Callable

from opsctl.clock import pause
from opsctl.errors import OpsctlError
from opsctl.feed import is_passing, pauses

# How long the daemon holds an answer back while there is nothing to tell.
WAIT_S = 25


def patiently(ask: Callable[[], bytes], note: Callable[[str], None]) -> bytes:
    """The answer of `ask`, however long the daemon is away; what does not pass by itself is raised."""
    interrupted = False
    for wait_s in pauses():
        try:
            answer = ask()
        except OpsctlError as error:
            if not is_passing(error):
                raise
            if not interrupted:
                note(f"{error.message}; trying again until it answers")
            interrupted = True
            pause(wait_s)
        else:
            if interrupted:
                note("opsd answers again")
            return answer
    raise AssertionError("pauses never end")
