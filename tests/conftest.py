"""What many tests need: a folder whose path leaves room for a socket below it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary folder with a path so short that the kernel takes a socket's name below it (107 bytes in all)."""
    with tempfile.TemporaryDirectory(prefix="opsd-") as folder:
        yield Path(folder)
