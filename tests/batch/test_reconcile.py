"""`ops-manager reconcile` over a local loop: what it prints, writes and ends with. Source: loop-core 5, 9, 10, 13."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsd.batch.__main__ import COMMANDS
from opsd.clock import SystemClock
from opsd.store.holder import Holder
from opsd.store.lock import HomeLock
from tests.batch.checkout import LOOP, RUN, Checkout
from tests.batch.cli import run, spawn

LONG = "999999999"
STALE = ("--degraded-ingest-lag-seconds", "1", "--critical-ingest-lag-seconds", LONG)
HEAVY = {"asyncio", "anyio", "httpx", "pydantic", "structlog", "subprocess", "watchfiles", "starlette", "uvicorn"}
FRESH = ("--degraded-ingest-lag-seconds", LONG, "--critical-ingest-lag-seconds", LONG)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def checkout(tmp_path: Path, now: datetime) -> Checkout:
    return Checkout(tmp_path, now).running()


class TestAPass:
    def test_it_prints_the_state_and_leaves_every_artifact(self, checkout: Checkout) -> None:
        state = run("reconcile", *checkout.flags, "--trace-id", "tr-1").document

        assert state == checkout.document("state.json")
        assert state["run"] == {"runId": RUN, "iteration": 1}
        assert state["transition"]["currentState"] == "running"
        assert state["transition"]["triggeringSignal"] == "event:role_start"
        assert state["cursor"] == {"eventLineOffset": 3, "eventLineCount": 3}
        assert state["health"] == checkout.document("health.json")
        assert checkout.document("cursor.json")["eventLineOffset"] == 3
        assert checkout.document("sequence-state.json")["status"] == "ok"
        assert checkout.document("telemetry/transport-health.json")["lastResult"] == "success"

    def test_the_next_one_goes_on_where_it_stood(self, checkout: Checkout) -> None:
        run("reconcile", *checkout.flags)
        checkout.event("role_end", role="implementer", status="ok")

        state = run("reconcile", *checkout.flags).document

        assert (state["transition"]["previousState"], state["cursor"]["eventLineOffset"]) == ("running", 4)
        rows = checkout.rows("telemetry/reconcile.jsonl")
        assert [(row["cursorOffsetBefore"], row["cursorOffsetAfter"], row["eventsIngested"]) for row in rows] == [
            (0, 3, 3),
            (3, 4, 1),
        ]

    def test_every_pass_is_a_sample_even_where_nothing_is_new(self, checkout: Checkout) -> None:
        for _ in range(3):
            run("reconcile", *checkout.flags)

        assert [row["sample"] for row in checkout.rows("telemetry/reconcile.jsonl")] == [True] * 3
        assert len(checkout.rows("telemetry/sequence.jsonl")) == 3

    def test_one_trace_id_goes_through_all_that_it_writes(self, tmp_path: Path) -> None:
        old = Checkout(tmp_path).running().beat("2020-01-01T00:00:00Z")
        state = run("reconcile", *old.flags, *STALE, "--trace-id", "tr-1").document

        assert state["trace"]["reconcileTraceId"] == state["sequence"]["traceId"] == "tr-1"
        for name in ("health.json", "heartbeat.json", "sequence-state.json", "telemetry/transport-health.json"):
            assert old.document(name)["traceId"] == "tr-1"
        for name in ("escalations", "telemetry/reconcile", "telemetry/heartbeat", "telemetry/sequence"):
            assert {row["traceId"] for row in old.rows(f"{name}.jsonl")} == {"tr-1"}

    def test_two_passes_never_share_a_trace_id_that_nobody_gave(self, checkout: Checkout) -> None:
        told = [run("reconcile", *checkout.flags).document["trace"]["reconcileTraceId"] for _ in range(2)]

        assert told[0] != told[1]

    def test_pretty_says_the_same(self, checkout: Checkout) -> None:
        done = run("reconcile", *checkout.flags, "--pretty")

        assert done.out.startswith('{\n  "')
        assert done.document == checkout.document("state.json")

    def test_a_run_summary_of_any_size_is_read(self, checkout: Checkout) -> None:
        checkout.summary(promise={"text": "x" * 400_000})

        assert run("reconcile", *checkout.flags).code == 0

    def test_a_bad_line_costs_itself_and_no_other(self, checkout: Checkout) -> None:
        with checkout.log.open("a") as log:
            log.write("{no json\n")
        checkout.event("role_end", role="implementer")

        assert run("reconcile", *checkout.flags).document["cursor"]["eventLineOffset"] == 5
        assert len(checkout.rows("quarantine.jsonl")) == 1

    def test_a_half_written_last_line_waits(self, checkout: Checkout) -> None:
        with checkout.log.open("a") as log:
            log.write('{"timestamp":"2026')

        assert run("reconcile", *checkout.flags).document["cursor"]["eventLineOffset"] == 3

    def test_a_new_run_after_a_complete_one_is_running(self, tmp_path: Path, now: datetime) -> None:
        complete = Checkout(tmp_path, now).summary(completion_ok=True).event("loop_start").event("loop_complete")
        assert run("reconcile", *complete.flags).document["transition"]["currentState"] == "complete"

        complete.state().active_run().event("loop_start", run_id="20260101T000000Z").event("iteration_start")

        assert run("reconcile", *complete.flags).document["transition"]["currentState"] == "running"


class TestHealth:
    """The reference tests' assertions on health. Source: loop-core 13."""

    def test_silence_beyond_the_threshold(self, tmp_path: Path) -> None:
        old = Checkout(tmp_path).running()

        health = run("reconcile", *old.flags, *STALE).document["health"]

        assert (health["status"], health["reasonCodes"]) == ("degraded", ["ingest_stale"])
        assert old.categories() == ["health_degraded"]

    @pytest.mark.parametrize("what", ["state.json", "active-run.json"])
    def test_silence_does_not_depend_on_what_else_there_is(self, tmp_path: Path, what: str) -> None:
        old = Checkout(tmp_path).running()
        (old.runtime / what).unlink()

        assert run("reconcile", *old.flags, *STALE).document["health"]["reasonCodes"] == ["ingest_stale"]

    def test_an_old_beat(self, tmp_path: Path, now: datetime) -> None:
        beating = Checkout(tmp_path, now).running().beat("2020-01-01T00:00:00Z")

        health = run(
            "reconcile",
            *beating.flags,
            *FRESH,
            *("--degraded-heartbeat-lag-seconds", "1", "--critical-heartbeat-lag-seconds", LONG),
        ).document["health"]

        assert health["reasonCodes"] == ["runtime_heartbeat_stale"]
        assert beating.document("heartbeat.json")["freshnessStatus"] == "degraded"
        assert beating.rows("telemetry/heartbeat.jsonl")[-1]["status"] == "degraded"

    @pytest.mark.slow
    def test_a_state_that_contradicts_the_log(self, tmp_path: Path, now: datetime) -> None:
        """Younger than what a run's own last writes may contradict each other, so it is looked at twice."""
        contrary = Checkout(tmp_path, now).state(active=False).summary()
        contrary.event("loop_start").event("role_end", role="implementer")

        state = run("reconcile", *contrary.flags).document

        assert state["divergence"]["flags"]["activeMismatch"]
        assert "divergence_detected" in contrary.categories()
        assert len(contrary.rows("telemetry/reconcile.jsonl")) == 1

    def test_an_old_contradiction_is_believed_at_once(self, tmp_path: Path) -> None:
        contrary = Checkout(tmp_path).state(active=False).summary().event("loop_start").event("role_end")

        assert run("reconcile", *contrary.flags).document["divergence"]["any"]
        assert "divergence_detected" in contrary.categories()

    def test_what_is_pending_and_complete_at_once(self, tmp_path: Path) -> None:
        both = Checkout(tmp_path).summary(completion_ok=True).state(active=False).event("loop_start")
        both.event("approval_requested")
        request = {"status": "pending", "run_id": RUN, "iteration": 1, "requested_at": "2020-01-01T00:00:03Z"}
        (both.loop / "approval.json").write_text(json.dumps({**request, "candidate": {}}))

        state = run("reconcile", *both.flags).document

        assert state["divergence"]["flags"]["approvalCompletionConflict"]
        assert state["transition"]["confidence"] == "low"


class TestReplay:
    def test_from_start_on_a_healthy_loop_is_no_drift(self, checkout: Checkout) -> None:
        run("reconcile", *checkout.flags)

        state = run("reconcile", *checkout.flags, "--from-start").document

        assert (state["sequence"]["status"], state["health"]["status"]) == ("ok", "healthy")
        assert checkout.categories() == []
        row = checkout.rows("telemetry/reconcile.jsonl")[-1]
        assert (row["fromStart"], row["cursorOffsetBefore"], row["eventsIngested"]) == (True, 0, 3)

    def test_a_log_that_was_cut_is_drift(self, checkout: Checkout) -> None:
        run("reconcile", *checkout.flags)
        checkout.log.write_text(checkout.log.read_text().splitlines(keepends=True)[0])

        health = run("reconcile", *checkout.flags, "--from-start").document["health"]

        sequence = checkout.document("sequence-state.json")
        assert sequence["driftActive"]
        assert {"snapshot_sequence_regression", "event_sequence_regression"} <= set(sequence["violations"])
        assert health["status"] == "degraded"
        assert "ordering_drift_detected" in health["reasonCodes"]
        assert checkout.categories()[-1] == "health_degraded"

    def test_a_cursor_that_was_removed_is_made_again(self, checkout: Checkout) -> None:
        run("reconcile", *checkout.flags)
        (checkout.ours / "cursor.json").unlink()

        assert run("reconcile", *checkout.flags).document["health"]["status"] == "healthy"
        assert checkout.document("cursor.json")["eventLineOffset"] == 3

    @pytest.mark.parametrize("name", ["cursor.json", "state.json", "health.json", "sequence-state.json"])
    @pytest.mark.parametrize("text", ["", "{", '{"eventLineOffset": "many"}', "[]"])
    def test_a_corrupted_document_is_set_aside_and_made_again(self, checkout: Checkout, name: str, text: str) -> None:
        run("reconcile", *checkout.flags)
        before = checkout.document(name)
        (checkout.ours / name).write_text(text)

        state = run("reconcile", *checkout.flags).document

        assert state["health"]["status"] == "healthy"
        assert checkout.document(name).keys() == before.keys()
        if text:
            assert [path.read_text() for path in checkout.ours.glob(f"{name}.unreadable-*")] == [text]


class TestTheCursorsPace:
    def test_it_moves_by_as_many_events_as_are_asked_for(self, checkout: Checkout) -> None:
        offsets = []
        for _ in range(4):
            run("reconcile", *checkout.flags, "--max-events", "2")
            offsets.append(checkout.document("cursor.json")["eventLineOffset"])

        assert offsets == [2, 3, 3, 3]
        rows = checkout.rows("telemetry/reconcile.jsonl")
        assert [row["eventsIngested"] for row in rows] == [2, 1, 0, 0]
        assert {row["maxEvents"] for row in rows} == {2}

    def test_the_verdict_is_of_the_whole_log(self, checkout: Checkout) -> None:
        state = run("reconcile", *checkout.flags, "--max-events", "1").document

        assert (state["projection"]["lastEventName"], state["cursor"]["eventLineOffset"]) == ("role_start", 3)


class TestFailedLooks:
    def test_a_loop_that_is_not_there_is_told_by_its_health(self, tmp_path: Path) -> None:
        missing = ("--repo", str(tmp_path), "--loop", LOOP)

        done = run("reconcile", *missing)

        assert done.code == 1
        assert done.document["reasonCodes"] == ["transport_unreachable"]
        assert done.document["transport"]["failureCode"] == "snapshot_unavailable"
        ours = tmp_path / ".superloop" / "ops-manager" / LOOP
        assert not (ours / "state.json").exists()
        assert json.loads((ours / "health.json").read_text()) == done.document
        assert json.loads((ours / "telemetry" / "reconcile.jsonl").read_text())["status"] == "failed"
        assert json.loads((ours / "escalations.jsonl").read_text())["category"] == "health_degraded"

    def test_the_old_state_stays_and_its_health_is_replaced(self, checkout: Checkout) -> None:
        before = run("reconcile", *checkout.flags).document
        checkout.log.unlink()

        done = run("reconcile", *checkout.flags, "--trace-id", "tr-2")

        after = checkout.document("state.json")
        assert done.code == 1
        assert after["transition"] == before["transition"]
        assert (after["health"], after["trace"]) == (done.document, {"reconcileTraceId": "tr-2"})

    def test_a_streak_turns_critical(self, tmp_path: Path) -> None:
        limits = ("--degraded-transport-failure-streak", "1", "--critical-transport-failure-streak", "2")
        words = ("--repo", str(tmp_path), "--loop", LOOP, *limits)

        told = [run("reconcile", *words).document["status"] for _ in range(2)]

        assert told == ["degraded", "critical"]
        rows = (tmp_path / ".superloop" / "ops-manager" / LOOP / "escalations.jsonl").read_text().splitlines()
        assert json.loads(rows[-1])["category"] == "health_critical"


class TestThresholds:
    def test_a_flag_beats_the_profile_which_keeps_its_name(self, checkout: Checkout) -> None:
        words = ("--threshold-profile", "strict", "--critical-ingest-lag-seconds", "777")

        thresholds = run("reconcile", *checkout.flags, *words).document["health"]["thresholds"]

        assert (thresholds["profile"], thresholds["degradedIngestLagSeconds"]) == ("strict", 120)
        assert thresholds["criticalIngestLagSeconds"] == 777

    def test_the_environment_names_a_profile_and_a_flag_beats_it(self, checkout: Checkout) -> None:
        variables = {"OPS_MANAGER_THRESHOLD_PROFILE": "relaxed", "OPS_MANAGER_TRACE_ID": "tr-env"}

        by_variable = spawn("reconcile", *checkout.flags, variables=variables).document
        by_flag = spawn("reconcile", *checkout.flags, "--threshold-profile", "strict", variables=variables).document

        assert by_variable["health"]["thresholds"]["profile"] == "relaxed"
        assert by_variable["trace"]["reconcileTraceId"] == "tr-env"
        assert by_flag["health"]["thresholds"]["profile"] == "strict"

    def test_a_zero_in_front_makes_no_octal_number(self, tmp_path: Path) -> None:
        old = Checkout(tmp_path).running()

        words = ("--degraded-ingest-lag-seconds", "08", "--critical-ingest-lag-seconds", LONG)

        health = run("reconcile", *old.flags, *words).document["health"]
        assert (health["thresholds"]["degradedIngestLagSeconds"], health["status"]) == (8, "degraded")


BAD = [
    (("--max-events", "-1"), "--max-events must be a non-negative integer"),
    (("--max-events", "ten"), "--max-events must be a non-negative integer"),
    (("--retry-attempts", "0"), "--retry-attempts must be an integer of at least 1"),
    (("--retry-backoff-seconds", "x"), "--retry-backoff-seconds must be"),
    (("--drift-required-streak", "0"), "--drift-required-streak must be"),
    (("--drift-summary-window", "0"), "--drift-summary-window must be"),
    (("--drift-min-confidence", "some"), "--drift-min-confidence must be one of low, medium, high"),
    (("--transport", "carrier-pigeon"), "--transport must be one of local, sprite_service"),
    (("--transport", "sprite_service"), "--service-base-url is required when --transport sprite_service"),
    (("--alerts-enabled", "maybe"), "--alerts-enabled must be one of true, false"),
    (("--threshold-profile", "nope"), "unknown threshold profile: nope"),
    (("--thresholds-file", "/nowhere.json"), "threshold profiles file not found: /nowhere.json"),
    (("--threshold-profile", "strict", "--degraded-ingest-lag-seconds", "400"), "critical_ingest_lag_seconds (300)"),
    (("--degraded-ingest-lag-seconds", "1.5"), "--degraded-ingest-lag-seconds must be"),
    (("--no-such-flag",), "unrecognized arguments: --no-such-flag"),
    (("--loop", "../../x"), "cannot name a folder"),
    (("--loop", ""), "--loop is required"),
    (("--repo", "/no/such/folder"), "--repo /no/such/folder: there is no such folder"),
]


class TestBadInput:
    @pytest.mark.parametrize(("words", "says"), BAD)
    def test_it_is_told_and_nothing_is_written(self, checkout: Checkout, words: tuple[str, ...], says: str) -> None:
        done = run("reconcile", *checkout.flags, *words)

        assert (done.code, done.out) == (1, "")
        assert done.err.splitlines()[-1].startswith("error: ")
        assert says in done.err
        assert not checkout.ours.exists()

    def test_what_is_required_is_named(self) -> None:
        done = run("reconcile", "--repo", "/")

        assert (done.code, done.out) == (1, "")
        assert "--loop" in done.err
        assert "usage: ops-manager reconcile" in done.err

    def test_an_unknown_command_names_those_there_are(self) -> None:
        done = run("reconcille")

        assert (done.code, done.out) == (1, "")
        assert "reconcile" in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_for_people(command: str) -> None:
    """Which section of the contract a command goes back to is for those who read its code."""
    done = run(command, "--help")

    assert (done.code, done.err) == (0, "")
    assert f"usage: ops-manager {command}" in done.out
    assert "Source" not in done.out
    assert "status-and-tuning" not in done.out


class TestFilesElsewhere:
    def test_a_file_lies_where_its_flag_says_and_escalations_name_it(self, tmp_path: Path) -> None:
        old = Checkout(tmp_path / "repo").running()
        state, cursor = tmp_path / "elsewhere" / "state.json", tmp_path / "cursor.json"

        done = run("reconcile", *old.flags, *STALE, "--state-file", str(state), "--cursor-file", str(cursor))

        assert json.loads(state.read_text()) == done.document
        assert json.loads(cursor.read_text())["eventLineOffset"] == 3
        assert not (old.ours / "state.json").exists()
        row = old.rows("escalations.jsonl")[-1]
        assert (row["stateFile"], row["cursorFile"]) == (str(state), str(cursor))

    def test_the_next_pass_reads_them_there(self, tmp_path: Path) -> None:
        old = Checkout(tmp_path / "repo").running()
        words = ("--state-file", str(tmp_path / "state.json"), "--cursor-file", str(tmp_path / "cursor.json"))
        run("reconcile", *old.flags, *words)

        assert run("reconcile", *old.flags, *words).document["transition"]["previousState"] != "none"
        assert [row["eventsIngested"] for row in old.rows("telemetry/reconcile.jsonl")] == [3, 0]

    def test_they_may_be_named_from_where_the_caller_stands(self, checkout: Checkout) -> None:
        here = os.path.relpath(checkout.folder.parent / "state.json")

        run("reconcile", *checkout.flags, "--state-file", here)

        assert (checkout.folder.parent / "state.json").exists()

    @pytest.mark.parametrize("path", ["/dev/null", "/tmp"])
    def test_what_is_no_file_is_not_put_away_for_one(self, checkout: Checkout, path: str) -> None:
        done = run("reconcile", *checkout.flags, "--state-file", path)

        assert (done.code, done.out) == (1, "")
        assert f"--state-file {path}" in done.err


class TestTheWayOut:
    def test_an_answer_that_cannot_be_written_out_is_a_failure(self, checkout: Checkout) -> None:
        words = [sys.executable, "-I", "-m", "opsd.batch", "reconcile", *checkout.flags]
        with open("/dev/full", "w") as full:
            done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith("error: the answer could not be written out: ")

    def test_a_reader_that_has_gone_is_no_matter(self, checkout: Checkout) -> None:
        words = [sys.executable, "-I", "-m", "opsd.batch", "reconcile", *checkout.flags]
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writing)

        assert (done.returncode, done.stderr) == (1, "")


class TestTurns:
    def test_a_command_waits_for_the_one_before_it(self, checkout: Checkout) -> None:
        lock = checkout.runtime / "ops-manager" / ".lock"
        with HomeLock.acquire(str(lock), Holder(1, SystemClock().now())):
            pass

        assert run("reconcile", *checkout.flags).code == 0
        assert lock.read_text() == ""

    def test_beside_a_daemon_that_does_not_answer_nothing_is_written(self, checkout: Checkout) -> None:
        lock = checkout.runtime / "ops-manager" / ".lock"
        socket_path = str(checkout.runtime / "nobody.sock")
        with HomeLock.acquire(str(lock), Holder(4711, SystemClock().now(), socket_path)):
            done = spawn("reconcile", *checkout.flags)

        assert (done.code, done.out) == (1, "")
        assert "4711" in done.err
        assert socket_path in done.err
        assert not checkout.ours.exists()

    def test_files_elsewhere_are_refused_beside_a_daemon(self, checkout: Checkout, tmp_path: Path) -> None:
        lock = checkout.runtime / "ops-manager" / ".lock"
        with HomeLock.acquire(str(lock), Holder(4711, SystemClock().now(), "/run/opsd.sock")):
            done = spawn("reconcile", *checkout.flags, "--state-file", str(tmp_path / "s.json"))

        assert (done.code, done.out) == (1, "")
        assert "--state-file: the opsd with pid 4711 holds this home" in done.err
        assert not (tmp_path / "s.json").exists()


def test_a_local_pass_needs_nothing_of_the_daemons_machinery(checkout: Checkout) -> None:
    """What it imports is what its callers wait for."""
    listing = (
        "import sys; from opsd.batch.__main__ import main; "
        f"main({['reconcile', *checkout.flags]!r}); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", listing], capture_output=True, text=True, check=True)

    imported = set(done.stderr.split())
    assert json.loads(done.stdout)["schemaVersion"] == "v1"
    assert not imported & HEAVY
    ours = {name.split(".")[1] for name in imported if name.startswith("opsd.")}
    assert not ours & {"supervisor", "api", "services", "settings", "daemon", "sim", "logs"}
