"""What the operator status says, from one loop's files as they were read. Source: status-and-tuning 1.2 to 1.5.

`??` of the source is `_text(one, other)` here: the first that is there and of the right type. A member of an odd type
counts as absent, so that a file of another program never costs more than that member. Which files are read, and what
an unreadable one costs, is `opsd.app.operator_status`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, Literal, TypeVar

import msgspec

from opsd.core.instants import lag_s, parse, whole
from opsd.model.operator_status import (
    UNSET,
    AlertsStatus,
    ControlStatus,
    CursorStatus,
    DeliveryStatus,
    DispatchStatus,
    HeartbeatView,
    HeldBy,
    InvocationView,
    LifecycleStatus,
    ManagerStatus,
    Number,
    OperatorStatus,
    Overall,
    ReconcileStatus,
    SequenceView,
    StatusAges,
    StatusFiles,
    StatusSource,
    TraceLinkage,
    TraceView,
    TuningStatus,
    Unset,
    Verbatim,
    Visibility,
)
from opsd.model.thresholds import Thresholds

T = TypeVar("T")

MANAGER_SILENT: Final = "manager_silent"
SILENT_S_MIN: Final = 120
"""No manager is called silent sooner, however strict the profile."""
SAMPLES_WITHIN_S: Final = 7200
"""In that time a daemon leaves a row of each loop that runs: twice the longest interval that can be set."""
_RANK: Final[tuple[Overall, ...]] = ("unknown", "healthy", "degraded", "critical")


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """One loop's files: JSON objects, and the last rows of journals. None where there is none, or none that is one."""

    state: Verbatim | None = None
    cursor: Verbatim | None = None
    health: Verbatim | None = None
    heartbeat: Verbatim | None = None
    sequence: Verbatim | None = None
    drift: Verbatim | None = None
    dispatch: Verbatim | None = None
    last_intent: Verbatim | None = None
    last_control: Verbatim | None = None
    last_invocation: Verbatim | None = None
    last_reconcile: Verbatim | None = None
    last_heartbeat: Verbatim | None = None
    last_sequence: Verbatim | None = None
    last_delivery: Verbatim | None = None


class Recommendation(msgspec.Struct, frozen=True):
    """What a telemetry summary advises; `telemetry` is its `{observed, source}`."""

    profile: str | None = None
    confidence: str | None = None
    rationale: str | None = None
    telemetry: Verbatim | None = None


def recommended(summary: bytes) -> Recommendation:
    """What the document of `telemetry-summary` advises, whoever made it; nothing where it is no such document."""
    try:
        told = msgspec.json.decode(summary)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Recommendation()
    observed, source = _object(told, "observed"), _object(told, "source")
    return Recommendation(
        _text(_at(told, "recommendedProfile")),
        _text(_at(told, "confidence")),
        _text(_at(told, "rationale")),
        None if observed is None and source is None else {"observed": observed, "source": source},
    )


def operator_status(
    read: Sources,
    source: StatusSource,
    files: StatusFiles,
    advice: Recommendation,
    held_by: HeldBy | None,
    *,
    summary_window: int,
    now: datetime,
) -> OperatorStatus:
    """`held_by` is the live process that holds the home, if one does."""
    health = _first(_object(read.state, "health"), read.health) or {}
    manager, silence = _manager(read, health, held_by, now)
    traces = _traces(read)
    return OperatorStatus(
        generated_at=whole(now),
        source=source,
        lifecycle=_lifecycle(read.state),
        health=health,
        cursor=CursorStatus(
            *(
                _number(_at(read.cursor, name), _at(read.state, "cursor", name)) or 0
                for name in ("eventLineOffset", "eventLineCount")
            )
        ),
        control=ControlStatus(
            _text(_at(read.last_intent, "intent")),
            _text(_at(read.last_intent, "status")),
            _text(_at(read.last_intent, "requestedBy")),
            _text(_at(read.last_intent, "timestamp")),
            traces.control_trace_id,
        ),
        reconcile=ReconcileStatus(
            _text(_at(read.last_reconcile, "status")),
            _text(_at(read.last_reconcile, "timestamp")),
            _text(_at(read.last_reconcile, "transport")),
            _text(_at(read.last_reconcile, "failureCode")),
            _number(_at(read.last_reconcile, "durationSeconds")),
            traces.reconcile_trace_id,
        ),
        visibility=Visibility(
            heartbeat=_heartbeat(read.heartbeat, read.last_heartbeat),
            sequence=_sequence(read.sequence, read.last_sequence),
            invocation_audit=_invocation(read.last_invocation),
            trace=_visible(traces),
        ),
        tuning=TuningStatus(
            summary_window,
            _text(_at(health, "thresholds", "profile"), _at(read.health, "thresholds", "profile")),
            advice.profile,
            advice.confidence,
            advice.rationale,
            advice.telemetry,
        ),
        drift=_given(_first(read.drift, _object(read.state, "drift"))),
        alerts=_alerts(read.dispatch, read.last_delivery),
        trace_linkage=traces,
        files=files,
        overall_status=_worst(_verdict(health), silence),
        manager=manager,
        ages=StatusAges(
            _age_s(_text(_at(health, "evidence", "lastEventAt"), _at(read.state, "projection", "lastEventAt")), now),
            _age_s(
                _text(
                    _at(read.heartbeat, "lastHeartbeatAt"),
                    _at(read.last_heartbeat, "heartbeatAt"),
                    _at(health, "evidence", "lastHeartbeatAt"),
                ),
                now,
            ),
            manager.age_seconds,
        ),
    )


def _lifecycle(state: Verbatim | None) -> LifecycleStatus:
    return LifecycleStatus(
        state=_text(_at(state, "transition", "currentState"), _at(state, "projection", "status")) or "unknown",
        confidence=_text(_at(state, "transition", "confidence")),
        run_id=_text(_at(state, "run", "runId")),
        iteration=_number(_at(state, "run", "iteration")),
        phase=_given(_text(_at(state, "phase"))),
        basis=_given(_text(_at(state, "basis"))),
    )


def _heartbeat(beat: Verbatim | None, row: Verbatim | None) -> HeartbeatView | Unset:
    if beat is None and row is None:
        return UNSET
    return HeartbeatView(
        freshness_status=_given(_text(_at(beat, "freshnessStatus"))),
        reason_code=_either(beat, row, "reasonCode"),
        last_heartbeat_at=_given(_text(_at(beat, "lastHeartbeatAt"), _at(row, "heartbeatAt"))),
        heartbeat_lag_seconds=_given(_number(_at(beat, "heartbeatLagSeconds"), _at(row, "heartbeatLagSeconds"))),
        updated_at=_given(_text(_at(beat, "updatedAt"), _at(row, "timestamp"))),
        transport=_either(beat, row, "transport"),
        trace_id=_either(beat, row, "traceId"),
    )


def _sequence(state: Verbatim | None, row: Verbatim | None) -> SequenceView | Unset:
    if state is None and row is None:
        return UNSET
    return SequenceView(
        status=_either(state, row, "status"),
        reason_code=_either(state, row, "reasonCode"),
        drift_active=_true(_at(state, "driftActive"), _at(row, "driftActive")),
        violations=_given(_texts(_at(state, "violations"), _at(row, "violations"))),
        snapshot_current=_given(_number(_at(state, "snapshot", "current"), _at(row, "snapshot", "current"))),
        events_last=_given(_number(_at(state, "events", "last"), _at(row, "events", "last"))),
        updated_at=_given(_text(_at(state, "updatedAt"), _at(row, "timestamp"))),
        transport=_either(state, row, "transport"),
        trace_id=_either(state, row, "traceId"),
    )


def _invocation(row: Verbatim | None) -> InvocationView | Unset:
    if row is None:
        return UNSET
    return InvocationView(
        timestamp=_given(_text(_at(row, "timestamp"))),
        intent=_given(_text(_at(row, "intent"))),
        transport=_given(_text(_at(row, "transport"))),
        idempotency_key=_given(_text(_at(row, "idempotencyKey"))),
        execution_status=_given(_text(_at(row, "execution", "status"))),
        confirmation_status=_given(_text(_at(row, "confirmation", "status"))),
        outcome_status=_given(_text(_at(row, "outcome", "status"))),
        replayed=_true(_at(row, "execution", "replayed")),
        trace_id=_given(_text(_at(row, "traceId"))),
    )


def _alerts(dispatch: Verbatim | None, delivery: Verbatim | None) -> AlertsStatus | Unset:
    if dispatch is None and delivery is None:
        return UNSET
    return AlertsStatus(
        dispatch=UNSET if dispatch is None else _dispatch(dispatch),
        last_delivery=UNSET if delivery is None else _delivery(delivery),
    )


def _dispatch(state: Verbatim) -> DispatchStatus:
    return DispatchStatus(
        status=_given(_text(_at(state, "status"))),
        updated_at=_given(_text(_at(state, "updatedAt"))),
        processed_count=_number(_at(state, "processedCount")) or 0,
        dispatched_count=_number(_at(state, "dispatchedCount")) or 0,
        skipped_count=_number(_at(state, "skippedCount")) or 0,
        failed_count=_number(_at(state, "failedCount")) or 0,
        failure_reason_codes=_texts(_at(state, "failureReasonCodes")) or (),
        escalations_line_offset=_number(_at(state, "escalationsLineOffset")) or 0,
        escalations_line_count=_number(_at(state, "escalationsLineCount")) or 0,
        last_trace_id=_given(_text(_at(state, "traceId"))),
    )


def _delivery(row: Verbatim) -> DeliveryStatus:
    return DeliveryStatus(
        timestamp=_given(_text(_at(row, "timestamp"))),
        status=_given(_text(_at(row, "status"))),
        reason_code=_given(_text(_at(row, "reasonCode"))),
        escalation_category=_given(_text(_at(row, "escalationCategory"))),
        event_severity=_given(_text(_at(row, "eventSeverity"))),
        sink_count=_given(_number(_at(row, "sinkCount"))),
        dispatched_sink_count=_given(_number(_at(row, "dispatchedSinkCount"))),
        failed_sink_count=_given(_number(_at(row, "failedSinkCount"))),
        trace_id=_given(_text(_at(row, "traceId"))),
        escalation_trace_id=_given(_text(_at(row, "escalationTraceId"))),
    )


def _traces(read: Sources) -> TraceLinkage:
    control = _text(_at(read.last_intent, "traceId"), _at(read.last_control, "traceId"))
    reconcile = _text(_at(read.last_reconcile, "traceId"))
    alert = _text(_at(read.last_delivery, "traceId"), _at(read.dispatch, "traceId"))
    is_shared = reconcile is not None and reconcile == alert and control in (None, reconcile)
    return TraceLinkage(
        control_trace_id=control,
        control_invocation_trace_id=_text(_at(read.last_invocation, "traceId")),
        reconcile_trace_id=reconcile,
        heartbeat_trace_id=_text(_at(read.heartbeat, "traceId"), _at(read.last_heartbeat, "traceId")),
        sequence_trace_id=_text(_at(read.sequence, "traceId"), _at(read.last_sequence, "traceId")),
        alert_trace_id=alert,
        shared_trace_id=reconcile if is_shared else None,
    )


def _visible(traces: TraceLinkage) -> TraceView:
    """The same ids without the nulls; what is shared here looks at more of them. Source: the same, 1.4."""
    looked_at = {
        traces.control_trace_id,
        traces.reconcile_trace_id,
        traces.alert_trace_id,
        traces.heartbeat_trace_id,
        traces.sequence_trace_id,
    } - {None}
    return TraceView(
        control_trace_id=_given(traces.control_trace_id),
        control_invocation_trace_id=_given(traces.control_invocation_trace_id),
        reconcile_trace_id=_given(traces.reconcile_trace_id),
        heartbeat_trace_id=_given(traces.heartbeat_trace_id),
        sequence_trace_id=_given(traces.sequence_trace_id),
        alert_trace_id=_given(traces.alert_trace_id),
        shared_trace_id=_given(looked_at.pop()) if len(looked_at) == 1 else UNSET,
    )


def _manager(
    read: Sources, health: Verbatim, held_by: HeldBy | None, now: datetime
) -> tuple[ManagerStatus, Literal["degraded", "critical"] | None]:
    """Whether anybody still looks at the loop, and how bad it is if nobody does.

    A manager that runs from time to time is silent once its last pass is twice as old as an event may be before it
    counts as late. A daemon passes over a quiet loop without a word, so its being there is enough; only of a loop that
    runs it must have left a row.
    """
    usual = Thresholds()
    degraded_s, critical_s = (
        max(SILENT_S_MIN, 2 * (_number(_at(health, "thresholds", name)) or default))
        for name, default in (
            ("degradedIngestLagSeconds", usual.degraded_ingest_lag_seconds),
            ("criticalIngestLagSeconds", usual.critical_ingest_lag_seconds),
        )
    )
    last = max(_moments(_at(read.last_reconcile, "timestamp"), _at(health, "updatedAt")), default=None)
    if last is None:
        last = next(_moments(_at(read.state, "generatedAt")), None)
    age_s = silent_s = _age_s(last, now)
    if held_by is not None and held_by.socket_path is not UNSET:
        here_s = lag_s(held_by.started_at, now)
        silent_s = here_s if silent_s is None else min(here_s, silent_s)
        degraded_s = max(degraded_s, SAMPLES_WITHIN_S)
        critical_s = max(critical_s, SAMPLES_WITHIN_S)
        if _at(read.state, "transition", "currentState") != "running":
            silent_s = 0
    is_silent = silent_s is None or silent_s >= degraded_s
    manager = ManagerStatus(
        status="silent" if is_silent else "alive",
        reason_code=MANAGER_SILENT if is_silent else None,
        last_reconcile_at=last,
        age_seconds=age_s,
        held_by=_given(held_by),
    )
    if not is_silent:
        return manager, None
    return manager, "critical" if silent_s is None or silent_s >= critical_s else "degraded"


def _verdict(health: Verbatim) -> Overall:
    """The word of all findings where the manager has one, else that of the contract's reasons."""
    told = _text(_at(health, "overallStatus"), _at(health, "status"))
    return next((known for known in _RANK if known == told), "unknown")


def _worst(verdict: Overall, silence: Overall | None) -> Overall:
    return verdict if silence is None else max(verdict, silence, key=_RANK.index)


def _moments(*found: object) -> Iterator[str]:
    """Those that name one; in this spelling the later one is the greater one."""
    return (each for each in found if isinstance(each, str) and parse(each) is not None)


def _age_s(text: str | None, now: datetime) -> int | None:
    then = parse(text)
    return None if then is None else lag_s(then, now)


def _at(document: Mapping[str, object] | None, *path: str) -> object:
    """What stands there; None where the way to it ends before."""
    found: object = document
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def _object(document: Verbatim | None, name: str) -> Verbatim | None:
    found = _at(document, name)
    return found if isinstance(found, dict) else None


def _first(one: T | None, other: T | None) -> T | None:
    return other if one is None else one


def _text(*found: object) -> str | None:
    return next((each for each in found if isinstance(each, str)), None)


def _number(*found: object) -> Number | None:
    return next((each for each in found if isinstance(each, (int, float)) and not isinstance(each, bool)), None)


def _texts(*found: object) -> tuple[str, ...] | None:
    listed = next((each for each in found if isinstance(each, list)), None)
    return None if listed is None else tuple(each for each in listed if isinstance(each, str))


def _true(*found: object) -> bool | Unset:
    """False is absent to the source's `??`, so only true is ever said."""
    return True if next((each for each in found if each is not None and each is not False), None) is True else UNSET


def _either(one: Verbatim | None, other: Verbatim | None, name: str) -> str | Unset:
    return _given(_text(_at(one, name), _at(other, name)))


def _given(found: T | None) -> T | Unset:
    return UNSET if found is None else found
