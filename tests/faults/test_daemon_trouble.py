"""The real daemon on a host in trouble: a full disk, one that takes no writes, too few watches. It says so.

None of it needs a restart to be over.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from opsd.exits import ExitCode
from tests.doubles.mounts import make_read_only, make_writable, small_disk
from tests.doubles.process import LIMIT_S, OpsdProcess, finished, spawn
from tests.faults.fleet import START, lay_down_from

FEW_WATCHES = ("unshare", "-U", "-r", "sh", "-c", 'echo 20 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh")


class Loop(NamedTuple):
    loop_id: str
    log: Path
    lines: int

    def goes_on(self, name: str) -> None:
        """One more event of its run, stamped now."""
        at = (datetime.now(UTC) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {"timestamp": at, "event": name, "loop_id": self.loop_id, "run_id": f"{START:%Y-%m-%dT%H:%M:%SZ}"}
        with self.log.open("ab") as log:
            log.write(json.dumps(event).encode() + b"\n")


def loops_of_a_home(root: Path, home: Path, count: int) -> list[Loop]:
    """A registry in `home` of loops that stand in the middle of a run, each in a checkout of its own below `root`."""
    loops = []
    entries: list[dict[str, Any]] = []
    for number in range(count):
        loop_id, repo = f"loop-{number}", root / "checkouts" / str(number)
        lay_down_from(START, "steady", repo, loop_id=loop_id, until="iteration-2")
        log = repo / ".superloop/loops" / loop_id / "events.jsonl"
        loops.append(Loop(loop_id, log, log.read_bytes().count(b"\n")))
        entries.append({"loopId": loop_id, "transport": "local", "repoPath": str(repo)})
    registry = home / ".superloop/ops-manager/fleet/registry.v1.json"
    registry.parent.mkdir(parents=True)
    registry.write_text(json.dumps({"schemaVersion": "v1", "fleetId": "trouble", "loops": entries}), encoding="utf-8")
    return loops


def on_disk(home: Path, loop: Loop) -> str | None:
    """The last event that our own state document knows of."""
    try:
        state = json.loads((home / ".superloop/ops-manager" / loop.loop_id / "state.json").read_bytes())
    except FileNotFoundError:
        return None
    last: str | None = state["projection"]["lastEventName"]
    return last


def verified(opsd: OpsdProcess) -> bool:
    return all(row["ok"] for row in opsd.get("/v1/verify")["loops"])


@pytest.mark.slow
def test_on_a_full_disk_it_goes_on_in_memory_says_so_and_writes_it_all_once_there_is_room(short_path: Path) -> None:
    with small_disk(short_path / "home", size_kib=600) as home:
        loops = loops_of_a_home(short_path, home, 3)
        with OpsdProcess(home) as opsd:
            opsd.until(lambda: all(on_disk(home, loop) for loop in loops), "all is on the disk")
            ballast = fill(home)

            opsd.until(lambda: goes_on_until_refused(opsd, loops), "it says that it cannot write")
            for loop in loops:
                loop.goes_on("iteration_end")

            opsd.until(lambda: seen(opsd, loops) == {"iteration_end"}, "memory knows every event")
            ballast.unlink()
            opsd.until(lambda: "store_unwritable" not in opsd.findings(), "it writes again")
            opsd.until(lambda: {on_disk(home, loop) for loop in loops} == {"iteration_end"}, "all is on the disk")
            assert verified(opsd)
            assert opsd.stop() == 0


def goes_on_until_refused(opsd: OpsdProcess, loops: list[Loop]) -> bool:
    """Journals may have some room left in their last page, and take a few rows more."""
    for loop in loops:
        loop.goes_on("role_end")
    return "store_unwritable" in opsd.findings()


def seen(opsd: OpsdProcess, loops: list[Loop]) -> set[str]:
    """The last event that memory knows, of each loop."""
    return {opsd.loop(loop.loop_id)["lastEventName"] for loop in loops}


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                pass
    return ballast


@pytest.mark.slow
def test_a_home_that_takes_no_writes_is_refused_at_the_start_with_what_to_mend(short_path: Path) -> None:
    with small_disk(short_path / "home", size_kib=600) as home:
        loops_of_a_home(short_path, home, 1)
        make_read_only(home)
        try:
            code, _, said = finished("run", "--repo", str(home))
        finally:
            make_writable(home)

    assert code == ExitCode.UNUSABLE
    assert str(home) in said
    assert "read-only" in said.lower()


@pytest.mark.slow
def test_with_too_few_watches_it_says_that_it_is_blind_and_sees_every_change_all_the_same(short_path: Path) -> None:
    """In a user namespace of its own, whose limit is its own as well."""
    probe = spawn("version", wrapper=FEW_WATCHES)
    if probe.wait(LIMIT_S) != 0:
        pytest.skip("user namespaces, or their limit of watches, cannot be made here")
    home = short_path / "home"
    home.mkdir()
    loops = loops_of_a_home(short_path, home, 30)
    with OpsdProcess(home, "--sweep-idle-interval-s", "1", wrapper=FEW_WATCHES) as opsd:
        opsd.until(lambda: "watch_blind" in opsd.findings(), "it says that it cannot watch")

        for loop in loops:
            loop.goes_on("role_end")

        opsd.until(
            lambda: all(row["lastEventName"] == "role_end" for row in opsd.get("/v1/fleet")["loops"]),
            "the sweep brings every change",
        )
        assert verified(opsd)
        assert opsd.stop() == 0
