"""The contract's envelopes: what the runtime emitted, and its state at one moment. Source: loop-core 2.3, 3.4."""

import msgspec

from opsd.model.runtime import Aware


class EnvelopeSource(msgspec.Struct, frozen=True, rename="camel", gc=False):
    repo_path: str
    loop_id: str


class EnvelopeSequence(msgspec.Struct, frozen=True, rename="camel", gc=False):
    value: int
    source: str = "cursor_event_line_offset"


class EnvelopeCursor(msgspec.Struct, frozen=True, rename="camel", gc=False):
    event_line_offset: int
    event_line_count: int


class EnvelopeRun(msgspec.Struct, frozen=True, rename="camel", gc=False):
    run_id: str
    iteration: int


class EnvelopeEvent(msgspec.Struct, frozen=True, rename="camel"):
    """`raw` is the original line, verbatim; an empty role, status or message is null."""

    timestamp: str
    name: str
    role: str | None
    status: str | None
    message: str | None
    payload: msgspec.Raw
    raw: msgspec.Raw


class LoopRunEvent(msgspec.Struct, frozen=True, rename="camel"):
    """One event of a run in contract form."""

    emitted_at: Aware
    trace_id: str | None
    source: EnvelopeSource
    sequence: EnvelopeSequence
    cursor: EnvelopeCursor
    run: EnvelopeRun
    event: EnvelopeEvent
    schema_version: str = "v1"
    envelope_type: str = "loop_run_event"


class SnapshotRun(msgspec.Struct, frozen=True, rename="camel"):
    """`summary` is the newest entry of `run-summary.json` verbatim; `status` is a word of loop-core 2.4."""

    run_id: str
    iteration: int
    status: str
    summary: msgspec.Raw


class SnapshotRuntime(msgspec.Struct, frozen=True, rename="camel"):
    """The runtime's small files verbatim, each `null` where it does not exist."""

    superloop_state: msgspec.Raw
    active_run: msgspec.Raw
    approval: msgspec.Raw
    heartbeat: msgspec.Raw


class ArtifactRef(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """One file as it was read: `path` is relative to the repository, `line_count` counts newlines."""

    path: str
    exists: bool = False
    size_bytes: int = 0
    line_count: int = 0
    sha256: str | None = None
    mtime_epoch: int | None = None


class SnapshotArtifacts(msgspec.Struct, frozen=True, rename="camel"):
    events: ArtifactRef
    run_summary: ArtifactRef
    state: ArtifactRef
    active_run: ArtifactRef
    approval: ArtifactRef
    heartbeat: ArtifactRef


class SnapshotHealth(msgspec.Struct, frozen=True, rename="camel"):
    """`gates` and `stuck` are those of the newest summary entry, verbatim."""

    event_count: int
    last_event_at: str | None
    last_event_name: str | None
    last_summary_at: str | None
    has_pending_approval: bool
    gates: msgspec.Raw
    stuck: msgspec.Raw


class LoopRunSnapshot(msgspec.Struct, frozen=True, rename="camel"):
    """A loop's artifacts at one moment in contract form. Source: loop-core 2.3."""

    schema_version: str
    envelope_type: str
    emitted_at: Aware
    trace_id: str | None
    source: EnvelopeSource
    run: SnapshotRun
    runtime: SnapshotRuntime
    artifacts: SnapshotArtifacts
    sequence: EnvelopeSequence
    cursor: EnvelopeCursor
    health: SnapshotHealth


class EventsCursor(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`event_line_offset` is the line of the last event returned, or what was asked for where there is none."""

    event_line_offset: int
    event_line_count: int
    updated_at: Aware
