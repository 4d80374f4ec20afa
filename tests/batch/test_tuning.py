"""`telemetry-summary`, `profile-drift` and `threshold-profile` as their callers see them."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from opsd.clock import SystemClock
from opsd.store.holder import Holder
from opsd.store.lock import HomeLock
from tests.batch.checkout import LOOP, Checkout
from tests.batch.cli import Done, run, spawn

HEAVY = {"asyncio", "anyio", "httpx", "pydantic", "structlog", "subprocess", "watchfiles", "starlette", "uvicorn"}
GOOD = {"status": "success", "healthStatus": "healthy", "healthReasonCodes": [], "durationSeconds": 1}
CATALOG = {
    "degradedIngestLagSeconds": 1,
    "criticalIngestLagSeconds": 2,
    "degradedTransportFailureStreak": 1,
    "criticalTransportFailureStreak": 2,
}
MISMATCH = ("--applied-profile", "balanced", "--recommended-profile", "strict", "--recommendation-confidence", "high")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    (made.ours / "telemetry").mkdir(parents=True)
    return made


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def catalog(folder: Path, **members: object) -> str:
    path = folder / "catalog.json"
    path.write_text(json.dumps({"schemaVersion": "v1", "profiles": {"fast": CATALOG}, **members}), encoding="utf-8")
    return str(path)


def refused(done: Done, code: int, *words: str) -> None:
    assert (done.code, done.out) == (code, "")
    assert done.err.splitlines()[-1].startswith("error: ")
    for word in words:
        assert word in done.err


class TestTelemetrySummary:
    def own(self, checkout: Checkout, *rows: object) -> Path:
        return lines(checkout.ours / "telemetry/reconcile.jsonl", *rows)

    def test_it_is_the_contracts_document(self, checkout: Checkout) -> None:
        path = self.own(checkout, *[GOOD] * 40)

        told = run("telemetry-summary", *checkout.flags).document

        control = checkout.ours / "telemetry/control.jsonl"
        assert told.pop("generatedAt")
        assert told.pop("rationale")
        assert told == {
            "schemaVersion": "v1",
            "source": {
                "repoPath": str(checkout.folder),
                "loopId": LOOP,
                "reconcileTelemetryFile": str(path),
                "controlTelemetryFile": str(control),
                "window": 200,
            },
            "observed": {
                "reconcileAttempts": 40,
                "reconcileSuccessCount": 40,
                "reconcileFailedCount": 0,
                "health": {
                    "degradedCount": 0,
                    "criticalCount": 0,
                    "degradedRate": 0,
                    "criticalRate": 0,
                    "reasonCodeFrequency": [],
                },
                "control": {"ambiguousCount": 0},
                "durationSeconds": {"p50": 1, "p95": 1, "max": 1},
                "unreadableRows": 0,
            },
            "recommendedProfile": "strict",
            "confidence": "medium",
        }

    def attempts(self, checkout: Checkout, *flags: str) -> int:
        found = run("telemetry-summary", *checkout.flags, *flags).document["observed"]["reconcileAttempts"]
        assert isinstance(found, int)
        return found

    def test_the_window_counts_the_lines_of_each_file_and_blank_ones_take_a_place(self, checkout: Checkout) -> None:
        self.own(checkout, "", GOOD, GOOD, "", GOOD, "", "")
        lines(checkout.ours / "telemetry/control.jsonl", *[{"status": "ambiguous"}] * 3, *[{"status": "confirmed"}] * 2)

        assert [self.attempts(checkout, "--window", str(size)) for size in range(1, 9)] == [0, 0, 1, 1, 2, 3, 3, 3]
        told = run("telemetry-summary", *checkout.flags, "--window", "4").document
        assert told["observed"]["control"]["ambiguousCount"] == 2
        assert told["recommendedProfile"] == "balanced"

    def test_rows_about_changes_are_not_counted_and_take_no_place(self, checkout: Checkout) -> None:
        self.own(checkout, GOOD, GOOD, *[{**GOOD, "status": "failed", "sample": False}] * 5)

        assert self.attempts(checkout, "--window", "2") == 2

    def test_an_empty_file_has_no_attempts(self, checkout: Checkout) -> None:
        self.own(checkout)

        assert self.attempts(checkout) == 0

    def test_a_last_line_without_its_end_counts(self, checkout: Checkout) -> None:
        path = self.own(checkout, GOOD)
        path.write_bytes(path.read_bytes() + json.dumps(GOOD).encode())

        assert self.attempts(checkout) == 2

    def test_rows_that_were_rotated_still_count(self, checkout: Checkout) -> None:
        lines(checkout.ours / "telemetry/reconcile.1.jsonl", GOOD, GOOD)
        path = self.own(checkout, GOOD)

        assert self.attempts(checkout) == 3
        assert self.attempts(checkout, "--reconcile-telemetry-file", str(path)) == 1

    @pytest.mark.parametrize(("line", "code"), [('{"status":"succ', 2), ("[]", 5), ("7", 5), ("{} {}", 2)])
    @pytest.mark.parametrize("journal", ["reconcile", "control"])
    def test_a_line_that_is_no_row_ends_it_while_it_is_in_the_window(
        self, checkout: Checkout, journal: str, line: str, code: int
    ) -> None:
        self.own(checkout, GOOD)
        path = lines(checkout.ours / f"telemetry/{journal}.jsonl", GOOD, line, GOOD, GOOD)

        refused(run("telemetry-summary", *checkout.flags), code, str(path), "--window")
        assert run("telemetry-summary", *checkout.flags, "--window", "2").code == 0

    def test_without_telemetry_it_says_what_to_do(self, checkout: Checkout) -> None:
        refused(
            run("telemetry-summary", *checkout.flags), 1, "reconcile telemetry file not found", "ops-manager reconcile"
        )

    @pytest.mark.parametrize("window", ["0", "-1", "many", "1.5"])
    def test_a_window_is_a_count(self, checkout: Checkout, window: str) -> None:
        refused(run("telemetry-summary", *checkout.flags, f"--window={window}"), 1, "--window", window)

    @pytest.mark.parametrize("command", ["telemetry-summary", "profile-drift", "threshold-profile"])
    def test_these_commands_load_next_to_nothing(self, checkout: Checkout, command: str) -> None:
        self.own(checkout, GOOD)
        flags = [] if command == "threshold-profile" else list(checkout.flags)
        code = (
            f"import sys; from opsd.batch.__main__ import main; code = main({[command, *flags]!r}); "
            "print(*sys.modules, file=sys.stderr); sys.exit(code)"
        )

        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

        assert not set(done.stderr.split()) & HEAVY


class TestProfileDrift:
    def evaluated(self, checkout: Checkout, *flags: str) -> Any:
        return run("profile-drift", *checkout.flags, *flags).document

    def test_three_in_a_row_are_drift_and_one_without_ends_it(self, checkout: Checkout) -> None:
        found = [self.evaluated(checkout, *MISMATCH) for _ in range(4)]
        found.append(self.evaluated(checkout, "--applied-profile", "strict", "--recommended-profile", "strict"))

        assert [each["status"] for each in found] == [*["mismatch_pending"] * 2, *["drift_active"] * 2, "aligned"]
        assert [each["mismatchStreak"] for each in found] == [1, 2, 3, 4, 0]
        assert [each["transitioned"]["toActive"] for each in found] == [False, False, True, False, False]
        assert [each["transitioned"]["toResolved"] for each in found] == [False, False, False, False, True]
        assert checkout.document("profile-drift.json") == found[-1]
        rows = checkout.rows("telemetry/profile-drift.jsonl")
        assert [row["drift"] for row in rows] == found
        assert set(rows[0]) == {"timestamp", "loopId", "category", "drift"}
        assert {row["category"] for row in rows} == {"profile_drift_evaluation"}

    def test_several_at_once_count_one_after_the_other(self, checkout: Checkout) -> None:
        with ThreadPoolExecutor(5) as callers:
            done = list(callers.map(lambda _: spawn("profile-drift", *checkout.flags, *MISMATCH), range(5)))

        assert sorted(each.document["mismatchStreak"] for each in done) == [1, 2, 3, 4, 5]
        assert sum(each.document["transitioned"]["toActive"] for each in done) == 1

    def test_nobody_is_told_and_no_state_is_touched(self, checkout: Checkout) -> None:
        self.evaluated(checkout, *MISMATCH, "--required-streak", "1")

        assert checkout.categories() == []
        assert not (checkout.ours / "state.json").exists()

    def test_files_elsewhere_are_the_ones_that_are_read_and_written(self, checkout: Checkout, tmp_path: Path) -> None:
        state, history = tmp_path / "a/drift.json", tmp_path / "b/drift.jsonl"
        files = ("--drift-state-file", str(state), "--drift-history-file", str(history))
        for _ in range(2):
            self.evaluated(checkout, *MISMATCH, *files)

        assert json.loads(state.read_bytes())["mismatchStreak"] == len(history.read_bytes().splitlines()) == 2
        assert not (checkout.ours / "profile-drift.json").exists()

    def test_a_catalog_needs_names_and_nothing_else(self, checkout: Checkout, tmp_path: Path) -> None:
        path = tmp_path / "own.json"
        path.write_text('{"profiles":{"fast":{},"slow":null}}', encoding="utf-8")

        told = self.evaluated(checkout, "--thresholds-file", str(path), "--applied-profile", "fast")

        assert told["status"] == "no_recommendation"

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (("--applied-profile", "nope"), ("unknown applied profile: nope", "balanced, relaxed, strict")),
            (("--recommended-profile", "nope"), ("unknown recommended profile: nope",)),
            (("--recommendation-confidence", "sure"), ("--recommendation-confidence", "low, medium, high", "'sure'")),
            (("--min-confidence", ""), ("--min-confidence",)),
            (("--required-streak", "0"), ("--required-streak", "at least 1")),
            (("--summary-window", "x"), ("--summary-window", "'x'")),
            (("--thresholds-file", "/no/such"), ("not found", "/no/such", "--thresholds-file")),
            (("--thresholds-file", "/dev/null/x"), ("/dev/null/x",)),
        ],
    )
    def test_bad_flags_are_named_and_nothing_is_written(
        self, checkout: Checkout, flags: tuple[str, ...], words: tuple[str, ...]
    ) -> None:
        refused(run("profile-drift", *checkout.flags, *flags), 1, *words)
        assert not (checkout.ours / "profile-drift.json").exists()

    @pytest.mark.parametrize("shape", ["{", "[]", '{"profiles":[]}', "{}"])
    def test_a_catalog_without_profiles_is_refused(self, checkout: Checkout, tmp_path: Path, shape: str) -> None:
        path = tmp_path / "own.json"
        path.write_text(shape, encoding="utf-8")

        refused(run("profile-drift", *checkout.flags, "--thresholds-file", str(path)), 1, str(path), "profiles")

    @pytest.mark.parametrize("data", ["", "{", "[]"])
    def test_a_state_that_cannot_be_read_is_left_as_it_is(self, checkout: Checkout, data: str) -> None:
        path = checkout.ours / "profile-drift.json"
        path.write_text(data, encoding="utf-8")

        refused(run("profile-drift", *checkout.flags, *MISMATCH), 1, str(path), "remove it")
        assert path.read_text(encoding="utf-8") == data
        assert checkout.rows("telemetry/profile-drift.jsonl") == []

    def test_odd_members_of_it_count_as_nought(self, checkout: Checkout) -> None:
        lines(checkout.ours / "profile-drift.json", {"mismatchStreak": "7", "driftActive": 1})

        assert self.evaluated(checkout, *MISMATCH)["mismatchStreak"] == 1

    def test_beside_a_daemon_a_file_elsewhere_is_refused_and_both_are_not(self, checkout: Checkout) -> None:
        state, history = (f"{checkout.folder}/{name}" for name in ("drift.json", "drift.jsonl"))
        lock = f"{checkout.runtime}/ops-manager/.lock"
        with HomeLock.acquire(lock, Holder(os.getpid(), SystemClock().now(), "/no/such.sock")):
            refused(
                run("profile-drift", *checkout.flags, "--drift-state-file", state),
                1,
                "--drift-state-file",
                str(os.getpid()),
            )
            both = ("--drift-state-file", state, "--drift-history-file", history)
            assert self.evaluated(checkout, *MISMATCH, *both)["mismatchStreak"] == 1
            refused(run("profile-drift", *checkout.flags, *MISMATCH), 1, "/no/such.sock")
        assert not (checkout.ours / "profile-drift.json").exists()


class TestThresholdProfile:
    def test_the_default_is_the_catalogs(self) -> None:
        told = run("threshold-profile").document

        assert (told["schemaVersion"], told["profile"]) == ("v1", "balanced")
        assert told["sourceFile"].endswith("ops-manager-threshold-profiles.v1.json")
        assert told["values"] == {
            "degradedIngestLagSeconds": 300,
            "criticalIngestLagSeconds": 900,
            "degradedTransportFailureStreak": 2,
            "criticalTransportFailureStreak": 4,
        }

    def test_one_is_asked_for_by_name(self) -> None:
        assert run("threshold-profile", "--profile", "strict").document["values"]["degradedIngestLagSeconds"] == 120

    def test_the_names_are_listed_one_per_line(self) -> None:
        assert run("threshold-profile", "--list") == Done(0, "balanced\nrelaxed\nstrict\n", "")

    def test_a_catalog_comes_by_flag_or_by_variable(self, tmp_path: Path) -> None:
        path = catalog(tmp_path, defaultProfile="fast")

        told = run("threshold-profile", "--profiles-file", path).document
        assert told == {"schemaVersion": "v1", "sourceFile": path, "profile": "fast", "values": CATALOG}
        assert (
            spawn("threshold-profile", "--list", variables={"OPS_MANAGER_THRESHOLD_PROFILES_FILE": path}).out
            == "fast\n"
        )

    @pytest.mark.parametrize(
        ("members", "flags", "words"),
        [
            ({}, (), "profile name is required and defaultProfile is missing"),
            ({}, ("--profile", "slow"), "unknown threshold profile: slow"),
            ({"schemaVersion": "v2"}, (), "threshold profiles file has invalid shape"),
            ({"profiles": {}}, (), "threshold profiles file has invalid shape"),
            (
                {"profiles": {"a": {**CATALOG, "criticalIngestLagSeconds": 0}}},
                ("--profile", "a"),
                "values are invalid: a",
            ),
            ({"profiles": {"a": {}}}, ("--profile", "a"), "threshold profile values are invalid: a"),
        ],
    )
    def test_what_cannot_be_used_is_named(
        self, tmp_path: Path, members: dict[str, Any], flags: tuple[str, ...], words: str
    ) -> None:
        refused(run("threshold-profile", "--profiles-file", catalog(tmp_path, **members), *flags), 1, words)

    def test_a_missing_or_broken_catalog_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.json"
        refused(run("threshold-profile", "--profiles-file", str(path)), 1, f"not found: {path}", "--profiles-file")
        path.write_text("{", encoding="utf-8")
        refused(run("threshold-profile", "--profiles-file", str(path)), 1, f"invalid threshold profiles JSON: {path}")
