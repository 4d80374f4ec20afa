"""A checkout with a runtime of the test's own making, and `opsd launch` on it as a real process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.doubles.scripts import eventually, kill, kill_group, script

LOOP = "docs"


class Launched:
    """`opsd launch` of a script with these lines as `superloop.sh`; ended with the block, and its run too."""

    def __init__(
        self, root: Path, lines: str, *flags: str, folder: bool = True, variables: Mapping[str, str] | None = None
    ) -> None:
        self.repo = root / "repo"
        self.log = root / "run.log"
        self.heartbeat = self.repo / ".superloop" / "loops" / LOOP / "heartbeat.v1.json"
        (self.repo / ".superloop").mkdir(parents=True, exist_ok=True)
        (self.repo / ".superloop" / "config.json").write_text(json.dumps({"loops": [{"id": LOOP}]}))
        if folder:
            self.heartbeat.parent.mkdir(parents=True, exist_ok=True)
        self.command = script(root, lines)
        self.argv = [
            sys.executable, "-m", "opsd", "launch", "--repo", str(self.repo), "--loop", LOOP, "--log", str(self.log),
            *flags, "--", self.command, "run", "--repo", str(self.repo), "--loop", LOOP,
        ]  # fmt: skip
        self._variables = {**os.environ, **(variables or {})}

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.argv, env=self._variables, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        beat = self.beat() or {}
        self.process.kill()
        if beat.get("launcher_pid", self.process.pid) != self.process.pid:
            kill(beat["launcher_pid"])
        if "pid" in beat:
            kill_group(beat["pid"])
        self.process.communicate()

    def beat(self) -> dict[str, Any] | None:
        """The beat on file; None where there is none."""
        try:
            said = json.loads(self.heartbeat.read_bytes())
        except FileNotFoundError:
            return None
        assert isinstance(said, dict)
        return said

    def first_beat(self) -> dict[str, Any]:
        eventually(lambda: self.beat() is not None, "it beats")
        return self.beat() or {}

    def last_beat(self) -> dict[str, Any]:
        """The one that tells of the end; waits for it, and for the launcher's."""
        self.process.wait(20)
        beat = self.beat()
        assert beat is not None
        assert beat["status"] == "exited"
        return beat

    def printed(self) -> str:
        return self.log.read_text() if self.log.exists() else ""
