"""`ops-manager health`: each rule of the contract over documents on disk. Source: loop-core 8, 13."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.core.contract_health import Given, HeartbeatGiven, TransportGiven, evaluate
from opsd.model.thresholds import Thresholds
from tests.batch.cli import run, spawn

NOW = "2020-01-01T01:00:00Z"


class Papers:
    """The documents of a healthy loop at `NOW`; each can be given another content, or none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.words = ["--now", NOW]
        self.state()
        self.heartbeat()
        self.sequence()
        self.transport()
        self.intents(json.dumps({"status": "confirmed"}) + "\n")

    def state(self, *, at: str | None = NOW, diverges: bool = False, state: str = "running") -> "Papers":
        told = {"transition": {"currentState": state}, "projection": {"lastEventAt": at}}
        return self.write("state", {**told, "divergence": {"any": diverges}})

    def heartbeat(self, **members: object) -> "Papers":
        return self.write("heartbeat-state", {"lastHeartbeatAt": NOW, **members})

    def sequence(self, **members: object) -> "Papers":
        return self.write("sequence-state", {"status": "ok", "driftActive": False, "updatedAt": NOW, **members})

    def transport(self, streak: object = 0, **members: object) -> "Papers":
        return self.write("transport-health", {"failureStreak": streak, **members})

    def intents(self, text: str) -> "Papers":
        return self.write("intents", text)

    def write(self, name: str, content: object) -> "Papers":
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / name).write_text(text, encoding="utf-8")
        flag = f"--{name}-file"
        if flag not in self.words:
            self.words += [flag, str(self.folder / name)]
        return self

    def evaluated(self, *words: str) -> Any:
        done = run("health", *self.words, *words)
        assert done.code == 0
        return done.document


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


def reason(code: str, metric: str, observed: str, threshold: str, severity: str = "degraded") -> dict[str, str]:
    return {"code": code, "severity": severity, "metric": metric, "observed": observed, "threshold": threshold}


FAILED = ("--ingest-status", "failed", "--failure-code")
NOT_REACHED = reason("transport_unreachable", "ingestStatus", "failed", "success")
RULES: list[tuple[str, Any, tuple[str, ...], dict[str, str]]] = [
    ("1", lambda on: on.state(diverges=True), (), reason("divergence_detected", "divergence.any", "true", "false")),
    (
        "2",
        lambda on: on.intents('{"status":"confirmed"}\n{"status":"ambiguous"}\n'),
        (),
        reason("control_ambiguous", "control.status", "ambiguous", "confirmed"),
    ),
    (
        "3",
        lambda on: on.intents('{"status":"failed_command"}'),
        (),
        reason("control_failed_command", "control.status", "failed_command", "confirmed"),
    ),
    (
        "4",
        lambda on: on.state(at="2020-01-01T00:45:00Z"),
        (),
        reason("ingest_stale", "ingestLagSeconds", "900", "900", "critical"),
    ),
    ("5", lambda on: on.state(at="2020-01-01T00:55:00Z"), (), reason("ingest_stale", "ingestLagSeconds", "300", "300")),
    (
        "6",
        lambda on: on.heartbeat(lastHeartbeatAt="2020-01-01T00:55:00Z"),
        (),
        reason("runtime_heartbeat_stale", "heartbeatLagSeconds", "300", "300", "critical"),
    ),
    (
        "7",
        lambda on: on.heartbeat(heartbeatLagSeconds=120),
        (),
        reason("runtime_heartbeat_stale", "heartbeatLagSeconds", "120", "120"),
    ),
    (
        "8",
        lambda on: on.transport(4),
        (),
        reason("transport_unreachable", "transportFailureStreak", "4", "4", "critical"),
    ),
    ("9", lambda on: on.transport(2), (), reason("transport_unreachable", "transportFailureStreak", "2", "2")),
    (
        "10",
        lambda on: on.sequence(status="ordering_drift_detected", driftActive=True),
        (),
        reason("ordering_drift_detected", "sequence.status", "ordering_drift_detected", "ok"),
    ),
    (
        "10, by its own code",
        lambda on: on.sequence(status="odd", driftActive=True, reasonCode="odder"),
        (),
        reason("odder", "sequence.status", "odd", "ok"),
    ),
    ("11a", lambda on: on, (*FAILED, "snapshot_unavailable"), NOT_REACHED),
    ("11b", lambda on: on, (*FAILED, "events_unavailable"), NOT_REACHED),
    ("11c", lambda on: on, (*FAILED, "service_request_failed"), NOT_REACHED),
    (
        "12",
        lambda on: on,
        (*FAILED, "service_response_invalid"),
        reason("invalid_transport_payload", "ingestStatus", "failed", "success"),
    ),
    (
        "13",
        lambda on: on,
        (*FAILED, "projection_failed"),
        reason("projection_failed", "ingestStatus", "failed", "success"),
    ),
    (
        "14",
        lambda on: on,
        ("--ingest-status", "failed"),
        reason("reconcile_failed", "ingestStatus", "failed", "success"),
    ),
    ("15", lambda on: on, (*FAILED, "gremlins"), reason("gremlins", "ingestStatus", "failed", "success")),
]


class TestRules:
    def test_a_healthy_loop(self, papers: Papers) -> None:
        assert papers.evaluated("--trace-id", "tr-1", "--threshold-profile", "mine") == {
            "schemaVersion": "v1",
            "updatedAt": NOW,
            "traceId": "tr-1",
            "status": "healthy",
            "reasonCodes": [],
            "reasons": [],
            "metrics": {
                "ingestLagSeconds": 0,
                "heartbeatLagSeconds": 0,
                "transportFailureStreak": 0,
                "lastControlStatus": "confirmed",
                "sequenceStatus": "ok",
                "lifecycleState": "running",
            },
            "thresholds": {
                "profile": "mine",
                "degradedIngestLagSeconds": 300,
                "criticalIngestLagSeconds": 900,
                "degradedHeartbeatLagSeconds": 120,
                "criticalHeartbeatLagSeconds": 300,
                "degradedTransportFailureStreak": 2,
                "criticalTransportFailureStreak": 4,
            },
            "transport": {"mode": "local", "ingestStatus": "success", "failureCode": None, "lastFailureCode": None},
            "evidence": {"lastEventAt": NOW, "lastHeartbeatAt": NOW, "sequenceUpdatedAt": NOW},
        }

    @pytest.mark.parametrize(("which", "change", "words", "expected"), RULES, ids=[rule[0] for rule in RULES])
    def test_each_alone(
        self, papers: Papers, which: str, change: Any, words: tuple[str, ...], expected: dict[str, str]
    ) -> None:
        change(papers)

        told = papers.evaluated(*words)

        assert told["reasons"] == [expected]
        assert (told["status"], told["reasonCodes"]) == (expected["severity"], [expected["code"]])

    def test_no_rule_below_its_limit(self, papers: Papers) -> None:
        papers.state(at="2020-01-01T00:55:01Z").heartbeat(heartbeatLagSeconds=119).transport(1)

        assert papers.evaluated()["status"] == "healthy"

    def test_one_code_may_stand_with_two_severities_and_once_with_each(self, papers: Papers) -> None:
        papers.transport(4, lastFailureCode="snapshot_unavailable")

        told = papers.evaluated(*FAILED, "snapshot_unavailable")

        assert [(each["severity"], each["metric"]) for each in told["reasons"]] == [
            ("critical", "transportFailureStreak"),
            ("degraded", "ingestStatus"),
        ]
        assert (told["status"], told["reasonCodes"]) == ("critical", ["transport_unreachable"])
        assert told["transport"]["failureCode"] == told["transport"]["lastFailureCode"] == "snapshot_unavailable"

        papers.transport(2)
        first = papers.evaluated(*FAILED, "snapshot_unavailable")["reasons"]
        assert [each["metric"] for each in first] == ["transportFailureStreak"]

    def test_a_failure_code_counts_for_failures_only(self, papers: Papers) -> None:
        told = papers.evaluated("--failure-code", "projection_failed")

        assert (told["status"], told["transport"]["failureCode"]) == ("healthy", None)

    def test_all_at_once_are_sorted_by_code(self, papers: Papers) -> None:
        papers.state(at="2020-01-01T00:55:00Z", diverges=True).intents('{"status":"ambiguous"}')
        papers.heartbeat(heartbeatLagSeconds=300).transport(2).sequence(driftActive=True)

        told = papers.evaluated(*FAILED, "projection_failed")

        assert told["status"] == "critical"
        assert [(each["code"], each["severity"]) for each in told["reasons"]] == [
            ("control_ambiguous", "degraded"),
            ("divergence_detected", "degraded"),
            ("ingest_stale", "degraded"),
            ("ordering_drift_detected", "degraded"),
            ("projection_failed", "degraded"),
            ("runtime_heartbeat_stale", "critical"),
            ("transport_unreachable", "degraded"),
        ]
        assert told["reasonCodes"] == [each["code"] for each in told["reasons"]]

    @given(
        pair=st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted),
        lag=st.none() | st.integers(0, 60),
        streak=st.integers(0, 60),
        code=st.none() | st.sampled_from(["", "snapshot_unavailable", "ingest_stale"]),
    )
    def test_the_worst_reason_is_the_status(
        self, pair: list[int], lag: int | None, streak: int, code: str | None
    ) -> None:
        limits = Thresholds(
            degraded_heartbeat_lag_seconds=pair[0],
            critical_heartbeat_lag_seconds=pair[1],
            degraded_transport_failure_streak=pair[0],
            critical_transport_failure_streak=pair[1],
        )
        papers = Given(
            limits,
            ingest_failed=code is not None,
            failure_code=code,
            heartbeat=HeartbeatGiven(lag),
            transport=TransportGiven(streak),
        )

        told = evaluate(papers, trace_id=None, now=datetime(2020, 1, 1, tzinfo=UTC))

        keys = [(each.code, each.severity) for each in told.reasons]
        assert keys == sorted(set(keys))
        severities = {each.severity.value for each in told.reasons}
        assert told.status == ("critical" if "critical" in severities else "degraded" if severities else "healthy")
        of_lag = [each.severity for each in told.reasons if each.metric == "heartbeatLagSeconds"]
        assert of_lag == ([] if lag is None or lag < pair[0] else ["critical" if lag >= pair[1] else "degraded"])


class TestWhatTheReferenceAsserts:
    def test_an_event_of_2020(self, papers: Papers) -> None:
        words = ("--degraded-ingest-lag-seconds", "1", "--critical-ingest-lag-seconds", "999999999")

        told = run("health", *papers.words[2:], *words, "--degraded-heartbeat-lag-seconds", "999999999")

        assert (told.code, told.out) == (1, "")  # its critical value would lie below
        papers.heartbeat(lastHeartbeatAt=None)
        told = run("health", *papers.words[2:], *words)
        assert (told.document["status"], told.document["reasonCodes"]) == ("degraded", ["ingest_stale"])

    def test_a_streak_of_two(self, papers: Papers) -> None:
        words = ("--degraded-transport-failure-streak", "1", "--critical-transport-failure-streak", "2")

        told = papers.transport(2).evaluated(*words)

        assert (told["status"], told["reasonCodes"]) == ("critical", ["transport_unreachable"])


class TestInputs:
    def test_nothing_at_all(self) -> None:
        told = spawn("health").document

        assert (told["status"], told["traceId"]) == ("healthy", None)
        assert told["metrics"] == {
            "ingestLagSeconds": None,
            "heartbeatLagSeconds": None,
            "transportFailureStreak": 0,
            "lastControlStatus": None,
            "sequenceStatus": None,
            "lifecycleState": "unknown",
        }
        assert told["thresholds"]["profile"] is None

    @pytest.mark.parametrize("name", ["state", "heartbeat-state", "sequence-state", "transport-health", "intents"])
    def test_absent_and_empty_files_count_as_none(self, papers: Papers, name: str) -> None:
        papers.write(name, "")
        empty = papers.evaluated()
        (papers.folder / name).unlink()

        assert papers.evaluated() == empty
        assert empty["status"] == "healthy"

    def test_the_null_device_is_empty(self) -> None:
        assert run("health", "--state-file", "/dev/null", "--intents-file", "/dev/null").code == 0

    @pytest.mark.parametrize("name", ["state", "heartbeat-state", "sequence-state", "transport-health"])
    @pytest.mark.parametrize("text", ["{no json", "[]", "7", " "])
    def test_a_corrupt_one_ends_it(self, papers: Papers, name: str, text: str) -> None:
        papers.write(name, text)

        done = run("health", *papers.words)

        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: invalid ")
        assert f"JSON: {papers.folder / name}" in done.err

    @pytest.mark.parametrize("text", ['{"status":"ambiguous"}\n{no json\n', '{"status":"ambiguous"}\n\n', "[]\n"])
    def test_a_last_intent_that_says_nothing_is_none(self, papers: Papers, text: str) -> None:
        assert papers.intents(text).evaluated()["metrics"]["lastControlStatus"] is None

    @pytest.mark.parametrize("at", [None, "2020-01-01T00:00:00.5Z", "2020-01-01T00:00:00+00:00", "yesterday"])
    def test_a_time_that_cannot_be_compared_is_no_lag(self, papers: Papers, at: str | None) -> None:
        told = papers.state(at=at).heartbeat(lastHeartbeatAt=at).evaluated()

        assert told["metrics"]["ingestLagSeconds"] is told["metrics"]["heartbeatLagSeconds"] is None
        assert (told["evidence"]["lastEventAt"], told["status"]) == (at, "healthy")

    def test_a_time_ahead_is_no_lag_either(self, papers: Papers) -> None:
        assert papers.state(at="2021-01-01T00:00:00Z").evaluated()["metrics"]["ingestLagSeconds"] == 0

    def test_a_stored_lag_counts_before_the_beat_and_the_document_before_its_beat(self, papers: Papers) -> None:
        old = {"timestamp": "2020-01-01T00:00:00Z"}

        stored = papers.heartbeat(heartbeatLagSeconds=7, heartbeat=old).evaluated()
        by_beat = papers.heartbeat(lastHeartbeatAt=None, heartbeat=old).evaluated()

        assert (stored["metrics"]["heartbeatLagSeconds"], stored["status"]) == (7, "healthy")
        assert (by_beat["metrics"]["heartbeatLagSeconds"], by_beat["status"]) == (3600, "critical")

    @pytest.mark.parametrize("streak", ["many", None, [4], 4.5])
    def test_a_streak_that_is_no_integer_is_none(self, papers: Papers, streak: object) -> None:
        assert papers.transport(streak).evaluated()["metrics"]["transportFailureStreak"] == 0

    def test_a_zero_in_front_makes_no_octal_number(self, papers: Papers) -> None:
        told = papers.state(at="2020-01-01T00:59:52Z").evaluated("--degraded-ingest-lag-seconds", "08")

        assert (told["thresholds"]["degradedIngestLagSeconds"], told["reasonCodes"]) == (8, ["ingest_stale"])

    def test_what_the_manager_writes_is_understood(self, papers: Papers) -> None:
        done = run("health", *papers.words, "--pretty", "--transport", "sprite_service")

        assert done.out.startswith('{\n  "')
        assert done.document["transport"]["mode"] == "sprite_service"

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--transport", "pigeon"), "--transport must be one of local, sprite_service"),
            (("--ingest-status", "so-so"), "--ingest-status must be one of success, failed"),
            (("--degraded-ingest-lag-seconds", "x"), "--degraded-ingest-lag-seconds must be a non-negative integer"),
            (("--critical-ingest-lag-seconds", "299"), "critical_ingest_lag_seconds (299) must be at least"),
            (("--critical-heartbeat-lag-seconds", "1"), "critical_heartbeat_lag_seconds (1) must be at least"),
            (("--critical-transport-failure-streak", "1"), "critical_transport_failure_streak (1) must be at least"),
            (("--now", "noon"), "--now must be a timestamp like "),
            (("--now", "2020-01-01T01:00:00+00:00"), "--now must be a timestamp like "),
            (("--nonsense",), "unrecognized arguments"),
        ],
    )
    def test_bad_words(self, words: tuple[str, ...], says: str) -> None:
        done = run("health", *words)

        assert (done.code, done.out) == (1, "")
        assert says in done.err.splitlines()[-1]
