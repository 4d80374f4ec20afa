"""Can a log's order be trusted? The diagnostics of one pass. Rules: `opsd.core.sequence`. Source: loop-core 7."""

from enum import StrEnum

import msgspec

from opsd.model.runtime import Aware


class SequenceStatus(StrEnum):
    OK = "ok"
    DRIFT = "ordering_drift_detected"


class SnapshotSequence(msgspec.Struct, frozen=True, rename="camel", gc=False):
    previous: int | None = None
    current: int | None = None
    monotonic: bool = True
    regressed: bool = False
    missing: bool = False


class EventSequence(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`first` and `last` are null for an empty batch, as the contract has it."""

    ingested_count: int = 0
    previous_last: int | None = None
    first: int | None = None
    last: int | None = None
    monotonic_within_batch: bool = True
    monotonic_across_batches: bool = True
    regressed: bool = False
    missing: bool = False


class DriftTransition(msgspec.Struct, frozen=True, rename="camel", gc=False):
    previous_drift_active: bool = False
    transitioned_to_drift: bool = False
    recovered_from_drift: bool = False


class SequenceDocument(msgspec.Struct, frozen=True, rename="camel"):
    """`sequence-state.json`. `reason_code` is absent when ok."""

    updated_at: Aware
    loop_id: str
    trace_id: str
    transport: str
    status: SequenceStatus
    drift_active: bool
    violations: tuple[str, ...]
    snapshot: SnapshotSequence
    events: EventSequence
    transition: DriftTransition
    reason_code: str | msgspec.UnsetType = msgspec.UNSET
    schema_version: str = "v1"
    last_known_event: int | None = None
    """Additive: the last event's sequence even across empty batches, so that a regression cannot hide behind one."""


class SequenceRow(msgspec.Struct, frozen=True, rename="camel"):
    """A line of `telemetry/sequence.jsonl`."""

    timestamp: Aware
    loop_id: str
    trace_id: str
    transport: str
    status: SequenceStatus
    drift_active: bool
    violations: tuple[str, ...]
    snapshot: SnapshotSequence
    events: EventSequence
    transition: DriftTransition
    category: str = "envelope_sequence"
    reason_code: str | msgspec.UnsetType = msgspec.UNSET
