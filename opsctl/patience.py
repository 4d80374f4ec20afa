"""Asking again while the daemon restarts: for requests whose answer lies in files, so that nothing is lost by it."""

from collections.abc import Callable

from opsctl.clock import monotonic_s, pause
from opsctl.errors import OpsctlError
from opsctl.feed import is_passing, pauses

# How long the daemon holds an answer back while there is nothing to tell.
WAIT_S = 25


def patiently(ask: Callable[[], bytes], note: Callable[[str], None], *, deadline_s: float | None = None) -> bytes:
    """The answer of `ask`, however long the daemon is away; what does not pass by itself is raised.

    Past `deadline_s` (monotonic) the trouble is raised as well: then the daemon was away for too long.
    """
    interrupted = False
    for wait_s in pauses():
        try:
            answer = ask()
        except OpsctlError as error:
            left_s = wait_s if deadline_s is None else deadline_s - monotonic_s()
            if not is_passing(error) or left_s <= 0:
                raise
            if not interrupted:
                note(f"{error.message}; trying again until it answers")
            interrupted = True
            pause(min(wait_s, left_s))
        else:
            if interrupted:
                note("opsd answers again")
            return answer
    raise AssertionError("pauses never end")
