"""The contract's envelopes, made from what was read of a run's files: which status, which run, which last event.

Reading the files is `opsd.app.envelopes`. A snapshot says what the contract derives from the files alone (loop-core 2.3
and 2.4); what we believe of a run is `lifecycle` and `phase`.
"""

from datetime import datetime
from typing import Final

import msgspec

from opsd.core.instants import whole
from opsd.model.envelopes import (
    EnvelopeCursor,
    EnvelopeEvent,
    EnvelopeRun,
    EnvelopeSequence,
    EnvelopeSource,
    LoopRunEvent,
    LoopRunSnapshot,
    SnapshotArtifacts,
    SnapshotHealth,
    SnapshotRun,
    SnapshotRuntime,
)
from opsd.model.ids import UNKNOWN_RUN
from opsd.model.runtime import Approval, EventLine, RuntimeState

NULL: Final = msgspec.Raw(b"null")
_STOPS: Final = frozenset({"loop_stop", "rate_limit_stop", "no_progress_stop"})
_FAILURES: Final = frozenset({"error", "timeout", "blocked", "rate_limited"})


class NewestEntry(msgspec.Struct, frozen=True):
    """The newest entry of `run-summary.json`, as far as a snapshot tells of it. `verbatim` is all of it."""

    run_id: str | None = None
    iteration: int | None = None
    ended_at: str | None = None
    completion_ok: bool | None = None
    gates: msgspec.Raw = NULL
    stuck: msgspec.Raw = NULL
    verbatim: msgspec.Raw = NULL


class Sources(msgspec.Struct, frozen=True):
    """What a snapshot is made of. None where there is no such file, no entry, no event yet.

    `line_count` is the number of newlines in the event log, `last` the event on its last whole line.
    """

    repo_path: str
    loop_id: str
    line_count: int
    last: EventLine | None
    state: RuntimeState | None
    approval: Approval | None
    entry: NewestEntry | None
    summary_updated_at: str | None
    runtime: SnapshotRuntime
    artifacts: SnapshotArtifacts


def snapshot(sources: Sources, trace_id: str | None, now: datetime) -> LoopRunSnapshot:
    entry, last, state = sources.entry, sources.last, sources.state
    return LoopRunSnapshot(
        schema_version="v1",
        envelope_type="loop_run_snapshot",
        emitted_at=whole(now),
        trace_id=trace_id,
        source=EnvelopeSource(sources.repo_path, sources.loop_id),
        run=SnapshotRun(
            run_id=(entry.run_id if entry else None) or (last.run_id if last else None) or UNKNOWN_RUN,
            iteration=max(0, _iteration(entry, last, state)),
            status=run_status(sources),
            summary=entry.verbatim if entry else NULL,
        ),
        runtime=sources.runtime,
        artifacts=sources.artifacts,
        sequence=EnvelopeSequence(sources.line_count),
        cursor=EnvelopeCursor(sources.line_count, sources.line_count),
        health=SnapshotHealth(
            event_count=sources.line_count,
            last_event_at=(last.timestamp or None) if last else None,
            last_event_name=(last.name or None) if last else None,
            last_summary_at=sources.summary_updated_at or (entry.ended_at if entry else None),
            has_pending_approval=_is_pending(sources),
            gates=entry.gates if entry else NULL,
            stuck=entry.stuck if entry else NULL,
        ),
    )


def run_status(sources: Sources) -> str:
    """The contract's word, by the first of its rules that holds. Source: loop-core 2.4."""
    entry, last, state = sources.entry, sources.last, sources.state
    if _is_pending(sources):
        return "awaiting_approval"
    if entry is not None and entry.completion_ok is True:
        return "complete"
    if state is not None and state.active is True and state.current_loop_id == sources.loop_id:
        return "running"
    if last is not None and last.name in _STOPS:
        return "stopped"
    if last is not None and last.status in _FAILURES:
        return "failed"
    if state is not None and not state.active and entry is not None:
        return "idle"
    return "unknown"


def event(
    read: EventLine,
    raw: bytes,
    *,
    line: int,
    line_count: int,
    source: EnvelopeSource,
    trace_id: str | None,
    at: datetime,
) -> LoopRunEvent:
    """One line of the log in contract form; `at` is a whole second. Source: loop-core 3.4."""
    return LoopRunEvent(
        emitted_at=at,
        trace_id=trace_id,
        source=source,
        sequence=EnvelopeSequence(line),
        cursor=EnvelopeCursor(line, line_count),
        run=EnvelopeRun(read.run_id or UNKNOWN_RUN, read.iteration),
        event=EnvelopeEvent(
            timestamp=read.timestamp,
            name=read.name,
            role=read.role or None,
            status=read.status or None,
            message=read.message or None,
            payload=read.data if bytes(read.data) else NULL,
            raw=msgspec.Raw(raw),
        ),
    )


def _is_pending(sources: Sources) -> bool:
    return sources.approval is not None and sources.approval.status == "pending"


def _iteration(entry: NewestEntry | None, last: EventLine | None, state: RuntimeState | None) -> int:
    if entry is not None and entry.iteration is not None:
        return entry.iteration
    if last is not None and last.iteration:
        return last.iteration
    return (state.iteration if state is not None else None) or 0
