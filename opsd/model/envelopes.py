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
