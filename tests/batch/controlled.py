"""A checkout whose loop waits for approval, with a command of its own in a few lines of shell.

The command keeps its own ledger, the one witness of what was executed that its caller cannot forge.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.batch.checkout import RUN, Checkout, stamp
from tests.batch.cli import Done, run

_HEAD = """#!/bin/sh
HERE=$(dirname "$0")
echo "$@" >> "$HERE/calls"
APPROVAL=$HERE/.superloop/loops/LOOP/approval.json
decide() {
  NOW=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  sed 's/"status": "pending"/"status": "'$1'", "decision": {"status": "'$1'", "by": "x", "at": "'$NOW'"}/' \\
    "$APPROVAL" > "$APPROVAL.new" && mv "$APPROVAL.new" "$APPROVAL"
}
"""
RUNTIME = """
case "$*" in
  cancel*) rm -f "$HERE/.superloop/state.json" "$HERE/.superloop/active-run.json"; echo cancelled;;
  *--reject*) decide rejected; echo recorded;;
  *)
    grep -q '"pending"' "$APPROVAL" || { echo 'error: nothing is pending' >&2; exit 1; }
    decide approved
    echo recorded;;
esac
"""
"""As the runtime does it, short of its log."""


class Controlled:
    """Everything that was there before the test began is five minutes old."""

    def __init__(self, folder: Path, script: str = RUNTIME) -> None:
        self.folder = folder
        self.checkout = Checkout(folder, datetime.now(UTC) - timedelta(minutes=5))
        self.checkout.state(active=False).summary().event("loop_start").event("approval_requested")
        asked = {"status": "pending", "run_id": RUN, "iteration": 1, "requested_at": stamp(self.checkout.at)}
        self.approval = self.checkout.loop / "approval.json"
        self.approval.write_text(json.dumps(asked))
        self.command = self.written("superloop.sh", script)

    def written(self, name: str, script: str) -> Path:
        """An executable beside the runtime's command."""
        path = self.folder / name
        path.write_text(_HEAD.replace("LOOP", self.checkout.loop_id) + script)
        path.chmod(0o755)
        return path

    def control(self, intent: str, *words: str) -> Done:
        return run("control", *self.checkout.flags, "--intent", intent, *words)

    def rows(self, name: str) -> list[Any]:
        return self.checkout.rows(name)

    @property
    def intents(self) -> list[Any]:
        return self.rows("intents.jsonl")

    @property
    def calls(self) -> list[str]:
        """What the command was called with, each time."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def logged(self) -> list[str]:
        """The statuses in the write-ahead log, in order."""
        return [row["status"] for row in self.rows("intent-log.jsonl")]
