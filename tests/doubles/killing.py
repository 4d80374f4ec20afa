"""A real SIGKILL at the Nth call that changes something outside: for programs that tests run as a child process.

`sweep` does it for every N, to work in one thread; `doom` to a program with many threads, from a signal on. Which work
is swept, and what must hold afterwards, is the test's own business.
"""

import _posixsubprocess  # the one call by which `subprocess` begins a process
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from opsd.exchange import Exchanger

_CHANGES = (os.open, os.write, os.fsync, os.fdatasync, os.replace, os.unlink, os.ftruncate, os.truncate, os.mkdir)
# This one reaches the kernel by way of the C library, where a profile function sees no call.
_CHANGES_BEYOND = (Exchanger.swap.__code__,)
_MOST_CALLS = 2_000
_BEGINS = (_posixsubprocess.fork_exec, os.posix_spawn, os.kill, os.killpg, signal.pidfd_send_signal)
_BEGINS_OR_CHANGES = (
    *_BEGINS,
    os.write,
    os.fsync,
    os.fdatasync,
    os.replace,
    os.unlink,
    os.ftruncate,
    os.truncate,
    os.mkdir,
)


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


def doom(nth: int, *, torn: bool, told: int, concerns: Callable[[str], bool]) -> None:
    """From SIGUSR2 on this process dies before the `nth` call that begins a process, signals one, or changes a file.

    Whichever thread makes it, of those that begin after this call; of files, those whose path `concerns`. The file
    `told` is written one byte at the signal, and at the end what was about to be done, as a JSON object with `call` and
    `path`. With `torn`, a write that is killed has written half.
    """
    lock, counting, count = threading.Lock(), False, 0

    def arm(number: int, frame: FrameType | None) -> None:
        nonlocal counting
        os.write(told, b"!")
        counting = True

    def watch(frame: FrameType, event: str, called: object) -> None:
        nonlocal count
        if not counting or event != "c_call" or called not in _BEGINS_OR_CHANGES:
            return
        path = _file_of(frame)
        if called not in _BEGINS and (path is None or not concerns(path)):
            return
        with lock:
            count += 1
            if count != nth:
                return
            if torn and called is os.write:
                data = frame.f_locals["data"]
                os.write(frame.f_locals["fd"], data[: len(data) // 2])
            said = {"call": getattr(called, "__name__", ""), "path": None if called in _BEGINS else path}
            os.write(told, json.dumps(said).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGUSR2, arm)
    threading.setprofile(watch)
    sys.setprofile(watch)


def _file_of(frame: FrameType) -> str | None:
    """The file that a call of ours is about, by the names that its caller has for it."""
    if isinstance(fd := frame.f_locals.get("fd"), int):
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            pass  # it is closed by now, and the call is about a path
    path = frame.f_locals.get("path")
    return path if isinstance(path, str) else None
