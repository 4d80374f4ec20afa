"""What the runtime leaves behind, as little of it as a test needs, and a disk that counts what is asked of it."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from opsd.disk import Disk
from opsd.model.cursor import Cursor
from opsd.model.ids import LoopId
from opsd.model.observation import ProcessSighting, Seen
from opsd.model.run import LoopRef
from opsd.ports import FileStat
from opsd.transports.tail import TailBatch

LOOP = LoopId("demo-loop")
RUN = "2026-11-21T01:38:44Z"


def real_now() -> datetime:
    return datetime.now(UTC)


def event(name: str = "role_start", *, second: int = 0, **members: object) -> bytes:
    """One line of an event log, newline included. `second` counts from the start of the run."""
    minutes, seconds = divmod(second, 60)
    line = {
        "timestamp": f"2026-11-21T02:{minutes:02}:{seconds:02}Z",
        "event": name,
        "loop_id": LOOP,
        "run_id": RUN,
        "iteration": 1,
    }
    return json.dumps(line | members, separators=(",", ":")).encode() + b"\n"


class Checkout:
    """A checkout under `root`, written to the way the runtime does it."""

    def __init__(self, root: Path, loop_id: str = LOOP) -> None:
        self.ref = LoopRef(LoopId(loop_id), str(root))
        self.runtime = root / ".superloop"
        self.folder = self.runtime / "loops" / loop_id
        self.folder.mkdir(parents=True)
        self.log = self.folder / "events.jsonl"

    def append(self, data: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(data)

    def write(self, name: str, document: object) -> Path:
        """A small file, beside the log or in `.superloop/` if it is the checkout's; `bytes` are written as they are."""
        shared = name in ("state.json", "active-run.json", "config.json")
        path = (self.runtime if shared else self.folder) / name
        path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        return path

    def runs(self, *, iteration: int = 1, pid: int = 20031) -> None:
        """State and active run say that this loop is at work."""
        loop_id = self.ref.loop_id
        self.write("state.json", {"active": True, "iteration": iteration, "current_loop_id": loop_id})
        self.write("active-run.json", {"pid": pid, "pgid": pid, "loop_id": loop_id, "updated_at": RUN})


def cursor_after(batch: TailBatch | Seen) -> Cursor:
    return Cursor(
        repo_path="/srv/app",
        loop_id=LOOP,
        events_file="events.jsonl",
        event_line_offset=batch.line_offset,
        event_line_count=batch.line_offset,
        updated_at=real_now(),
        stream=batch.stream,
    )


def aged(path: Path, seconds: float = 10.0) -> None:
    """As if last written `seconds` ago: old enough for an unchanged stat to prove an unchanged file."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


class CountingDisk(Disk):
    """The real disk, and how often and how much it was read."""

    def __init__(self) -> None:
        self.stats = 0
        self.reads: list[tuple[str, int]] = []

    def stat(self, path: str) -> FileStat | None:
        self.stats += 1
        return super().stat(path)

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        found, data = super().read(path, offset, size_bytes)
        self.reads.append((os.path.basename(path), len(data)))
        return found, data

    @property
    def bytes_read(self) -> int:
        return sum(size for _, size in self.reads)


class Table:
    """A process table that says of each pid what it is told, and remembers what it was asked."""

    def __init__(self, sightings: dict[int, ProcessSighting] | None = None) -> None:
        self.sightings = sightings or {}
        self.asked: list[tuple[int, datetime | None]] = []

    def sighting(self, pid: int, begun_by: datetime | None) -> ProcessSighting:
        self.asked.append((pid, begun_by))
        return self.sightings.get(pid, ProcessSighting.ABSENT)

    def family(self, pid: int, pgid: int | None) -> Sequence[ProcessSighting]:
        found = self.sightings.get(pid)
        return [] if found in (None, ProcessSighting.ABSENT) else [found]
