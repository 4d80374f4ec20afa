"""One-shot commands on a home that a daemon holds: they print, leave and end with what they would without it."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsd.store.holder import live_holder
from tests.batch.checkout import LOOP, Checkout
from tests.batch.cli import run
from tests.doubles.process import OpsdProcess, spawn, wait_until
from tests.doubles.situations import Place, situation
from tests.doubles.sprites import TOKEN, VARIABLES, SpriteProcess

pytestmark = pytest.mark.slow

_WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.]*(Z|\+00:00)")
_LONG = re.compile(r"\b\d{8,}\b")
"""The seconds since the log was written, wherever a sentence has them."""
_MOVES = re.compile(r"(lag|age|duration|took).*(s|ms|seconds)$", re.IGNORECASE)
_IDENTITY = {"traceId", "reconcileTraceId", "stream", "memory", "id", "onset"}
_TUNING = {"tuning", "drift"}
"""What rests on the telemetry of before, of which a daemon leaves less."""
STALE = ("--degraded-ingest-lag-seconds", "1", "--critical-ingest-lag-seconds", "999999999")


def told(value: Any, home: Path) -> Any:
    """What is the same in every home and at every moment."""
    match value:
        case dict():
            return {
                name: told(each, home)
                for name, each in value.items()
                if name not in _IDENTITY | _TUNING and not _MOVES.search(name)
            }
        case list():
            return [told(each, home) for each in value]
        case str():
            return _LONG.sub("LONG", _WHEN.sub("WHEN", value)).replace(str(home), "HOME")
    return value


@pytest.fixture
def checkout(short_path: Path) -> Checkout:
    (short_path / "held").mkdir()
    return Checkout(short_path / "held").running()


@pytest.fixture
def daemon(checkout: Checkout) -> Iterator[OpsdProcess]:
    with OpsdProcess(checkout.folder) as process:
        wait_until(lambda: checkout.ours.joinpath("cursor.json").exists(), "the daemon has looked")
        yield process


@pytest.fixture
def other(short_path: Path, checkout: Checkout) -> Checkout:
    """The same loop in a home that nobody holds, looked at once."""
    (short_path / "free").mkdir()
    same = Checkout(short_path / "free").running()
    run("reconcile", *same.flags)
    return same


class TestReconcile:
    def test_it_prints_and_leaves_what_it_would_without_a_daemon(
        self, checkout: Checkout, daemon: OpsdProcess, other: Checkout
    ) -> None:
        flags = (*STALE, "--max-events", "2", "--from-start", "--trace-id", "tr-1")
        printed = {each: run("reconcile", *each.flags, *flags) for each in (checkout, other)}

        here, there = (told(printed[each].document, each.folder) for each in (checkout, other))
        assert here == there
        assert here["health"]["reasonCodes"] == ["ingest_stale"]
        for name in ("telemetry/reconcile", "telemetry/sequence"):
            here, there = (told(each.rows(f"{name}.jsonl")[-1], each.folder) for each in (checkout, other))
            assert here == there
        assert checkout.categories()[-1] == other.categories()[-1]
        row = checkout.rows("telemetry/reconcile.jsonl")[-1]
        assert (row["traceId"], row["fromStart"], row["cursorOffsetAfter"]) == ("tr-1", True, 2)

    def test_thresholds_are_those_of_that_pass_alone(self, checkout: Checkout, daemon: OpsdProcess) -> None:
        health = run("reconcile", *checkout.flags, *STALE).document["health"]

        assert health["thresholds"]["degradedIngestLagSeconds"] == 1
        wait_until(
            lambda: checkout.document("health.json")["thresholds"]["degradedIngestLagSeconds"] == 300,
            "the daemon's own thresholds hold again",
        )

    @pytest.mark.parametrize("flags", [(), STALE])
    def test_a_loop_without_a_folder_fails_alike(
        self, flags: tuple[str, ...], checkout: Checkout, daemon: OpsdProcess, other: Checkout
    ) -> None:
        homes = (checkout, other)
        done = {each: run("reconcile", "--repo", str(each.folder), "--loop", "nowhere", *flags) for each in homes}

        here, there = (told(json.loads(done[each].out), each.folder) for each in homes)
        assert (done[checkout].code, done[checkout].err) == (1, "")
        assert here == there
        left = [sorted(p.name for p in each.ours.with_name("nowhere").rglob("*")) for each in homes]
        assert left[0] == left[1]

    def test_a_loop_that_was_made_a_moment_ago_is_a_member(self, checkout: Checkout, daemon: OpsdProcess) -> None:
        fresh = Checkout(checkout.folder, loop_id="fresh").event("loop_start")

        assert run("reconcile", *fresh.flags).document["cursor"]["eventLineOffset"] == 1
        assert daemon.loop("fresh")["loopId"] == "fresh"

    def test_a_disabled_loop_is_not_looked_at(self, checkout: Checkout, daemon: OpsdProcess) -> None:
        registry = checkout.runtime / "ops-manager" / "fleet" / "registry.v1.json"
        registry.parent.mkdir(parents=True, exist_ok=True)
        entry = {"loopId": LOOP, "enabled": False}
        registry.write_text(json.dumps({"schemaVersion": "v1", "loops": [entry]}))
        wait_until(lambda: daemon.loop(LOOP)["enabled"] is False, "the daemon knows")

        done = run("reconcile", *checkout.flags)

        assert (done.code, done.out) == (1, "")
        assert "disabled" in done.err

    def test_ten_at_once_on_a_log_that_grows_tell_everything_once(
        self, checkout: Checkout, daemon: OpsdProcess
    ) -> None:
        runs, ends = 40, threading.Event()

        def write() -> None:
            for number in range(runs):
                name = f"2026010{number % 9}T0000{number:02}Z"
                checkout.event("loop_start", run_id=name).event("loop_complete", run_id=name)
                with checkout.log.open("a") as log:
                    log.write("{no json\n")
                ends.wait(0.02)

        writer = threading.Thread(target=write)
        writer.start()
        commands = [_begun(*checkout.flags, *(STALE if number % 2 else ())) for number in range(10)]
        said = [command.communicate(timeout=60)[1] for command in commands]
        writer.join()
        assert [command.returncode for command in commands] == [0] * 10, said

        lines = len(checkout.log.read_text().splitlines())
        assert run("reconcile", *checkout.flags).document["cursor"]["eventLineOffset"] == lines
        told_runs = Counter(row["runId"] for row in checkout.rows("runs.jsonl"))
        assert {name: count for name, count in told_runs.items() if count > 1} == {}
        assert len([name for name in told_runs if name.startswith("2026010")]) == runs
        bad = Counter(row["quarantined"]["line"] for row in checkout.rows("quarantine.jsonl"))
        assert (len(bad), set(bad.values())) == (runs, {1})
        ids = Counter(row["id"] for row in checkout.rows("escalations.jsonl"))
        assert set(ids.values()) <= {1}

    def test_a_daemon_that_begins_or_ends_is_waited_for(self, checkout: Checkout) -> None:
        process = spawn("run", "--repo", str(checkout.folder))
        try:
            lock = checkout.runtime / "ops-manager" / ".lock"
            wait_until(lambda: live_holder(str(lock)) is not None, "the daemon has locked the home")
            assert run("reconcile", *checkout.flags).document["cursor"]["eventLineOffset"] == 3
            process.terminate()
            wait_until(lambda: not (checkout.runtime / "ops-manager" / "opsd.sock").exists(), "nobody listens")
            assert run("reconcile", *checkout.flags).code == 0
        finally:
            process.kill()
            process.wait()

    def test_a_daemon_that_is_killed_meanwhile(self, checkout: Checkout, daemon: OpsdProcess) -> None:
        before = checkout.document("state.json")
        daemon.process.send_signal(signal.SIGSTOP)  # it listens, and answers nobody
        command = _begun(*checkout.flags)
        wait_until(lambda: _has_socket(command.pid), "the command has connected")
        daemon.kill()

        said = command.communicate(timeout=30)[1]
        assert command.returncode == 1
        assert f"pid {daemon.process.pid}" in said
        assert checkout.document("state.json") == before
        assert run("reconcile", *checkout.flags).code == 0

    def test_a_daemon_that_is_killed_among_many_passes_leaves_nothing_half_done(
        self, checkout: Checkout, daemon: OpsdProcess
    ) -> None:
        checkout.event("loop_complete").event("loop_start", run_id="20260102T000000Z")
        rows = checkout.ours / "telemetry" / "reconcile.jsonl"
        before = rows.stat().st_size
        commands = [_begun(*checkout.flags, *(STALE if number % 2 else ())) for number in range(5)]
        wait_until(lambda: rows.stat().st_size > before, "the first of them has been written")
        daemon.kill()

        for command in commands:
            said = command.communicate(timeout=60)[1]
            assert command.returncode == 0 or f"pid {daemon.process.pid}" in said
        assert run("reconcile", *checkout.flags).document["cursor"]["eventLineOffset"] == 5
        for name in ("telemetry/reconcile", "escalations", "runs"):
            checkout.rows(f"{name}.jsonl")
        ids = Counter(row["id"] for row in checkout.rows("escalations.jsonl"))
        assert set(ids.values()) <= {1}


class TestBehindAService:
    def test_the_service_is_asked_for_this_pass_and_its_token_is_told_nobody(
        self, short_path: Path, checkout: Checkout, daemon: OpsdProcess
    ) -> None:
        inside = short_path / "inside"
        inside.mkdir()
        Checkout(inside).running().event("role_end", role="implementer")
        with SpriteProcess(inside) as sprite:
            asked = _asked(sprite.port)
            state = run("reconcile", *checkout.flags, *asked).document

            assert state["cursor"]["eventLineOffset"] == 4
            wait_until(
                lambda: checkout.document("cursor.json")["eventLineOffset"] == 3,
                "the loop is what it is over its own way",
            )
        done = run("reconcile", *checkout.flags, *asked, "--retry-backoff-seconds", "0")
        assert (done.code, json.loads(done.out)["transport"]["mode"]) == (1, "sprite_service")
        assert TOKEN not in (checkout.folder / "opsd.log").read_text()

    def test_a_loop_that_is_reached_so_anyway_goes_on_from_there(self, short_path: Path) -> None:
        inside = Checkout(short_path / "inside").running()
        home = Checkout(short_path / "home", loop_id="unused")
        with SpriteProcess(inside.folder) as sprite:
            registry = home.runtime / "ops-manager" / "fleet" / "registry.v1.json"
            registry.parent.mkdir(parents=True)
            registry.write_text(json.dumps({"schemaVersion": "v1", "loops": [sprite.entry(LOOP)]}))
            with OpsdProcess(home.folder, variables=VARIABLES) as daemon:
                daemon.until(lambda: daemon.loop(LOOP)["lifecycle"] == "running", "the daemon has asked")
                for line in (4, 5):
                    inside.event("role_end", role="implementer")
                    flags = ("--repo", str(home.folder), "--loop", LOOP, *_asked(sprite.port))
                    assert run("reconcile", *flags).document["cursor"]["eventLineOffset"] == line
                    daemon.post(f"/v1/loops/{LOOP}/reconcile", {})
                    cursor = home.ours.with_name(LOOP) / "cursor.json"
                    assert json.loads(cursor.read_text())["eventLineOffset"] == line
                assert daemon.findings() == []

    def test_a_service_that_holds_the_home_is_asked_over_its_own_port(self, checkout: Checkout) -> None:
        with SpriteProcess(checkout.folder) as sprite:
            state = run("reconcile", *checkout.flags, *_asked(sprite.port)).document

        assert state["cursor"]["eventLineOffset"] == 3


class TestFiles:
    def test_a_projection_is_the_one_without_a_daemon(
        self, checkout: Checkout, daemon: OpsdProcess, other: Checkout
    ) -> None:
        here, there = (told(run("project-state", *each.flags).document, each.folder) for each in (checkout, other))

        assert here == there
        assert run("reconcile", *checkout.flags).document == checkout.document("state.json")

    def test_drift_goes_on_where_a_command_left_it(self, checkout: Checkout, daemon: OpsdProcess) -> None:
        flags = ("--applied-profile", "balanced", "--recommended-profile", "strict")
        high = ("--recommendation-confidence", "high")
        streaks = [run("profile-drift", *checkout.flags, *flags, *high).document["mismatchStreak"] for _ in range(2)]

        assert streaks == [1, 2]
        assert checkout.document("profile-drift.json")["mismatchStreak"] == 2
        assert run("reconcile", *checkout.flags).document["drift"]["mismatchStreak"] == 0


class TestControl:
    @pytest.fixture
    def place(self, short_path: Path) -> Iterator[Place]:
        with situation(short_path, "awaiting approval") as place, OpsdProcess(place.repo) as daemon:
            wait_until(lambda: daemon.loop(place.loop_id)["phase"] == "awaiting_approval", "the daemon has looked")
            yield place

    def test_an_intent_is_carried_out_once_and_told_in_the_contracts_row(self, place: Place) -> None:
        flags = ("--repo", str(place.repo), "--loop", place.loop_id, "--intent", "approve", "--by", "riya")
        first, again = (run("control", *flags, "--idempotency-key", "k-1") for _ in range(2))

        assert (first.code, first.document["status"], first.document["requestedBy"]) == (0, "confirmed", "riya")
        assert (again.code, again.document["status"]) == (0, "confirmed")
        assert place.executions("approve") == 1

    def test_over_a_service_that_is_this_very_process(self, short_path: Path) -> None:
        with situation(short_path, "awaiting approval") as place, SpriteProcess(place.repo) as sprite:
            flags = ("--repo", str(place.repo), "--loop", place.loop_id, "--intent", "approve")
            done = run("control", *flags, *_asked(sprite.port))

            assert (done.code, done.document["status"], done.document["transport"]) == (
                0,
                "confirmed",
                "sprite_service",
            )
            assert place.executions("approve") == 1

    def test_a_loop_that_nobody_knows(self, place: Place) -> None:
        done = run("control", "--repo", str(place.repo), "--loop", "nowhere", "--intent", "cancel")

        assert (done.code, done.out) == (1, "")
        assert "nowhere" in done.err


def _asked(port: int) -> tuple[str, ...]:
    where = f"http://127.0.0.1:{port}"
    return ("--transport", "sprite_service", "--service-base-url", where, "--service-token", TOKEN)


def _begun(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "opsd.batch", "reconcile", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _has_socket(pid: int) -> bool:
    try:
        return any(str(fd.readlink()).startswith("socket:") for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
