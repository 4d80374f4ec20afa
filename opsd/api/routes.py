"""The table of endpoints: everything that can be asked for, on one screen. An act on a loop will be a row here too."""

from starlette.responses import Response

from opsd.api import handlers, metrics, openapi, replies, watch
from opsd.api.endpoint import Call, Endpoint, Services
from opsd.api.errors import ErrorCode
from opsd.model.explain import Explanation
from opsd.protocol import (
    EscalationPage,
    EscalationsQuery,
    EventPage,
    EventsQuery,
    FeedItem,
    FleetStatus,
    HealthReply,
    LogPage,
    LogsQuery,
    LoopStatus,
    NoQuery,
    ReconcileReply,
    ReconcileRequest,
    RunHistory,
    VerificationReport,
    VerifyQuery,
    VersionReply,
    WatchQuery,
)

_UNKNOWN = (ErrorCode.UNKNOWN_LOOP,)
_FILES = (ErrorCode.UNKNOWN_LOOP, ErrorCode.UNAVAILABLE)
_ACTS = (ErrorCode.UNKNOWN_LOOP, ErrorCode.LOOP_NOT_MANAGED, ErrorCode.PAYLOAD_TOO_LARGE, ErrorCode.TIMED_OUT)


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
        errors=_ACTS,
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
