"""Replacing a file by trading places with a spare copy, so that no inode is made or freed for every new version.

On journalling file systems an inode's birth and death cost several times what writing it does. Only `opsd.disk` uses
this; where it does not work, that replaces files by an ordinary rename.
"""

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from typing import cast

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Exchanger:
    """Swaps two names in one step, if the C library, kernel and file system can."""

    def __init__(self) -> None:
        self._renameat2 = _find_renameat2()

    def swap(self, spare: str, path: str) -> bool:
        """Let `path` name what `spare` named and the other way round; False where that is not to be had.

        Only regular files trade places: anything else in the way is for an ordinary rename to replace or refuse.
        """
        if self._renameat2 is None or not _is_regular(path):
            return False
        here, there = os.fsencode(spare), os.fsencode(path)
        if self._renameat2(_AT_FDCWD, here, _AT_FDCWD, there, _RENAME_EXCHANGE) == 0:
            return True
        if ctypes.get_errno() in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            self._renameat2 = None
        return False


def _find_renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return cast(Callable[[int, bytes, int, bytes, int], int], function)


def claim(spare: str) -> int | None:
    """A descriptor to write over an old copy with, or None where there is none that nobody else has open.

    A reader may still hold the version that was current before the last one. The kernel grants a write lease only on
    a file that nobody else has open, which is just what must be known.
    """
    try:
        fd = os.open(spare, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            return fd
    except OSError:
        pass  # somebody reads it, or the file system knows no leases: it is left to them
    os.close(fd)
    return None


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
