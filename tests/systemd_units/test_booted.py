"""The shipped units in a systemd that really runs them: started, asked, killed, hung, stopped."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from opsctl.exits import Exit
from opsd.exits import ExitCode
from opsd.sim.part import Part
from opsd.sim.trees import lay_down
from tests.doubles.process import wait_until
from tests.systemd_units.machine import Machine, booted

pytestmark = pytest.mark.slow

HOME = "/srv/fleet"
OURS = f"{HOME}/.superloop/ops-manager"
SOCKET = "/run/opsd/opsd.sock"
SETTINGS = "etc/opsd/opsd.toml"


@pytest.fixture(scope="module")
def booted_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with booted(tmp_path_factory.mktemp("machine")) as machine:
        home = machine.root / HOME.lstrip("/")
        lay_down("approval", home, at=datetime.now(UTC), until="pending", loop_id="waits")
        # What belongs to the run belongs to its user; opsd may read there, and write in its own folder.
        machine.must("install", "--directory", "--owner=opsd", "--group=opsd", "--mode=2755", OURS)
        machine.must("chown", "-R", "runner", f"{HOME}/.superloop/loops")
        machine.must("chmod", "-R", "a+rX", HOME)
        yield machine


@pytest.fixture
def machine(booted_machine: Machine) -> Iterator[Machine]:
    """The socket is open, and opsd does not run yet."""
    settings = booted_machine.root / SETTINGS
    before = settings.read_text()
    booted_machine.must("systemctl", "start", "opsd.socket")
    yield booted_machine
    settings.write_text(before)
    booted_machine.must("systemctl", "stop", "opsd.socket", "opsd.service")
    booted_machine.run("systemctl", "reset-failed")


def opsctl(machine: Machine, *words: str, user: str = "reader") -> subprocess.CompletedProcess[str]:
    return machine.run("/opt/opsd/bin/opsctl", *words, user=user)


def status(machine: Machine, *words: str) -> Any:
    done = opsctl(machine, "status", *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def row(machine: Machine) -> Any:
    """What is said of the only loop."""
    (loop,) = status(machine)["loops"]
    return loop


def add_setting(machine: Machine, line: str) -> str:
    """The settings as they were without it."""
    settings = machine.root / SETTINGS
    before = settings.read_text()
    settings.write_text(f"{before}{line}\n")
    return before


def main_pid(machine: Machine) -> str:
    return machine.show("opsd.service", "MainPID")


def test_the_first_question_starts_it_for_those_who_may_ask(machine: Machine) -> None:
    assert machine.show("opsd.service", "ActiveState") == "inactive"
    assert machine.must("stat", "--format=%a %U %G", SOCKET).split() == ["660", "opsd", "opsd"]

    assert row(machine)["loopId"] == "waits"

    wait_until(lambda: row(machine)["lifecycle"] == "awaiting_approval", "the run's files are read")
    assert machine.show("opsd.service", "ActiveState") == "active"
    assert machine.show("opsd.service", "StatusText") == "supervising 1 loops"
    assert opsctl(machine, "status", user="stranger").returncode == Exit.DENIED


def test_callers_keep_their_identity(machine: Machine) -> None:
    """In a user namespace every user and group but opsd's own would be the same nobody."""
    add_setting(machine, 'operator_group = "runner"')

    assert opsctl(machine, "reconcile", "waits", user="reader").returncode == Exit.DENIED
    assert opsctl(machine, "reconcile", "waits", user="runner").returncode == Exit.OK


def test_a_reload_reads_the_settings_again(machine: Machine) -> None:
    machine.must("systemctl", "start", "opsd.service")
    pid = main_pid(machine)
    add_setting(machine, 'threshold_profile = "strict"')

    machine.must("systemctl", "reload", "opsd.service")

    wait_until(lambda: status(machine, "waits")["health"]["thresholds"]["profile"] == "strict", "judged anew")
    assert main_pid(machine) == pid


def test_it_is_there_again_after_a_kill_and_nobody_is_refused(machine: Machine) -> None:
    machine.must("systemctl", "start", "opsd.service")
    killed = main_pid(machine)

    machine.must("kill", "-KILL", killed)

    assert row(machine)["loopId"] == "waits"
    assert main_pid(machine) not in (killed, "0")


def test_one_that_hangs_is_ended_and_started_again(machine: Machine) -> None:
    """It is told where it hung: systemd ends it with SIGABRT, and the traces of its threads are in the journal."""
    impatient = machine.root / "etc/systemd/system/opsd.service.d/impatient.conf"
    impatient.parent.mkdir()
    impatient.write_text("[Service]\nWatchdogSec=3\n")
    machine.must("systemctl", "daemon-reload")
    machine.must("systemctl", "start", "opsd.service")
    hung = main_pid(machine)

    machine.must("kill", "-STOP", hung)

    wait_until(lambda: main_pid(machine) not in (hung, "0"), "another opsd runs")
    assert "Watchdog timeout" in machine.journal()
    assert "Fatal Python error: Aborted" in machine.journal()
    assert row(machine)["loopId"] == "waits"


def test_a_run_of_another_user_is_seen_to_be_paused(machine: Machine) -> None:
    """Only a visible /proc tells that; of a hidden process one could learn that it exists, and no more."""
    registry = machine.root / f"{OURS}/fleet/registry.v1.json".lstrip("/")
    registry.parent.mkdir()
    machine.must("systemd-run", "--unit=run", "--uid=runner", "sleep", "600")
    try:
        # At a thousand times life's speed the run began no earlier than its process.
        fast, pid = Part(speed=1_000.0), int(machine.show("run.service", "MainPID"))
        lay_down("steady", machine.root / "srv/other", at=datetime.now(UTC), until="running", pid=pid, part=fast)
        loops = [{"loopId": "demo-loop", "repoPath": "/srv/other"}]
        registry.write_text(json.dumps({"schemaVersion": "v1", "loops": loops}))
        machine.must("chmod", "--recursive", "a+rX", "/srv/other", OURS)
        wait_until(lambda: row(machine)["phase"] == "running", "the run is seen")

        machine.must("kill", "-STOP", str(pid))

        wait_until(lambda: row(machine)["phase"] == "paused", "its pause is seen")
    finally:
        machine.must("systemctl", "kill", "--signal=KILL", "run.service")
        shutil.rmtree(registry.parent)


def test_it_could_not_write_to_a_run_if_it_wanted(machine: Machine) -> None:
    machine.must("systemctl", "start", "opsd.service")
    # Not even root could, seen from where opsd is.
    within = ("nsenter", f"--target={main_pid(machine)}", "--mount", "touch")

    assert "Read-only file system" in machine.run(*within, f"{HOME}/.superloop/loops/waits/events.jsonl").stderr
    assert "Read-only file system" in machine.run(*within, "/etc/passwd").stderr
    assert machine.run(*within, f"{OURS}/.lock").returncode == 0


def test_a_bad_setting_is_not_tried_again_and_a_mended_one_is_taken(machine: Machine) -> None:
    before = add_setting(machine, 'commit_interval_s = "soon"')
    assert machine.run("systemctl", "start", "opsd.service").returncode != 0

    assert machine.show("opsd.service", "ActiveState") == "failed"
    assert machine.show("opsd.service", "ExecMainStatus") == str(ExitCode.USAGE.value)
    assert "commit_interval_s" in machine.journal()

    (machine.root / SETTINGS).write_text(before)
    machine.must("systemctl", "restart", "opsd.service")

    assert row(machine)["loopId"] == "waits"


def test_a_stop_is_clean_and_takes_the_socket_along(machine: Machine) -> None:
    status(machine)

    machine.must("systemctl", "stop", "opsd.socket")

    wait_until(lambda: machine.show("opsd.service", "ActiveState") == "inactive", "it is stopped")
    assert machine.show("opsd.service", "Result") == "success"
    assert machine.show("opsd.service", "ExecMainStatus") == str(ExitCode.OK.value)
    assert machine.run("test", "-e", SOCKET).returncode == 1
    assert opsctl(machine, "status").returncode == Exit.NO_DAEMON
