"""Rows of the manager's own telemetry. Source: loop-core 10. `sample` is ours: true for the regular samples that
rates are computed from, false for rows written because something changed."""

import msgspec

from opsd.model.health import HealthStatus
from opsd.model.observation import QuarantinedLine
from opsd.model.runtime import Aware

Unset = msgspec.UnsetType
UNSET = msgspec.UNSET


class ReconcileRow(msgspec.Struct, frozen=True, rename="camel"):
    """A line of `telemetry/reconcile.jsonl`.

    The `transport_*` members are ours: how many requests or looks it took, what each came to (an HTTP status, `ok`, or
    a word for what kept an answer from coming), and in which bucket of `opsd.core.latency` that lies: none for an
    answer that was held back until there was news.
    """

    timestamp: Aware
    started_at: Aware
    loop_id: str
    trace_id: str
    transport: str
    status: str
    cursor_offset_before: int
    cursor_offset_after: int
    events_ingested: int
    max_events: int
    from_start: bool
    retry_attempts: int
    retry_backoff_seconds: int
    threshold_profile: str | None
    duration_seconds: int
    transport_failure_streak: int
    sequence_status: str
    health_status: HealthStatus
    health_reason_codes: tuple[str, ...]
    sample: bool = True
    transport_attempts: int = 1
    transport_result_codes: tuple[str, ...] = ()
    transport_latency_bucket: str | Unset = UNSET
    failure_code: str | Unset = UNSET
    failure_message: str | Unset = UNSET
    sequence_reason_code: str | Unset = UNSET


class QuarantineRow(msgspec.Struct, frozen=True, rename="camel"):
    """A line of `quarantine.jsonl`: one bad line of the event log, so that nothing disappears unseen."""

    timestamp: Aware
    loop_id: str
    epoch: int
    quarantined: QuarantinedLine
    schema_version: str = "v1"
