"""Fleets: made alike from a seed, played to their ends, and gone without a trace of a process."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsd.model.ids import loop_id_fault
from opsd.sim.fleet import REGISTRY, Checkout, FleetPlay, make_fleet, play_fleet
from opsd.sim.names import loop_ids
from opsd.sim.part import read_part
from opsd.sim.story import DEAD_PID
from opsd.sim.trees import lay_down_fleet
from tests.sim.checkouts import QUICK, eventually

ENDING = ("complete", "stuck", "killed", "rate-limited", "role-error", "torn-lines", "rotated")


def names(checkout: Checkout) -> list[str]:
    """The names of the events in the checkout's first loop."""
    file = Path(checkout.repo, ".superloop/loops", checkout.loops[0], "events.jsonl")
    text = file.read_text() if file.exists() else ""
    return [json.loads(line)["event"] for line in text.split("\n")[:-1]]


def state(checkout: Checkout, name: str = "state.json") -> dict[str, object] | None:
    """A JSON file of the checkout's, or None where it is missing or being written."""
    try:
        document = json.loads(Path(checkout.repo, ".superloop", name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    assert isinstance(document, dict)
    return document


def processes_of(root: Path) -> list[str]:
    """Command lines of live processes that mention `root`, this one aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(root) in line:
                found.append(line)
    return found


def test_the_same_seed_makes_the_same_fleet(tmp_path: Path) -> None:
    first, second = (make_fleet(tmp_path / name, 30, seed=7, speed=5) for name in ("a", "b"))
    other = make_fleet(tmp_path / "c", 30, seed=8, speed=5)

    def cast(fleet: object) -> list[tuple[tuple[str, ...], object]]:
        assert hasattr(fleet, "checkouts")
        return [(checkout.loops, read_part(checkout.repo)) for checkout in fleet.checkouts]

    assert cast(first) == cast(second)
    assert cast(first) != cast(other)


def test_the_registry_names_every_loop_and_its_checkout(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, 3, seed=1, speed=1, mix=["complete", "two-loops"])

    registry = json.loads(Path(fleet.home, REGISTRY).read_text())

    assert registry["schemaVersion"] == "v1"
    assert [loop["loopId"] for loop in registry["loops"]] == [
        loop for checkout in fleet.checkouts for loop in checkout.loops
    ]
    for loop in registry["loops"]:
        assert loop["transport"] == "local"
        assert Path(loop["repoPath"], ".superloop/config.json").is_file()


def test_loop_ids_never_repeat_and_are_safe_as_folder_names() -> None:
    ids = loop_ids(3000, seed=5)

    assert len(set(ids)) == 3000
    assert not [loop_id for loop_id in ids if loop_id_fault(loop_id)]


def test_a_fleet_can_be_laid_down_without_playing(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, len(ENDING), seed=2, mix=ENDING)

    lay_down_fleet(fleet, at=datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC))

    assert [names(checkout)[-1] for checkout in fleet.checkouts][:2] == ["loop_complete", "loop_stop"]
    assert all(read_part(checkout.repo).scenario == checkout.scenario for checkout in fleet.checkouts)


def test_a_fleet_of_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one loop"):
        make_fleet(tmp_path, 0)


@pytest.mark.parametrize("hosted", [False, True])
def test_a_fleet_plays_to_its_ends_and_leaves_no_process(hosted: bool, tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, len(ENDING), seed=2, speed=2000, mix=ENDING, part=QUICK)

    assert play_fleet(fleet, duration_s=30, hosted=hosted) is True

    last = {checkout.scenario: names(checkout)[-1] for checkout in fleet.checkouts}
    assert last == {
        "complete": "loop_complete",
        "stuck": "loop_stop",
        "killed": "role_start",
        "rate-limited": "rate_limit_stop",
        "role-error": "role_start",
        "torn-lines": "loop_complete",
        "rotated": "loop_complete",
    }
    killed = next(checkout for checkout in fleet.checkouts if checkout.scenario == "killed")
    run = state(killed, "active-run.json")
    assert run is not None
    assert not Path(f"/proc/{run['pid']}").exists()
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("hosted", [False, True])
def test_what_plays_cancelled_is_cancelled_while_it_works(hosted: bool, tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, 1, seed=2, speed=100, mix=["cancelled"], part=QUICK)

    assert play_fleet(fleet, duration_s=30, hosted=hosted) is True

    assert state(fleet.checkouts[0]) is None
    assert names(fleet.checkouts[0])[-1] == "role_start"


@pytest.mark.parametrize("hosted", [False, True])
def test_a_decided_loop_is_run_again(hosted: bool, tmp_path: Path) -> None:
    """The runtime's approve completes nothing; someone has to run the loop again, and here the fleet does."""
    fleet = make_fleet(tmp_path, 1, seed=2, speed=2000, mix=["approval"], part=QUICK)
    checkout = fleet.checkouts[0]

    with FleetPlay(fleet, hosted=hosted) as play:
        eventually(lambda: play.poll() and state(checkout, _approval(checkout)) is not None, "a request")
        words = [fleet.command, "approve", "--repo", checkout.repo, "--loop", checkout.loops[0]]
        eventually(lambda: (state(checkout) or {}).get("active") is False, "the run has ended")
        subprocess.run(words, check=True, capture_output=True, timeout=20)
        eventually(lambda: not play.poll(), "the fleet is done")

    assert names(checkout)[-1] == "loop_complete"


def _approval(checkout: Checkout) -> str:
    return f"loops/{checkout.loops[0]}/approval.json"


def test_cancelling_a_hosted_loop_spares_the_others(tmp_path: Path) -> None:
    """All hosted loops share a pid, so the real rule of cancel would end the whole fleet."""
    fleet = make_fleet(tmp_path, 3, seed=2, speed=2000, mix=["steady"], part=QUICK)
    target, *others = fleet.checkouts

    with FleetPlay(fleet, hosted=True) as play:
        eventually(lambda: all(len(names(checkout)) > 30 for checkout in fleet.checkouts), "all iterate")
        run = state(target, "active-run.json") or {}
        words = [fleet.command, "cancel", "--repo", target.repo]
        subprocess.run(words, check=True, capture_output=True, timeout=20)
        counts = [len(names(checkout)) for checkout in others]
        eventually(
            lambda: all(len(names(other)) > count + 30 for other, count in zip(others, counts, strict=True)),
            "the others go on",
        )
        assert state(target, "active-run.json") is None
        assert play.poll()

    assert run["pid"] != DEAD_PID
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_fleet_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    """As `opsd sim` is ended by hand: exit code 0, and nothing of it is left running."""
    program = (
        "import argparse, sys; from opsd.sim import cli; parser = argparse.ArgumentParser(); "
        "cli.add_arguments(parser); sys.exit(cli.run(parser.parse_args()))"
    )
    words = [sys.executable, "-c", program, "--loops", "4", "--speed", "500", "--root", str(tmp_path)]
    words += ["--scenario", "steady", "--scenario", "silent-stall"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as play:
        assert play.stdout is not None
        said = []
        for line in play.stdout:
            said.append(line)
            if line == "all loops have begun\n":
                break
        assert len([line for line in processes_of(tmp_path) if "superloop.sh run" in line]) == 4

        play.send_signal(number)
        said += play.stdout.readlines()

    assert play.returncode == 0
    assert said[-1] == "stopped; no run is left behind\n"
    assert processes_of(tmp_path) == []
