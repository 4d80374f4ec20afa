"""The contract's health document, rule by rule, in the contract's strings. Source: loop-core 8.2, 8.3."""

import msgspec
import pytest

from opsd.model.health import HealthReason, HealthStatus, Severity
from opsd.model.intent import ControlState, IntentKind, IntentStatus, OpenIntent
from opsd.model.lifecycle import DivergenceFlags, Phase
from opsd.model.observation import UnreachableCause
from opsd.model.run import Ingest, LoopRef, Run
from opsd.model.thresholds import Thresholds
from opsd.model.transport import TransportMode
from tests.core.builders import LOOP, a_run, moment
from tests.core.judging import SEEN, a_beat, a_story, drifted, failing, health_of, projected

DIVERGED = DivergenceFlags(active_mismatch=True)
OPEN = OpenIntent("i-1", IntentKind.CANCEL, IntentStatus.AMBIGUOUS, "riya", moment(0))


def told(run: Run, after_s: float = 0, ingest: Ingest = SEEN) -> list[str]:
    """The reasons as `code severity metric observed threshold`, which is all that the contract says of them."""
    return [" ".join(msgspec.structs.astuple(reason)) for reason in health_of(run, after_s, ingest).reasons]


def failed(code: str | None, cause: UnreachableCause | None = None) -> Ingest:
    return Ingest(False, code, cause, "it did not work.")


@pytest.mark.parametrize(
    ("run", "after_s", "expected"),
    [
        (projected(flags=DIVERGED), 0, ["divergence_detected degraded divergence.any true false"]),
        (
            projected(control=ControlState(last_status="ambiguous")),
            0,
            ["control_ambiguous degraded control.status ambiguous confirmed"],
        ),
        (
            projected(control=ControlState(last_status="failed_command")),
            0,
            ["control_failed_command degraded control.status failed_command confirmed"],
        ),
        (
            projected(control=ControlState(last_status="confirmed", last_is_ours=True, ambiguous=(OPEN,))),
            0,
            ["control_ambiguous degraded control.status ambiguous confirmed"],
        ),
        (projected(control=ControlState(last_status="confirmed")), 0, []),
        (projected(), 299.999, []),
        (projected(), 300, ["ingest_stale degraded ingestLagSeconds 300 300"]),
        (projected(), 899.999, ["ingest_stale degraded ingestLagSeconds 899 300"]),
        (projected(), 900, ["ingest_stale critical ingestLagSeconds 900 900"]),
        (projected(Phase.COMPLETE, beat=a_beat()), 9999, []),
        (projected(beat=a_beat(-100)), 19.999, []),
        (projected(beat=a_beat(-100)), 20, ["runtime_heartbeat_stale degraded heartbeatLagSeconds 120 120"]),
        (projected(beat=a_beat(-100)), 199.999, ["runtime_heartbeat_stale degraded heartbeatLagSeconds 299 120"]),
        (projected(beat=a_beat(-100)), 200, ["runtime_heartbeat_stale critical heartbeatLagSeconds 300 300"]),
        (
            projected(sequence=drifted()),
            0,
            ["ordering_drift_detected degraded sequence.status ordering_drift_detected ok"],
        ),
    ],
)
def test_each_rule_about_the_run_speaks_at_its_threshold_and_not_before(
    run: Run, after_s: float, expected: list[str]
) -> None:
    """Rules 1 to 7 and 10: a silence of exactly the threshold counts, a millisecond less does not."""
    assert told(run, after_s) == expected


@pytest.mark.parametrize(
    ("streak", "code", "expected"),
    [
        (1, "snapshot_unavailable", ["transport_unreachable degraded ingestStatus failed success"]),
        (1, "events_unavailable", ["transport_unreachable degraded ingestStatus failed success"]),
        (1, "service_request_failed", ["transport_unreachable degraded ingestStatus failed success"]),
        (1, "service_response_invalid", ["invalid_transport_payload degraded ingestStatus failed success"]),
        (1, "projection_failed", ["projection_failed degraded ingestStatus failed success"]),
        (1, "", ["reconcile_failed degraded ingestStatus failed success"]),
        (1, None, ["reconcile_failed degraded ingestStatus failed success"]),
        (1, "out_of_cheese", ["out_of_cheese degraded ingestStatus failed success"]),
        (2, "snapshot_unavailable", ["transport_unreachable degraded transportFailureStreak 2 2"]),
        (3, "snapshot_unavailable", ["transport_unreachable degraded transportFailureStreak 3 2"]),
        (
            4,
            "snapshot_unavailable",
            [
                "transport_unreachable critical transportFailureStreak 4 4",
                "transport_unreachable degraded ingestStatus failed success",
            ],
        ),
        (
            2,
            "service_response_invalid",
            [
                "invalid_transport_payload degraded ingestStatus failed success",
                "transport_unreachable degraded transportFailureStreak 2 2",
            ],
        ),
    ],
)
def test_each_rule_about_a_failed_look_speaks_in_the_contracts_words(
    streak: int, code: str | None, expected: list[str]
) -> None:
    """Rules 8, 9 and 11 to 15, which count trouble with local files as trouble of the transport."""
    assert told(projected(transport_health=failing(streak)), ingest=failed(code)) == expected


def test_reasons_are_sorted_and_unique_by_code_and_severity() -> None:
    """Existing tooling compares whole lists, so their order is part of the contract."""
    run = projected(
        flags=DIVERGED,
        beat=a_beat(),
        transport_health=failing(4),
        control=ControlState(last_status="ambiguous"),
        sequence=drifted(),
    )

    document = health_of(run, 300, failed("snapshot_unavailable"))

    keys = [(reason.code, reason.severity.value) for reason in document.reasons]
    assert keys == sorted(set(keys))
    assert list(document.reason_codes) == sorted({code for code, _ in keys})
    assert ("transport_unreachable", "critical") in keys
    assert ("transport_unreachable", "degraded") in keys


@pytest.mark.parametrize(
    ("run", "after_s", "status"),
    [
        (projected(), 0, HealthStatus.HEALTHY),
        (projected(flags=DIVERGED), 0, HealthStatus.DEGRADED),
        (projected(flags=DIVERGED), 900, HealthStatus.CRITICAL),
    ],
)
def test_the_status_is_the_worst_reasons_severity(run: Run, after_s: float, status: HealthStatus) -> None:
    assert health_of(run, after_s).status is status


def test_what_only_we_know_changes_the_overall_status_alone() -> None:
    """Existing tooling must not meet a code or a status that the contract does not know."""
    document = health_of(projected(Phase.CRASHED))

    assert (document.status, document.reason_codes) == (HealthStatus.HEALTHY, ())
    assert document.overall_status is HealthStatus.CRITICAL
    assert [finding.code for finding in document.findings] == ["runtime_process_missing"]


def test_a_note_makes_nothing_unhealthy() -> None:
    document = health_of(projected(Phase.CANCELLED))

    assert [finding.severity for finding in document.findings] == [Severity.INFO]
    assert document.overall_status is HealthStatus.HEALTHY


def test_missing_local_files_are_a_finding_of_their_own_and_the_contracts_transport_trouble() -> None:
    run = projected(transport_health=failing(4))

    document = health_of(run, ingest=failed("snapshot_unavailable", UnreachableCause.ARTIFACTS_MISSING))

    assert document.status is HealthStatus.CRITICAL
    assert document.reason_codes == ("transport_unreachable",)
    assert [finding.code for finding in document.findings] == ["artifacts_missing"]


def test_a_document_carries_the_contracts_members() -> None:
    """Every member of loop-core 8.3, with its null where there is nothing to say."""
    document = health_of(projected(fold=a_story(0), beat=a_beat(-30), backlog_bytes=7), 60)

    assert msgspec.json.decode(msgspec.json.encode(document)) == {
        "schemaVersion": "v1",
        "updatedAt": "2026-11-21T02:01:00Z",
        "traceId": "t",
        "status": "healthy",
        "reasonCodes": [],
        "reasons": [],
        "metrics": {
            "ingestLagSeconds": 60,
            "heartbeatLagSeconds": 90,
            "transportFailureStreak": 0,
            "lastControlStatus": None,
            "sequenceStatus": None,
            "lifecycleState": "running",
            "eventAgeSeconds": 60,
            "backlogBytes": 7,
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
            "lastEventAt": "2026-11-21T02:00:00Z",
            "lastHeartbeatAt": "2026-11-21T01:59:30Z",
            "sequenceUpdatedAt": None,
        },
        "overallStatus": "healthy",
        "findings": [],
    }


def test_a_failed_look_at_a_loop_never_read_is_a_whole_document() -> None:
    """The first pass over an absent loop has neither projection nor log to speak of."""
    run = a_run(transport_health=failing(1))

    document = health_of(run, ingest=failed("snapshot_unavailable", UnreachableCause.ARTIFACTS_MISSING))

    assert document.metrics.lifecycle_state == "unknown"
    assert document.metrics.ingest_lag_seconds is None
    assert document.transport.failure_code == "snapshot_unavailable"
    assert document.transport.last_failure_code == "snapshot_unavailable"
    assert document.reasons == (
        HealthReason("transport_unreachable", Severity.DEGRADED, "ingestStatus", "failed", "success"),
    )


def test_two_refused_service_passes_under_strict_streaks_are_critical() -> None:
    """An assertion of the contract's own tests (loop-core 13): thresholds 1 and 2, two refused passes."""
    limits = Thresholds(degraded_transport_failure_streak=1, critical_transport_failure_streak=2)
    ref = LoopRef(LOOP, "/srv/repo", TransportMode.SPRITE_SERVICE)
    refused = failed("service_request_failed", UnreachableCause.SERVICE_REQUEST_FAILED)

    first = health_of(Run(ref, transport_health=failing(1)), ingest=refused, limits=limits)
    second = health_of(Run(ref, transport_health=failing(2)), ingest=refused, limits=limits)

    assert (first.status, second.status) == (HealthStatus.DEGRADED, HealthStatus.CRITICAL)
    assert second.reason_codes == ("transport_unreachable",)
    assert second.findings[0].since == moment(0)
