"""(c) Replay of a long event log, from ingest to commit, beside the bare decoding of the same file.

Each is done several times, one after the other in turns, because the machine is never equally quiet twice.
"""

import os
import shutil
import statistics
import time

import msgspec

from benchmarks.cases.case import Outcome, Plan
from benchmarks.eventlog import write_log
from benchmarks.figures import figure
from benchmarks.pipeline import Pipeline
from benchmarks.reference import Reading, read
from benchmarks.scratch import part
from opsd.model.run import Run
from opsd.model.runtime import EventLine

TURNS = 3
_PIECE_BYTES = 4 * 1024 * 1024


def measure(plan: Plan) -> Outcome:
    """Figures of the replay; that it equals the reference's reading is checked, not measured."""
    lines = 50_000 if plan.quick else 1_000_000
    repo = part(plan.scratch, "replay", size_bytes=lines * 450, files=100)
    log = write_log(repo, "replayed", lines=lines)
    turns = []
    for turn in range(TURNS):
        bare_s = decode_bare(log.path, msgspec.json.Decoder())
        typed_s = decode_bare(log.path, msgspec.json.Decoder(EventLine))
        shutil.rmtree(os.path.join(repo, ".superloop/ops-manager"), ignore_errors=True)
        begin_s = time.perf_counter()
        pipeline = Pipeline(repo, "replayed")
        taken = pipeline.catch_up()
        turns.append((bare_s, typed_s, time.perf_counter() - begin_s))
        if turn == 0:
            check(pipeline, read(log.path), taken)

    size_mb = log.size_bytes / 1e6
    bare_s, typed_s, replay_s = (statistics.median(column) for column in zip(*turns, strict=True))
    ratio = statistics.median(bare_s / replay_s for bare_s, _, replay_s in turns)
    typed_ratio = statistics.median(typed_s / replay_s for _, typed_s, replay_s in turns)
    sized = f"{log.lines:,} events, {size_mb:,.0f} MB"
    return Outcome(
        (
            figure("c", f"replay of {sized}", size_mb / replay_s, "MB/s"),
            figure("c", "the same, as a share of bare decoding to objects", 100 * ratio, "%", at_least=50),
            figure("c", "the same, as a share of bare decoding to our records", 100 * typed_ratio, "%"),
        ),
        {
            "events": log.lines,
            "sizeMb": size_mb,
            "replaySeconds": replay_s,
            "bareSeconds": bare_s,
            "bareTypedSeconds": typed_s,
            "eventsPerSecond": log.lines / replay_s,
        },
    )


def decode_bare(path: str, decoder: "msgspec.json.Decoder[object]") -> float:
    """Seconds for reading the file and decoding every line of it, and nothing else."""
    decode, rest = decoder.decode, b""
    begin_s = time.perf_counter()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                decode(line)
    return time.perf_counter() - begin_s


def check(pipeline: Pipeline, wanted: Reading, taken: int) -> None:
    """Whether the replay, in memory and on disk, says what the reference read.

    Raises:
        RuntimeError: it does not; the first difference is named.
    """
    cursor = pipeline.run.cursor
    if cursor is None or cursor.stream is None:
        raise RuntimeError("the replay left no cursor")
    said = reading(pipeline.run, pipeline.ended_runs())
    size_bytes = os.path.getsize(os.path.join(pipeline.layout.home, cursor.events_file))
    restored = Pipeline(pipeline.layout.home, pipeline.loop_id).run
    expected = {
        "lines consumed": (cursor.event_line_offset, wanted.lines),
        "bytes consumed": (cursor.stream.byte_offset, size_bytes),
        "events taken": (taken, wanted.lines),
        "the fold read back from disk": (restored.fold, pipeline.run.fold),
        **{name: (getattr(said, name, None), value) for name, value in wanted._asdict().items()},
    }
    for what, (found, should) in expected.items():
        if found != should:
            raise RuntimeError(f"the replay differs from the reference in {what}: {found!s:.300}, not {should!s:.300}")


def reading(run: Run, ended: tuple[tuple[str, str], ...]) -> Reading | None:
    """The run's fold in the reference's words; None for one that never saw an event."""
    fold, facts, last = run.fold, run.fold.run, run.fold.last
    if facts is None or last is None:
        return None
    return Reading(
        lines=fold.line,
        last=(last.name, last.timestamp, last.run_id or "", last.iteration, last.role),
        runs_begun=fold.runs_begun,
        run_id=facts.run_id,
        first_line=facts.first_line,
        iteration=facts.iteration,
        iterations_ended=facts.iterations_ended,
        max_iterations=facts.max_iterations,
        gates=facts.gates,
        tests_failed_streak=facts.tests_failed_streak,
        activity=facts.activity,
        role=facts.role,
        ended=ended,
    )
