"""Recorded changes that someone must hear of, and their ends. Rules: `opsd.core.escalation`. Source: loop-core 9.

Each row carries the members that the contract gives its category; id, severity, onset, summary and ends are ours.
Rows of the contract's own categories name no severity: what an alert catalog maps them to must go on to hold.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from opsd.model.health import HealthReason
from opsd.model.ids import EscalationId
from opsd.model.lifecycle import DivergenceFlags, Transition
from opsd.model.runtime import Aware
from opsd.model.sequence import EventSequence, SequenceStatus, SnapshotSequence
from opsd.model.state import CursorPosition, StateProjection
from opsd.model.tuning import EscalatedDrift

Unset = msgspec.UnsetType
UNSET = msgspec.UNSET


class Category(StrEnum):
    """The contract's five, then ours. The end of a condition is a row `<category>_resolved`."""

    DIVERGENCE = "divergence_detected"
    ORDERING_DRIFT = "ordering_drift_detected"
    HEALTH_DEGRADED = "health_degraded"
    HEALTH_CRITICAL = "health_critical"
    PROFILE_DRIFT = "profile_drift_detected"
    APPROVAL_PENDING = "approval_pending"
    RECOVERY_WAITING = "recovery_waiting"
    RUN_CRASHED = "run_crashed"
    RUN_FAILED = "run_failed"
    RUN_STUCK = "run_stuck"
    RUN_STOPPED = "run_stopped"
    RUN_RATE_LIMITED = "run_rate_limited"
    PAUSE_EXPIRED = "pause_expired"


class AlertSeverity(StrEnum):
    """The words that alert catalogs compare; a row with any other is refused by the contract's dispatch (alerts 4)."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class OpenEscalation(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A condition that was escalated and has not ended. `condition` is what it is about within its category."""

    id: EscalationId
    category: Category
    condition: str
    onset: str
    since: datetime | None = None


class EscalatedSequence(msgspec.Struct, frozen=True, rename="camel"):
    status: SequenceStatus
    drift_active: bool
    violations: tuple[str, ...]
    snapshot: SnapshotSequence
    events: EventSequence


class EscalatedState(msgspec.Struct, frozen=True, rename="camel"):
    transition: Transition
    projection: StateProjection
    cursor: CursorPosition


class EscalationRow(msgspec.Struct, frozen=True, rename="camel"):
    """A line of `escalations.jsonl`. Members that a category does not have are absent, not null.

    `resolves` is the id of the row whose condition this one ends: of a `_resolved` row, or of a change of health, which
    ends the former health and begins a new one in a single row. `baseline`: found at the first look, not seen to begin.
    """

    timestamp: Aware
    loop_id: str
    trace_id: str
    category: str
    transport: str
    id: EscalationId
    onset: str
    summary: str
    run_id: str
    since: datetime | None = None
    condition: str | Unset = UNSET
    severity: AlertSeverity | Unset = UNSET
    resolves: EscalationId | Unset = UNSET
    baseline: bool | Unset = UNSET
    state_file: str | Unset = UNSET
    cursor_file: str | Unset = UNSET
    health_file: str | Unset = UNSET
    sequence_state_file: str | Unset = UNSET
    sequence_telemetry_file: str | Unset = UNSET
    drift_state_file: str | Unset = UNSET
    drift_history_file: str | Unset = UNSET
    ingest_status: str | Unset = UNSET
    failure_code: str | Unset = UNSET
    health_status: str | Unset = UNSET
    reason_code: str | Unset = UNSET
    reason_codes: tuple[str, ...] | Unset = UNSET
    reasons: tuple[HealthReason, ...] | Unset = UNSET
    divergence_flags: DivergenceFlags | Unset = UNSET
    sequence: EscalatedSequence | Unset = UNSET
    state: EscalatedState | Unset = UNSET
    drift: EscalatedDrift | Unset = UNSET
