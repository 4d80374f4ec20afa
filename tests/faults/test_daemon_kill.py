"""The real daemon over live runs, killed again and again at moments drawn by lot: in the end it knows it all, once.

What is asked at the end is asked of the files and of the API, not of what the daemon thinks of itself.
"""

import json
import select
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from opsd.disk import Disk
from opsd.sim.fleet import Fleet, FleetPlay, make_fleet
from tests.doubles.process import LIMIT_S, OpsdProcess, spawn
from tests.simulation import reference
from tests.simulation.story import open_after, rows_of

# What the fleet plays, and what must be told of each loop's run, exactly once.
MIX = {
    "complete": set[str](),
    "approval": {"approval_pending"},
    "stuck": {"run_stuck"},
    "max-iterations": {"run_stopped"},
    "role-error": {"run_crashed"},
    "rate-limited": {"run_rate_limited"},
    "lifecycle-failed": {"run_stopped"},
    "torn-lines": set[str](),
    "no-progress": {"run_stuck"},
}
LINE_BYTES_MAX = 8 * 1024 * 1024
SPEED = 120.0
LIVED_AT_MOST_S = 1.4
ARMED_AT_LEAST = 8


def _folder(home: Path, loop_id: str) -> Path:
    return home / ".superloop/ops-manager" / loop_id


def _log(repo: str, loop_id: str) -> Path:
    return Path(repo) / ".superloop/loops" / loop_id / "events.jsonl"


def _loops(fleet: Fleet) -> Iterator[tuple[str, str, str]]:
    for checkout in fleet.checkouts:
        for loop_id in checkout.loops:
            yield checkout.scenario, checkout.repo, loop_id


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_killed_many_times_while_a_fleet_lives_it_has_counted_and_told_everything_once(
    short_path: Path,
) -> None:
    """It starts, lives for a moment and dies, until every run has ended; some deaths come before it was ready."""
    seed = 1
    dice = Random(seed)
    fleet = make_fleet(short_path, len(MIX), seed=seed, speed=SPEED, mix=list(MIX))
    home = Path(fleet.home)
    deaths = 0
    with FleetPlay(fleet, stagger_s=1.0, rerun=False) as play:
        deadline_s = time.monotonic() + LIMIT_S
        while play.poll() and time.monotonic() < deadline_s:
            opsd = spawn("run", "--repo", str(home))
            select.select([], [], [], dice.uniform(0.2, LIVED_AT_MOST_S))
            assert opsd.poll() is None, f"seed {seed}: it ended by itself with {opsd.returncode}"
            opsd.kill()
            opsd.wait(LIMIT_S)
            deaths += 1
        assert not play.poll(), f"seed {seed}: the fleet did not end within {LIMIT_S:g} s"
    print(f"seed {seed}: killed {deaths} times")
    assert deaths >= ARMED_AT_LEAST

    with OpsdProcess(home) as opsd_process:
        opsd_process.until(lambda: _has_read_all(opsd_process, fleet), "every log is read to its end")
        report = opsd_process.get("/v1/verify")
        assert [row for row in report["loops"] if not row["ok"]] == []
        assert opsd_process.stop() == 0

    for scenario, repo, loop_id in _loops(fleet):
        _assert_counted_once(home, repo, loop_id)
        rows = rows_of(Disk(), str(_folder(home, loop_id) / "escalations.jsonl"))
        open_after(rows, rotated=False)
        begun = Counter(row["category"] for row in rows if not row["category"].startswith("health_"))
        assert begun == Counter(MIX[scenario]), f"seed {seed}: {loop_id} plays {scenario}"


def _has_read_all(opsd: OpsdProcess, fleet: Fleet) -> bool:
    return all(
        opsd.loop(loop_id)["lastEventName"] == _read(repo, loop_id).last_name
        and not {"ingest_backlog", "artifacts_missing"} & {each["code"] for each in opsd.loop(loop_id)["findings"]}
        and opsd.loop(loop_id)["phase"] not in ("unknown", "running", "starting", "busy")
        for _, repo, loop_id in _loops(fleet)
    )


def _read(repo: str, loop_id: str) -> reference.Reading:
    return reference.read(_log(repo, loop_id).read_bytes(), LINE_BYTES_MAX)


def _assert_counted_once(home: Path, repo: str, loop_id: str) -> None:
    said = _read(repo, loop_id)
    state = json.loads((_folder(home, loop_id) / "state.json").read_bytes())
    cursor = json.loads((_folder(home, loop_id) / "cursor.json").read_bytes())
    fold = state["memory"]["fold"]
    assert (fold["eventCount"], fold["quarantinedCount"], fold["line"]) == (said.events, said.bad, said.lines), loop_id
    assert (cursor["eventLineOffset"], cursor["stream"]["byteOffset"]) == (said.lines, said.size_bytes), loop_id
