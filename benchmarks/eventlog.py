"""Event logs as long as asked for: run after run of the simulator's scenarios, no two lines alike.

Each run's lines are told once by the simulator and then written again and again under a new run id and new times.
"""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from opsd.sim.documents import folder
from opsd.sim.part import Part
from opsd.sim.story import DEAD_PID, Stage, tell
from opsd.sim.tree import MemoryTree

# How a loop's runs go over the months; the last of them is at work.
_RUNS = (
    "complete", "steady", "stuck", "tests-failing", "steady", "recovery", "role-timeout", "max-iterations",
    "rate-limited", "steady", "no-progress", "lifecycle-failed", "killed",
)  # fmt: skip
_STEADY_ITERATIONS = 12
_EVENT_EVERY_S = 11
_STAMP_AT = len('{"timestamp":"')
_STAMP_BYTES = len("2026-11-21T01:38:44Z")
_GATHER_LINES = 4096


class Told(NamedTuple):
    """The lines of one run, with the run id they were told under."""

    run_id: bytes
    lines: Sequence[bytes]


class Written(NamedTuple):
    """A log as it was written; `run_id` is its last run's."""

    path: str
    lines: int
    size_bytes: int
    run_id: str


def write_log(repo: str, loop_id: str, *, lines: int = 0, size_bytes: int = 0) -> Written:
    """Write the loop's `events.jsonl` until it has at least `lines` lines and `size_bytes` bytes.

    The events are some seconds apart and the last one is of now, so a long log goes back for months. Every byte is
    written out: no part of the file is sparse.
    """
    path = os.path.join(repo, folder(loop_id), "events.jsonl")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    runs = [_told(repo, loop_id, scenario) for scenario in _RUNS]
    count = lines or _lines_of(size_bytes, runs)
    at_s = int(time.time()) - count * _EVENT_EVERY_S
    written, total_bytes = 0, 0
    with open(path, "wb") as file:
        batch: list[bytes] = []
        for line, run_id in _lines(runs, at_s):
            batch.append(line)
            total_bytes += len(line)
            written += 1
            if len(batch) == _GATHER_LINES:
                file.write(b"".join(batch))
                batch.clear()
            if written >= count and total_bytes >= size_bytes:
                file.write(b"".join(batch))
                return Written(path, written, total_bytes, run_id)
    raise AssertionError("the lines have no end")


def _told(repo: str, loop_id: str, scenario: str) -> Told:
    tree = MemoryTree()
    until = f"iteration-{_STEADY_ITERATIONS}" if scenario == "steady" else "killed" if scenario == "killed" else None
    tell(Part(scenario=scenario, gap_s=0.0), tree, Stage(repo, loop_id, DEAD_PID), start_s=0.0, until=until)
    lines = tree.files[f"{folder(loop_id)}/events.jsonl"].encode().splitlines(keepends=True)
    mark = b'"run_id":"'
    start = lines[0].index(mark) + len(mark)
    return Told(lines[0][start : start + _STAMP_BYTES], lines)


def _lines_of(size_bytes: int, runs: Sequence[Told]) -> int:
    each = [len(line) for run in runs for line in run.lines]
    return int(size_bytes * len(each) / sum(each))


def _lines(runs: Sequence[Told], at_s: int) -> Iterator[tuple[bytes, str]]:
    """(line, run id) without end, from `at_s` seconds since 1970 on."""
    lap = 0
    while True:
        run = runs[lap % len(runs)]
        run_id = _stamp(at_s)
        for line in run.lines:
            fresh = line[:_STAMP_AT] + _stamp(at_s) + line[_STAMP_AT + _STAMP_BYTES :].replace(run.run_id, run_id)
            yield fresh, run_id.decode()
            at_s += _EVENT_EVERY_S
        lap += 1


def _stamp(at_s: int) -> bytes:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
