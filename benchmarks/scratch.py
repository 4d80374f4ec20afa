"""Where the benchmarks write: one folder on disk for the whole run, a part of it for each, all removed at the end.

Nothing is removed earlier: some file systems make new files dearly for minutes after many were removed, and the next
benchmark would pay for it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

ROOT = "/var/tmp"
"""Where the system keeps temporary files on disk; `/tmp` is often memory."""


@contextmanager
def scratch(root: str) -> Iterator[str]:
    """A new folder below `root`, removed with all it holds when the block is left."""
    folder = tempfile.mkdtemp(prefix="opsd-bench-", dir=root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def part(scratch: str, name: str, *, size_bytes: int, files: int) -> str:
    """A new folder `name` in the scratch folder, for so many bytes and files.

    Raises:
        OSError: there is not twice the room asked for.
    """
    room = os.statvfs(scratch)
    free_bytes = room.f_bavail * room.f_frsize
    # File systems without a fixed number of inodes report 0 of 0.
    if free_bytes < 2 * size_bytes or 0 < room.f_favail < 2 * files:
        raise OSError(
            f"{scratch}: {free_bytes / 1e9:.1f} GB and {room.f_favail} files free, twice {size_bytes / 1e9:.1f} GB and "
            f"{files} files wanted; name a roomier folder with --scratch, or run with --quick"
        )
    folder = os.path.join(scratch, name)
    os.mkdir(folder)
    return folder
