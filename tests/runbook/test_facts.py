"""What the reference's own tests assert of its scripts holds of ours, script by script. Source: loop-core 13.

Whatever a script prints where it succeeds is one document, also for callers that join both streams.
"""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.batch.checkout import LOOP, RUN, Checkout
from tests.docs.prose import ROOT
from tests.doubles.process import wait_until
from tests.doubles.sprites import TOKEN
from tests.runbook.scripts import Told, script
from tests.runbook.site import Site, free_port

pytestmark = pytest.mark.slow
LONG = "999999999"
STALE = ("--degraded-ingest-lag-seconds", "1", "--critical-ingest-lag-seconds", LONG)
FRESH = ("--degraded-ingest-lag-seconds", LONG, "--critical-ingest-lag-seconds", LONG)
STREAKS = ("--degraded-transport-failure-streak", "1", "--critical-transport-failure-streak", "2")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "repo", datetime.now(UTC)).running()


@pytest.fixture
def old(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "repo").running()


def lines(told: Told) -> list[Any]:
    assert told.code == 0, told.text
    return [json.loads(line) for line in told.text.splitlines()]


def pending(checkout: Checkout) -> None:
    request = {"status": "pending", "run_id": RUN, "iteration": 1, "requested_at": "2020-01-01T00:00:03Z"}
    (checkout.loop / "approval.json").write_text(json.dumps({**request, "candidate": {}}))


class TestSnapshot:
    def test_its_sequence_is_the_number_of_lines(self, checkout: Checkout) -> None:
        found = script("loop-run-snapshot", *checkout.flags).document

        assert found["sequence"]["value"] == found["cursor"]["eventLineOffset"] == 3

    def test_without_a_heartbeat(self, checkout: Checkout) -> None:
        found = script("loop-run-snapshot", *checkout.flags, "--pretty").document

        assert found["runtime"]["heartbeat"] is None
        assert found["artifacts"]["heartbeat"]["exists"] is False

    @pytest.mark.parametrize("name", ["loop-run-snapshot", "poll-events"])
    def test_without_a_log(self, checkout: Checkout, name: str) -> None:
        checkout.log.unlink()

        told = script(name, *checkout.flags)

        assert told.code != 0
        assert "required artifact missing" in told.text


def test_poll_goes_on_behind_its_cursor(checkout: Checkout) -> None:
    cursor = checkout.loop / "ops-manager.cursor.json"

    first = lines(script("poll-events", *checkout.flags))
    assert [each["sequence"]["value"] for each in first] == [1, 2, 3]
    assert json.loads(cursor.read_text())["eventLineOffset"] == 3

    assert script("poll-events", *checkout.flags) == Told(0, "")

    checkout.event("role_end", role="implementer").event("tests_start")
    assert len(lines(script("poll-events", *checkout.flags, "--max-events", "1"))) == 1
    assert json.loads(cursor.read_text())["eventLineOffset"] == 4


class TestProjection:
    def files(self, checkout: Checkout) -> tuple[str, ...]:
        folder = checkout.folder.parent
        for name, told in (
            ("snapshot.json", script("loop-run-snapshot", *checkout.flags)),
            ("events.ndjson", script("poll-events", *checkout.flags, "--from-start")),
        ):
            (folder / name).write_text(told.text)
        return ("--snapshot-file", str(folder / "snapshot.json"), "--events-file", str(folder / "events.ndjson"))

    def test_a_running_loop(self, checkout: Checkout) -> None:
        state = script("project-state", *checkout.flags, *self.files(checkout)).document

        assert state["transition"]["currentState"] == "running"
        assert state["transition"]["triggeringSignal"].startswith("event:")
        assert state["divergence"]["any"] is False
        assert state == checkout.document("state.json")

    def test_pending_and_complete(self, checkout: Checkout) -> None:
        checkout.summary(completion_ok=True)
        pending(checkout)

        state = script("project-state", *checkout.flags, *self.files(checkout)).document

        assert state["divergence"]["flags"]["approvalCompletionConflict"] is True
        assert state["transition"]["confidence"] == "low"

    def test_a_cursor_that_was_further(self, checkout: Checkout) -> None:
        words = self.files(checkout)
        state = script("project-state", *checkout.flags, *words).document
        state["cursor"]["eventLineOffset"] = 99
        (checkout.ours / "state.json").write_text(json.dumps(state))

        again = script("project-state", *checkout.flags, *words).document

        assert again["divergence"]["flags"]["cursorRegression"] is True

    def test_an_unrelated_object_among_the_events(self, checkout: Checkout) -> None:
        words = self.files(checkout)
        Path(words[3]).write_text('{"hello": "world"}\n')

        told = script("project-state", *checkout.flags, *words)

        assert told.code == 1
        assert "event envelope is invalid" in told.text


class TestReconcile:
    def test_cursor_and_state_advance(self, checkout: Checkout) -> None:
        script("reconcile", *checkout.flags)
        checkout.event("role_end", role="implementer")

        state = script("reconcile", *checkout.flags, "--trace-id", "tr-fixed").document

        assert state["cursor"]["eventLineOffset"] == checkout.document("cursor.json")["eventLineOffset"] == 4
        assert state["transition"]["previousState"] == "running"
        assert state["health"]["traceId"] == "tr-fixed"

    def test_inactive_and_at_work_is_a_divergence(self, tmp_path: Path) -> None:
        contrary = Checkout(tmp_path).state(active=False).summary().event("loop_start").event("role_end")

        script("reconcile", *contrary.flags)

        assert contrary.categories().count("divergence_detected") >= 1


class TestHealth:
    def test_an_event_of_long_ago(self, old: Checkout) -> None:
        health = script("reconcile", *old.flags, *STALE).document["health"]

        assert (health["status"], health["reasonCodes"]) == ("degraded", ["ingest_stale"])
        assert old.categories()[-1] == "health_degraded"

    @pytest.mark.parametrize("by_itself", [True, False], ids=["health", "reconcile"])
    def test_an_intent_that_nobody_could_confirm(self, checkout: Checkout, by_itself: bool) -> None:
        script("reconcile", *checkout.flags, *FRESH)
        intents = checkout.ours / "intents.jsonl"
        intents.write_text('{"timestamp":"2026-11-04T09:31:30Z","intent":"approve","status":"ambiguous"}\n')

        if by_itself:
            health = script("health", "--intents-file", str(intents)).document
        else:
            health = script("reconcile", *checkout.flags, *FRESH).document["health"]

        assert (health["status"], health["reasonCodes"]) == ("degraded", ["control_ambiguous"])

    def test_a_streak_of_failures(self, tmp_path: Path) -> None:
        transport = tmp_path / "transport-health.json"
        transport.write_text('{"schemaVersion":"v1","failureStreak":2}')

        health = script("health", "--transport-health-file", str(transport), *STREAKS).document

        assert (health["status"], health["reasonCodes"]) == ("critical", ["transport_unreachable"])

    def test_a_service_that_refuses_twice(self, tmp_path: Path) -> None:
        away = Checkout(tmp_path)
        words = ("--transport", "sprite_service", "--service-base-url", f"http://127.0.0.1:{free_port()}")

        told = [
            script("reconcile", *away.flags, *words, *STREAKS, "--retry-attempts", "1", "--retry-backoff-seconds", "0")
            for _ in range(2)
        ]

        assert [each.code for each in told] == [1, 1]
        assert [each.document["status"] for each in told] == ["degraded", "critical"]
        assert away.rows("telemetry/reconcile.jsonl")[-1]["status"] == "failed"
        assert away.categories()[-1] == "health_critical"


def test_a_log_that_was_cut_is_drift(checkout: Checkout) -> None:
    script("reconcile", *checkout.flags, *FRESH)
    checkout.log.write_text(checkout.log.read_text().splitlines(keepends=True)[0])

    state = script("reconcile", *checkout.flags, *FRESH, "--from-start").document

    sequence = checkout.document("sequence-state.json")
    assert sequence["driftActive"] is True
    assert {"snapshot_sequence_regression", "event_sequence_regression"} <= set(sequence["violations"])
    assert state["health"]["status"] == "degraded"
    assert "ordering_drift_detected" in state["health"]["reasonCodes"]
    assert checkout.categories()[-1] == "health_degraded"


def test_an_old_beat_is_stale(checkout: Checkout) -> None:
    checkout.beat("2020-01-01T00:00:00Z")
    limits = ("--degraded-heartbeat-lag-seconds", "1", "--critical-heartbeat-lag-seconds", LONG)

    health = script("reconcile", *checkout.flags, *FRESH, *limits).document["health"]

    assert health["reasonCodes"] == ["runtime_heartbeat_stale"]
    assert checkout.document("heartbeat.json")["freshnessStatus"] == "degraded"
    assert checkout.rows("telemetry/heartbeat.jsonl")[-1]["status"] == "degraded"


class TestProfiles:
    def test_the_catalog(self) -> None:
        told = script("threshold-profile", "--list")

        assert (told.code, told.text.split()) == (0, ["balanced", "relaxed", "strict"])

    def test_the_usual_one(self) -> None:
        found = script("threshold-profile").document

        assert (found["profile"], found["values"]["criticalTransportFailureStreak"]) == ("balanced", 4)

    def test_one_that_there_is_not(self, checkout: Checkout) -> None:
        for told in (
            script("threshold-profile", "--profile", "lenient"),
            script("reconcile", *checkout.flags, "--threshold-profile", "lenient"),
        ):
            assert told.code == 1
            assert "unknown threshold profile" in told.text

    def test_a_flag_overrides_it(self, checkout: Checkout) -> None:
        strict = ("--threshold-profile", "strict")
        limits = script("reconcile", *checkout.flags, *strict).document["health"]["thresholds"]
        assert limits["degradedIngestLagSeconds"] == 120

        both = ("--degraded-ingest-lag-seconds", "777", "--critical-ingest-lag-seconds", "999")
        limits = script("reconcile", *checkout.flags, *strict, *both).document["health"]["thresholds"]
        assert (limits["profile"], limits["degradedIngestLagSeconds"]) == ("strict", 777)

    def test_drift_from_an_unknown_one(self, checkout: Checkout) -> None:
        told = script("profile-drift", *checkout.flags, "--applied-profile", "lenient")

        assert told.code == 1
        assert "unknown applied profile" in told.text


class TestControl:
    """With a runtime's command and a confirmation that the caller's environment names."""

    @pytest.fixture
    def runtime(self, tmp_path: Path) -> dict[str, str]:
        return {"SUPERLOOP_BIN": self.program(tmp_path, "runtime", 'echo "$*" >> calls')}

    def program(self, folder: Path, name: str, body: str) -> str:
        path = folder / name
        path.write_text(f"#!/bin/sh\ncd {folder}\n{body}\n")
        path.chmod(0o755)
        return str(path)

    def test_what_is_not_allowed(self, checkout: Checkout) -> None:
        told = script("control", *checkout.flags, "--intent", "restart")

        assert told.code == 1
        assert "intent must be one of" in told.text

    def test_confirmed_by_the_callers_own_program(
        self, checkout: Checkout, runtime: dict[str, str], tmp_path: Path
    ) -> None:
        says = self.program(tmp_path, "confirm", """echo '{"confirmed":true,"reason":"seen"}'""")

        told = script(
            "control",
            *checkout.flags,
            *("--intent", "cancel", "--by", "riya", "--trace-id", "tr-1"),
            variables={**runtime, "OPS_MANAGER_CONFIRM_SCRIPT": says},
        )

        row = told.document
        assert (told.code, row["status"], row["traceId"], row["confirm"]["reason"]) == (0, "confirmed", "tr-1", "seen")
        assert (tmp_path / "calls").read_text() == f"cancel --repo {checkout.folder}\n"
        assert checkout.rows("intents.jsonl") == [row]
        assert checkout.rows("telemetry/control.jsonl")[-1]["status"] == "confirmed"
        assert checkout.rows("telemetry/control-invocations.jsonl")[-1]["outcome"]["status"] == "confirmed"

    def test_not_confirmed(self, checkout: Checkout, runtime: dict[str, str], tmp_path: Path) -> None:
        says = self.program(tmp_path, "confirm", """echo '{"confirmed":false,"reason":"timeout"}'; exit 1""")

        told = script(
            "control",
            *checkout.flags,
            *("--intent", "cancel", "--timeout-seconds", "0"),
            variables={**runtime, "OPS_MANAGER_CONFIRM_SCRIPT": says},
        )

        assert (told.code, told.document["status"]) == (2, "ambiguous")

    def test_without_confirmation(self, checkout: Checkout, runtime: dict[str, str]) -> None:
        told = script("control", *checkout.flags, "--intent", "cancel", "--no-confirm", variables=runtime)

        assert (told.code, told.document["status"]) == (0, "executed_unconfirmed")

    def test_a_command_that_fails(self, checkout: Checkout, tmp_path: Path) -> None:
        failing = self.program(tmp_path, "runtime", "echo nothing is waiting; exit 3")

        told = script("control", *checkout.flags, "--intent", "approve", variables={"SUPERLOOP_BIN": failing})

        row = told.document
        assert (told.code, row["status"], row["exitCode"]) == (1, "failed_command", 3)
        assert "nothing is waiting" in row["commandOutput"]

    @pytest.mark.parametrize(
        ("intent", "body", "reason"),
        [
            ("cancel", "echo '{{\"active\":false}}' > {state}", "inactive_not_running"),
            ("reject", 'echo \'{{"status":"rejected"}}\' > {approval}', "rejection_observed"),
            (
                "approve",
                "echo '{{\"status\":\"approved\"}}' > {approval}; echo '{complete}' >> {log}",
                "completion_observed",
            ),
        ],
    )
    def test_through_a_service_over_the_same_repository(
        self, checkout: Checkout, tmp_path: Path, intent: str, body: str, reason: str
    ) -> None:
        """The service is the script of its name, run as a program, with the caller's own command of the runtime."""
        pending(checkout)
        complete = {"timestamp": "2020-01-01T00:00:09Z", "event": "loop_complete", "run_id": RUN}
        act = body.format(
            state=checkout.runtime / "state.json",
            approval=checkout.loop / "approval.json",
            log=checkout.log,
            complete=json.dumps(complete),
        )
        runtime = self.program(tmp_path, "runtime", f'echo "$1" >> calls; {act}')
        port = free_port()
        words = ("--repo", str(checkout.folder), "--host", "127.0.0.1", "--port", str(port), "--token", TOKEN)
        service = subprocess.Popen(
            [f"{ROOT}/scripts/ops-manager-sprite-service.py", *words],
            env={"PATH": "/usr/bin:/bin", "SUPERLOOP_BIN": runtime},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(Site(tmp_path, checkout.folder, port=port).answers, "the service answers")
            over = ("--transport", "sprite_service", "--service-base-url", f"http://127.0.0.1:{port}")
            flags = (*checkout.flags, *over, "--service-token", TOKEN, "--intent", intent, "--idempotency-key", "k")
            told = [script("control", *flags) for _ in range(2)]
        finally:
            service.terminate()
            service.wait()

        assert [(each.code, each.document["status"]) for each in told] == [(0, "confirmed")] * 2, told[0].text
        assert told[0].document["confirm"]["reason"] == reason
        assert (tmp_path / "calls").read_text().split() == ["cancel" if intent == "cancel" else "approve"]


def test_status_of_a_loop_that_nobody_has_looked_at(checkout: Checkout) -> None:
    told = script("status", "--repo", str(checkout.folder), "--loop", LOOP)

    assert told.code == 1
    assert told.text.startswith("error: ")
