"""Programs that a test writes for itself, and what it asks of processes."""

import os
import time
from collections.abc import Callable
from pathlib import Path

LIMIT_S = 20.0
"""Only a failure takes so long."""


def script(folder: Path, lines: str, *, name: str = "superloop.sh", first: str = "#!/bin/sh") -> str:
    """An executable with this content; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"{first}\n{lines}\n")
    path.chmod(0o755)
    return str(path)


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until it is so; `what` completes the sentence of the failure."""
    deadline_s = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline_s, f"not within {LIMIT_S:g} s: {what}"
        time.sleep(0.01)


def state_of(pid: int) -> str:
    """The kernel's letter for the process; empty where it is gone, zombies included."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if letter in "ZX" else letter


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def number_in(path: Path) -> int:
    """A pid that a script wrote; waits for it."""
    eventually(lambda: path.exists() and path.read_text().strip() != "", f"{path.name} says a pid")
    return int(path.read_text())


def kill_group(pid: int) -> None:
    """The group that the process leads, or led: stopped ones and orphans too."""
    try:
        os.killpg(pid, 9)
    except ProcessLookupError:
        pass


def kill(pid: int, number: int = 9) -> None:
    """A process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
