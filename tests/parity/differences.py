"""Where what two daemons wrote about the same loop differs, but for what may: one literal list."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.doubles.process import wait_until

T = TypeVar("T")

LAGS = frozenset(
    {"reasons.observed", "metrics.ingestLagSeconds", "metrics.heartbeatLagSeconds", "metrics.eventAgeSeconds"}
)
HEALTH = frozenset({"updatedAt", "traceId", "transport.mode", "evidence.sequenceUpdatedAt", *LAGS})
SEQUENCE = frozenset({"updatedAt", "traceId", "transport"})
MAY_DIFFER: dict[str, frozenset[str]] = {
    "state.json": frozenset(
        {
            "generatedAt",
            "source.repoPath",
            "trace.reconcileTraceId",
            "evidence.lastEventEnvelope.emittedAt",
            "evidence.lastEventEnvelope.traceId",
            "evidence.lastEventEnvelope.source.repoPath",
            *(f"health.{path}" for path in HEALTH),
            *(f"sequence.{path}" for path in SEQUENCE),
            "drift.updatedAt",
            "drift.traceId",
            "drift.mismatchSince",
            "tuning.telemetrySummary.source.repoPath",
            "tuning.telemetrySummary.source.reconcileTelemetryFile",
            "tuning.telemetrySummary.source.controlTelemetryFile",
            "memory.stream.inode",
            "ages.contact",
            "ages.event",
            "ages.heartbeat",
            "ages.output",
        }
    ),
    "health.json": HEALTH,
    "cursor.json": frozenset({"updatedAt", "repoPath", "stream.inode"}),
    "sequence-state.json": SEQUENCE,
    "escalations.jsonl": frozenset(
        {
            "timestamp",
            "traceId",
            "transport",
            "reasons.observed",
            "stateFile",
            "cursorFile",
            "healthFile",
            "sequenceStateFile",
            "sequenceTelemetryFile",
            "driftStateFile",
            "driftHistoryFile",
        }
    ),
    "runs.jsonl": frozenset({"timestamp"}),
}
"""By file: times of looks and what is reckoned from them, names of looks, of transports and of places.

Compared are these files. Telemetry tells of looks, one row each, and each side looks when it has a reason to.
"""

WRITTEN_AT_TIMES = frozenset({"cursor.json", "sequence-state.json"})

SETTLES_S = 6.0


def differences(here: Path, away: Path, *, at_rest: bool = False) -> list[str]:
    """`file path: here, away` of whatever must not differ; the paths are folders of the same loop.

    Some documents are written now and then only, and are whole `at_rest`: when their daemons have ended.
    """
    found = []
    names = [name for name in MAY_DIFFER if at_rest or name not in WRITTEN_AT_TIMES]
    for name in names:
        one, other = (_read(folder / name, _noticed(folder)) for folder in (here, away))
        for place, its, others in _compared(one, other, ""):
            if _plain(place) not in MAY_DIFFER[name]:
                found.append(f"{name}{place}: {its!r} here, {others!r} away")
    return found


def eventually_none(look: Callable[[], list[T]]) -> list[T]:
    """What `look` still finds once both sides have had the time to write down what they saw."""
    until_s, found = time.monotonic() + SETTLES_S, look()

    def is_over() -> bool:
        nonlocal found
        found = look()
        return not found or time.monotonic() > until_s

    wait_until(is_over, "it is settled whether they differ")
    return found


def _noticed(folder: Path) -> dict[str, str]:
    """Moments that nothing but a side's own look tells: a process is gone, a log is another, a run's files are gone."""
    state = _read(folder / "state.json", {}) or {}
    memory = state.get("memory", {})
    moments = {
        "when it was missed": (memory.get("process") or {}).get("missingSince"),
        "when the log changed": (memory.get("streamNote") or {}).get("at"),
        "when it was cancelled": memory.get("phaseSince") if state.get("phase") == "cancelled" else None,
    }
    return {moment: words for words, moment in moments.items() if moment}


def _read(path: Path, moments: dict[str, str]) -> Any:
    """Rows, or a document, with words for `moments`; None where there is none."""
    text = path.read_text() if path.exists() else ""
    for moment, words in moments.items():
        text = text.replace(moment, words)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text) if text else None


def _compared(one: Any, other: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Also the order of members counts: what is equal here is equal byte for byte."""
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        for name in one:
            yield from _compared(one[name], other[name], f"{place}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (each, its) in enumerate(zip(one, other, strict=True)):
            yield from _compared(each, its, f"{place}[{number}]")
    elif type(one) is not type(other) or one != other:
        yield place, one, other


def _plain(place: str) -> str:
    """The path of a member without the numbers of rows."""
    return ".".join(part for part in place.replace("[", ".[").split(".") if part and not part.startswith("["))
