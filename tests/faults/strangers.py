"""What another manager leaves behind for a loop: the contract's documents and rows, without any member of ours.

Source: loop-core 3.5, 4.3, 7, 8.3, 9.
"""

import json
from datetime import datetime
from pathlib import Path

_EARLIER = "2026-11-21T00:59:00Z"
_SEQUENCE = {
    "status": "ok",
    "driftActive": False,
    "violations": [],
    "snapshot": {"previous": 2, "current": 3, "monotonic": True, "regressed": False, "missing": False},
    "events": {
        "ingestedCount": 1,
        "previousLast": 2,
        "first": 3,
        "last": 3,
        "monotonicWithinBatch": True,
        "monotonicAcrossBatches": True,
        "regressed": False,
        "missing": False,
    },
    "transition": {"previousDriftActive": False, "transitionedToDrift": False, "recoveredFromDrift": False},
}


def leave_behind(home: Path, repo: Path, loop_id: str, at: datetime, lines: int) -> None:
    """As if the other manager had looked at `at`, when the log had `lines` lines, and had seen trouble before."""
    folder = home / ".superloop/ops-manager" / loop_id
    (folder / "telemetry").mkdir(parents=True)
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    health = _health(stamp)
    documents: dict[str, dict[str, object]] = {
        "health.json": health,
        "state.json": _state(stamp, str(repo), loop_id, lines) | {"health": health},
        "cursor.json": {
            "schemaVersion": "v1",
            "repoPath": str(repo),
            "loopId": loop_id,
            "eventsFile": f".superloop/loops/{loop_id}/events.jsonl",
            "eventLineOffset": lines,
            "eventLineCount": lines,
            "updatedAt": stamp,
        },
        "sequence-state.json": {
            "schemaVersion": "v1",
            "updatedAt": stamp,
            "loopId": loop_id,
            "traceId": "t1",
            "transport": "local",
            **_SEQUENCE,
        },
        "telemetry/transport-health.json": {
            "schemaVersion": "v1",
            "updatedAt": stamp,
            "traceId": "t1",
            "transport": "local",
            "lastResult": "success",
            "failureStreak": 0,
            "lastSuccessAt": stamp,
        },
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document) + "\n", encoding="utf-8")
    told = [_row(folder, loop_id, category) for category in ("divergence_detected", "health_degraded")]
    (folder / "escalations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")


def _health(stamp: str) -> dict[str, object]:
    return {
        "schemaVersion": "v1",
        "updatedAt": stamp,
        "traceId": "t1",
        "status": "degraded",
        "reasonCodes": ["ingest_stale"],
        "reasons": [
            {
                "code": "ingest_stale",
                "severity": "degraded",
                "metric": "ingestLagSeconds",
                "observed": "412",
                "threshold": "300",
            }
        ],
        "metrics": {
            "ingestLagSeconds": 412,
            "heartbeatLagSeconds": None,
            "transportFailureStreak": 0,
            "lastControlStatus": None,
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
        "evidence": {"lastEventAt": stamp, "lastHeartbeatAt": None, "sequenceUpdatedAt": stamp},
    }


def _state(stamp: str, repo: str, loop_id: str, lines: int) -> dict[str, object]:
    return {
        "schemaVersion": "v1",
        "generatedAt": stamp,
        "source": {"repoPath": repo, "loopId": loop_id},
        "run": {"runId": _EARLIER, "iteration": 1},
        "transition": {
            "previousState": "running",
            "triggeringSignal": "event:role_end",
            "currentState": "unknown",
            "confidence": "low",
        },
        "projection": {
            "status": "unknown",
            "hasPendingApproval": False,
            "completionOk": False,
            "gates": None,
            "stuck": {"streak": 1, "threshold": 3},
            "active": None,
            "lastEventName": "role_end",
            "lastEventAt": stamp,
        },
        "cursor": {"eventLineOffset": lines, "eventLineCount": lines},
        "divergence": {
            "any": True,
            "flags": {"activeMismatch": True, "approvalCompletionConflict": False, "cursorRegression": False},
        },
        "evidence": {
            "snapshotFile": "/tmp/gone/snapshot.json",
            "eventsFile": None,
            "snapshotEnvelope": {"runStatus": "unknown", "lastEventName": "role_end", "hasPendingApproval": False},
            "lastEventEnvelope": None,
        },
        "trace": {"reconcileTraceId": "t1"},
        "sequence": {"schemaVersion": "v1", "updatedAt": stamp, "loopId": loop_id, "traceId": "t1"}
        | {"transport": "local"}
        | _SEQUENCE,
        "drift": {"status": "disabled", "traceId": "t1"},
    }


def _row(folder: Path, loop_id: str, category: str) -> dict[str, object]:
    return {
        "timestamp": _EARLIER,
        "loopId": loop_id,
        "traceId": "t0",
        "category": category,
        "transport": "local",
        "stateFile": f"{folder}/state.json",
        "cursorFile": f"{folder}/cursor.json",
    }
