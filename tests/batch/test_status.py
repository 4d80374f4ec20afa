"""`ops-manager status` as its callers see it, and how little it takes to start."""

import contextlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsd.store.holder import Holder
from opsd.store.layout import Layout
from opsd.store.lock import HomeLock
from tests.batch.checkout import LOOP
from tests.batch.cli import Done, run, spawn
from tests.batch.status_files import DOCUMENTS, EVERY, HEALTH, ROWS, put, write

GOLDEN = json.loads((Path(__file__).parent / "golden" / "operator-status.json").read_text())


class Home:
    """A repository that some manager has written in."""

    def __init__(self, folder: Path) -> None:
        self.repo = str(folder)
        self.ours = folder / ".superloop" / "ops-manager" / LOOP

    def status(self, *flags: str) -> Done:
        return run("status", "--repo", self.repo, "--loop", LOOP, *flags)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_contract_s_example_is_read_from_its_files(home: Home) -> None:
    write(home.ours)

    document = home.status().document

    expected = json.loads(json.dumps(GOLDEN).replace("/srv/checkout", home.repo))
    told = json.loads(json.dumps(document))
    for each in (expected, told):  # of its time, and of its own words
        del each["generatedAt"], each["tuning"]["rationale"]
    assert told["tuning"]["telemetrySummary"]["observed"].pop("unreadableRows") == 0
    assert {name: told[name] for name in expected} == expected
    assert list(document)[: len(GOLDEN)] == list(GOLDEN)


def test_it_is_one_line_or_indented_and_nothing_is_written(home: Home) -> None:
    write(home.ours)
    before = {path: path.read_bytes() for path in home.ours.parent.rglob("*") if path.is_file()}

    compact, pretty = home.status(), home.status("--pretty")

    assert compact.out.count("\n") == 1
    assert pretty.out.startswith('{\n  "schemaVersion": "v1",\n')
    assert (compact.code, pretty.code) == (0, 0)
    assert {path: path.read_bytes() for path in home.ours.parent.rglob("*") if path.is_file()} == before


def test_flags_lead_to_other_files_and_are_told_as_absolute_paths(home: Home, tmp_path: Path) -> None:
    write(home.ours)
    flags = {
        "state": "state.json",
        "cursor": "cursor.json",
        "health": "health.json",
        "intents": "intents.jsonl",
        "heartbeat-state": "heartbeat.json",
        "heartbeat-telemetry": "telemetry/heartbeat.jsonl",
        "sequence-state": "sequence-state.json",
        "sequence-telemetry": "telemetry/sequence.jsonl",
        "control-invocations": "telemetry/control-invocations.jsonl",
        "drift-state": "profile-drift.json",
        "drift-history": "telemetry/profile-drift.jsonl",
        "alert-dispatch-state": "alert-dispatch-state.json",
        "alert-dispatch-telemetry": "telemetry/alerts.jsonl",
    }
    (home.ours / "telemetry/profile-drift.jsonl").write_text("{}\n")
    for flag, name in flags.items():
        (home.ours / name).rename(tmp_path / flag)

    with contextlib.chdir(tmp_path):
        document = home.status(*(word for flag in flags for word in (f"--{flag}-file", flag))).document

    named = {name: path for name, path in document["files"].items() if os.path.dirname(path) == home.repo}
    assert sorted(os.path.basename(path) for path in named.values()) == sorted(flags)
    assert document["lifecycle"] == GOLDEN["lifecycle"]
    assert document["visibility"]["sequence"] == GOLDEN["visibility"]["sequence"]
    assert document["alerts"] == GOLDEN["alerts"]
    assert document["drift"] == GOLDEN["drift"]


def test_without_state_and_health_there_is_no_status_and_the_remedy_is_told(home: Home) -> None:
    write(home.ours, "cursor.json", "intents.jsonl")

    done = home.status()

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: nothing is known of loop '{LOOP}'")
    assert f"ops-manager reconcile --repo {home.repo} --loop {LOOP}" in done.err


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("content", [b"", b" \n", b"{", b"[]", b"7", b"null", b'{"a":"\xff"}', b"[" * 5000])
def test_a_document_that_makes_no_sense_is_named_with_the_remedy(home: Home, name: str, content: bytes) -> None:
    write(home.ours)
    put(home.ours, name, content)

    done = home.status()

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {home.ours / name} is ")
    assert "move it out of the way" in done.err


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(
    "last", [b'{"traceId":"torn', b"\n", b"[]\n", b"7\n", b"null\n", b"\xff\n", b"[" * 5000 + b"\n"]
)
def test_a_last_line_that_is_no_row_counts_as_none(home: Home, name: str, last: bytes) -> None:
    write(home.ours)
    absent = _without_time(home, name, None)
    write(home.ours)
    (home.ours / name).write_bytes((home.ours / name).read_bytes() + last)

    assert _without_time(home, name, last) == absent


def _without_time(home: Home, name: str, last: bytes | None) -> dict[str, Any]:
    """The status with a journal's file gone, or with it as it is; tuning counts every line, and is another matter."""
    if last is None:
        (home.ours / name).unlink()
    document: dict[str, Any] = home.status().document
    for of_its_time in ("generatedAt", "ages", "manager", "tuning"):
        del document[of_its_time]
    return document


def test_a_last_line_without_its_end_is_a_row_if_it_is_whole(home: Home) -> None:
    write(home.ours)
    (home.ours / "intents.jsonl").write_text('{"intent":"approve"}\n{"intent":"reject"}')

    assert home.status().document["control"]["lastIntent"] == "reject"


def test_right_after_a_rotation_the_last_row_is_found_where_it_went(home: Home) -> None:
    write(home.ours)
    (home.ours / "intents.jsonl").rename(home.ours / "intents.1.jsonl")

    assert home.status().document["control"] == GOLDEN["control"]
    (home.ours / "intents.jsonl").touch()
    assert home.status().document["control"] == GOLDEN["control"]


def test_a_torn_line_of_telemetry_costs_the_advice_one_row(home: Home) -> None:
    write(home.ours)
    path = home.ours / "telemetry/reconcile.jsonl"
    path.write_bytes(path.read_bytes()[:40] + b"\n" + path.read_bytes())

    tuning = home.status("--summary-window", "30").document["tuning"]

    assert (tuning["recommendedProfile"], tuning["confidence"]) == ("balanced", "low")
    assert tuning["telemetrySummary"]["observed"]["unreadableRows"] == 1
    assert tuning["telemetrySummary"]["source"]["window"] == tuning["summaryWindow"] == 30


def test_without_telemetry_there_is_no_advice(home: Home) -> None:
    write(home.ours, "state.json")

    assert home.status().document["tuning"] == {
        "summaryWindow": 200,
        "appliedProfile": "balanced",
        "recommendedProfile": None,
        "confidence": None,
        "rationale": None,
        "telemetrySummary": None,
    }


class TestAnotherSummary:
    """The environment names a program that is asked instead of ours."""

    def asked(self, home: Home, program: str) -> dict[str, Any]:
        write(home.ours)
        path = home.ours / "summary.sh"
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
        variables = {"OPS_MANAGER_TELEMETRY_SUMMARY_SCRIPT": str(path)}
        done = spawn("status", "--repo", home.repo, "--loop", LOOP, "--summary-window", "7", variables=variables)
        tuning: dict[str, Any] = done.document["tuning"]
        return tuning

    def test_is_told_the_flags_and_believed(self, home: Home) -> None:
        advice = '"recommendedProfile":"strict","confidence":"high","rationale":"so"'
        says = f'{{{advice},"observed":{{"n":1}},"source":{{"args":"%s"}}}}'

        tuning = self.asked(home, f"""printf '{says}' "$*" """)

        where = f"{home.ours}/telemetry"
        assert tuning == {
            "summaryWindow": 7,
            "appliedProfile": "balanced",
            "recommendedProfile": "strict",
            "confidence": "high",
            "rationale": "so",
            "telemetrySummary": {
                "observed": {"n": 1},
                "source": {
                    "args": f"--repo {home.repo} --loop {LOOP} --window 7 "
                    f"--reconcile-telemetry-file {where}/reconcile.jsonl --control-telemetry-file {where}/control.jsonl"
                },
            },
        }

    @pytest.mark.parametrize("program", ["exit 1", "echo no json", "kill -9 $$", "echo '{}'; exit 5"])
    def test_that_fails_gives_no_advice(self, home: Home, program: str) -> None:
        tuning = self.asked(home, program)

        assert tuning["recommendedProfile"] is tuning["telemetrySummary"] is None


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--summary-window", "0"), "--summary-window must be an integer of at least 1, not '0'"),
        (("--summary-window", "x"), "--summary-window must be an integer of at least 1, not 'x'"),
        (("--loop", "../x"), "--loop '../x' cannot name a folder"),
        (("--repo", "/nowhere/at/all"), "--repo /nowhere/at/all: there is no such folder"),
        (("--state", "x"), "unrecognized arguments: --state x"),
    ],
)
def test_wrong_flags_are_told_and_nothing_else(home: Home, flags: tuple[str, ...], told: str) -> None:
    write(home.ours)

    done = home.status(*flags)

    assert (done.code, done.out) == (1, "")
    assert told in done.err


def test_who_holds_the_home_is_told_and_not_kept_from_it(home: Home) -> None:
    now = datetime.now(UTC)
    well = {**HEALTH, "status": "healthy", "updatedAt": f"{now - timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"}
    put(home.ours, "health.json", json.dumps(well))
    lock = Layout(home.repo).lock

    alone = home.status().document
    with HomeLock.acquire(lock, Holder(os.getpid(), now, "/run/opsd.sock")):
        held = home.status().document
    HomeLock.acquire(lock, Holder(os.getpid(), now)).release()

    assert (alone["manager"]["status"], alone["overallStatus"]) == ("silent", "critical")
    assert (held["manager"]["status"], held["overallStatus"]) == ("alive", "healthy")
    assert held["manager"]["heldBy"]["socketPath"] == "/run/opsd.sock"


CONTENT = st.sampled_from(
    (b"", b"\n", b"{", b"{}", b"{}\n", b"null", b'"text"\n', b"[1]\n", b"{}\n{}\n\n", b"\xff\xfe", None)
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(EVERY), CONTENT))
def test_whatever_is_there_it_answers_or_says_what_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, odd: dict[str, bytes | None]
) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    write(home.ours)
    for name, content in odd.items():
        (home.ours / name).unlink()
        if content is not None:
            put(home.ours, name, content)

    done = home.status()

    if done.code == 0:
        assert done.document["schemaVersion"] == "v1"
    else:
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1


def test_a_file_that_may_not_be_read_and_a_folder_in_its_place_are_told(home: Home) -> None:
    write(home.ours)
    (home.ours / "cursor.json").unlink()
    (home.ours / "cursor.json").mkdir()

    done = home.status()

    assert (done.code, done.out) == (1, "")
    assert str(home.ours / "cursor.json") in done.err


_LOADED = """
import sys
from opsd.batch.__main__ import main
code = main(sys.argv[1:])
print(code, *sorted(sys.modules), file=sys.stderr)
"""
HEAVY = {"asyncio", "anyio", "httpx", "pydantic", "structlog", "logging", "subprocess"}
HEAVY |= {"ssl", "socket", "email", "urllib.request", "http.client", "json", "ctypes", "shutil", "dataclasses"}
RECORDS = {
    "opsd.core.reconcile",
    "opsd.store.store",
    "opsd.store.codec",
    "opsd.store.lock",
    "opsd.protocol",
    "opsd.settings",
    "opsd.model.run",
    "opsd.model.state",
    "opsd.model.reasons",
    "opsctl",
}


def test_status_loads_next_to_nothing(home: Home) -> None:
    """Counted in modules, since time on a busy machine proves nothing. `inspect` is msgspec's own wish."""
    write(home.ours)

    done = subprocess.run(
        [sys.executable, "-I", "-c", _LOADED, "status", "--repo", home.repo, "--loop", LOOP],
        capture_output=True,
        text=True,
        check=True,
    )

    code, *modules = done.stderr.split()
    assert code == "0"
    assert set(modules) & HEAVY == set()
    assert set(modules) & RECORDS == set()
    assert sum(name.startswith("opsd") for name in modules) < 40
    assert msgspec.json.decode(done.stdout.encode())["schemaVersion"] == "v1"
