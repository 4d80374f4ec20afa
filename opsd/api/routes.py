"""The table of endpoints: everything that can be asked for, in one place."""

from starlette.responses import Response

from opsd.api import handlers, intents, metrics, openapi, replies, watch
from opsd.api.endpoint import Call, Endpoint, Services
from opsd.api.errors import ErrorCode
from opsd.model.explain import Explanation
from opsd.protocol import (
    AckRequest,
    ApprovalPage,
    EscalationPage,
    EscalationsQuery,
    EventPage,
    EventsQuery,
    FeedItem,
    FleetStatus,
    HealthReply,
    IntentPage,
    IntentQuery,
    IntentReply,
    IntentRequest,
    IntentsQuery,
    LogPage,
    LogsQuery,
    LoopStatus,
    ModePage,
    ModeRequest,
    NoQuery,
    ReconcileReply,
    ReconcileRequest,
    RunHistory,
    TransportReply,
    TransportRequest,
    VerificationReport,
    VerifyQuery,
    VersionReply,
    WatchQuery,
)

_UNKNOWN = (ErrorCode.UNKNOWN_LOOP,)
_FILES = (ErrorCode.UNKNOWN_LOOP, ErrorCode.UNAVAILABLE)
_ACTS = (ErrorCode.UNKNOWN_LOOP, ErrorCode.LOOP_NOT_MANAGED, ErrorCode.PAYLOAD_TOO_LARGE)
_RECORDS = (ErrorCode.PAYLOAD_TOO_LARGE, ErrorCode.STORE_UNWRITABLE)


async def _document(services: Services, call: Call[NoQuery, None]) -> Response:
    return Response(openapi.document(ENDPOINTS), media_type=replies.JSON)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/v1/fleet", "Every loop and the daemon itself.", handlers.fleet, NoQuery, FleetStatus),
    Endpoint("GET", "/v1/loops/{id}", "One loop in full.", handlers.loop, NoQuery, LoopStatus, errors=_UNKNOWN),
    Endpoint(
        "GET",
        "/v1/loops/{id}/explain",
        "From what the verdict on a loop follows.",
        handlers.explain,
        NoQuery,
        Explanation,
        errors=_FILES,
    ),
    Endpoint(
        "GET",
        "/v1/loops/{id}/events",
        "A piece of the loop's event log, as it stands.",
        handlers.events,
        EventsQuery,
        EventPage,
        errors=_FILES,
    ),
    Endpoint(
        "GET", "/v1/loops/{id}/runs", "The runs of a loop so far.", handlers.runs, NoQuery, RunHistory, errors=_FILES
    ),
    Endpoint(
        "GET",
        "/v1/loops/{id}/logs",
        "A piece of a role's log.",
        handlers.logs,
        LogsQuery,
        LogPage,
        errors=(*_FILES, ErrorCode.NOT_FOUND),
    ),
    Endpoint(
        "GET",
        "/v1/escalations",
        "What somebody had to hear of, oldest first.",
        handlers.escalations,
        EscalationsQuery,
        EscalationPage,
        errors=_FILES,
    ),
    Endpoint(
        "GET",
        "/v1/verify",
        "Verdicts recomputed from the files, and where they differ.",
        handlers.verify,
        VerifyQuery,
        VerificationReport,
        errors=_FILES,
    ),
    Endpoint(
        "POST",
        "/v1/loops/{id}/reconcile",
        "Look at a loop now, on request from the start of its log.",
        handlers.reconcile,
        NoQuery,
        ReconcileReply,
        body=ReconcileRequest,
        errors=(*_ACTS, ErrorCode.TIMED_OUT),
    ),
    Endpoint(
        "POST",
        "/v1/loops/{id}/intents",
        "Ask for a change of a run: it is recorded, then carried out, and what became of it is found out.",
        intents.submit,
        NoQuery,
        IntentReply,
        body=IntentRequest,
        accepted="The intent is recorded and in flight.",
        errors=(*_ACTS, ErrorCode.IDEMPOTENCY_CONFLICT, ErrorCode.STORE_UNWRITABLE),
    ),
    Endpoint("GET", "/v1/intents", "Intents, oldest first.", intents.intents, IntentsQuery, IntentPage, errors=_FILES),
    Endpoint(
        "GET",
        "/v1/intents/{id}",
        "One intent as it stands, or once it has come as far as is asked.",
        intents.intent,
        IntentQuery,
        IntentReply,
        errors=(ErrorCode.UNKNOWN_INTENT, ErrorCode.UNAVAILABLE),
    ),
    Endpoint(
        "POST",
        "/v1/intents/{id}/ack",
        "Settle an ambiguous intent by an operator's word.",
        intents.acknowledge,
        NoQuery,
        IntentReply,
        body=AckRequest,
        errors=(ErrorCode.UNKNOWN_INTENT, ErrorCode.NOT_AMBIGUOUS, ErrorCode.UNAVAILABLE, *_RECORDS),
    ),
    Endpoint(
        "GET",
        "/v1/approvals",
        "What waits for a human's decision, oldest first, with the command to type.",
        intents.approvals,
        NoQuery,
        ApprovalPage,
    ),
    Endpoint("GET", "/v1/mode", "Every mode that is not normal.", intents.modes, NoQuery, ModePage),
    Endpoint(
        "POST",
        "/v1/mode",
        "Set the mode of the fleet or of one loop.",
        intents.set_mode,
        NoQuery,
        ModePage,
        body=ModeRequest,
        errors=(ErrorCode.UNKNOWN_LOOP, *_RECORDS),
    ),
    Endpoint(
        "GET",
        "/v1/loops/{id}/transport",
        "How a loop is reached, and what the registry says of it.",
        intents.transport,
        NoQuery,
        TransportReply,
        errors=(ErrorCode.UNKNOWN_LOOP, ErrorCode.LOOP_NOT_MANAGED),
    ),
    Endpoint(
        "POST",
        "/v1/loops/{id}/transport",
        "Have a loop reached otherwise from now on.",
        intents.set_transport,
        NoQuery,
        TransportReply,
        body=TransportRequest,
        errors=(ErrorCode.UNKNOWN_LOOP, ErrorCode.LOOP_NOT_MANAGED, ErrorCode.CANNOT_SWITCH, *_RECORDS),
    ),
    Endpoint(
        "GET",
        "/v1/watch",
        "A picture, then its changes: one JSON line each.",
        watch.watch,
        WatchQuery,
        FeedItem,
        media_type=watch.MEDIA_TYPE,
        errors=_UNKNOWN,
    ),
    Endpoint("GET", "/v1/version", "Who answers.", handlers.version, NoQuery, VersionReply),
    Endpoint("GET", "/v1/openapi.json", "This document.", _document, NoQuery, None),
    Endpoint("GET", "/healthz", "Whether every part of the daemon is in time.", handlers.healthz, NoQuery, HealthReply),
    Endpoint(
        "GET",
        "/metrics",
        "Counters and gauges for Prometheus.",
        handlers.measured,
        NoQuery,
        None,
        media_type=metrics.MEDIA_TYPE,
    ),
)
