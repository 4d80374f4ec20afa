"""The slow and obvious reading of an event log, to which a replay must come equal: no batches, no typed records.

It is written from the contract and shares nothing with the product. It knows the events of `benchmarks.eventlog`, which
leaves approvals out.
"""

import json
from typing import Any, NamedTuple


class Reading(NamedTuple):
    """What a whole log says. `ended` are (run id, ending) in order, `last` is (name, time, run id, iteration, role)."""

    lines: int
    last: tuple[str, str, str, int, str | None]
    runs_begun: int
    run_id: str
    first_line: int
    iteration: int
    iterations_ended: int
    max_iterations: int | None
    gates: dict[str, str] | None
    tests_failed_streak: int
    activity: str | None
    role: str | None
    ended: tuple[tuple[str, str], ...]


_STOPS = {
    "max_iterations": "max_iterations",
    "stuck": "stuck",
    "no_progress": "no_progress",
    "lifecycle_gate_failed": "lifecycle_gate_failed",
}
_STEPS = ("role", "checklist", "tests", "tests_rerun", "validation", "prerequisites", "evidence", "lifecycle")
_GATES = ("tests", "validation", "prerequisites", "checklist", "evidence", "lifecycle", "approval")


class _Reader:
    def __init__(self) -> None:
        self.run_id = ""
        self.first_line = 0
        self.runs_begun = 0
        self.ending: str | None = None
        self.ended: list[tuple[str, str]] = []
        self.begin("", 0)

    def begin(self, run_id: str, line: int) -> None:
        if self.run_id and self.ending is None:
            self.ended.append((self.run_id, "lost"))
        self.run_id, self.first_line, self.ending = run_id, line, None
        self.iteration = self.iterations_ended = self.tests_failed_streak = 0
        self.max_iterations: int | None = None
        self.gates: dict[str, str] | None = None
        self.activity: str | None = None
        self.role: str | None = None

    def end(self, ending: str) -> None:
        self.activity = self.role = None
        if self.ending is None:
            self.ending = ending
            self.ended.append((self.run_id, ending))

    def take(self, event: dict[str, Any], line: int) -> None:
        name, data = event["event"], event.get("data") or {}
        if name == "loop_start":
            self.begin(event["run_id"], line)
            self.runs_begun += 1
            self.max_iterations = data["max_iterations"] or None
        # The event that says there will be no further iteration carries the number of that iteration.
        if name != "loop_stop":
            self.iteration = event["iteration"]
        step, _, edge = name.rpartition("_")
        if step in _STEPS and edge == "start":
            self.activity, self.role = name, event.get("role") if step == "role" else None
        elif step in _STEPS and edge == "end":
            self.activity = self.role = None
        match name:
            case "tests_end" if data["status"] == "failed":
                self.tests_failed_streak += 1
            case "tests_end" | "tests_rerun_end" if data["status"] == "ok":
                self.tests_failed_streak = 0
            case "iteration_start":
                self.activity = self.role = None
            case "iteration_end":
                self.iterations_ended += 1
                self.activity = self.role = None
            case "gates_evaluated":
                self.gates = {gate: data[gate] for gate in _GATES if gate in data}
            case "loop_complete":
                self.end("complete")
            case "loop_stop":
                self.end(_STOPS[data["reason"]])
            case "no_progress_stop":
                self.end("no_progress")
            case "role_timeout":
                self.end("role_timeout")
            case "rate_limit_stop":
                self.end("rate_limited")


def read(path: str) -> Reading:
    """Read the whole log. Raises KeyError for what it does not know: it is no judge of broken logs."""
    reader, lines, event = _Reader(), 0, {}
    with open(path, encoding="utf-8") as file:
        for text in file:
            lines += 1
            event = json.loads(text)
            reader.take(event, lines)
    return Reading(
        lines=lines,
        last=(event["event"], event["timestamp"], event["run_id"], event["iteration"], event.get("role")),
        runs_begun=reader.runs_begun,
        run_id=reader.run_id,
        first_line=reader.first_line,
        iteration=reader.iteration,
        iterations_ended=reader.iterations_ended,
        max_iterations=reader.max_iterations,
        gates=reader.gates,
        tests_failed_streak=reader.tests_failed_streak,
        activity=reader.activity,
        role=reader.role,
        ended=tuple(reader.ended),
    )
