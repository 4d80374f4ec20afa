"""The real side of the port: which command is a checkout's, and which hand carries which act out."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsd.controls import HostControls
from opsd.controls.host import Launcher
from opsd.model.acts import ActProblem, ActResult, LaunchRun, RunCommand, SignalRun, SignalWord
from opsd.ports import Controls
from opsd.sim.ledger import executions
from tests.doubles.scripts import eventually, kill, script, state_of
from tests.sim.checkouts import LOOP, QUICK, Sandbox


def controls(
    variables: Mapping[str, str] | None = None,
    *,
    superloop_bin: str | None = None,
    launcher: Launcher = "auto",
    under_systemd: bool = False,
) -> Controls:
    given = {"PATH": os.environ["PATH"], **(variables or {})}
    return HostControls(superloop_bin=superloop_bin, launcher=launcher, under_systemd=under_systemd, variables=given)


def test_the_command_is_the_settings_else_the_checkouts_else_the_paths(tmp_path: Path) -> None:
    repo, on_path = tmp_path / "repo", tmp_path / "bin"
    set_to, beside, found = script(tmp_path / "opt", ""), script(repo, ""), script(on_path, "")

    assert controls({"PATH": str(on_path)}, superloop_bin=set_to).command(str(repo)) == set_to
    assert controls({"PATH": str(on_path)}).command(str(repo)) == beside
    Path(beside).chmod(0o644)
    assert controls({"PATH": str(on_path)}).command(str(repo)) == found
    Path(found).unlink()
    assert controls({"PATH": str(on_path)}).command(str(repo)) is None


def test_a_setting_that_cannot_be_executed_is_not_replaced_by_another_command(tmp_path: Path) -> None:
    set_to, repo = script(tmp_path / "opt", ""), tmp_path / "repo"
    script(repo, "")
    Path(set_to).unlink()

    assert controls(superloop_bin=set_to).command(str(repo)) is None


def test_a_folder_of_the_commands_name_is_no_command(tmp_path: Path) -> None:
    (tmp_path / "superloop.sh").mkdir()

    assert controls({"PATH": str(tmp_path)}).command(str(tmp_path)) is None


def test_commands_get_no_secret_of_ours(tmp_path: Path) -> None:
    variables = {"OPSD_SINK_TOKEN": "secret", "NOTIFY_SOCKET": "/x", "CREDENTIALS_DIRECTORY": "/x", "WORD": "given"}

    done = controls(variables).carry_out(RunCommand((script(tmp_path, "env"),), str(tmp_path), 20))

    assert "WORD=given" in done.output
    assert not {name for name in variables if name != "WORD" and f"{name}=" in done.output}


def test_a_run_is_started_paused_resumed_and_cancelled(tmp_path: Path) -> None:
    """The whole way on one simulated runtime, each act once."""
    box, hands = Sandbox(tmp_path, QUICK._replace(scenario="silent-stall")), controls()
    log = str(tmp_path / "run.log")
    argv = (box.command, "run", "--repo", str(box.repo), "--loop", LOOP)

    assert hands.carry_out(LaunchRun(argv, str(box.repo), LOOP, "in-1", log)) == ActResult(0)
    eventually(lambda: len(box.names()) == 5, "the implementer works")
    run = box.document("active-run.json") or {}
    pid, begun_by = run["pid"], datetime.now(UTC)

    assert hands.carry_out(SignalRun(pid, run["pgid"], begun_by, SignalWord.STOP)) == ActResult()
    eventually(lambda: state_of(pid) == "T", "it is paused")
    assert hands.carry_out(SignalRun(pid, run["pgid"], begun_by, SignalWord.CONTINUE)) == ActResult()
    eventually(lambda: state_of(pid) == "S", "it goes on")
    done = hands.carry_out(RunCommand((box.command, "cancel", "--repo", str(box.repo)), str(box.repo), 20))

    assert (done.exit_code, done.problem) == (0, None)
    assert done.output.endswith("stopped active run process.")
    eventually(lambda: (box.document(f"loops/{LOOP}/heartbeat.v1.json") or {})["status"] == "exited", "on record")
    assert [executions(str(box.repo), command) for command in ("run", "cancel")] == [1, 1]
    assert hands.carry_out(SignalRun(pid, pid, begun_by, SignalWord.STOP)).problem is ActProblem.PROCESS_CHANGED


@pytest.mark.parametrize(
    ("launcher", "under_systemd", "by_unit"),
    [
        ("auto", False, False),
        ("auto", True, True),
        ("session", True, False),
        ("systemd", False, True),
    ],
)
def test_a_service_of_systemd_puts_runs_into_units_of_their_own(
    tmp_path: Path, launcher: Launcher, under_systemd: bool, by_unit: bool
) -> None:
    """In its own unit they would end with it."""
    box = Sandbox(tmp_path, QUICK._replace(scenario="silent-stall"))
    script(tmp_path / "bin", "echo asked; exit 1", name="systemd-run")
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    argv = (box.command, "run", "--repo", str(box.repo), "--loop", LOOP)
    hands = controls({"PATH": path, "XDG_RUNTIME_DIR": str(tmp_path)}, launcher=launcher, under_systemd=under_systemd)
    (tmp_path / "bus").touch()

    done = hands.carry_out(LaunchRun(argv, str(box.repo), LOOP, "in-1", str(tmp_path / "run.log")))

    if done.problem is None:
        eventually(lambda: box.document("active-run.json") is not None, "the run has begun")
        kill((box.document("active-run.json") or {})["pid"])
    assert (done.detail == "asked") == by_unit
    assert (done.problem is ActProblem.START_UNAVAILABLE) == by_unit
