"""A folder on disk that lives as long as its benchmark: checked for room before, removed afterwards."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

ROOT = "/var/tmp"
"""Where the system keeps temporary files on disk; `/tmp` is often memory."""


@contextmanager
def scratch(root: str, *, size_bytes: int, files: int) -> Iterator[str]:
    """A new folder below `root`, removed with all it holds when the block is left.

    Raises:
        OSError: there is not twice the room asked for.
    """
    room = os.statvfs(root)
    free_bytes = room.f_bavail * room.f_frsize
    # File systems without a fixed number of inodes report 0 of 0.
    if free_bytes < 2 * size_bytes or 0 < room.f_favail < 2 * files:
        raise OSError(
            f"{root}: {free_bytes / 1e9:.1f} GB and {room.f_favail} files free, twice {size_bytes / 1e9:.1f} GB and "
            f"{files} files wanted; name a roomier folder with --scratch, or run with --quick"
        )
    folder = tempfile.mkdtemp(prefix="opsd-bench-", dir=root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
