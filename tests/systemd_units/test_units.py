"""The shipped unit files: understood by systemd, closed to what opsd does not need, and of one mind with each other."""

import configparser
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from opsctl.discovery import SYSTEM_SOCKET
from opsd.settings import Settings
from tests.doubles.process import LIMIT_S
from tests.systemd_units.machine import ROOT, UNITS

EXPOSURE_MAX = 1.5
PROGRAM = "/opt/opsd/bin/opsd"

with_systemd_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def unit(name: str) -> configparser.ConfigParser:
    """A unit file; of a key that stands there several times, the last line."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep capitals
    parser.read(UNITS / name)
    return parser


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=LIMIT_S, check=False)


@with_systemd_analyze
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """An unknown key is no error to systemd, only a word on stderr; and a line it ignores protects nobody."""
    for name in ("opsd.service", "opsd.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(text.replace(PROGRAM, "/bin/true"))  # the program itself need not be installed
    (tmp_path / "opsd.service.d").mkdir()
    shutil.copy(UNITS / "acts.conf", tmp_path / "opsd.service.d")

    done = analyze("verify", "--man=no", str(tmp_path / "opsd.service"), str(tmp_path / "opsd.socket"))

    assert (done.returncode, done.stderr) == (0, "")


@with_systemd_analyze
def test_the_service_is_closed_to_what_it_does_not_need() -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", str(UNITS / "opsd.service"))

    assert done.returncode == 0, done.stdout


def test_acts_open_nothing_but_folders_to_write_in() -> None:
    """Whatever else they need is the user's own: its processes, its systemd manager."""
    added = unit("acts.conf")

    assert added.sections() == ["Service"]
    assert set(added["Service"]) == {"ReadWritePaths"}
    assert added["Service"]["ReadWritePaths"].endswith("/.superloop")


def test_units_and_settings_name_the_same_home_socket_and_group() -> None:
    service, socket = unit("opsd.service")["Service"], unit("opsd.socket")["Socket"]
    settings = tomllib.loads((UNITS / "opsd.toml").read_text())

    assert set(settings) <= set(Settings.model_fields)
    assert service["ReadWritePaths"] == f"{settings['repo']}/.superloop/ops-manager"
    assert settings["socket_path"] == socket["ListenStream"] == SYSTEM_SOCKET
    assert settings["socket_group"] == socket["SocketGroup"]
    assert service["User"] == socket["SocketUser"]


def test_the_readme_installs_what_the_units_name() -> None:
    text = (ROOT / "systemd" / "README.md").read_text()
    service = unit("opsd.service")["Service"]

    assert service["ExecStart"] == f"{PROGRAM} run --config /etc/opsd/opsd.toml"
    for said in (
        "python3 -m venv /opt/opsd",
        f"useradd --system --user-group {service['User']}",
        f"-m 2755 {service['ReadWritePaths']}",
        "-t /etc/opsd systemd/opsd.toml",
    ):
        assert said in text
