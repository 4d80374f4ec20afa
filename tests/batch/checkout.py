"""A checkout written file by file, as the contract describes them, and what a manager made of it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

LOOP = "checkout-flow"
RUN = "20200101T000000Z"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOBODY = 4_194_303
"""A process number that the kernel hardly gives away."""


def stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


class Checkout:
    """A repository with one loop. What is written is dated `at`, by default 2020."""

    def __init__(self, folder: Path, at: datetime = LONG_AGO, loop_id: str = LOOP) -> None:
        self.folder, self.at, self.loop_id = folder, at, loop_id
        self.runtime = folder / ".superloop"
        self.loop = self.runtime / "loops" / loop_id
        self.loop.mkdir(parents=True)
        self.log = self.loop / "events.jsonl"
        self.ours = self.runtime / "ops-manager" / loop_id
        self._lines = 0

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--repo", str(self.folder), "--loop", self.loop_id)

    # What the runtime writes

    def event(self, name: str, **members: object) -> "Checkout":
        self._lines += 1
        event = {
            "timestamp": stamp(self.at + timedelta(seconds=self._lines)),
            "event": name,
            "loop_id": self.loop_id,
            "run_id": RUN,
            "iteration": 1,
            "data": {},
            **members,
        }
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, separators=(",", ":")) + "\n")
        return self

    def state(self, **members: object) -> "Checkout":
        usual = {"active": True, "loop_index": 0, "iteration": 1, "current_loop_id": self.loop_id}
        return self._write(self.runtime / "state.json", {**usual, "updated_at": stamp(self.at), **members})

    def active_run(self, pid: int = NOBODY) -> "Checkout":
        named = {"repo": str(self.folder), "pid": pid, "pgid": pid, "loop_id": self.loop_id, "iteration": 1}
        return self._write(
            self.runtime / "active-run.json", {**named, "stage": "implementer", "updated_at": stamp(self.at)}
        )

    def summary(self, *, completion_ok: bool = False, **members: object) -> "Checkout":
        entry = {
            "run_id": RUN,
            "iteration": 1,
            "started_at": stamp(self.at),
            "ended_at": stamp(self.at + timedelta(seconds=1)),
            "gates": {"tests": "ok", "lifecycle": "ok"},
            "stuck": {"streak": 0, "threshold": 3},
            "completion_ok": completion_ok,
            **members,
        }
        document = {"version": 1, "loop_id": self.loop_id, "updated_at": stamp(self.at), "entries": [entry]}
        return self._write(self.loop / "run-summary.json", document)

    def beat(self, at: datetime | str) -> "Checkout":
        told = at if isinstance(at, str) else stamp(at)
        beat = {"schemaVersion": "v1", "timestamp": told, "source": "runtime", "status": "running", "stage": "x"}
        return self._write(self.loop / "heartbeat.v1.json", beat)

    def running(self) -> "Checkout":
        """A run under way by all its files; its process is not on this host."""
        self.state().active_run().summary()
        return self.event("loop_start").event("iteration_start").event("role_start", role="implementer")

    # What the manager wrote

    def document(self, name: str) -> Any:
        return json.loads((self.ours / name).read_text(encoding="utf-8"))

    def rows(self, name: str) -> list[Any]:
        path = self.ours / name
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def categories(self) -> list[str]:
        return [row["category"] for row in self.rows("escalations.jsonl")]

    def _write(self, path: Path, document: object) -> "Checkout":
        path.write_text(json.dumps(document), encoding="utf-8")
        return self
