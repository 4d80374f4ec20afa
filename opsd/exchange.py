"""Replacing a file by trading places with a spare copy, so that no inode is made or freed for every new version.

On journalling file systems an inode's birth and death cost several times what writing it does. Only `opsd.disk` uses
this; where it does not work, that replaces files by an ordinary rename.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from functools import cached_property

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Exchanger:
    """Swaps two names in one step, if the C library, kernel and file system can."""

    def __init__(self) -> None:
        self._is_to_be_had = True

    @cached_property
    def _exchange(self) -> Callable[[bytes, bytes], int] | None:
        # Found when first wanted: loading ctypes takes a good part of the life of a command that only reads.
        return _find_renameat2()

    def swap(self, spare: str, path: str) -> bool:
        """Let `path` name what `spare` named and the other way round; False where that is not to be had.

        Only regular files trade places: anything else in the way is for an ordinary rename to replace or refuse.
        """
        if not self._is_to_be_had or self._exchange is None or not _is_regular(path):
            return False
        problem = self._exchange(os.fsencode(spare), os.fsencode(path))
        self._is_to_be_had = problem not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
        return problem == 0


def _find_renameat2() -> Callable[[bytes, bytes], int] | None:
    """A function of two paths that answers with the errno, 0 where it did it; None where there is none."""
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

    def exchange(here: bytes, there: bytes) -> int:
        failed: int = function(_AT_FDCWD, here, _AT_FDCWD, there, _RENAME_EXCHANGE)
        return ctypes.get_errno() if failed else 0

    return exchange


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
