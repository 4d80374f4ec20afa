"""What the runtime's own files tell of a run while it lives: which run it is, and in which stage."""

import json
import os
from typing import Final

_READ_BYTES: Final = 256 * 1024
_DOCUMENT_BYTES_MAX: Final = 64 * 1024


class Trace:
    """Made before the run begins: only what the log gets after that is the run's."""

    def __init__(self, repo: str, loop_id: str) -> None:
        self._loop_id = loop_id
        self._active_run = f"{repo}/.superloop/active-run.json"
        self._events = f"{repo}/.superloop/loops/{loop_id}/events.jsonl"
        self._read_to = _size_bytes(self._events)
        self.run_id: str | None = None
        self.stage: str | None = None

    def look(self) -> bool:
        """Whether there is news. What cannot be read now is left for the next look."""
        before = (self.run_id, self.stage)
        if self.run_id is None:
            self._read_events()
        self.stage = self._said_stage() or self.stage
        return (self.run_id, self.stage) != before

    def _said_stage(self) -> str | None:
        try:
            with open(self._active_run, "rb") as file:
                said = json.loads(file.read(_DOCUMENT_BYTES_MAX))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(said, dict) or said.get("loop_id") != self._loop_id:
            return None
        return _text(said.get("stage"))

    def _read_events(self) -> None:
        if _size_bytes(self._events) < self._read_to:
            self._read_to = 0  # it was truncated or replaced, and all of it is new
        try:
            with open(self._events, "rb") as file:
                file.seek(self._read_to)
                data = file.read(_READ_BYTES)
        except OSError:
            return
        lines, newline, _ = data.rpartition(b"\n")
        # A line longer than all that is read at once is passed over; no `loop_start` is.
        self._read_to += len(lines) + 1 if newline else len(data) if len(data) == _READ_BYTES else 0
        for line in lines.split(b"\n"):
            if b"loop_start" in line and self.run_id is None:
                self.run_id = _run_of(line)


def _run_of(line: bytes) -> str | None:
    """The run of a `loop_start`; None of any other line."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return _text(said.get("run_id")) if isinstance(said, dict) and said.get("event") == "loop_start" else None


def _text(said: object) -> str | None:
    return said if isinstance(said, str) and said else None


def _size_bytes(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
