"""A real SIGKILL at the Nth call that changes the disk, for every N: for programs that tests run as a child process.

Which work is swept, and what must hold afterwards, is the test's own business.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from types import FrameType

from opsd.exchange import Exchanger

_CHANGES = (os.open, os.write, os.fsync, os.fdatasync, os.replace, os.unlink, os.ftruncate, os.truncate, os.mkdir)
# This one reaches the kernel by way of the C library, where a profile function sees no call.
_CHANGES_BEYOND = (Exchanger.swap.__code__,)
_MOST_CALLS = 2_000


def sweep(folder: str, *, torn: bool, work: Callable[[str], object]) -> None:
    """Do `work` on a copy of `folder/template` at `folder/N`, killed at its Nth call, for N from 1 until it survives.

    Prints one JSON line `{"n": N, "killed": true|false}` each. With `torn`, a write that is killed has written half.
    Every work is done by a fork, so the calling process must have no second thread.
    """
    for n in range(1, _MOST_CALLS):
        place = f"{folder}/{n}"
        shutil.copytree(f"{folder}/template", place)
        child = os.fork()
        if child == 0:
            sys.setprofile(_killer(n, torn))
            work(place)
            sys.setprofile(None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and status != 0:
            sys.exit(f"the work itself broke at N={n}: status {status}")
        print(json.dumps({"n": n, "killed": killed}), flush=True)
        if not killed:
            return
    sys.exit(f"no work survived {_MOST_CALLS} calls")


def _killer(nth: int, torn: bool) -> Callable[[FrameType, str, object], None]:
    """A profile function sees every call into the os module just before it is made, without replacing anything."""
    count = 0

    def watch(frame: FrameType, event: str, called: object) -> None:
        nonlocal count
        if (event == "c_call" and called in _CHANGES) or (event == "call" and frame.f_code in _CHANGES_BEYOND):
            count += 1
            if count == nth:
                if torn and called is os.write:
                    data = frame.f_locals["data"]
                    os.write(frame.f_locals["fd"], data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)

    return watch
