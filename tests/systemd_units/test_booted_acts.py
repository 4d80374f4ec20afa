"""Acts, from a service as closed as the shipped one: a run started, kept over a restart, paused, resumed, cancelled."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsctl.exits import Exit
from opsd.sim.checkout import set_up
from opsd.sim.part import COMMANDS_FILE, Part
from opsd.sim.runtime import write_command
from tests.doubles.process import wait_until
from tests.systemd_units.machine import ROOT, UNITS, Machine, booted

pytestmark = pytest.mark.slow

LOOP = "works"
CHECKOUT = "/srv/work"
OURS = "/srv/fleet/.superloop/ops-manager"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Installed as the README says, with a checkout that belongs to opsd's user; nobody has a systemd manager yet."""
    with booted(tmp_path_factory.mktemp("machine")) as machine:
        checkout = machine.root / CHECKOUT.lstrip("/")
        set_up(str(checkout), LOOP, Part(scenario="silent-stall", speed=1000.0, cancel_poll_s=0.1))
        install_runtime(checkout)
        registry = machine.root / f"{OURS}/fleet/registry.v1.json".lstrip("/")
        registry.parent.mkdir(parents=True)
        loops = [{"loopId": LOOP, "repoPath": CHECKOUT}]
        registry.write_text(json.dumps({"schemaVersion": "v1", "loops": loops}))
        opened = machine.root / "etc/systemd/system/opsd.service.d"
        opened.mkdir()
        text = (UNITS / "acts.conf").read_text()
        # The simulated runtime keeps a list of its calls beside its state, which the real one does not.
        ledger = f"{CHECKOUT}/{COMMANDS_FILE}"
        machine.must("touch", ledger)
        (opened / "acts.conf").write_text(f"{text.replace('/srv/checkouts/docs', CHECKOUT)}ReadWritePaths={ledger}\n")
        machine.must("chown", "-R", "opsd:opsd", CHECKOUT, OURS)
        machine.must("systemctl", "daemon-reload")
        machine.must("systemctl", "start", "opsd.socket")
        yield machine


def install_runtime(checkout: Path) -> None:
    """The simulated one, with the Python and the packages that are there inside."""
    command = Path(write_command(str(checkout)))
    text = command.read_text()
    outside = text.partition('exec "')[2].partition('"')[0]
    command.write_text(text.replace(outside, "/opt/opsd/bin/python").replace(str(ROOT), "/opt/opsd/checkout"))


def ask(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    return machine.run("/opt/opsd/bin/opsctl", *words, user="reader")


def done(machine: Machine, *words: str) -> None:
    result = ask(machine, *words)
    assert result.returncode == Exit.OK, result.stdout + result.stderr + machine.journal()[-2000:]


def document(machine: Machine, name: str) -> dict[str, Any]:
    """A file of the runtime's; empty where it is not there or being written."""
    try:
        said = json.loads((machine.root / f"{CHECKOUT}/.superloop/{name}".lstrip("/")).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    assert isinstance(said, dict)
    return said


def beat(machine: Machine) -> dict[str, Any]:
    return document(machine, f"loops/{LOOP}/heartbeat.v1.json")


def test_acts_reach_a_run_from_within_the_service(machine: Machine) -> None:
    refused = ask(machine, "start", LOOP, "--yes")

    assert refused.returncode != Exit.OK, refused.stdout + refused.stderr
    assert "enable-linger" in refused.stdout + refused.stderr
    assert beat(machine) == {}

    machine.must("loginctl", "enable-linger", "opsd")
    manager = f"user@{machine.must('id', '-u', 'opsd').strip()}.service"
    wait_until(lambda: machine.show(manager, "ActiveState") == "active", "opsd's user has a manager")
    done(machine, "start", LOOP, "--yes")

    pid = beat(machine)["pid"]
    groups = machine.must("cat", f"/proc/{pid}/cgroup")
    assert f"{manager}/app.slice/opsd-run-{LOOP}-" in groups
    assert "opsd.service" not in groups
    assert f"opsd-run-{LOOP}-" in machine.must("systemctl", "--user", "--machine=opsd@", "list-units", "opsd-run-*")

    machine.must("systemctl", "restart", "opsd.service")
    wait_until(lambda: ask(machine, "status").returncode == Exit.OK, "opsd is there again")
    assert (beat(machine)["pid"], beat(machine)["status"]) == (pid, "running")
    assert machine.run("kill", "-0", str(pid)).returncode == 0

    done(machine, "pause", LOOP, "--yes", "--reason", "to see")
    assert machine.must("ps", "-o", "state=", "-p", str(pid)).strip() == "T"
    done(machine, "resume", LOOP, "--yes")
    done(machine, "cancel", LOOP, "--yes", "--reason", "enough")

    wait_until(lambda: beat(machine).get("status") == "exited", "its end is on record")
    assert document(machine, "state.json") == {}
    assert machine.run("kill", "-0", str(pid)).returncode == 1
