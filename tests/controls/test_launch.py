"""A started run is its own, whoever started it and whatever became of that one."""

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsd.controls.launch import launch_in_session, launch_under_systemd, unit_name
from opsd.model.acts import ActProblem, ActResult, LaunchRun
from tests.doubles.scripts import eventually, kill, kill_group, parent_of, script, state_of

ROOT = Path(__file__).parents[2]
LOOP = "docs"


class Checkout:
    """One with a loop, and a runtime of the test's own making."""

    def __init__(self, root: Path, lines: str) -> None:
        self.repo = root / "repo"
        self.log = root / "run.log"
        self._heartbeat = self.repo / ".superloop" / "loops" / LOOP / "heartbeat.v1.json"
        self._heartbeat.parent.mkdir(parents=True)
        self.command = script(root, lines)

    @property
    def act(self) -> LaunchRun:
        argv = (self.command, "run", "--repo", str(self.repo), "--loop", LOOP)
        return LaunchRun(argv, str(self.repo), LOOP, "in-17", str(self.log))

    def beat(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._heartbeat.read_bytes()) if self._heartbeat.exists() else {}
        return said

    def end(self) -> None:
        beat = self.beat()
        if beat and beat["status"] != "exited":
            kill(beat["launcher_pid"])
            kill_group(beat["pid"])


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """Its run prints and goes on until it is killed."""
    checkout = Checkout(tmp_path, "echo begun; env; exec 9>&1; while :; do sleep 60; done")
    yield checkout
    checkout.end()


def test_it_says_when_the_run_has_begun_and_whose_child_it_is_then(checkout: Checkout) -> None:
    done = launch_in_session(checkout.act, {"PATH": os.environ["PATH"], "OPSD_TOKEN": "secret", "WORD": "given"})

    assert done == ActResult(0)
    beat = checkout.beat()
    assert beat["launch_id"] == "in-17"
    assert parent_of(beat["pid"]) == beat["launcher_pid"]
    assert parent_of(beat["launcher_pid"]) != os.getpid()
    assert os.getsid(beat["launcher_pid"]) == beat["launcher_pid"] != os.getsid(0)
    eventually(lambda: "WORD=given" in checkout.log.read_text(), "it prints")
    assert "OPSD_TOKEN" not in checkout.log.read_text()


def test_nothing_of_ours_is_held_by_it(checkout: Checkout, tmp_path: Path) -> None:
    """An open file, or a pipe to us, would outlive us with it."""
    with (tmp_path / "held").open("w"):
        launch_in_session(checkout.act, os.environ)

    for member in ("launcher_pid", "pid"):
        folder = Path(f"/proc/{checkout.beat()[member]}/fd")
        held = {os.readlink(each) for each in folder.iterdir()}
        assert held <= {os.devnull, str(checkout.log), checkout.command}


_STARTER = """
import os, sys
from opsd.controls.launch import launch_in_session
from opsd.model.acts import LaunchRun
repo, loop, log, *argv = sys.argv[1:]
print(launch_in_session(LaunchRun(tuple(argv), repo, loop, "in-17", log), os.environ).exit_code, flush=True)
sys.stdin.read()
"""


def test_the_death_of_whoever_started_it_does_not_reach_it(checkout: Checkout) -> None:
    act = checkout.act
    words = [sys.executable, "-c", _STARTER, act.repo, act.loop_id, act.log, *act.argv]
    starter = subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    assert starter.stdout is not None
    assert starter.stdin is not None
    assert starter.stdout.readline() == "0\n"

    os.killpg(starter.pid, 9)
    starter.wait()
    starter.stdout.close()
    starter.stdin.close()

    beat = checkout.beat()
    assert state_of(beat["launcher_pid"]) != ""
    kill(beat["pid"], 15)
    eventually(lambda: checkout.beat()["status"] == "exited", "the end is on record")


def test_a_run_that_ends_leaves_nothing_behind_with_whoever_started_it(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, "exit 4")

    assert launch_in_session(checkout.act, os.environ) == ActResult(0)

    eventually(lambda: checkout.beat().get("exit_code") == 4, "it has ended")
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)


@pytest.mark.parametrize(
    ("command", "code", "problem", "says"),
    [
        ("/no/such/superloop.sh", 127, ActProblem.COMMAND_MISSING, "there is no such command"),
        ("/etc/superloop.sh", 127, ActProblem.COMMAND_MISSING, "there is no such command"),
        ("{root}/plain/superloop.sh", 126, ActProblem.COMMAND_NOT_EXECUTABLE, "Permission denied"),
    ],
)
def test_a_command_that_cannot_be_begun_is_told(
    checkout: Checkout, tmp_path: Path, command: str, code: int, problem: ActProblem, says: str
) -> None:
    Path(script(tmp_path / "plain", "")).chmod(0o644)
    act = checkout.act
    argv = (command.format(root=tmp_path), *act.argv[1:])

    done = launch_in_session(LaunchRun(argv, act.repo, act.loop_id, act.launch_id, act.log), os.environ)

    assert (done.exit_code, done.problem) == (code, problem)
    assert says in str(done.detail)


def test_a_loop_that_is_not_there_is_told(checkout: Checkout) -> None:
    act = checkout.act

    done = launch_in_session(LaunchRun(act.argv, act.repo, "other", act.launch_id, act.log), os.environ)

    assert done.problem is ActProblem.START_UNAVAILABLE
    assert "has no loop 'other'" in str(done.detail)
    assert checkout.beat() == {}


def test_a_checkout_with_a_package_of_our_name_is_not_what_begins(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python would look for `opsd` first where it stands."""
    (checkout.repo / "opsd").mkdir()
    (checkout.repo / "opsd" / "__init__.py").touch()
    (checkout.repo / "opsd" / "__main__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(checkout.repo)

    assert launch_in_session(checkout.act, os.environ) == ActResult(0)


def test_without_systemd_run_no_unit_can_be_made(checkout: Checkout, tmp_path: Path) -> None:
    done = launch_under_systemd(checkout.act, {"PATH": str(tmp_path)}, uid=1)

    assert done == ActResult(None, "", ActProblem.START_UNAVAILABLE, "There is no systemd-run on the PATH.")


def test_without_a_manager_of_its_user_no_unit_can_be_made(checkout: Checkout, tmp_path: Path) -> None:
    script(tmp_path / "bin", "exit 0", name="systemd-run")
    variables = {"PATH": str(tmp_path / "bin"), "XDG_RUNTIME_DIR": str(tmp_path)}

    done = launch_under_systemd(checkout.act, variables, uid=1)

    user = pwd.getpwuid(1).pw_name
    assert done.problem is ActProblem.START_UNAVAILABLE
    assert done.detail == f"No systemd manager of user {user} runs; `loginctl enable-linger {user}` keeps one."


@pytest.mark.parametrize(("uid", "scope"), [(0, "--system"), (1, "--user")])
def test_the_unit_is_asked_for_without_a_question_to_anybody(
    checkout: Checkout, tmp_path: Path, uid: int, scope: str
) -> None:
    script(tmp_path / "bin", 'echo "$XDG_RUNTIME_DIR"; for word; do echo "$word"; done', name="systemd-run")
    (tmp_path / "bus").touch()
    variables = {"PATH": str(tmp_path / "bin"), "XDG_RUNTIME_DIR": str(tmp_path)}

    done = launch_under_systemd(checkout.act, variables, uid=uid)

    assert done.exit_code == 0
    folder, *words = done.output.split("\n")
    assert folder == str(tmp_path)
    assert words[0] == scope
    before = words[: words.index("--")]
    assert {"--no-ask-password", "--collect", "--service-type=notify", "--unit=opsd-run-docs-in-17"} <= set(before)
    assert tuple(words[-len(checkout.act.argv) :]) == checkout.act.argv


def test_what_systemd_says_against_it_is_told(checkout: Checkout, tmp_path: Path) -> None:
    script(tmp_path / "bin", "echo 'Failed: no'; exit 1", name="systemd-run")

    done = launch_under_systemd(checkout.act, {"PATH": str(tmp_path / "bin")}, uid=0)

    assert done == ActResult(1, "Failed: no", ActProblem.START_UNAVAILABLE, "Failed: no")


@pytest.mark.parametrize(
    ("loop", "name"),
    [
        ("docs-17", "opsd-run-docs-17-x"),
        ("a b/c", "opsd-run-a\\x20b\\x2fc-x"),
        ("é@%", "opsd-run-\\xc3\\xa9\\x40\\x25-x"),
        ("x" * 300, f"opsd-run-{'x' * 199}-x"),
    ],
)
def test_a_units_name_holds_any_loops(loop: str, name: str) -> None:
    assert unit_name(LaunchRun((), "/srv", loop, "x", "/dev/null")) == name


def test_systemd_takes_such_names() -> None:
    loop = "".join(map(chr, range(1, 300)))
    name = unit_name(LaunchRun((), "/srv", loop, "3f" * 16, "/dev/null"))

    assert len(name) < 230
    assert all(char.isascii() and (char.isalnum() or char in ":-_.\\") for char in name)
