"""Loops and what their passes write, numbered: everything that pass `n` writes says `n`, wherever it lands."""

from datetime import UTC, datetime, timedelta

import msgspec

from opsd.model.cursor import Cursor, Stream
from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.escalation import Category, EscalationRow
from opsd.model.health import (
    HealthDocument,
    HealthEvidence,
    HealthMetrics,
    HealthStatus,
    HealthThresholds,
    HealthTransport,
)
from opsd.model.ids import EscalationId, LoopId
from opsd.model.lifecycle import DivergenceFlags, Fold, Lifecycle, Transition
from opsd.model.process import ProcessMemory
from opsd.model.state import (
    CursorPosition,
    Divergence,
    Evidence,
    Memory,
    RunIdentity,
    SnapshotGist,
    Source,
    StateDocument,
    StateProjection,
)
from opsd.model.telemetry import ReconcileRow
from opsd.store.commit import LoopCommit

NOW = datetime(2026, 11, 21, 1, 38, 44, tzinfo=UTC)
LOOP = LoopId("demo-loop")


def at(n: int) -> datetime:
    return NOW + timedelta(seconds=n)


def a_cursor(n: int, loop_id: LoopId = LOOP) -> Cursor:
    return Cursor(
        repo_path="/srv/app",
        loop_id=loop_id,
        events_file=f".superloop/loops/{loop_id}/events.jsonl",
        event_line_offset=n,
        event_line_count=n,
        updated_at=at(n),
        stream=Stream(1, 2, 0, 100 * n, "ab" * 32, min(4096, 100 * n), n),
    )


def a_health(n: int) -> HealthDocument:
    return HealthDocument(
        updated_at=at(n),
        trace_id=f"trace-{n}",
        status=HealthStatus.HEALTHY,
        reason_codes=(),
        reasons=(),
        metrics=HealthMetrics(n, None, 0, None, "ok", "running"),
        thresholds=HealthThresholds("balanced", 300, 900, 120, 300, 2, 4),
        transport=HealthTransport("local", "success"),
        evidence=HealthEvidence(),
    )


def a_state(n: int, loop_id: LoopId = LOOP) -> StateDocument:
    return StateDocument(
        generated_at=at(n),
        source=Source("/srv/app", loop_id),
        run=RunIdentity("2026-11-21T01:38:44Z", n),
        transition=Transition(Lifecycle.RUNNING, "event:role_end", Lifecycle.RUNNING, "high"),
        projection=StateProjection(Lifecycle.RUNNING, False, False, None, None, True, "role_end", None),
        cursor=CursorPosition(n, n),
        divergence=Divergence(False, DivergenceFlags()),
        evidence=Evidence(None, None, SnapshotGist(Lifecycle.RUNNING, "role_end", False), None),
        health=a_health(n),
        memory=Memory(Fold(line=n, event_count=n), ProcessMemory()),
    )


def an_escalation(id_: str, *, resolves: str | None = None, condition: str = "", n: int = 0) -> EscalationRow:
    category = Category.HEALTH_DEGRADED if resolves is None else f"{Category.HEALTH_DEGRADED}_resolved"
    return EscalationRow(
        timestamp=at(n),
        loop_id=LOOP,
        trace_id=f"trace-{n}",
        category=category,
        transport="local",
        id=EscalationId(id_),
        onset=f"line:{n}",
        summary="Heartbeats are late.",
        run_id="2026-11-21T01:38:44Z",
        condition=condition or msgspec.UNSET,
        resolves=EscalationId(resolves) if resolves else msgspec.UNSET,
    )


def a_sample(n: int) -> ReconcileRow:
    return ReconcileRow(
        timestamp=at(n),
        started_at=at(n),
        loop_id=LOOP,
        trace_id=f"trace-{n}",
        transport="local",
        status="success",
        cursor_offset_before=n - 1,
        cursor_offset_after=n,
        events_ingested=1,
        max_events=0,
        from_start=False,
        retry_attempts=3,
        retry_backoff_seconds=1,
        threshold_profile="balanced",
        duration_seconds=0,
        transport_failure_streak=0,
        sequence_status="ok",
        health_status=HealthStatus.HEALTHY,
        health_reason_codes=(),
    )


def pass_(n: int, loop_id: LoopId = LOOP) -> LoopCommit:
    """A pass that consumed line `n`, escalated something and ended what the pass before had escalated.

    The cursor comes first, so that it only ends up last if the store sees to it.
    """
    ended = [Append(Journal.ESCALATIONS, an_escalation(f"end-{n - 1}", resolves=f"on-{n - 1}", n=n), durable=True)]
    return LoopCommit(
        loop_id,
        (
            Replace(Document.CURSOR, a_cursor(n, loop_id)),
            Replace(Document.STATE, a_state(n, loop_id)),
            Append(Journal.RECONCILE, a_sample(n)),
            Replace(Document.HEALTH, a_health(n)),
            *(ended if n > 1 else ()),
            Append(Journal.ESCALATIONS, an_escalation(f"on-{n}", n=n), durable=True),
        ),
    )
