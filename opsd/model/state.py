"""The state document: what the manager believes of one loop, on disk. Source: loop-core 4.3.

`phase`, `basis`, `ages` and `memory` are ours. `memory` is what a restart needs; outside readers ignore it.
"""

import msgspec

from opsd.model.cursor import Stream
from opsd.model.envelopes import LoopRunEvent
from opsd.model.health import Ages, HealthDocument
from opsd.model.heartbeat import Beat
from opsd.model.lifecycle import DivergenceFlags, Fold, Lifecycle, Phase, Transition
from opsd.model.observation import StreamNote
from opsd.model.process import ProcessMemory
from opsd.model.runtime import Aware, Stuck
from opsd.model.sequence import SequenceDocument


class Source(msgspec.Struct, frozen=True, rename="camel", gc=False):
    repo_path: str
    loop_id: str


class RunIdentity(msgspec.Struct, frozen=True, rename="camel", gc=False):
    run_id: str
    iteration: int


class StateProjection(msgspec.Struct, frozen=True, rename="camel"):
    """`state.projection`. `active` is true or null in the contract, never false."""

    status: Lifecycle
    has_pending_approval: bool
    completion_ok: bool
    gates: dict[str, str] | None
    stuck: Stuck | None
    active: bool | None
    last_event_name: str | None
    last_event_at: str | None


class CursorPosition(msgspec.Struct, frozen=True, rename="camel", gc=False):
    event_line_offset: int
    event_line_count: int


class Divergence(msgspec.Struct, frozen=True, rename="camel", gc=False):
    any: bool
    flags: DivergenceFlags


class SnapshotGist(msgspec.Struct, frozen=True, rename="camel", gc=False):
    run_status: Lifecycle
    last_event_name: str | None
    has_pending_approval: bool


class Evidence(msgspec.Struct, frozen=True, rename="camel"):
    """`state.evidence`. The daemon judges in memory: the two file members are null, there is no file to point to."""

    snapshot_file: str | None
    events_file: str | None
    snapshot_envelope: SnapshotGist
    last_event_envelope: LoopRunEvent | None


class Trace(msgspec.Struct, frozen=True, rename="camel", gc=False):
    reconcile_trace_id: str


class Memory(msgspec.Struct, frozen=True, rename="camel"):
    """What one pass leaves for the next beyond the contract's documents."""

    fold: Fold
    process: ProcessMemory
    beat: Beat | None = None
    phase_since: Aware | None = None
    stream_note: StreamNote | None = None
    quarantined_at: Aware | None = None
    baseline: tuple[str, ...] = ()
    stream: Stream | None = None
    """Where `fold` stands in which log, to the byte: `cursor.json` may lag behind a running loop."""
    boot_id: str = ""
    """The boot of the host in which this was written: documents are not flushed, so a power cut may garble them."""


class StateDocument(msgspec.Struct, frozen=True, rename="camel"):
    """`state.json`. A projection made by its command alone has no `health`, `trace` and `sequence`.

    `drift` is a `DriftDocument` with its trace id, `tuning` a `TuningBlock`, both of the last telemetry sample. They
    are carried as they are: what another manager wrote there costs nobody the rest of the document.
    """

    generated_at: Aware
    source: Source
    run: RunIdentity
    transition: Transition
    projection: StateProjection
    cursor: CursorPosition
    divergence: Divergence
    evidence: Evidence
    health: HealthDocument | msgspec.UnsetType = msgspec.UNSET
    trace: Trace | msgspec.UnsetType = msgspec.UNSET
    sequence: SequenceDocument | msgspec.UnsetType | None = msgspec.UNSET
    drift: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tuning: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    memory: Memory | None = None
    phase: Phase = Phase.UNKNOWN
    basis: str = ""
    ages: Ages = Ages()
    schema_version: str = "v1"
