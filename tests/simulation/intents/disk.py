"""The disk as one start of opsd is given it: every step of an intent's life on it has a name, and may be the last.

What is refused, and what a power cut leaves, is `tests.simulation.machine`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from opsd.ports import FileStat
from tests.simulation.machine import Killed, Machine

LOG_STEPS = ("recorded", "executing", "executed", "settled", "later", "staged", "refused", "expired")
ROW_STEPS = ("intents", "intents later", "control", "invocations", "invocations refused", "mode")
MOMENTS = ("before", "torn", "written", "flushed")
"""Before its bytes are there, when half of them are, when all are and none is flushed, when they are there for good."""
ANY = "any write"
_NEVER_EXECUTED = ("refused", "expired")
_ALL_BYTES = 1 << 40


class Crash(NamedTuple):
    """opsd is killed when it comes to `step` the `nth` time."""

    step: str
    moment: str
    nth: int = 1

    def __str__(self) -> str:
        return f"killed: {self.step} {self.moment}"


ON_DISK = tuple(
    Crash(step, moment)
    for step in (*LOG_STEPS, *ROW_STEPS)
    for moment in MOMENTS
    if (step, moment) != ("mode", "written")  # written and flushed in one call
)


class Front:
    """`opsd.ports.Files` of one process. Once it is dead, it cannot so much as look at a file.

    `died` is called when the crash has come; `steps` counts how often each step was come to.
    """

    def __init__(self, machine: Machine, crash: Crash | None, died: Callable[[], None]) -> None:
        self.alive = True
        self.steps: Counter[str] = Counter()
        self._machine, self._crash, self._died = machine, crash, died
        self._unflushed: dict[str, set[str]] = {}

    def check(self) -> None:
        """Raises Killed if the process is."""
        if not self.alive:
            raise Killed

    def die(self) -> None:
        """Raises Killed: it is."""
        self.alive = False
        self._died()
        raise Killed

    def stat(self, path: str) -> FileStat | None:
        self.check()
        return self._machine.stat(path)

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        self.check()
        return self._machine.read(path, offset, size_bytes)

    def scan(self, path: str) -> list[tuple[str, str]]:
        self.check()
        return self._machine.scan(path)

    def real(self, path: str) -> str:
        self.check()
        return self._machine.real(path)

    def make_dirs(self, path: str) -> None:
        self.check()
        self._machine.make_dirs(path)

    def append(self, path: str, data: bytes, *, sync: bool) -> int:
        self.check()
        steps = {ANY, *self._steps_of(path, data)}
        self.steps.update(steps)
        moment = self._moment(steps)
        if moment == "before":
            self.die()
        if moment == "torn":
            self._machine.append(path, data[: len(data) // 2], sync=False)
            self.die()
        size_bytes = self._machine.append(path, data, sync=sync)
        if moment == "written":
            self.die()
        self._unflushed.setdefault(path, set()).update(steps)
        if sync:
            self._has_flushed(path)
        return size_bytes

    def replace(self, path: str, data: bytes, *, sync: bool) -> None:
        self.check()
        self.steps[ANY] += 1
        if self._moment({ANY}):
            self.die()
        self._machine.replace(path, data, sync=sync)

    def sync(self, path: str) -> None:
        self.check()
        self._machine.sync(path)
        self._has_flushed(path)

    def truncate(self, path: str, size_bytes: int) -> None:
        self.check()
        self._machine.truncate(path, size_bytes)
        self._unflushed.pop(path, None)

    def rename(self, path: str, to: str) -> None:
        self.check()
        self._machine.rename(path, to)

    def remove(self, path: str) -> None:
        self.check()
        self._machine.remove(path)

    def _has_flushed(self, path: str) -> None:
        if self._moment(self._unflushed.pop(path, set())) == "flushed":
            self.die()

    def _moment(self, steps: set[str]) -> str | None:
        """That of the crash, if one of these steps is its."""
        crash = self._crash
        if crash is None or crash.step not in steps or self.steps[crash.step] < crash.nth:
            return None
        return crash.moment

    def _steps_of(self, path: str, data: bytes) -> Iterator[str]:
        for line in filter(None, data.split(b"\n")):
            match path.rpartition("/")[2]:
                case "intent-log.jsonl":
                    yield _step_of(json.loads(line))
                case "intents.jsonl":
                    yield "intents later" if self._is_told(path, json.loads(line)["intentId"]) else "intents"
                case "control.jsonl":
                    yield "control"
                case "control-invocations.jsonl":
                    refused = json.loads(line)["outcome"]["status"] in _NEVER_EXECUTED
                    yield "invocations refused" if refused else "invocations"
                case "modes.jsonl":
                    yield "mode"

    def _is_told(self, path: str, intent_id: str) -> bool:
        if self._machine.own.stat(path) is None:
            return False
        return intent_id.encode() in self._machine.own.read(path, 0, _ALL_BYTES)[1]


def _step_of(row: dict[str, Any]) -> str:
    """What the row of the log says, apart from how an intent settled."""
    status = str(row["status"])
    if status in LOG_STEPS:
        return status
    if row.get("stage", "recorded") != "recorded":
        return "staged"
    return "later" if status == "acknowledged" or "resolvedAt" in row else "settled"
