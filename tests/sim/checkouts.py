"""A checkout with the simulated command beside it, and ways to call it and to wait for what it does."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opsd.sim.checkout import set_up
from opsd.sim.part import Part
from opsd.sim.player import KEEPER
from opsd.sim.runtime import write_command

QUICK = Part(speed=2000.0, gap_s=0.001, cancel_poll_s=0.02)
"""A run of two iterations in about a third of a second."""

LOOP = "demo-loop"


class Sandbox:
    """One checkout that plays `part`, under `root`."""

    def __init__(self, root: Path, part: Part, *, loop_id: str = LOOP) -> None:
        self.command = write_command(str(root))
        self.repo = root / "repo"
        self.loop_id = loop_id
        self.loops = set_up(str(self.repo), loop_id, part)

    def call(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run one command to its end."""
        full = [self.command, words[0], "--repo", str(self.repo), *words[1:]]
        return subprocess.run(full, capture_output=True, text=True, timeout=20, check=False)

    def start(self, *, own_group: bool = True, loop_id: str | None = None) -> "subprocess.Popen[bytes]":
        """Start `run` of the one loop, or of the one that is named, in the background."""
        full = [self.command, "run", "--repo", str(self.repo), "--loop", loop_id or self.loop_id]
        return subprocess.Popen(
            full,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=own_group,
            env={**os.environ, KEEPER: str(os.getpid())},
        )

    def document(self, path: str) -> dict[str, Any] | None:
        """A JSON file below `.superloop`; None where it is missing or being written."""
        try:
            document = json.loads((self.repo / ".superloop" / path).read_text())
        except (FileNotFoundError, ValueError):
            return None
        assert isinstance(document, dict)
        return document

    def events(self, loop_id: str | None = None) -> list[dict[str, Any]]:
        """All whole lines of a loop's event log."""
        file = self.repo / ".superloop/loops" / (loop_id or self.loop_id) / "events.jsonl"
        text = file.read_text() if file.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def names(self) -> list[str]:
        """The names of all events so far."""
        return [event["event"] for event in self.events()]

    def approval(self) -> dict[str, Any] | None:
        """The loop's `approval.json`."""
        return self.document(f"loops/{self.loop_id}/approval.json")


def eventually(true: Callable[[], bool], what: str, within_s: float = 15.0) -> None:
    """Wait until `true()`; fails naming `what` when it does not come about in time."""
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s, f"never happened within {within_s} s: {what}"
        time.sleep(0.005)
