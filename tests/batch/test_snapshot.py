"""`ops-manager loop-run-snapshot`: what it tells of the files, and when it tells nothing. Source: loop-core 2, 13."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.batch.checkout import LOOP, RUN, Checkout
from tests.batch.cli import run, spawn
from tests.batch.trees import RUNTIME_FILES, STATUSES, approval


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("status", STATUSES)
def test_the_status_of_each_tree(checkout: Checkout, status: str) -> None:
    STATUSES[status](checkout)

    assert run("loop-run-snapshot", *checkout.flags).document["run"]["status"] == status


class TestRunningLoop:
    def test_it_is_told_in_full(self, checkout: Checkout) -> None:
        checkout.running().beat("2020-01-01T00:00:00Z")
        before = everything_below(checkout.folder)

        told = run("loop-run-snapshot", *checkout.flags).document

        assert (told["schemaVersion"], told["envelopeType"]) == ("v1", "loop_run_snapshot")
        assert told["source"] == {"repoPath": str(checkout.folder), "loopId": LOOP}
        entry = json.loads((checkout.loop / "run-summary.json").read_text())["entries"][-1]
        assert told["run"] == {"runId": RUN, "iteration": 1, "status": "running", "summary": entry}
        assert told["runtime"]["superloopState"] == json.loads((checkout.runtime / "state.json").read_text())
        assert told["runtime"]["activeRun"] == json.loads((checkout.runtime / "active-run.json").read_text())
        assert told["runtime"]["approval"] is None
        assert told["runtime"]["heartbeat"]["timestamp"] == "2020-01-01T00:00:00Z"
        assert told["sequence"] == {"source": "cursor_event_line_offset", "value": 3}
        assert told["cursor"] == {"eventLineOffset": 3, "eventLineCount": 3}
        assert told["health"] == {
            "eventCount": 3,
            "lastEventAt": "2020-01-01T00:00:03Z",
            "lastEventName": "role_start",
            "lastSummaryAt": "2020-01-01T00:00:00Z",
            "hasPendingApproval": False,
            "gates": entry["gates"],
            "stuck": entry["stuck"],
        }
        assert everything_below(checkout.folder) == before

    def test_artifacts_are_named_with_what_they_were(self, checkout: Checkout) -> None:
        checkout.running()

        artifacts = run("loop-run-snapshot", *checkout.flags).document["artifacts"]

        data = checkout.log.read_bytes()
        assert artifacts["events"] == {
            "path": f".superloop/loops/{LOOP}/events.jsonl",
            "exists": True,
            "sizeBytes": len(data),
            "lineCount": 3,
            "sha256": hashlib.sha256(data).hexdigest(),
            "mtimeEpoch": int(checkout.log.stat().st_mtime),
        }
        assert artifacts["approval"] == {
            "path": f".superloop/loops/{LOOP}/approval.json",
            "exists": False,
            "sizeBytes": 0,
            "lineCount": 0,
            "sha256": None,
            "mtimeEpoch": None,
        }
        assert artifacts.keys() == {"events", "runSummary", "state", "activeRun", "approval", "heartbeat"}

    def test_without_a_beat(self, checkout: Checkout) -> None:
        told = run("loop-run-snapshot", *checkout.running().flags).document

        assert told["runtime"]["heartbeat"] is None
        assert told["artifacts"]["heartbeat"]["exists"] is False

    def test_a_run_id_that_is_given_replaces_the_inferred_one(self, checkout: Checkout) -> None:
        assert run("loop-run-snapshot", *checkout.running().flags, "--run-id", "r-7").document["run"]["runId"] == "r-7"

    def test_the_trace_id_is_the_flags_and_no_variables(self, checkout: Checkout) -> None:
        checkout.running()

        told = spawn("loop-run-snapshot", *checkout.flags, variables={"OPS_MANAGER_TRACE_ID": "tr-env"}).document

        assert told["traceId"] is None
        assert run("loop-run-snapshot", *checkout.flags, "--trace-id", "tr-1").document["traceId"] == "tr-1"
        assert run("loop-run-snapshot", *checkout.flags, "--trace-id", "").document["traceId"] is None

    def test_pretty_says_the_same(self, checkout: Checkout) -> None:
        plain, pretty = (run("loop-run-snapshot", *checkout.running().flags, *more) for more in ((), ("--pretty",)))

        assert len(plain.out.splitlines()) == 1
        assert pretty.out.startswith('{\n  "schemaVersion": "v1"')
        assert plain.document.keys() == pretty.document.keys()

    def test_a_run_summary_of_any_size(self, checkout: Checkout) -> None:
        checkout.running().summary(promise={"text": "x" * 400_000})

        told = run("loop-run-snapshot", *checkout.flags).document

        assert len(told["run"]["summary"]["promise"]["text"]) == 400_000

    def test_a_half_written_last_line_waits(self, checkout: Checkout) -> None:
        with checkout.running().log.open("a") as log:
            log.write('{"timestamp":"2020')

        told = run("loop-run-snapshot", *checkout.flags).document

        assert (told["sequence"]["value"], told["health"]["lastEventName"]) == (3, "role_start")

    def test_a_last_line_without_name_or_time_is_told_as_it_is(self, checkout: Checkout) -> None:
        with checkout.running().log.open("a") as log:
            log.write('{"run_id": "r-2", "status": "error", "iteration": 7}\n')
        (checkout.loop / "run-summary.json").unlink()

        told = run("loop-run-snapshot", *checkout.flags).document

        assert (told["run"]["runId"], told["run"]["iteration"], told["health"]["eventCount"]) == ("r-2", 7, 4)
        assert told["health"]["lastEventName"] is told["health"]["lastEventAt"] is None

    def test_a_log_without_a_line_yet(self, checkout: Checkout) -> None:
        checkout.log.touch()

        told = run("loop-run-snapshot", *checkout.flags).document

        assert told["run"] == {"runId": "unknown", "iteration": 0, "status": "unknown", "summary": None}
        assert told["cursor"] == {"eventLineOffset": 0, "eventLineCount": 0}

    def test_a_state_of_another_loop_is_not_this_ones(self, checkout: Checkout) -> None:
        checkout.running().state(current_loop_id="other")

        assert run("loop-run-snapshot", *checkout.flags).document["run"]["status"] == "unknown"

    def test_pending_is_spelled_exactly(self, checkout: Checkout) -> None:
        told = run("loop-run-snapshot", *approval(checkout.running(), "PENDING").flags).document

        assert (told["run"]["status"], told["health"]["hasPendingApproval"]) == ("running", False)


class TestFailClosed:
    def test_no_loop(self, tmp_path: Path) -> None:
        done = run("loop-run-snapshot", "--repo", str(tmp_path), "--loop", LOOP)

        assert (done.code, done.out) == (1, "")
        assert f"error: required artifact root missing: {tmp_path}/.superloop/loops/{LOOP}" in done.err

    def test_no_log(self, checkout: Checkout) -> None:
        done = spawn("loop-run-snapshot", *checkout.flags)

        assert (done.code, done.out) == (1, "")
        assert done.err == f"error: required artifact missing: {checkout.log}\n"

    @pytest.mark.parametrize("line", ["{no json", "", "[1]", '{"a":1} {"b":2}'])
    def test_a_last_line_that_is_no_event(self, checkout: Checkout, line: str) -> None:
        with checkout.running().log.open("a") as log:
            log.write(f"{line}\n")

        done = run("loop-run-snapshot", *checkout.flags)

        assert (done.code, done.out) == (1, "")
        assert f"invalid JSON in final events line: {checkout.log}" in done.err

    @pytest.mark.parametrize("name", RUNTIME_FILES)
    @pytest.mark.parametrize("text", ["", '{"torn": '])
    def test_a_file_that_stays_torn_or_empty(self, checkout: Checkout, name: str, text: str) -> None:
        path = checkout.running().runtime / name.format(LOOP)
        path.write_text(text)

        done = run("loop-run-snapshot", *checkout.flags)

        assert (done.code, done.out) == (1, "")
        assert f"error: invalid JSON in {path}" in done.err

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--repo", "/no/such/folder"), "/no/such/folder"),
            (("--loop", "../x"), "cannot name a folder"),
            (("--nonsense",), "unrecognized arguments: --nonsense"),
            (("--run-id",), "expected one argument"),
        ],
    )
    def test_bad_words(self, checkout: Checkout, words: tuple[str, ...], says: str) -> None:
        done = run("loop-run-snapshot", *checkout.running().flags, *words)

        assert (done.code, done.out) == (1, "")
        assert says in done.err.splitlines()[-1]
