"""The runbook's scenarios, each as one story told by the scripts alone, over repositories with real runs.

What is in the files afterwards is what counts; how often something was carried out is what the runtime's own command
noted. The page's blocks are run in `test_page`.
"""

import json
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.process import OpsdProcess, wait_until
from tests.doubles.sprites import TOKEN, SpriteProcess
from tests.runbook.scripts import Told, script
from tests.runbook.site import LOOP, Site, beating, contradictory, free_port, managed, played
from tests.sim.checkouts import QUICK, Sandbox

pytestmark = pytest.mark.slow


def flags(site: Site) -> tuple[str, ...]:
    return ("--repo", str(site.home), "--loop", LOOP)


def reconcile(site: Site, *words: str) -> Any:
    told = script("reconcile", *flags(site), *words)
    assert told.code == 0, told.text
    return told.document


def status(site: Site) -> Any:
    told = script("status", *flags(site))
    assert told.code == 0, told.text
    return told.document


def control(site: Site, intent: str, *words: str) -> Told:
    return script("control", *flags(site), "--intent", intent, "--by", "riya", *words)


def log_lines(site: Site) -> int:
    return (site.repo / ".superloop/loops" / LOOP / "events.jsonl").read_bytes().count(b"\n")


def test_standard_reconcile(short_path: Path) -> None:
    """A run from before its start to its end, looked at now and then."""
    sandbox = Sandbox(short_path, QUICK, loop_id=LOOP)
    site = Site(short_path, sandbox.repo)
    before = script("reconcile", *flags(site))
    assert (before.code, before.document["transport"]["failureCode"]) == (1, "snapshot_unavailable")

    run = sandbox.start()
    seen = set()
    while run.poll() is None:
        told = script("reconcile", *flags(site))
        seen.add(told.document["transition"]["currentState"] if told.code == 0 else "none yet")
    state = reconcile(site, "--trace-id", "tr-last")

    assert seen <= {"none yet", "unknown", "running", "complete"}
    assert state["transition"]["currentState"] == "complete"
    assert state["health"]["status"] == "healthy"
    assert site.document("cursor.json")["eventLineOffset"] == log_lines(site)
    rows = [row for row in site.rows("telemetry/reconcile.jsonl") if row["status"] == "success"]
    assert sum(row["eventsIngested"] for row in rows) == log_lines(site)
    assert [row["category"] for row in site.rows("escalations.jsonl")].count("divergence_detected") == 0
    shown = status(site)
    assert shown["lifecycle"]["state"] == "complete"
    assert shown["reconcile"]["lastTraceId"] == "tr-last"


def test_divergence_triage(short_path: Path) -> None:
    """Every way to look says the same; once the files agree again, the end is told."""
    with contradictory(short_path) as site:
        flagged = reconcile(site)["divergence"]["flags"]
        reconcile(site)
        assert flagged["approvalCompletionConflict"] is True
        rows = site.rows("escalations.jsonl")
        assert [row["category"] for row in rows].count("divergence_detected") == 1

        kept = short_path / "kept"
        kept.mkdir()
        (kept / "snapshot.json").write_text(script("loop-run-snapshot", *flags(site)).text)
        cursor = ("--cursor-file", str(kept / "cursor.json"))
        (kept / "events.ndjson").write_text(script("poll-events", *flags(site), "--from-start", *cursor).text)
        before = site.document("state.json")
        projected = script(
            "project-state",
            *flags(site),
            *("--snapshot-file", str(kept / "snapshot.json"), "--events-file", str(kept / "events.ndjson")),
            *("--state-file", str(kept / "state.json")),
        ).document
        assert projected["divergence"]["flags"] == flagged
        assert site.document("state.json") == before

        (site.repo / ".superloop/loops" / LOOP / "approval.json").unlink()

        assert reconcile(site)["divergence"]["any"] is False
        assert "divergence_detected_resolved" in [row["category"] for row in site.rows("escalations.jsonl")]


def test_safe_retry(short_path: Path) -> None:
    """A cancel whose command lies: repeated under its key it is not carried out again, under a new one it is."""
    with played(short_path, "running", faults={"cancel": [{"kind": "lie"}]}) as site:
        first = control(site, "cancel", "--idempotency-key", "key-1", "--timeout-seconds", "1")
        again = control(site, "cancel", "--idempotency-key", "key-1", "--timeout-seconds", "1")
        assert (first.code, first.document["status"]) == (2, "ambiguous")
        assert (again.code, again.document["idempotencyKey"]) == (2, "key-1")
        assert site.executions("cancel") == 1

        other = control(site, "approve", "--idempotency-key", "key-1")
        assert other.code == 1
        assert site.executions("approve") == 0
        assert "control_ambiguous" in reconcile(site)["health"]["reasonCodes"]

        second = control(site, "cancel", "--idempotency-key", "key-2")
        assert (second.code, second.document["status"]) == (0, "confirmed")
        assert site.executions("cancel") == 2
        after = reconcile(site)
        assert after["transition"]["currentState"] == "stopped"
        assert after["health"]["reasonCodes"] == []
        assert status(site)["control"]["lastStatus"] == "confirmed"


def test_a_neighbour_is_not_stopped(short_path: Path) -> None:
    with played(short_path, "neighbour running") as site:
        told = control(site, "cancel")

        assert told.code == 1
        assert site.executions("cancel") == 0
        assert site.place is not None
        assert site.place.lives()


@pytest.mark.parametrize("harm", ["removed", "damaged", "empty", "ahead", "from another log"])
def test_cursor_reset_and_replay(short_path: Path, harm: str) -> None:
    """Whatever becomes of the cursor, the next pass has one again, and nothing is told twice."""
    with played(short_path, "role failed") as site:
        before = reconcile(site)
        told = [row["category"] for row in site.rows("escalations.jsonl")]
        cursor = site.ours / "cursor.json"
        document = json.loads(cursor.read_text())
        match harm:
            case "removed":
                cursor.unlink()
            case "damaged":
                cursor.write_text("{no json")
            case "empty":
                cursor.write_bytes(b"")
            case "ahead":
                cursor.write_text(json.dumps({**document, "eventLineOffset": 9_999, "stream": None}))
            case _:
                cursor.write_text(json.dumps({**document, "stream": None, "eventLineOffset": 1}))

        after = reconcile(site)

        assert after["transition"]["currentState"] == before["transition"]["currentState"] == "failed"
        assert site.document("cursor.json")["eventLineOffset"] == log_lines(site)
        assert [row["category"] for row in site.rows("escalations.jsonl")] == told
        assert after["sequence"]["status"] == "ok"


class TestService:
    @pytest.fixture
    def site(self, short_path: Path) -> Iterator[Site]:
        with managed(short_path, "running") as site:
            yield site

    def over(self, sprite: SpriteProcess) -> tuple[str, ...]:
        return (
            *("--transport", "sprite_service", "--service-base-url", f"http://127.0.0.1:{sprite.port}"),
            *("--service-token", TOKEN),
        )

    def test_service_mode_says_what_local_mode_says(self, site: Site) -> None:
        with SpriteProcess(site.repo) as sprite:
            afar = reconcile(site, *self.over(sprite))
            near = reconcile(site)

        for way in (afar, near):
            assert way["transition"]["currentState"] == "running"
        for name in ("status", "reasonCodes"):
            assert afar["health"][name] == near["health"][name]
        for name in ("status", "violations"):
            assert afar["sequence"][name] == near["sequence"][name]
        assert afar["drift"]["status"] == near["drift"]["status"]

    def test_an_intent_over_it_is_carried_out_once(self, site: Site) -> None:
        with SpriteProcess(site.repo) as sprite:
            told = [control(site, "cancel", "--idempotency-key", "k", *self.over(sprite)) for _ in range(2)]

            assert [(each.code, each.document["status"]) for each in told] == [(0, "confirmed")] * 2
            assert told[0].document["command"] == f"POST http://127.0.0.1:{sprite.port}/ops/control"
            assert TOKEN not in told[0].text
        assert site.executions("cancel") == 1
        assert site.rows("intents.jsonl")[-1]["transport"] == "sprite_service"

    def test_a_wrong_token(self, site: Site) -> None:
        with SpriteProcess(site.repo) as sprite:
            told = control(site, "cancel", *self.over(sprite)[:-1], "another")

        assert told.code == 1
        assert "service request failed" in told.text or "failed_command" in told.text
        assert site.executions("cancel") == 0

    def test_outage_fallback(self, site: Site) -> None:
        """Down, looked at by its files, and back: each event is counted once."""
        with SpriteProcess(site.repo) as sprite:
            reconcile(site, *self.over(sprite))
            sprite.kill()
            once = ("--retry-attempts", "1", "--retry-backoff-seconds", "0")
            down = [script("reconcile", *flags(site), *self.over(sprite), *once) for _ in range(2)]
            assert [each.code for each in down] == [1, 1]
            assert down[1].document["reasonCodes"] == ["transport_unreachable"]
            assert site.document("telemetry/transport-health.json")["failureStreak"] == 2
            assert site.document("state.json")["transition"]["currentState"] == "running"

            assert reconcile(site, "--transport", "local")["health"]["status"] == "healthy"

            sprite.start()
            wait_until(lambda: sprite.port > 0, "it listens")
            back = reconcile(site, *self.over(sprite))

        assert back["health"]["metrics"]["transportFailureStreak"] == 0
        assert back["sequence"]["status"] == "ok"
        rows = site.rows("telemetry/reconcile.jsonl")
        assert [row["status"] for row in rows] == ["success", "failed", "failed", "success", "success"]
        assert sum(row["eventsIngested"] for row in rows) == log_lines(site)


def test_an_intent_while_nobody_answers_is_recorded(short_path: Path) -> None:
    with managed(short_path, "running") as site:
        told = control(
            site,
            "cancel",
            *("--transport", "sprite_service", "--service-base-url", f"http://127.0.0.1:{site.port}"),
            *("--retry-attempts", "1", "--retry-backoff-seconds", "0"),
        )

        assert told.code == 1
        assert site.rows("intents.jsonl")[-1]["status"] == "failed_command"
        assert site.executions("cancel") == 0


def test_partial_visibility(short_path: Path) -> None:
    """Of state and health one is enough; heartbeat and sequence fall back to their last rows."""
    with beating(short_path) as site:
        reconcile(site)
        whole = status(site)["visibility"]
        for name in ("heartbeat.json", "sequence-state.json"):
            (site.ours / name).unlink()

        partial = status(site)["visibility"]

        assert partial["sequence"]["status"] == whole["sequence"]["status"] == "ok"
        assert partial["heartbeat"]["lastHeartbeatAt"] == whole["heartbeat"]["lastHeartbeatAt"]
        (site.ours / "state.json").unlink()
        assert status(site)["health"]["status"] == "healthy"
        (site.ours / "health.json").unlink()
        assert script("status", *flags(site)).code == 1


def test_threshold_tuning(short_path: Path) -> None:
    """A recommendation becomes drift, is told once, and ends when it is followed."""
    eager = ("--drift-min-confidence", "low", "--drift-required-streak", "2")
    with played(short_path, "running") as site:
        pending, active, still = (reconcile(site, *eager)["drift"]["status"] for _ in range(3))
        assert (pending, active, still) == ("mismatch_pending", "drift_active", "drift_active")
        summary = script("telemetry-summary", *flags(site)).document
        assert (summary["recommendedProfile"], summary["observed"]["reconcileAttempts"]) == ("strict", 3)
        shown = status(site)
        assert shown["tuning"]["recommendedProfile"] == shown["drift"]["recommendedProfile"] == "strict"

        followed = reconcile(site, *eager, "--threshold-profile", "strict")

        assert (followed["drift"]["status"], followed["drift"]["mismatchStreak"]) == ("aligned", 0)
        told = [row["category"] for row in site.rows("escalations.jsonl") if "profile" in row["category"]]
        assert told == ["profile_drift_detected", "profile_drift_detected_resolved"]
        assert len(site.rows("telemetry/profile-drift.jsonl")) == 4


class TestServiceAndManagerOverOneRepository:
    """As the reference's own tests have it: the act is the service's, and both write down what came of it."""

    @pytest.fixture
    def site(self, short_path: Path) -> Iterator[Site]:
        with played(short_path, "running", faults={"cancel": [{"kind": "slow", "seconds": 1.0}]}) as site, site.kept:
            site.port = free_port()
            serve = "scripts/ops-manager-sprite-service.sh --repo /srv/checkout --host 127.0.0.1 --port 8787 --token "
            site.kept.enter_context(site.started(serve + TOKEN))
            wait_until(site.answers, "the service answers")
            yield site

    def over(self, site: Site) -> tuple[str, ...]:
        base_url = f"http://127.0.0.1:{site.port}"
        return ("--transport", "sprite_service", "--service-base-url", base_url, "--service-token", TOKEN)

    def test_one_act_and_two_rows(self, site: Site) -> None:
        assert reconcile(site, *self.over(site))["transition"]["currentState"] == "running"

        told = [control(site, "cancel", "--idempotency-key", "k", *self.over(site)) for _ in range(2)]

        assert [(each.code, each.document["status"]) for each in told] == [(0, "confirmed")] * 2
        assert site.executions("cancel") == 1
        assert [row["transport"] for row in site.rows("intents.jsonl")] == ["local", "sprite_service"]

    def test_a_manager_that_stands_still_and_dies_while_it_waits(self, site: Site) -> None:
        words = shlex.join(("--by", "riya", "--idempotency-key", "k", *self.over(site)))
        ask = f"scripts/ops-manager-control.sh --repo /srv/checkout --loop {LOOP} --intent cancel {words}"
        with site.started(f"exec {ask}") as asking:
            wait_until(lambda: site.executions("cancel") == 1, "it is being carried out")
            asking.send_signal(signal.SIGSTOP)
            again = control(site, "cancel", "--idempotency-key", "k", *self.over(site))
            asking.kill()
            asking.wait()
        assert again.code == 1
        assert "waits" in again.text

        settled = control(site, "cancel", "--idempotency-key", "k", *self.over(site))

        assert settled.document["status"] in ("confirmed", "ambiguous")
        wait_until(lambda: "local" in [row["transport"] for row in site.rows("intents.jsonl")], "the service is done")
        last = control(site, "cancel", "--idempotency-key", "k", *self.over(site))
        assert last.document["idempotencyKey"] == "k"
        assert site.executions("cancel") == 1


class TestBesideADaemon:
    @pytest.fixture
    def site(self, short_path: Path) -> Iterator[Site]:
        with played(short_path, "running") as site, OpsdProcess(site.home):
            yield site

    def test_what_it_cannot_honour_is_refused_by_name(self, site: Site) -> None:
        elsewhere = str(site.root / "elsewhere.json")
        told = [
            *(script("reconcile", *flags(site), flag, elsewhere) for flag in ("--state-file", "--cursor-file")),
            *(
                script("control", *flags(site), "--intent", "cancel", variables={variable: "/bin/true"})
                for variable in ("SUPERLOOP_BIN", "OPS_MANAGER_CONFIRM_SCRIPT")
            ),
        ]

        assert [each.code for each in told] == [1] * 4
        for each, name in zip(
            told, ("--state-file", "--cursor-file", "SUPERLOOP_BIN", "OPS_MANAGER_CONFIRM_SCRIPT"), strict=True
        ):
            assert each.text.startswith(f"error: {name}: the opsd with pid "), each.text
        assert not Path(elsewhere).exists()
        assert site.executions("cancel") == 0

    def test_a_pass_is_the_same_as_without_it(self, site: Site) -> None:
        state = reconcile(site, "--trace-id", "tr-1", "--from-start", "--threshold-profile", "strict")

        assert state["transition"]["currentState"] == "running"
        assert state["health"]["thresholds"]["profile"] == "strict"
        assert state["trace"]["reconcileTraceId"] == "tr-1"
        row = next(row for row in site.rows("telemetry/reconcile.jsonl") if row["traceId"] == "tr-1")
        assert (row["fromStart"], row["sample"], row["thresholdProfile"]) == (True, True, "strict")
        assert status(site)["manager"]["status"] == "alive"

    def test_an_intent_is_carried_out_once_by_either(self, site: Site) -> None:
        told = [control(site, "cancel", "--idempotency-key", "k") for _ in range(2)]

        assert [(each.code, each.document["status"]) for each in told] == [(0, "confirmed")] * 2
        assert site.executions("cancel") == 1
        assert len(site.rows("intents.jsonl")) == 1
