"""The file that a launched runtime prints into: when that was last, and that it does not grow for ever.

The runtime holds the file itself, so that it goes on printing when its launcher is gone.
"""

import os
import stat
from typing import Final

SIZE_BYTES_MAX: Final = 8 * 1024 * 1024
KEPT_BYTES: Final = SIZE_BYTES_MAX // 2
_CUT_MARK: Final = b"[opsd launch: what was printed before was cut off]\n"


class OutputLog:
    """`path` is made if it is not there. `fd` is what the runtime prints to."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            OSError: it cannot be opened.
        """
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # Another opening: the one that appends does so wherever it is told to write.
        self._own = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(self._own)
        self._is_file = stat.S_ISREG(found.st_mode)
        self._size_bytes = found.st_size
        self.last_output_s: float | None = None
        """Wall time of the last thing printed; None before the first."""

    def look(self) -> None:
        """See what was printed since the last look, and cut the file's beginning off once it is over 8 MiB.

        Lines that are printed in the very moment of a cut are lost: there is no other way to cut a file that another
        process writes to, and only who prints by the megabyte is ever cut.
        """
        found = os.fstat(self._own)
        if found.st_size != self._size_bytes:
            self.last_output_s = found.st_mtime
        if self._is_file and found.st_size > SIZE_BYTES_MAX:
            self._cut(found.st_size)
            found = os.fstat(self._own)
        self._size_bytes = found.st_size

    def _cut(self, size_bytes: int) -> None:
        kept = os.pread(self._own, KEPT_BYTES, size_bytes - KEPT_BYTES)
        os.ftruncate(self._own, 0)
        os.pwrite(self._own, _CUT_MARK + kept[kept.find(b"\n") + 1 :], 0)
