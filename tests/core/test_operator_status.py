"""What the operator status says of files that are there, missing, odd, or old."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsd.app.operator_status import files_of
from opsd.core.operator_status import (
    MANAGER_SILENT,
    SAMPLES_WITHIN_S,
    Recommendation,
    Sources,
    operator_status,
    recommended,
)
from opsd.model.ids import LoopId
from opsd.model.operator_status import HeldBy, StatusSource
from opsd.model.reasons import REASONS
from opsd.store.layout import Layout
from tests.batch.checkout import LOOP
from tests.batch.status_files import DOCUMENTS, DRIFT, HEALTH, ROWS

GOLDEN = json.loads((Path(__file__).parents[1] / "batch" / "golden" / "operator-status.json").read_text())
ADDITIVE = ("overallStatus", "manager", "ages")
NOW = datetime(2026, 11, 4, 9, 51, 5, tzinfo=UTC)
LAST_PASS = datetime(2026, 11, 4, 9, 50, 55, tzinfo=UTC)
DAEMON = HeldBy(pid=7, started_at=NOW - timedelta(days=1), socket_path="/run/opsd.sock")
COMMAND = HeldBy(pid=8, started_at=NOW)
FIELDS = {
    "state.json": "state",
    "cursor.json": "cursor",
    "health.json": "health",
    "heartbeat.json": "heartbeat",
    "sequence-state.json": "sequence",
    "profile-drift.json": "drift",
    "alert-dispatch-state.json": "dispatch",
    "intents.jsonl": "last_intent",
    "telemetry/control.jsonl": "last_control",
    "telemetry/control-invocations.jsonl": "last_invocation",
    "telemetry/reconcile.jsonl": "last_reconcile",
    "telemetry/heartbeat.jsonl": "last_heartbeat",
    "telemetry/sequence.jsonl": "last_sequence",
    "telemetry/alerts.jsonl": "last_delivery",
}
EVERY: dict[str, Any] = {field: {**DOCUMENTS, **ROWS}[name] for name, field in FIELDS.items()}


def status(
    *, advice: Recommendation | None = None, held_by: HeldBy | None = None, now: datetime = NOW, **sources: Any
) -> dict[str, Any]:
    """The document as its readers see it; without `sources` of all of the example's files."""
    made = operator_status(
        Sources(**(sources or EVERY)),
        StatusSource("/srv/checkout", LOOP),
        files_of(Layout("/srv/checkout"), LoopId(LOOP)),
        advice or Recommendation(),
        held_by,
        summary_window=200,
        now=now,
    )
    document: dict[str, Any] = json.loads(msgspec.json.encode(made))
    return document


def without(name: str, **members: Any) -> dict[str, Any]:
    """The example's files but one, which is absent, or has only these members."""
    return {**EVERY, name: members or None}


def test_the_contract_s_example_comes_out_word_for_word_and_in_its_order() -> None:
    summary = {**GOLDEN["tuning"], **GOLDEN["tuning"]["telemetrySummary"]}

    document = status(advice=recommended(json.dumps(summary).encode()))

    assert [name for name in document if name not in GOLDEN] == list(ADDITIVE)
    assert json.dumps({name: document[name] for name in GOLDEN}) == json.dumps(GOLDEN)
    assert document["overallStatus"] == "degraded"
    assert document["ages"] == {"event": 16, "heartbeat": 216, "reconcile": 10}
    assert document["manager"] == {
        "status": "alive",
        "reasonCode": None,
        "lastReconcileAt": "2026-11-04T09:50:55Z",
        "ageSeconds": 10,
    }


def test_of_an_empty_state_and_nothing_else_little_is_said() -> None:
    document = status(state={})

    assert document["health"] == {}
    assert document["visibility"] == {"trace": {}}
    assert document["lifecycle"] == {"state": "unknown", "confidence": None, "runId": None, "iteration": None}
    assert document["cursor"] == {"eventLineOffset": 0, "eventLineCount": 0}
    assert not {"drift", "alerts"} & set(document)
    assert set(document["tuning"].values()) == {200, None}
    assert set(document["traceLinkage"].values()) == {None}
    assert document["manager"] == {
        "status": "silent",
        "reasonCode": MANAGER_SILENT,
        "lastReconcileAt": None,
        "ageSeconds": None,
    }


def test_a_first_pass_that_failed_leaves_only_a_health() -> None:
    document = status(health=HEALTH)

    assert document["health"] == HEALTH
    assert document["lifecycle"]["state"] == "unknown"
    assert document["cursor"] == {"eventLineOffset": 0, "eventLineCount": 0}
    assert document["tuning"]["appliedProfile"] == "balanced"


FALLBACKS: dict[str, tuple[dict[str, Any], str, object]] = {
    "state of the projection": (without("state", projection={"status": "idle"}), "lifecycle.state", "idle"),
    "state that is false": (
        without("state", transition={"currentState": False}, projection={"status": "idle"}),
        "lifecycle.state",
        "idle",
    ),
    "health of the state before that of its file": (
        without("state", health={"status": "healthy"}),
        "health",
        {"status": "healthy"},
    ),
    "health of the state, though it is empty": (without("state", health={}), "health", {}),
    "drift of its file before that of the state": (
        without("drift", status="drift_active"),
        "drift.status",
        "drift_active",
    ),
    "heartbeat before its row": (without("heartbeat", traceId="x"), "visibility.heartbeat.traceId", "x"),
    "cursor before the state's": (without("cursor", eventLineOffset=9), "cursor.eventLineOffset", 9),
    "intent's trace before control's": (without("last_control", traceId="x"), "control.lastTraceId", "tr-ctl-1"),
    "delivery's trace before its dispatch's": (without("last_delivery", traceId="x"), "traceLinkage.alertTraceId", "x"),
    "health of its own file": (without("state"), "health.status", "degraded"),
    "profile of its own file": (without("state", health={"status": "healthy"}), "tuning.appliedProfile", "balanced"),
    "cursor of the state": (without("cursor"), "cursor.eventLineOffset", 2),
    "control's trace of its telemetry": (without("last_intent"), "control.lastTraceId", "tr-ctl-1"),
    "the same among the traces": (without("last_intent"), "visibility.trace.controlTraceId", "tr-ctl-1"),
    "heartbeat's reason of its row": (
        without("heartbeat"),
        "visibility.heartbeat.reasonCode",
        "runtime_heartbeat_stale",
    ),
    "heartbeat's time of its row": (
        without("heartbeat"),
        "visibility.heartbeat.lastHeartbeatAt",
        "2026-11-04T09:47:29Z",
    ),
    "heartbeat's lag of its row": (without("heartbeat"), "visibility.heartbeat.heartbeatLagSeconds", 204),
    "heartbeat's update of its row": (without("heartbeat"), "visibility.heartbeat.updatedAt", "2026-11-04T09:50:53Z"),
    "heartbeat's trace of its row": (without("heartbeat"), "visibility.trace.heartbeatTraceId", "tr-rec-1"),
    "no freshness of its row": (without("heartbeat"), "visibility.heartbeat.freshnessStatus", None),
    "sequence's status of its row": (without("sequence"), "visibility.sequence.status", "ok"),
    "sequence's update of its row": (without("sequence"), "visibility.sequence.updatedAt", "2026-11-04T09:50:53Z"),
    "sequence's last event of its row": (without("sequence"), "visibility.sequence.eventsLast", 2),
    "no violations are still a list": (without("sequence"), "visibility.sequence.violations", []),
    "drift that is active": (without("sequence", driftActive=True), "visibility.sequence.driftActive", True),
    "drift that is not": (EVERY, "visibility.sequence.driftActive", None),
    "a row's drift behind a false": (
        {**EVERY, "last_sequence": {"driftActive": True}},
        "visibility.sequence.driftActive",
        True,
    ),
    "a replay": (without("last_invocation", execution={"replayed": True}), "visibility.invocationAudit.replayed", True),
    "no replay": (EVERY, "visibility.invocationAudit.replayed", None),
    "alert's trace of its dispatch": (without("last_delivery"), "visibility.trace.alertTraceId", "tr-rec-1"),
    "drift of the state": (without("drift"), "drift", {**DRIFT, "traceId": "tr-rec-1"}),
    "counts that are missing": (without("dispatch", status="no_source"), "alerts.dispatch.processedCount", 0),
    "codes that are missing": (without("dispatch", status="no_source"), "alerts.dispatch.failureReasonCodes", []),
    "no dispatch": (without("dispatch"), "alerts.dispatch", None),
    "no delivery": (without("last_delivery"), "alerts.lastDelivery", None),
    "an odd member": (without("last_intent", intent=7, traceId=["a"]), "control.lastIntent", None),
    "an odd member's fallback": (without("last_intent", intent=7, traceId=["a"]), "control.lastTraceId", "tr-ctl-1"),
    "a boolean is no number": (without("last_reconcile", durationSeconds=True), "reconcile.lastDurationSeconds", None),
    "our finer word": (without("state", phase="paused", basis="so"), "lifecycle.phase", "paused"),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_what_one_file_does_not_say_another_may(name: str) -> None:
    sources, where, expected = FALLBACKS[name]

    found: Any = status(**sources)
    for step in where.split("."):
        found = found.get(step)

    assert found == expected


@pytest.mark.parametrize(
    ("traces", "visible", "linked"),
    [
        ({"control": "a", "reconcile": "a", "alert": "a", "heartbeat": "a", "sequence": "a"}, "a", "a"),
        ({"control": "b", "reconcile": "a", "alert": "a", "heartbeat": "a", "sequence": "a"}, None, None),
        ({"reconcile": "a", "alert": "a", "heartbeat": "a", "sequence": "old"}, None, "a"),
        ({"reconcile": "a"}, "a", None),
        ({"heartbeat": "a", "sequence": "a"}, "a", None),
        ({"control": "a", "alert": "a"}, "a", None),
        ({"reconcile": "a", "alert": "a", "invocation": "b"}, "a", "a"),
        ({}, None, None),
    ],
)
def test_the_two_shared_traces_look_at_different_ones(
    traces: dict[str, str], visible: str | None, linked: str | None
) -> None:
    fields = {
        "control": "last_intent",
        "reconcile": "last_reconcile",
        "alert": "last_delivery",
        "heartbeat": "heartbeat",
        "sequence": "sequence",
        "invocation": "last_invocation",
    }

    sources: dict[str, Any] = {fields[name]: {"traceId": trace} for name, trace in traces.items()}
    document = status(state={}, **sources)

    assert document["visibility"]["trace"].get("sharedTraceId") == visible
    assert document["traceLinkage"]["sharedTraceId"] == linked


@pytest.mark.parametrize(
    ("after_s", "manager", "overall"),
    [
        (599, "alive", "degraded"),
        (600, "silent", "degraded"),
        (1799, "silent", "degraded"),
        (1800, "silent", "critical"),
    ],
)
def test_a_manager_that_is_silent_for_twice_the_thresholds_does_not_look_healthy(
    after_s: int, manager: str, overall: str
) -> None:
    document = status(now=LAST_PASS + timedelta(seconds=after_s))

    assert (document["manager"]["status"], document["overallStatus"]) == (manager, overall)
    assert document["manager"]["reasonCode"] == (MANAGER_SILENT if manager == "silent" else None)
    assert document["ages"]["reconcile"] == document["manager"]["ageSeconds"] == after_s
    assert document["health"] == HEALTH, "what was written is carried through as it is"


def test_silence_makes_a_healthy_verdict_worse_and_never_better() -> None:
    well = {**HEALTH, "status": "healthy", "overallStatus": "healthy"}
    found = {**HEALTH, "overallStatus": "critical"}
    later = LAST_PASS + timedelta(seconds=700)

    assert status(**without("state"), now=LAST_PASS)["overallStatus"] == "degraded"
    assert status(health=well, now=LAST_PASS)["overallStatus"] == "healthy"
    assert status(health=well, now=later)["overallStatus"] == "degraded"
    assert status(health=found, now=later)["overallStatus"] == "critical", "all findings count, not the reasons alone"
    assert status(state={}, held_by=DAEMON)["overallStatus"] == "unknown", "nobody has judged it yet"


def test_a_strict_profile_makes_no_manager_silent_within_two_minutes() -> None:
    strict = {**HEALTH, "thresholds": {"degradedIngestLagSeconds": 1, "criticalIngestLagSeconds": 2}}
    updated = datetime(2026, 11, 4, 9, 50, 53, tzinfo=UTC)

    assert status(health=strict, now=updated + timedelta(seconds=119))["manager"]["status"] == "alive"
    assert status(health=strict, now=updated + timedelta(seconds=120))["manager"]["status"] == "silent"


def test_a_daemon_that_is_there_looks_after_quiet_loops_without_a_word() -> None:
    quiet: dict[str, Any] = {**EVERY, "state": {**EVERY["state"], "transition": {"currentState": "complete"}}}
    document = status(**quiet, held_by=DAEMON, now=NOW + timedelta(days=30))

    assert document["manager"]["status"] == "alive"
    assert document["manager"]["heldBy"] == {
        "pid": 7,
        "startedAt": "2026-11-03T09:51:05Z",
        "socketPath": "/run/opsd.sock",
    }


def test_of_a_loop_that_runs_a_daemon_leaves_rows_or_it_does_not_look_after_it() -> None:
    def manager(silent_s: int, held_by: HeldBy = DAEMON) -> object:
        return status(held_by=held_by, now=LAST_PASS + timedelta(seconds=silent_s))["manager"]["status"]

    assert manager(SAMPLES_WITHIN_S - 1) == "alive"
    assert manager(SAMPLES_WITHIN_S) == "silent"
    just_begun = HeldBy(pid=7, started_at=LAST_PASS + timedelta(seconds=SAMPLES_WITHIN_S), socket_path="/run/opsd.sock")
    assert manager(SAMPLES_WITHIN_S + 60, just_begun) == "alive", "it has not had the time"


def test_a_one_shot_command_that_holds_the_home_is_named_and_is_no_daemon() -> None:
    manager = status(held_by=COMMAND, now=NOW + timedelta(hours=1))["manager"]

    assert (manager["status"], manager["heldBy"]["pid"]) == ("silent", 8)
    assert "socketPath" not in manager["heldBy"]


def test_the_newest_word_of_a_pass_counts_and_that_of_a_state_only_without_one() -> None:
    row, health = {"timestamp": "2026-11-04T09:00:00Z"}, {"updatedAt": "2026-11-04T09:01:00Z"}
    state = {"generatedAt": "2026-11-04T09:02:00Z"}

    def last(**sources: Any) -> object:
        return status(**sources)["manager"]["lastReconcileAt"]

    assert last(state=state, last_reconcile=row, health=health) == "2026-11-04T09:01:00Z"
    assert last(state=state, last_reconcile=row) == "2026-11-04T09:00:00Z"
    assert last(state=state, last_reconcile={"timestamp": "yesterday"}) == "2026-11-04T09:02:00Z"
    assert last(state={"generatedAt": 7}) is None


def test_a_clock_that_went_back_makes_ages_of_nothing() -> None:
    document = status(now=NOW - timedelta(days=1))

    assert document["ages"] == {"event": 0, "heartbeat": 0, "reconcile": 0}
    assert document["manager"]["status"] == "alive"


@pytest.mark.parametrize("summary", [b"", b"{", b"[]", b"7", b"{}", b'{"observed": [], "confidence": 1}', b"\xff"])
def test_what_is_no_summary_advises_nothing(summary: bytes) -> None:
    assert recommended(summary) == Recommendation()


def test_the_code_of_a_silent_manager_is_registered() -> None:
    assert REASONS[MANAGER_SILENT].needs_human


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def odd_sources(draw: st.DrawFn) -> dict[str, Any]:
    """The example's files with some gone, and some members of some replaced by anything."""
    found: dict[str, Any] = {}
    for field in draw(st.sets(st.sampled_from(sorted(EVERY)))) | {draw(st.sampled_from(("state", "health")))}:
        odd = draw(st.dictionaries(st.sampled_from(sorted(EVERY[field])), JSON, max_size=3))
        found[field] = {**EVERY[field], **odd}
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(odd_sources(), st.sampled_from((None, DAEMON, COMMAND)))
def test_whatever_the_files_say_there_is_a_status_of_the_contract_s_form(
    sources: dict[str, Any], held_by: HeldBy | None
) -> None:
    document = status(**sources, held_by=held_by)

    assert [*GOLDEN, *ADDITIVE] == [
        name for name in (*GOLDEN, *ADDITIVE) if name in document or name in ("drift", "alerts")
    ]
    for kept in ("lifecycle", "control", "reconcile", "tuning", "traceLinkage", "files"):
        assert document[kept].keys() >= GOLDEN[kept].keys()
    assert None not in document["visibility"]["trace"].values()
    assert document["overallStatus"] in ("healthy", "degraded", "critical", "unknown")
