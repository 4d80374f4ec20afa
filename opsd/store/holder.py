"""Who holds a home: what its lock file says, and whether that is still true. Taking the lock is `lock`.

Whoever asks takes and delays nothing, and loads next to nothing: this is asked by every command that only reads.
"""

import os

import msgspec

from opsd.model.runtime import Aware
from opsd.processes import has_flock

_CONTENT_BYTES_MAX = 4096


class Holder(msgspec.Struct, frozen=True, rename="camel"):
    """The content of `.lock`. `socket_path` is None for a one-shot command: nobody answers for it."""

    pid: int
    started_at: Aware
    socket_path: str | None = None


def read_holder(path: str) -> Holder | None:
    """Who the file says holds the lock; whether anyone does is another question."""
    return _read(path)[0]


def live_holder(path: str, *, proc: str = "/proc") -> Holder | None:
    """Who holds the lock; None where nobody does, or the holder has not yet said who it is.

    Where the kernel does not tell of locks the holder's word counts for as long as its process is there.
    """
    holder, device, inode = _read(path)
    if holder is None:
        return None
    held = has_flock(holder.pid, device, inode, proc=proc)
    return holder if held or (held is None and os.path.exists(f"{proc}/{holder.pid}")) else None


def _read(path: str) -> tuple[Holder | None, int, int]:
    """The content, and the device and inode of the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None, 0, 0
    try:
        found = os.fstat(fd)
        holder = msgspec.json.decode(os.pread(fd, _CONTENT_BYTES_MAX, 0), type=Holder)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError):
        return None, 0, 0
    finally:
        os.close(fd)
    return holder, found.st_dev, found.st_ino
