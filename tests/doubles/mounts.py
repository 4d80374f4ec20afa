"""Small file systems of their own, where this user may make them: for disks that are really full or read-only."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(mount: Path, size_kib: int = 80) -> Iterator[Path]:
    """A tmpfs at the folder `mount`, which is made; skips the test where mounting is not allowed."""
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "none", str(mount)],
        capture_output=True,
        timeout=10,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"cannot mount a small tmpfs here: {made.stderr.decode().strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], timeout=10, check=True)


def make_read_only(mount: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], timeout=10, check=True)


def make_writable(mount: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", str(mount)], timeout=10, check=True)
