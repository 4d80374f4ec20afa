"""Recorded runs, played again in real files: the timelines of `tests/core/timelines`, with their times moved to now.

What was written is written in the recorded order, in place and empty first as the runtime does it. Long pauses are cut
short; timestamps go along, so that what was apart stays in order. A stand-in process lives where the run's lived.
"""

import bisect
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opsd.core.instants import parse
from tests.core.story import FOLDER
from tests.doubles.process import LIMIT_S

PAUSE_MAX_S = 0.12
_LOOK_S = 0.05
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_OF_THE_CHECKOUT = ("state.json", "active-run.json")


class Recording:
    """One timeline, and the checkout in which it is played. After a kill it goes on once `found_dead` says so."""

    found_dead: Callable[[], bool] = staticmethod(lambda: True)

    def __init__(self, name: str, repo: Path, *, loop_id: str) -> None:
        lines = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_bytes().splitlines()]
        start = parse(lines[0]["start"])
        assert start is not None
        self.repo = repo
        self.loop_id = loop_id
        self._recorded_id = str(next(line["config"]["id"] for line in lines if "config" in line))
        self._lines = lines[1:]
        self._recorded_s = [start.timestamp() + line["t"] for line in self._lines]
        self._played_s = [0.0]
        for before_s, at_s in zip(self._recorded_s, self._recorded_s[1:], strict=False):
            self._played_s.append(self._played_s[-1] + min(at_s - before_s, PAUSE_MAX_S))
        self._start_s = 0.0
        self._entries: list[object] = []
        self._run: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """The checkout before its first run: a config and nothing else."""
        config = next(line["config"] for line in self._lines if "config" in line)
        self._write(".superloop/config.json", {"version": 1, "loops": [config]})

    def play(self) -> Generator[float, None, None]:
        """Yields the monotonic time at which it wants to go on."""
        first_s = begin_s = time.monotonic()
        self._start_s = time.time()
        try:
            for line, at_s in zip(self._lines, self._played_s, strict=True):
                yield begin_s + at_s
                self._tell(line)
                while line.get("note", "").startswith("kill") and not self.found_dead():
                    begin_s, self._start_s = begin_s + _LOOK_S, self._start_s + _LOOK_S
                    assert begin_s < first_s + LIMIT_S, "the death is not noticed"
                    yield begin_s + at_s
        finally:
            self._end_run()

    def _tell(self, line: dict[str, Any]) -> None:
        folder = ".superloop" if line.get("put", line.get("delete")) in _OF_THE_CHECKOUT else self._folder
        if line.get("note", "").startswith("kill"):
            self._end_run()
        elif "events" in line:
            path = self._path(f"{self._folder}/events.jsonl")
            with path.open("a") as log:
                log.writelines(self._moved(json.dumps(event)) + "\n" for event in line["events"])
        elif "put" in line:
            self._put(line["put"], folder, line.get("value"))
        elif "delete" in line:
            self._path(f"{folder}/{line['delete']}").unlink()
            if line["delete"] == "active-run.json":
                self._end_run()

    def _put(self, name: str, folder: str, value: dict[str, Any] | None) -> None:
        if value is not None and name == "active-run.json":
            if self._run is None:
                self._run = subprocess.Popen(["sleep", str(10 * LIMIT_S)], stdin=subprocess.DEVNULL)
            value = value | {"pid": self._run.pid, "pgid": os.getpgid(self._run.pid), "repo": str(self.repo)}
        if value is not None and name == "run-summary.json":
            self._entries.append(value["latest"])
            value = {"version": 1, "loop_id": self.loop_id, "updated_at": value["updated_at"], "entries": self._entries}
        self._write(f"{folder}/{name}", value)

    def _end_run(self) -> None:
        if self._run is not None:
            self._run.kill()
            self._run.wait(LIMIT_S)
            self._run = None

    @property
    def _folder(self) -> str:
        return f".superloop/loops/{self.loop_id}"

    def _path(self, name: str) -> Path:
        path = self.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _write(self, name: str, value: object) -> None:
        self._path(name).write_text("" if value is None else self._moved(json.dumps(value)))

    def _moved(self, text: str) -> str:
        """Recorded text with the timestamps and the loop id of this play."""
        return _STAMP.sub(lambda found: self._now(found.group()), text.replace(self._recorded_id, self.loop_id))

    def _now(self, stamp: str) -> str:
        recorded = parse(stamp)
        assert recorded is not None
        at_s = recorded.timestamp()
        after = max(1, bisect.bisect_right(self._recorded_s, at_s))
        into_s = min(max(0.0, at_s - self._recorded_s[after - 1]), PAUSE_MAX_S)
        return datetime.fromtimestamp(self._start_s + self._played_s[after - 1] + into_s, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )


def play_together(recordings: list[Recording]) -> None:
    """All of them at once, each in its own time."""
    plays = [recording.play() for recording in recordings]
    due = {play: next(play) for play in plays}
    try:
        while due:
            play = min(due, key=lambda one: due[one])
            time.sleep(max(0.0, due[play] - time.monotonic()))
            wanted_s = next(play, None)
            if wanted_s is None:
                del due[play]
            else:
                due[play] = wanted_s
    finally:
        for play in plays:
            play.close()
