"""The operator status document: one loop's files, gathered for who operates it. Source: status-and-tuning, Part 1.

What each member is taken from is decided in `opsd.core.operator_status`. Members that are left out where nothing is
known have UNSET as their default, those that are then null have None. Marked as ours: `lifecycle.phase` and `basis`,
`overall_status`, `manager`, `ages`.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

Unset = msgspec.UnsetType
UNSET = msgspec.UNSET

Verbatim = dict[str, Any]
"""An object of a file, carried through as it stands."""
Number = int | float
Overall = Literal["healthy", "degraded", "critical", "unknown"]


class StatusSource(msgspec.Struct, frozen=True, rename="camel", gc=False):
    repo_path: str
    loop_id: str


class LifecycleStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`phase` is our finer word for `state`, and `basis` what it rests on."""

    state: str
    confidence: str | None
    run_id: str | None
    iteration: Number | None
    phase: str | Unset = UNSET
    basis: str | Unset = UNSET


class CursorStatus(msgspec.Struct, frozen=True, rename="camel"):
    event_line_offset: Number
    event_line_count: Number


class ControlStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The last control attempt."""

    last_intent: str | None
    last_status: str | None
    last_requested_by: str | None
    last_timestamp: str | None
    last_trace_id: str | None


class ReconcileStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The last pass that left a telemetry row."""

    last_status: str | None
    last_timestamp: str | None
    last_transport: str | None
    last_failure_code: str | None
    last_duration_seconds: Number | None
    last_trace_id: str | None


class HeartbeatView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """As of the last pass that read the heartbeat; how old it is by now is in `ages`."""

    freshness_status: str | Unset = UNSET
    reason_code: str | Unset = UNSET
    last_heartbeat_at: str | Unset = UNSET
    heartbeat_lag_seconds: Number | Unset = UNSET
    updated_at: str | Unset = UNSET
    transport: str | Unset = UNSET
    trace_id: str | Unset = UNSET


class SequenceView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`drift_active` is true or absent, never false."""

    status: str | Unset = UNSET
    reason_code: str | Unset = UNSET
    drift_active: bool | Unset = UNSET
    violations: tuple[str, ...] | Unset = UNSET
    snapshot_current: Number | Unset = UNSET
    events_last: Number | Unset = UNSET
    updated_at: str | Unset = UNSET
    transport: str | Unset = UNSET
    trace_id: str | Unset = UNSET


class InvocationView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`replayed` is true or absent, never false."""

    timestamp: str | Unset = UNSET
    intent: str | Unset = UNSET
    transport: str | Unset = UNSET
    idempotency_key: str | Unset = UNSET
    execution_status: str | Unset = UNSET
    confirmation_status: str | Unset = UNSET
    outcome_status: str | Unset = UNSET
    replayed: bool | Unset = UNSET
    trace_id: str | Unset = UNSET


class TraceView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`shared_trace_id` is there where all of control, reconcile, alert, heartbeat and sequence that exist agree."""

    control_trace_id: str | Unset = UNSET
    control_invocation_trace_id: str | Unset = UNSET
    reconcile_trace_id: str | Unset = UNSET
    heartbeat_trace_id: str | Unset = UNSET
    sequence_trace_id: str | Unset = UNSET
    alert_trace_id: str | Unset = UNSET
    shared_trace_id: str | Unset = UNSET


class Visibility(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    heartbeat: HeartbeatView | Unset = UNSET
    sequence: SequenceView | Unset = UNSET
    invocation_audit: InvocationView | Unset = UNSET
    trace: TraceView


class TuningStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What the newest `summary_window` telemetry rows advise, computed now."""

    summary_window: int
    applied_profile: str | None
    recommended_profile: str | None
    confidence: str | None
    rationale: str | None
    telemetry_summary: Verbatim | None


class DispatchStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The last dispatch of alerts; its counts are of that pass alone."""

    status: str | Unset = UNSET
    updated_at: str | Unset = UNSET
    processed_count: Number
    dispatched_count: Number
    skipped_count: Number
    failed_count: Number
    failure_reason_codes: tuple[str, ...]
    escalations_line_offset: Number
    escalations_line_count: Number
    last_trace_id: str | Unset = UNSET


class DeliveryStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    timestamp: str | Unset = UNSET
    status: str | Unset = UNSET
    reason_code: str | Unset = UNSET
    escalation_category: str | Unset = UNSET
    event_severity: str | Unset = UNSET
    sink_count: Number | Unset = UNSET
    dispatched_sink_count: Number | Unset = UNSET
    failed_sink_count: Number | Unset = UNSET
    trace_id: str | Unset = UNSET
    escalation_trace_id: str | Unset = UNSET


class AlertsStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    dispatch: DispatchStatus | Unset = UNSET
    last_delivery: DeliveryStatus | Unset = UNSET


class TraceLinkage(msgspec.Struct, frozen=True, rename="camel"):
    """`shared_trace_id` is not null where reconcile and alert agree, and control does not disagree."""

    control_trace_id: str | None
    control_invocation_trace_id: str | None
    reconcile_trace_id: str | None
    heartbeat_trace_id: str | None
    sequence_trace_id: str | None
    alert_trace_id: str | None
    shared_trace_id: str | None


class StatusFiles(msgspec.Struct, frozen=True, rename="camel"):
    """The absolute paths that are looked at, whether or not something is there."""

    state_file: str
    cursor_file: str
    health_file: str
    intents_file: str
    heartbeat_state_file: str
    heartbeat_telemetry_file: str
    sequence_state_file: str
    sequence_telemetry_file: str
    control_invocations_file: str
    drift_state_file: str
    drift_history_file: str
    alert_dispatch_state_file: str
    alert_dispatch_telemetry_file: str
    reconcile_telemetry_file: str
    control_telemetry_file: str


class HeldBy(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The process that holds the home: a daemon has a socket, a one-shot command has none."""

    pid: int
    started_at: datetime
    socket_path: str | Unset = UNSET


class ManagerStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Whether anybody still looks at the loop. `age_seconds` is how long ago the last pass was."""

    status: Literal["alive", "silent"]
    reason_code: Literal["manager_silent"] | None
    last_reconcile_at: str | None
    age_seconds: int | None
    held_by: HeldBy | Unset = UNSET


class StatusAges(msgspec.Struct, frozen=True, rename="camel"):
    """Whole seconds until `generated_at` since the newest event, heartbeat and pass; null where none is known."""

    event: int | None
    heartbeat: int | None
    reconcile: int | None


class OperatorStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`health` is the last verdict as it was written, `{}` before the first; `drift` the last evaluation likewise.

    `overall_status` is the worst of that verdict, all findings included, and of the manager's silence; `unknown` where
    no verdict was ever written.
    """

    schema_version: str = "v1"
    generated_at: datetime
    source: StatusSource
    lifecycle: LifecycleStatus
    health: Verbatim
    cursor: CursorStatus
    control: ControlStatus
    reconcile: ReconcileStatus
    visibility: Visibility
    tuning: TuningStatus
    drift: Verbatim | Unset = UNSET
    alerts: AlertsStatus | Unset = UNSET
    trace_linkage: TraceLinkage
    files: StatusFiles
    overall_status: Overall
    manager: ManagerStatus
    ages: StatusAges
