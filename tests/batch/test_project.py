"""`ops-manager project-state`: the projection, the file it goes to, and whose turn it is. Source: loop-core 4, 13."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.clock import SystemClock
from opsd.core.contract_projection import PreviousSays, project
from opsd.core.lifecycle import MID_ITERATION
from opsd.model.lifecycle import Lifecycle
from opsd.model.projected import BatchSays, SnapshotSays
from opsd.model.state import Source
from opsd.store.holder import Holder
from opsd.store.lock import HomeLock
from tests.batch.checkout import LONG_AGO, LOOP, RUN, Checkout
from tests.batch.cli import Done, run, spawn
from tests.batch.trees import STATUSES, approval


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "repo")


class Inputs:
    """A loop's snapshot and events, taken by the commands and laid into files."""

    def __init__(self, checkout: Checkout, folder: Path) -> None:
        self.checkout = checkout
        self.snapshot, self.events = folder / "snapshot.json", folder / "events.ndjson"
        self.snapshot.write_text(run("loop-run-snapshot", *checkout.flags).out)
        self.events.write_text(run("poll-events", *checkout.flags, "--cursor-file", str(folder / "cursor.json")).out)

    @property
    def flags(self) -> tuple[str, ...]:
        told = ("--snapshot-file", str(self.snapshot), "--events-file", str(self.events))
        return (*self.checkout.flags, *told)

    def spoil(self, **members: object) -> "Inputs":
        """Other members in the snapshot."""
        self.snapshot.write_text(json.dumps({**json.loads(self.snapshot.read_text()), **members}))
        return self


@pytest.fixture
def running(checkout: Checkout, tmp_path: Path) -> Inputs:
    return Inputs(checkout.running(), tmp_path)


def projected(checkout: Checkout, *words: str) -> Any:
    """The document, which is also what its file holds."""
    told = run("project-state", *checkout.flags, *words).document
    assert told == checkout.document("state.json")
    return told


class TestTheDocument:
    def test_of_a_running_loop_in_full(self, running: Inputs) -> None:
        told = run("project-state", *running.flags).document

        snapshot = json.loads(running.snapshot.read_text())
        assert told.pop("generatedAt").endswith("Z")
        assert told == {
            "schemaVersion": "v1",
            "source": {"repoPath": str(running.checkout.folder), "loopId": LOOP},
            "run": {"runId": RUN, "iteration": 1},
            "transition": {
                "previousState": "none",
                "triggeringSignal": "event:role_start",
                "currentState": "running",
                "confidence": "high",
            },
            "projection": {
                "status": "running",
                "hasPendingApproval": False,
                "completionOk": False,
                "gates": snapshot["health"]["gates"],
                "stuck": snapshot["health"]["stuck"],
                "active": True,
                "lastEventName": "role_start",
                "lastEventAt": "2020-01-01T00:00:03Z",
            },
            "cursor": {"eventLineOffset": 3, "eventLineCount": 3},
            "divergence": {
                "any": False,
                "flags": {"activeMismatch": False, "approvalCompletionConflict": False, "cursorRegression": False},
            },
            "evidence": {
                "snapshotFile": str(running.snapshot),
                "eventsFile": str(running.events),
                "snapshotEnvelope": {
                    "runStatus": "running",
                    "lastEventName": "role_start",
                    "hasPendingApproval": False,
                },
                "lastEventEnvelope": json.loads(running.events.read_text().splitlines()[-1]),
            },
        }

    @pytest.mark.parametrize("status", STATUSES)
    def test_the_snapshots_status_as_it_is(self, checkout: Checkout, status: str) -> None:
        told = projected(STATUSES[status](checkout))

        assert told["transition"]["currentState"] == told["projection"]["status"] == status
        assert told["transition"]["triggeringSignal"] == f"snapshot_status:{status}"
        assert (told["transition"]["confidence"], told["projection"]["active"]) == (
            "medium",
            True if status == "running" else None,
        )

    def test_the_state_before_is_the_files(self, checkout: Checkout) -> None:
        projected(checkout.running())
        checkout.state(active=False)

        assert projected(checkout)["transition"]["previousState"] == "running"
        assert projected(checkout)["transition"]["previousState"] == "idle"

    @pytest.mark.parametrize("text", ["", "{no json", "[]", '{"transition": 7, "cursor": "far"}'])
    def test_a_state_before_that_makes_no_sense_is_none(self, checkout: Checkout, text: str) -> None:
        projected(checkout.running())
        (checkout.ours / "state.json").write_text(text)

        told = projected(checkout)

        assert (told["transition"]["previousState"], told["divergence"]["any"]) == ("none", False)

    def test_pretty_is_for_the_file_as_well(self, checkout: Checkout) -> None:
        done = run("project-state", *checkout.running().flags, "--pretty")

        assert done.out.startswith('{\n  "schemaVersion": "v1"')
        assert (checkout.ours / "state.json").read_text() == done.out
        assert len(run("project-state", *checkout.flags).out.splitlines()) == 1

    def test_members_that_nobody_checks_may_be_missing(self, running: Inputs) -> None:
        for absent in ("run", "runtime", "cursor", "health"):
            running.spoil(**{absent: None})
        running.events.write_text("")

        told = run("project-state", *running.flags).document

        assert told["run"] == {"runId": "unknown", "iteration": 0}
        assert (told["projection"]["status"], told["projection"]["gates"]) == ("unknown", None)


class TestDivergence:
    def test_events_of_a_loop_that_is_not_active(self, checkout: Checkout, tmp_path: Path) -> None:
        inputs = Inputs(checkout.state(active=False).event("role_end"), tmp_path)

        told = run("project-state", *inputs.flags).document

        assert told["divergence"]["flags"]["activeMismatch"]
        assert told["transition"]["confidence"] == "low"

    def test_pending_and_complete(self, checkout: Checkout) -> None:
        told = projected(approval(checkout.summary(completion_ok=True).event("approval_requested"), "pending"))

        assert told["divergence"]["flags"]["approvalCompletionConflict"]
        assert told["transition"]["confidence"] == "low"

    def test_a_log_that_shrank(self, checkout: Checkout) -> None:
        projected(checkout.running())
        state = checkout.document("state.json")
        state["cursor"]["eventLineOffset"] = 99
        (checkout.ours / "state.json").write_text(json.dumps(state))

        told = projected(checkout)

        assert told["divergence"] == {
            "any": True,
            "flags": {"activeMismatch": False, "approvalCompletionConflict": False, "cursorRegression": True},
        }

    @given(
        says=st.builds(
            SnapshotSays,
            status=st.sampled_from([each for each in Lifecycle if each is not Lifecycle.NONE]),
            completion_ok=st.booleans(),
            active=st.booleans(),
            has_pending_approval=st.booleans(),
            event_line_offset=st.integers(0, 3),
            gates=st.just(SnapshotSays().gates),
            stuck=st.just(SnapshotSays().stuck),
        ),
        last=st.none() | st.sampled_from(["loop_start", *sorted(MID_ITERATION)]),
        before=st.integers(0, 3),
    )
    def test_each_flag_by_its_rule(self, says: SnapshotSays, last: str | None, before: int) -> None:
        told = project(
            Source("/r", LOOP),
            says,
            BatchSays(last),
            PreviousSays(event_line_offset=before),
            snapshot_file=None,
            events_file=None,
            now=LONG_AGO,
        )

        flags = told.divergence.flags
        assert flags.active_mismatch == (not says.active and last not in (None, "loop_start"))
        assert flags.approval_completion_conflict == (says.has_pending_approval and says.completion_ok)
        assert flags.cursor_regression == (before > says.event_line_offset)
        assert told.divergence.any == flags.any
        assert told.transition.confidence == ("low" if flags.any else "high" if last else "medium")
        assert told.transition.current_state is told.projection.status is says.status


class TestPipes:
    def test_a_snapshot_from_a_pipe_and_no_events(self, running: Inputs, tmp_path: Path) -> None:
        words = (*running.checkout.flags, "--snapshot-file", "/dev/stdin", "--events-file", "/dev/null")

        done = subprocess.run(
            [sys.executable, "-I", "-m", "opsd.batch", "project-state", *words],
            input=running.snapshot.read_bytes(),
            capture_output=True,
            timeout=30,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads(done.stdout)["transition"]["triggeringSignal"] == "snapshot_status:running"


class TestFailClosed:
    def refused(self, inputs: Inputs, *words: str) -> str:
        done = run("project-state", *inputs.flags, *words)
        assert (done.code, done.out) == (1, "")
        assert not (inputs.checkout.ours / "state.json").exists()
        return done.err

    def test_files_that_are_not_there(self, running: Inputs) -> None:
        assert "snapshot file not found: /no/where" in self.refused(running, "--snapshot-file", "/no/where")
        assert "events file not found: /no/where" in self.refused(running, "--events-file", "/no/where")

    def test_a_snapshot_that_is_no_json(self, running: Inputs) -> None:
        running.snapshot.write_text("{no json")

        assert f"invalid snapshot JSON: {running.snapshot}" in self.refused(running)

    @pytest.mark.parametrize(
        "members",
        [
            {"schemaVersion": "v2"},
            {"envelopeType": "loop_run_event"},
            {"source": {"loopId": "other"}},
            {"source": None},
            {"run": {"status": "none"}},
            {"run": {"status": "dancing"}},
        ],
    )
    def test_a_snapshot_of_something_else(self, running: Inputs, members: dict[str, object]) -> None:
        assert "snapshot envelope is invalid or loop id mismatch" in self.refused(running.spoil(**members))

    @pytest.mark.parametrize("text", ["", "[]", "null", "{}"])
    def test_no_snapshot_at_all(self, running: Inputs, text: str) -> None:
        running.snapshot.write_text(text)

        assert "snapshot envelope is invalid or loop id mismatch" in self.refused(running)

    @pytest.mark.parametrize("line", ['{"un": "related"}', "[]", "7", "null"])
    def test_an_event_that_is_no_envelope(self, running: Inputs, line: str) -> None:
        running.events.write_text(f"{line}\n{running.events.read_text()}")

        assert "event envelope is invalid or loop id mismatch" in self.refused(running)

    @pytest.mark.parametrize(("old", "new"), [('"v1"', '"v2"'), (LOOP, "other"), ('"role_start"', '""')])
    def test_an_event_of_something_else(self, running: Inputs, old: str, new: str) -> None:
        running.events.write_text(running.events.read_text().replace(old, new))

        assert "event envelope is invalid or loop id mismatch" in self.refused(running)

    @pytest.mark.parametrize("line", ["{no json", '{"a":1} {"b":2}'])
    def test_an_event_that_is_no_json(self, running: Inputs, line: str) -> None:
        running.events.write_text(f"{running.events.read_text()}{line}\n")

        assert f"invalid event envelope in {running.events}: line 4" in self.refused(running)

    def test_no_fresh_snapshot(self, checkout: Checkout) -> None:
        done = run("project-state", *checkout.flags)

        assert (done.code, done.out) == (1, "")
        assert "required artifact missing" in done.err
        assert not (checkout.ours / "state.json").exists()

    def test_what_is_no_file_is_not_put_away(self, running: Inputs, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)

        assert "pipe is there, and no regular file" in self.refused(running, "--state-file", str(pipe))
        assert pipe.is_fifo()

    def test_a_file_that_cannot_be_written(self, running: Inputs) -> None:
        done = run("project-state", *running.flags, "--state-file", str(running.snapshot / "state.json"))

        assert (done.code, done.out) == (1, "")
        assert "state.json cannot be written" in done.err


class TestBesideTheManager:
    def test_a_pass_before_and_one_after_need_no_replay(self, tmp_path: Path) -> None:
        checkout = Checkout(tmp_path / "repo").running()
        run("reconcile", *checkout.flags)
        memory = checkout.document("state.json")["memory"]

        told = projected(checkout)
        assert told["memory"] == memory
        assert told.keys().isdisjoint({"health", "trace", "sequence", "drift", "tuning", "phase", "ages"})

        run("project-state", *checkout.flags, "--pretty")
        checkout.event("role_end", role="implementer")
        state = run("reconcile", *checkout.flags).document
        assert [row["eventsIngested"] for row in checkout.rows("telemetry/reconcile.jsonl")] == [3, 1]
        assert (state["transition"]["previousState"], state["sequence"]["status"]) == ("running", "ok")
        assert not list(checkout.ours.glob("*.unreadable-*"))

    def test_a_file_elsewhere_needs_nobodys_leave(self, running: Inputs, tmp_path: Path) -> None:
        elsewhere = tmp_path / "new" / "state.json"
        with self.daemon(running.checkout):
            done = spawn("project-state", *running.flags, "--state-file", str(elsewhere))

        assert json.loads(elsewhere.read_text()) == done.document
        assert not running.checkout.ours.exists()

    def test_beside_a_daemon_that_does_not_answer_nothing_is_written(self, running: Inputs) -> None:
        with self.daemon(running.checkout):
            done: Done = spawn("project-state", *running.flags)

        assert (done.code, done.out) == (1, "")
        assert "4711" in done.err
        assert not running.checkout.ours.exists()

    def daemon(self, checkout: Checkout) -> HomeLock:
        lock, socket_path = checkout.runtime / "ops-manager" / ".lock", str(checkout.runtime / "nobody.sock")
        return HomeLock.acquire(str(lock), Holder(4711, SystemClock().now(), socket_path))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--repo", "/no/such/folder"), "/no/such/folder"),
        (("--loop", "../x"), "cannot name a folder"),
        (("--max-events", "1"), "unrecognized arguments"),
    ],
)
def test_bad_words(running: Inputs, words: tuple[str, ...], says: str) -> None:
    done = run("project-state", *running.flags, *words)

    assert (done.code, done.out) == (1, "")
    assert says in done.err.splitlines()[-1]
