"""The sources of an operator status as a manager leaves them, so that the contract's example comes of them."""

import json
from pathlib import Path
from typing import Any

from tests.batch.checkout import LOOP

REC, CTL = "tr-rec-1", "tr-ctl-1"
HEALTH: dict[str, Any] = {
    "schemaVersion": "v1",
    "updatedAt": "2026-11-04T09:50:53Z",
    "traceId": REC,
    "status": "degraded",
    "reasonCodes": ["runtime_heartbeat_stale"],
    "reasons": [
        {
            "code": "runtime_heartbeat_stale",
            "severity": "degraded",
            "metric": "heartbeatLagSeconds",
            "observed": "204",
            "threshold": "120",
        }
    ],
    "metrics": {
        "ingestLagSeconds": 4,
        "heartbeatLagSeconds": 204,
        "transportFailureStreak": 0,
        "lastControlStatus": "confirmed",
        "sequenceStatus": "ok",
        "lifecycleState": "running",
    },
    "thresholds": {
        "profile": "balanced",
        "degradedIngestLagSeconds": 300,
        "criticalIngestLagSeconds": 900,
        "degradedHeartbeatLagSeconds": 120,
        "criticalHeartbeatLagSeconds": 300,
        "degradedTransportFailureStreak": 2,
        "criticalTransportFailureStreak": 4,
    },
    "transport": {"mode": "local", "ingestStatus": "success", "failureCode": None, "lastFailureCode": None},
    "evidence": {
        "lastEventAt": "2026-11-04T09:50:49Z",
        "lastHeartbeatAt": "2026-11-04T09:47:29Z",
        "sequenceUpdatedAt": "2026-11-04T09:50:53Z",
    },
}
DRIFT: dict[str, Any] = {
    "schemaVersion": "v1",
    "updatedAt": "2026-11-04T09:50:55Z",
    "loopId": LOOP,
    "status": "aligned",
    "appliedProfile": "balanced",
    "recommendedProfile": "balanced",
    "recommendationConfidence": "low",
    "minimumConfidence": "medium",
    "recommendationRank": 1,
    "minimumRank": 2,
    "requiredStreak": 3,
    "summaryWindow": 200,
    "mismatch": False,
    "confidenceOk": False,
    "eligibleMismatch": False,
    "mismatchStreak": 0,
    "driftActive": False,
    "transitioned": {"toActive": False, "toResolved": False},
    "rationale": "mixed signals, no change",
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "state.json": {
        "schemaVersion": "v1",
        "generatedAt": "2026-11-04T09:50:53Z",
        "run": {"runId": "20261104T091500Z", "iteration": 2},
        "transition": {"currentState": "running", "confidence": "high"},
        "projection": {"status": "running", "lastEventAt": "2026-11-04T09:50:49Z"},
        "cursor": {"eventLineOffset": 2, "eventLineCount": 2},
        "health": HEALTH,
        "drift": {**DRIFT, "traceId": REC},
    },
    "cursor.json": {"schemaVersion": "v1", "eventLineOffset": 2, "eventLineCount": 2},
    "health.json": HEALTH,
    "heartbeat.json": {
        "updatedAt": "2026-11-04T09:50:53Z",
        "traceId": REC,
        "transport": "local",
        "lastHeartbeatAt": "2026-11-04T09:47:29Z",
        "heartbeatLagSeconds": 204,
        "freshnessStatus": "degraded",
        "reasonCode": "runtime_heartbeat_stale",
    },
    "sequence-state.json": {
        "updatedAt": "2026-11-04T09:50:53Z",
        "traceId": REC,
        "transport": "local",
        "status": "ok",
        "driftActive": False,
        "violations": [],
        "snapshot": {"current": 2},
        "events": {"last": 2},
    },
    "profile-drift.json": DRIFT,
    "alert-dispatch-state.json": {
        "status": "success",
        "updatedAt": "2026-11-04T09:50:57Z",
        "processedCount": 1,
        "dispatchedCount": 1,
        "skippedCount": 0,
        "failedCount": 0,
        "failureReasonCodes": [],
        "escalationsLineOffset": 1,
        "escalationsLineCount": 1,
        "traceId": REC,
    },
}
ROWS: dict[str, dict[str, Any]] = {
    "intents.jsonl": {
        "timestamp": "2026-11-04T09:40:59Z",
        "intent": "cancel",
        "status": "confirmed",
        "requestedBy": "riya",
        "traceId": CTL,
    },
    "telemetry/control.jsonl": {"timestamp": "2026-11-04T09:40:59Z", "status": "confirmed", "traceId": CTL},
    "telemetry/control-invocations.jsonl": {
        "timestamp": "2026-11-04T09:40:59Z",
        "intent": "cancel",
        "transport": "local",
        "idempotencyKey": "cancel-1793785258-1719",
        "traceId": CTL,
        "execution": {"status": "succeeded", "replayed": False},
        "confirmation": {"status": "confirmed"},
        "outcome": {"status": "confirmed"},
    },
    "telemetry/reconcile.jsonl": {
        "timestamp": "2026-11-04T09:50:55Z",
        "traceId": REC,
        "transport": "local",
        "status": "success",
        "durationSeconds": 5,
        "healthStatus": "degraded",
        "healthReasonCodes": ["runtime_heartbeat_stale"],
    },
    "telemetry/heartbeat.jsonl": {
        "timestamp": "2026-11-04T09:50:53Z",
        "traceId": REC,
        "transport": "local",
        "status": "degraded",
        "reasonCode": "runtime_heartbeat_stale",
        "heartbeatAt": "2026-11-04T09:47:29Z",
        "heartbeatLagSeconds": 204,
    },
    "telemetry/sequence.jsonl": {
        "timestamp": "2026-11-04T09:50:53Z",
        "traceId": REC,
        "transport": "local",
        "status": "ok",
        "driftActive": False,
        "violations": [],
        "snapshot": {"current": 2},
        "events": {"last": 2},
    },
    "telemetry/alerts.jsonl": {
        "timestamp": "2026-11-04T09:50:57Z",
        "status": "dispatched",
        "escalationCategory": "health_degraded",
        "eventSeverity": "warning",
        "sinkCount": 1,
        "dispatchedSinkCount": 1,
        "failedSinkCount": 0,
        "traceId": REC,
        "escalationTraceId": REC,
    },
}
EVERY = (*DOCUMENTS, *ROWS)


def write(ours: Path, *names: str) -> None:
    """The sources of these names (all of them without) below a loop's folder."""
    for name in names or EVERY:
        source = DOCUMENTS.get(name) or ROWS[name]
        put(ours, name, json.dumps(source, separators=(",", ":")) + "\n")


def put(ours: Path, name: str, text: str | bytes) -> None:
    path = ours / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
