"""`ops-manager control` on this host: what it executes, prints, writes and ends with. Source: control-and-service 2-6.

Executions are counted by the command's own ledger.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opsd.store.holder import Holder
from opsd.store.lock import HomeLock
from tests.batch.checkout import LOOP, Checkout, stamp
from tests.batch.cli import run
from tests.batch.controlled import Controlled
from tests.doubles.process import wait_until

AT_ONCE = ("--timeout-seconds", "0")


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("SUPERLOOP_BIN", "OPS_MANAGER_CONFIRM_SCRIPT", "OPS_MANAGER_TRACE_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USER", "riya")
    return monkeypatch


@pytest.fixture
def loop(tmp_path: Path) -> Controlled:
    return Controlled(tmp_path)


class TestADecision:
    def test_it_is_recorded_on_the_candidate_and_told_in_three_files(self, loop: Controlled) -> None:
        row = loop.control("approve", "--note", "ship it", "--trace-id", "tr-1", "--idempotency-key", "k-1").document

        assert loop.calls == [f"approve --repo {loop.folder} --loop {LOOP} --by riya --note ship it"]
        assert loop.intents == [row]
        assert {
            name: row[name] for name in ("status", "exitCode", "confirmExitCode", "confirmed", "commandOutput", "note")
        } == {
            "status": "confirmed",
            "exitCode": 0,
            "confirmExitCode": 0,
            "confirmed": True,
            "commandOutput": "recorded",
            "note": "ship it",
        }
        assert (row["traceId"], row["idempotencyKey"], row["requestedBy"]) == ("tr-1", "k-1", "riya")
        assert (row["confirm"]["reason"], row["confirm"]["attempts"]) == ("decision_recorded", 1)
        (control,) = loop.rows("telemetry/control.jsonl")
        assert (control["status"], control["retryAttempts"], control["retryBackoffSeconds"]) == ("confirmed", 3, 1)
        assert (control["transportAttempts"], control["transportResultCodes"]) == (1, ["ok"])
        assert control["transportLatencyBucket"] in ("<100ms", "<500ms", "<2s")
        (invocation,) = loop.rows("telemetry/control-invocations.jsonl")
        assert invocation["request"] == {
            "doConfirm": True,
            "timeoutSeconds": 30,
            "intervalSeconds": 2,
            "retryAttempts": 3,
            "retryBackoffSeconds": 1,
        }
        assert invocation["confirmation"]["outcome"] == row["confirm"]
        assert loop.logged == ["recorded", "executing", "executed", "confirmed"]

    def test_a_rejection_is_one_too(self, loop: Controlled) -> None:
        row = loop.control("reject", "--by", "sam").document

        assert loop.calls == [f"approve --repo {loop.folder} --loop {LOOP} --by sam --reject"]
        assert (row["intent"], row["status"], row["confirm"]["observedApprovalStatus"]) == (
            "reject",
            "confirmed",
            "rejected",
        )

    def test_where_nothing_waits_the_command_itself_says_so(self, loop: Controlled) -> None:
        loop.control("approve")

        done = loop.control("approve")

        assert done.code == 1
        assert (done.document["status"], done.document["exitCode"]) == ("failed_command", 1)
        assert done.document["commandOutput"] == "error: nothing is pending"
        assert loop.rows("telemetry/control.jsonl")[-1]["reasonCode"] == "control_failed_command"
        assert loop.rows("telemetry/control-invocations.jsonl")[-1]["confirmation"] == {
            "attempted": False,
            "status": "not_attempted",
            "exitCode": 0,
        }

    def test_a_command_that_lies_leaves_it_ambiguous_after_exactly_one_look(self, tmp_path: Path) -> None:
        loop = Controlled(tmp_path, "echo recorded")

        done = loop.control("approve", *AT_ONCE)

        assert (done.code, done.document["status"], done.document["confirmExitCode"]) == (2, "ambiguous", 1)
        assert (done.document["confirm"]["reason"], done.document["confirm"]["attempts"]) == ("timeout", 1)
        assert done.document["confirm"]["timeoutSeconds"] == 0

    def test_a_command_that_completes_the_loop_proves_it_as_well(self, tmp_path: Path) -> None:
        log = "$HERE/.superloop/loops/checkout-flow/events.jsonl"
        says = """{"timestamp":"'$(date -u +%FT%TZ)'","event":"loop_complete","run_id":"20200101T000000Z"}"""
        loop = Controlled(tmp_path, f"rm $APPROVAL; echo '{says}' >> {log}")

        row = loop.control("approve", *AT_ONCE).document

        assert (row["status"], row["confirm"]["reason"]) == ("confirmed", "completion_observed")

    @pytest.mark.parametrize(
        ("intent", "status", "reason"),
        [("approve", "approved", "completion_observed"), ("reject", "rejected", "rejection_observed")],
    )
    def test_a_command_that_keeps_nothing_of_the_request_but_its_status(
        self, tmp_path: Path, intent: str, status: str, reason: str
    ) -> None:
        log = "$HERE/.superloop/loops/checkout-flow/events.jsonl"
        says = """{"timestamp":"'$(date -u +%FT%TZ)'","event":"loop_complete","run_id":"20200101T000000Z"}"""
        loop = Controlled(tmp_path, f"""echo '{{"status":"{status}"}}' > $APPROVAL; echo '{says}' >> {log}""")

        row = loop.control(intent, *AT_ONCE).document

        assert (row["status"], row["confirm"]["reason"]) == ("confirmed", reason)

    def test_what_was_complete_before_proves_nothing(self, tmp_path: Path) -> None:
        loop = Controlled(tmp_path, "echo recorded")
        loop.checkout.summary(completion_ok=True).event("loop_complete")
        old = loop.checkout.at.timestamp()
        os.utime(loop.checkout.loop / "run-summary.json", (old, old))

        assert loop.control("approve", *AT_ONCE).code == 2

    def test_nobody_looks_where_nobody_wants_it_confirmed(self, loop: Controlled) -> None:
        row = loop.control("approve", "--no-confirm").document

        assert (row["status"], row["confirmed"], "confirm" in row) == ("executed_unconfirmed", False, False)
        assert loop.rows("telemetry/control-invocations.jsonl")[-1]["confirmation"]["status"] == "skipped"


class TestACancel:
    def test_of_an_idle_loop_it_is_carried_out_and_confirmed(self, loop: Controlled) -> None:
        row = loop.control("cancel").document

        assert loop.calls == [f"cancel --repo {loop.folder}"]
        assert (row["status"], row["confirm"]["reason"]) == ("confirmed", "inactive_not_running")

    def test_a_file_that_the_command_leaves_of_a_dead_process_does_not_keep_it_open(self, tmp_path: Path) -> None:
        loop = Controlled(tmp_path, """echo '{"active": false}' > $HERE/.superloop/state.json""")
        loop.checkout.running()

        assert loop.control("cancel", *AT_ONCE).document["status"] == "confirmed"

    def test_a_process_that_lives_on_does(self, tmp_path: Path) -> None:
        loop = Controlled(tmp_path, """echo '{"active": false}' > $HERE/.superloop/state.json""")
        loop.checkout.at = loop.checkout.at.replace(year=2099)
        loop.checkout.state().active_run(os.getpid())

        assert loop.control("cancel", *AT_ONCE).code == 2

    def test_a_loop_that_is_not_there_is_never_called_confirmed(self, loop: Controlled) -> None:
        done = run("control", "--repo", str(loop.folder), "--loop", "typo", "--intent", "cancel", *AT_ONCE)

        assert (done.code, done.document["status"]) == (2, "ambiguous")


class TestANeighbour:
    def test_that_is_marked_active_is_not_stopped(self, loop: Controlled) -> None:
        loop.checkout.state(current_loop_id="neighbour")

        done = loop.control("cancel")

        assert (done.code, done.document["status"], done.document["exitCode"]) == (1, "failed_command", 1)
        assert done.document["commandOutput"].startswith("nothing was executed: neighbour_active: ")
        assert loop.calls == []
        assert loop.intents == [done.document]
        assert loop.rows("telemetry/control.jsonl")[-1]["reasonCode"] == "control_failed_command"
        assert loop.logged == ["recorded", "refused"]

    def test_whose_process_lives_is_not_stopped(self, loop: Controlled) -> None:
        neighbour = Checkout(loop.folder, loop.checkout.at.replace(year=2099), "neighbour")
        neighbour.active_run(os.getpid())

        assert loop.control("cancel").code == 1
        assert loop.calls == []

    def test_that_is_about_to_write_its_state_is_not_stopped(self, loop: Controlled) -> None:
        (loop.checkout.runtime / "state.json").write_text('{"active": tr')

        assert loop.control("cancel").code == 1
        assert loop.calls == []

    def test_does_not_keep_a_decision_from_being_recorded(self, loop: Controlled) -> None:
        loop.checkout.state(current_loop_id="neighbour")

        assert loop.control("approve").document["status"] == "confirmed"


class TestAKey:
    def test_tells_again_what_came_of_it(self, loop: Controlled) -> None:
        first = loop.control("approve", "--idempotency-key", "k-1")
        assert loop.control("approve", "--idempotency-key", "k-1", "--timeout-seconds", "5") == first
        assert len(loop.calls) == len(loop.intents) == 1

    def test_of_a_failed_command_as_well(self, tmp_path: Path) -> None:
        loop = Controlled(tmp_path, "exit 3")
        first = loop.control("approve", "--idempotency-key", "k-1")
        assert (first.code, loop.control("approve", "--idempotency-key", "k-1")) == (1, first)
        assert len(loop.calls) == 1

    def test_stands_for_no_other_request(self, loop: Controlled) -> None:
        loop.control("cancel", "--idempotency-key", "k-1")

        done = loop.control("approve", "--idempotency-key", "k-1")

        assert (done.code, done.out) == (1, "")
        assert "--idempotency-key k-1 stands for intent " in done.err
        assert len(loop.calls) == len(loop.intents) == 1

    def test_is_free_again_where_surely_nothing_was_done(self, loop: Controlled) -> None:
        loop.command.rename(loop.folder / "elsewhere")
        missing = loop.control("approve", "--idempotency-key", "k-1")
        assert (missing.code, missing.document["status"], missing.document["exitCode"]) == (1, "failed_command", 127)
        (loop.folder / "elsewhere").rename(loop.command)

        assert loop.control("approve", "--idempotency-key", "k-1").document["status"] == "confirmed"
        assert [row["status"] for row in loop.intents] == ["failed_command", "confirmed"]

    def test_made_by_us_names_intent_time_and_process(self, loop: Controlled) -> None:
        intent, at, pid = loop.control("approve").document["idempotencyKey"].split("-")
        assert (intent, at.isdecimal(), pid) == ("approve", True, str(os.getpid()))


class TestSeams:
    def test_a_command_of_any_name(self, loop: Controlled, variables: pytest.MonkeyPatch) -> None:
        stub = loop.written("my-runtime", "decide approved")
        variables.setenv("SUPERLOOP_BIN", str(stub))

        assert loop.control("approve").document["command"].startswith(f"{stub} approve ")

    def test_one_that_is_not_there(self, loop: Controlled, variables: pytest.MonkeyPatch) -> None:
        variables.setenv("SUPERLOOP_BIN", "no-such-runtime")

        done = loop.control("approve")

        assert (done.code, done.document["exitCode"]) == (1, 127)
        assert loop.calls == []

    @pytest.mark.parametrize(
        ("script", "code", "status", "confirm", "confirm_code"),
        [
            ("""echo '{"confirmed": true, "mine": 1}'""", 0, "confirmed", {"confirmed": True, "mine": 1}, 0),
            ("""echo '{"confirmed": false}'; exit 1""", 2, "ambiguous", {"confirmed": False}, 1),
            ("echo what; exit 3", 2, "ambiguous", None, 3),
            ("exit 0", 0, "confirmed", None, 0),
        ],
    )
    def test_a_confirmation_program_of_the_callers(
        self,
        loop: Controlled,
        variables: pytest.MonkeyPatch,
        script: str,
        code: int,
        status: str,
        confirm: Any,
        confirm_code: int,
    ) -> None:
        program = loop.written("confirm", script)
        variables.setenv("OPS_MANAGER_CONFIRM_SCRIPT", str(program))

        done = loop.control("approve", "--timeout-seconds", "7", "--interval-seconds", "1")

        assert (done.code, done.document["status"]) == (code, status)
        assert (done.document.get("confirm"), done.document["confirmExitCode"]) == (confirm, confirm_code)
        flags = f"--repo {loop.folder} --loop {LOOP} --intent approve --timeout-seconds 7 --interval-seconds 1"
        assert loop.calls[1:] == [flags]


class TestRefusals:
    def test_observe_mode_holds_for_commands_too(self, loop: Controlled) -> None:
        modes = loop.checkout.runtime / "ops-manager/fleet/modes.jsonl"
        modes.parent.mkdir(parents=True)
        row = {"timestamp": stamp(loop.checkout.at), "mode": "observe", "by": "sam", "schemaVersion": "v1"}
        modes.write_text(json.dumps({**row, "actor": {"uid": 0, "user": "sam", "pid": 1}}) + "\n")

        done = loop.control("approve")

        assert (done.code, "observe_mode" in done.document["commandOutput"], loop.calls) == (1, True, [])

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("--intent", "pause"), "intent must be one of"),
            (("--intent", "cancel", "--timeout-seconds", "-1"), "--timeout-seconds must be"),
            (("--intent", "cancel", "--retry-attempts", "0"), "--retry-attempts must be"),
            (("--intent", "cancel", "--transport", "pigeon"), "--transport must be one of"),
            (("--intent", "cancel", "--transport", "sprite_service"), "--service-base-url is required"),
        ],
    )
    def test_what_is_wrong_with_a_flag_records_nothing(
        self, loop: Controlled, words: tuple[str, ...], told: str
    ) -> None:
        done = run("control", *loop.checkout.flags, *words)

        assert (done.code, done.out, told in done.err) == (1, "", True)
        assert not (loop.checkout.runtime / "ops-manager").exists()

    def test_a_daemon_cannot_honour_what_is_set_for_one_call(
        self, loop: Controlled, variables: pytest.MonkeyPatch
    ) -> None:
        variables.setenv("SUPERLOOP_BIN", "/bin/true")
        path = loop.checkout.runtime / "ops-manager/.lock"
        with HomeLock.acquire(str(path), Holder(4711, loop.checkout.at, "/run/opsd.sock")):
            done = loop.control("cancel")

        assert (done.code, done.out) == (1, "")
        assert "SUPERLOOP_BIN: the opsd with pid 4711 holds this home" in done.err


class TestWhileItsEffectIsLookedFor:
    @pytest.mark.slow
    def test_others_write_in_the_home_and_nobody_else_acts(self, tmp_path: Path) -> None:
        loop = Controlled(tmp_path, 'echo "$@" >> $HERE/done; [ -e $HERE/decide ] && decide approved; true')
        words = ["-m", "opsd.batch", "control", *loop.checkout.flags, "--intent", "approve", "--idempotency-key", "k-1"]
        child = subprocess.Popen([sys.executable, *words, "--interval-seconds", "1"], stdout=subprocess.PIPE)
        wait_until(lambda: loop.logged[-1:] == ["executed"], "the command has run")

        assert run("reconcile", *loop.checkout.flags).code == 0
        other = loop.control("reject")
        assert (other.code, "intent_in_flight" in other.document["commandOutput"]) == (1, True)
        again = loop.control("approve", "--idempotency-key", "k-1")
        assert (again.code, f"pid {child.pid}" in again.err) == (1, True)
        subprocess.run([loop.written("decide", "decide approved")], check=True)
        out, _ = child.communicate(timeout=20)

        assert (child.returncode, json.loads(out)["status"]) == (0, "confirmed")
        assert loop.logged == ["recorded", "executing", "executed", "recorded", "refused", "confirmed"]


class TestWhatAKillLeaves:
    @pytest.fixture
    def slow(self, tmp_path: Path) -> Controlled:
        return Controlled(tmp_path, "decide approved; touch $HERE/done; exec sleep 30")

    @pytest.mark.slow
    def test_is_settled_by_the_next_command_and_not_done_again(self, slow: Controlled) -> None:
        words = ["-m", "opsd.batch", "control", *slow.checkout.flags, "--intent", "approve", "--idempotency-key", "k-1"]
        child = subprocess.Popen([sys.executable, *words])
        wait_until(lambda: (slow.folder / "done").exists(), "the command has decided")
        child.kill()
        child.wait()
        assert slow.logged == ["recorded", "executing"]
        assert slow.intents == []

        row = slow.control("approve", "--idempotency-key", "k-1").document

        assert (row["status"], row["confirm"]["reason"]) == ("confirmed", "decision_recorded")
        assert len(slow.calls) == len(slow.intents) == len(slow.rows("telemetry/control.jsonl")) == 1
