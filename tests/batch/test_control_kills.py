"""A control command killed anywhere: the next one under its key settles it, and nothing is ever executed twice."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.batch.checkout import LOOP
from tests.batch.cli import run
from tests.batch.control_kills import WORDS


def rows(repo: Path, name: str) -> list[dict[str, str]]:
    path = repo / ".superloop/ops-manager" / LOOP / name
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["between", "torn"])
def test_killed_anywhere_it_is_executed_once_at_most(how: str, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.batch.control_kills", how, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    outcomes = [json.loads(line) for line in child.stdout.splitlines()]
    assert [outcome["killed"] for outcome in outcomes] == [True] * (len(outcomes) - 1) + [False]
    seen: Counter[tuple[str, int]] = Counter()
    for outcome in outcomes:
        where, repo = f"killed at N={outcome['n']}", tmp_path / str(outcome["n"])
        done = run("control", "--repo", str(repo), *WORDS)
        again = run("control", "--repo", str(repo), *WORDS)

        assert again == done, where
        calls = (repo / "calls").read_text().splitlines() if (repo / "calls").exists() else []
        assert len(calls) <= 1, where
        # What was executed is proven; what was not, because the kill came just before, nobody calls done.
        assert (done.code, done.document["status"]) == ((0, "confirmed") if calls else (2, "ambiguous")), where
        told = rows(repo, "intents.jsonl")
        assert told[-1] == done.document, where
        assert max(Counter((row["intentId"], row["status"]) for row in told).values()) == 1, where
        assert len(rows(repo, "telemetry/control.jsonl")) == len(rows(repo, "telemetry/control-invocations.jsonl"))
        # One that was only taken in when the kill came is told as what it is: nothing was done.
        for row in told[:-1]:
            assert row["status"] == "failed_command", where
            assert "nothing was executed: opsd_restarted" in row["commandOutput"], where
        seen[done.document["status"], len(told)] += 1
    print(f"killed at {len(outcomes) - 1} calls: {dict(seen)}")
    assert {status for status, _ in seen} == {"confirmed", "ambiguous"}, "the sweep must have met both"
    assert any(count == 2 for _, count in seen), "some must have been killed when they were only taken in"
