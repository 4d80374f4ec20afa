"""(d) A pass that finds one new event, over a very long log and over a short one: the length must not matter.

The two are measured in turns, pass by pass, so that whatever else the machine does befalls both alike.
"""

import os
import statistics
import time
from datetime import UTC, datetime
from typing import NamedTuple

from benchmarks.cases.case import Outcome, Plan
from benchmarks.eventlog import Written, write_log
from benchmarks.figures import figure, percentile
from benchmarks.moves import Life
from benchmarks.pipeline import Pipeline
from benchmarks.runtime import append
from benchmarks.scratch import part
from opsd.sim.tree import compact

LOOP = "followed"


class _Side(NamedTuple):
    repo: str
    log: Written
    warm_ms: list[float]
    cold_ms: list[float]


def measure(plan: Plan) -> Outcome:
    """Figures of passes with everything in memory (warm), and of first passes after a restart (cold)."""
    long_bytes, rounds = (20_000_000, 50) if plan.quick else (1_000_000_000, 400)
    folder = part(plan.scratch, "increment", size_bytes=long_bytes + 2_000_000, files=200)
    long, short = (_side(os.path.join(folder, name), size) for name, size in (("l", long_bytes), ("s", 1_000_000)))
    following = {side.repo: _caught_up(side) for side in (long, short)}
    for _ in range(rounds):
        for side in (long, short):
            side.warm_ms.append(_timed_pass(side, following[side.repo]))
    for _ in range(rounds // 4):
        for side in (long, short):
            side.cold_ms.append(_timed_pass(side, None))
    if os.stat(long.log.path).st_blocks * 512 < long_bytes:
        raise RuntimeError(f"{long.log.path} is sparse: the figure would mean nothing")

    warm, cold = _median_ratio(long.warm_ms, short.warm_ms), _median_ratio(long.cold_ms, short.cold_ms)
    sized = f"{long.log.size_bytes / 1e6:,.0f} MB"
    return Outcome(
        (
            figure("d", f"pass with one new event, log of {sized}", statistics.median(long.warm_ms), "ms"),
            figure("d", "the same, log of 1 MB", statistics.median(short.warm_ms), "ms"),
            figure("d", "ratio of the two", warm, "x", at_most=1.25),
            figure("d", "ratio for the first pass after a restart", cold, "x", at_most=1.25),
        ),
        {
            "passesEach": float(rounds),
            "longP99Ms": percentile(long.warm_ms, 0.99),
            "shortP99Ms": percentile(short.warm_ms, 0.99),
            "longColdMs": statistics.median(long.cold_ms),
            "shortColdMs": statistics.median(short.cold_ms),
            "longLines": float(long.log.lines),
        },
    )


def _side(repo: str, size_bytes: int) -> _Side:
    """A checkout whose run is alive, with a log that goes back further than that run."""
    Life(repo, LOOP, "steady", pid=os.getpid(), start_s=time.time()).lay_down("iteration-1")
    return _Side(repo, write_log(repo, LOOP, size_bytes=size_bytes), [], [])


def _caught_up(side: _Side) -> Pipeline:
    pipeline = Pipeline(side.repo, LOOP)
    taken = pipeline.catch_up()
    if taken != side.log.lines:
        raise RuntimeError(f"{side.log.path}: {side.log.lines} events written, {taken} taken")
    return pipeline


def _timed_pass(side: _Side, pipeline: Pipeline | None) -> float:
    """Milliseconds of one pass, commit included, that takes exactly one new event; cold without a pipeline."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "timestamp": stamp, "event": "iteration_start", "loop_id": LOOP, "run_id": side.log.run_id, "iteration": 3,
        "data": {"started_at": stamp},
    }  # fmt: skip
    append(side.log.path, compact(event).encode())
    begin_s = time.perf_counter()
    taken = (pipeline or Pipeline(side.repo, LOOP)).one_pass().events_ingested
    took_ms = (time.perf_counter() - begin_s) * 1e3
    if taken != 1:
        raise RuntimeError(f"{side.log.path}: one event appended, {taken} taken")
    return took_ms


def _median_ratio(long: list[float], short: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(long, short, strict=True))
