"""What a log says, read the slow and plain way: the standard library's JSON, the whole file, one line after the other.

Nothing of opsd is used, so that what opsd holds in memory can be compared with it.
"""

import json
from functools import lru_cache
from typing import Any, NamedTuple


class Reading(NamedTuple):
    """`lines` counts whole lines of any kind, `size_bytes` up to and with the last newline."""

    lines: int
    size_bytes: int
    events: int
    bad: int
    last_line: int
    last_name: str | None
    last_timestamp: str | None
    runs_begun: int
    run_id: str | None
    iterations_ended: int


def read(log: bytes, line_bytes_max: int) -> Reading:
    """Every whole line of `log`; what follows its last newline is not there yet."""
    size_bytes = log.rfind(b"\n") + 1
    lines = log[:size_bytes].split(b"\n")[:-1]
    events = bad = last_line = runs_begun = iterations_ended = 0
    last_name = last_timestamp = run_id = asked = taken_up = None
    for number, raw in enumerate(lines, start=1):
        if not raw.strip(b" \t\r"):
            continue
        event = _event(raw) if len(raw) <= line_bytes_max else None
        if event is None:
            bad += 1
            continue
        events += 1
        last_line, (last_name, last_timestamp, its_run) = number, event
        if last_name == "loop_start" or run_id is None or _begins(event, run_id, {run_id, asked, taken_up}):
            runs_begun, run_id, iterations_ended, taken_up = runs_begun + 1, its_run or "unknown", 0, None
        if last_name == "approval_requested":
            asked = its_run
        elif last_name in ("loop_complete", "approval_consumed", "approval_rejected"):
            asked = None
            taken_up = its_run if last_name == "approval_consumed" else taken_up
        elif last_name == "iteration_end" and its_run in (run_id, None):
            iterations_ended += 1
    return Reading(
        len(lines), size_bytes, events, bad, last_line, last_name, last_timestamp, runs_begun, run_id, iterations_ended
    )


def _begins(event: tuple[str, str, str | None], run_id: str, known: set[str | None]) -> bool:
    """Whether the first line that is left of a run, whose beginning was cut away, tells of a newer one."""
    name, _, its_run = event
    if its_run is None or its_run in known or name.startswith("approval_"):
        return False
    return run_id == "unknown" or its_run > run_id


@lru_cache(1 << 16)
def _event(raw: bytes) -> tuple[str, str, str | None] | None:
    """(name, timestamp, run id) of an event, None for a line that is none."""
    try:
        found: Any = json.loads(raw.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    name = _text(found.get("event")) or _text(found.get("type"))
    timestamp = _text(found.get("timestamp"))
    return (name, timestamp, _text(found.get("run_id"))) if name and timestamp else None


def _text(value: object) -> str | None:
    if value is None or value is False or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value)
