"""The simulated command behaves like the runtime's: exit codes, words, traces on disk and what it leaves alive.

Everything here goes through real processes, because that is what opsd will call and look for in /proc.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsd.sim.part import Part, read_part, write_part
from tests.sim.checkouts import LOOP, QUICK, Sandbox, eventually


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes that a test starts; whatever is left of them ends with it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def stalled(root: Path, started: list["subprocess.Popen[bytes]"], *, own_group: bool = True) -> Sandbox:
    """A checkout whose run is alive and silent."""
    box = Sandbox(root, QUICK._replace(scenario="silent-stall"))
    started.append(box.start(own_group=own_group))
    eventually(lambda: box.names()[-1:] == ["role_start"] and len(box.names()) == 5, "the implementer works")
    return box


def test_a_run_to_completion_leaves_an_inactive_state_and_no_active_run(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, QUICK)

    done = box.call("run", "--loop", LOOP)

    assert done.returncode == 0
    assert box.names()[-1] == "loop_complete"
    assert len(box.names()) == 52
    state = box.document("state.json")
    assert state is not None
    assert (state["active"], state["iteration"]) == (False, 1)
    assert box.document("active-run.json") is None


def test_a_live_run_is_known_by_its_command_line(tmp_path: Path, started: list["subprocess.Popen[bytes]"]) -> None:
    """`superloop.sh run` in the command line is the runtime's own rule for recognising a run, and so opsd's."""
    box = stalled(tmp_path, started)

    run = box.document("active-run.json")
    assert run is not None
    assert run["pid"] == run["pgid"] == started[0].pid
    line = Path(f"/proc/{run['pid']}/cmdline").read_bytes().replace(b"\0", b" ")
    assert b"superloop.sh run" in line


def test_cancel_ends_the_process_and_leaves_no_event(tmp_path: Path, started: list["subprocess.Popen[bytes]"]) -> None:
    box = stalled(tmp_path, started)
    before = box.names()

    done = box.call("cancel", "--loop", "some-other-loop")

    assert done.returncode == 0
    assert done.stdout == f"Cancelled loop: {LOOP}\nCancelled loop state and stopped active run process.\n"
    assert started[0].wait(10) == 143
    assert box.document("state.json") is None
    assert box.document("active-run.json") is None
    assert box.names() == before


def test_cancel_reaches_a_run_that_leads_no_group_of_its_own(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    """Started without a session, the run shares its caller's group; killing the group would kill this test."""
    box = stalled(tmp_path, started, own_group=False)

    box.call("cancel")

    assert started[0].wait(10) == 143


def test_cancel_forces_a_run_that_does_not_listen(tmp_path: Path, started: list["subprocess.Popen[bytes]"]) -> None:
    box = Sandbox(tmp_path, QUICK._replace(scenario="silent-stall", faults={"run": [{"kind": "deaf"}]}))
    started.append(box.start())
    eventually(lambda: len(box.names()) == 5, "the implementer works")

    done = box.call("cancel")

    assert done.stdout.endswith("Cancelled loop state and force-stopped active run process.\n")
    assert started[0].wait(10) == -signal.SIGKILL
    assert box.document("active-run.json") is None


def test_a_stopped_run_does_not_hear_cancel_and_is_forced(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    """TERM waits for the process to be continued; only KILL does not."""
    box = stalled(tmp_path, started)
    os.killpg(started[0].pid, signal.SIGSTOP)

    done = box.call("cancel")

    assert done.stdout.endswith("Cancelled loop state and force-stopped active run process.\n")
    assert started[0].wait(10) == -signal.SIGKILL
    assert (box.document("state.json"), box.document("active-run.json")) == (None, None)


def test_a_run_that_is_stopped_and_continued_goes_on(tmp_path: Path, started: list["subprocess.Popen[bytes]"]) -> None:
    box = Sandbox(tmp_path, QUICK._replace(speed=500.0))
    started.append(box.start())
    eventually(lambda: len(box.names()) >= 3, "it is at work")

    os.killpg(started[0].pid, signal.SIGSTOP)
    os.waitid(os.P_PID, started[0].pid, os.WSTOPPED | os.WNOWAIT)
    held = len(box.names())
    os.killpg(started[0].pid, signal.SIGCONT)

    assert started[0].wait(20) == 0
    assert held < len(box.names()) == 52


def test_cancel_spares_a_process_that_is_no_run(tmp_path: Path, started: list["subprocess.Popen[bytes]"]) -> None:
    """A pid is reused; only the command line tells a run from a stranger."""
    box = Sandbox(tmp_path, QUICK)
    stranger = subprocess.Popen(["sleep", "60"])
    started.append(stranger)
    run = f'{{"pid": {stranger.pid}, "pgid": {stranger.pid}, "loop_id": "{LOOP}"}}'
    (box.repo / ".superloop/active-run.json").write_text(run)

    done = box.call("cancel")

    assert done.stdout == f"Cancelled loop: {LOOP}\nCancelled loop state.\n"
    assert stranger.poll() is None
    assert box.document("active-run.json") is None


def test_sigterm_removes_active_run_but_leaves_the_state_active(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    box = stalled(tmp_path, started)

    started[0].send_signal(signal.SIGTERM)

    assert started[0].wait(10) == 143
    state = box.document("state.json")
    assert state is not None
    assert state["active"] is True
    assert box.document("active-run.json") is None


def test_a_killed_run_blocks_the_next_until_cancel_clears_it(tmp_path: Path) -> None:
    """The guard looks at the state alone, never at the pid behind it."""
    box = Sandbox(tmp_path, QUICK._replace(scenario="killed"))

    assert box.call("run", "--loop", LOOP).returncode == -signal.SIGKILL
    left = box.document("active-run.json")
    refused = box.call("run", "--loop", LOOP)

    assert refused.returncode == 1
    assert "reentrant run blocked" in refused.stderr
    assert box.document("active-run.json") == left is not None
    assert box.call("cancel").stdout == f"Cancelled loop: {LOOP}\nCancelled loop state.\n"
    assert box.call("run", "--loop", LOOP).returncode == 0
    assert box.names()[-1] == "loop_complete"


@pytest.mark.parametrize(
    ("scenario", "last_event"),
    [
        ("stuck", "loop_stop"),
        ("no-progress", "loop_stop"),
        ("max-iterations", "loop_stop"),
        ("role-timeout", "role_timeout"),
        ("role-error", "role_start"),
        ("rate-limited", "rate_limit_stop"),
        ("usage-limited", "usage_limit_blocked"),
        ("lifecycle-failed", "loop_stop"),
    ],
)
def test_a_run_that_stops_short_exits_with_1(scenario: str, last_event: str, tmp_path: Path) -> None:
    box = Sandbox(tmp_path, QUICK._replace(scenario=scenario))

    done = box.call("run", "--loop", LOOP)

    assert done.returncode == 1
    assert done.stderr
    assert box.names()[-1] == last_event
    assert box.document("active-run.json") is None


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "is not valid"),
        (None, "run init first"),
    ],
)
def test_a_run_without_a_sound_config_dies_at_once_and_says_why(config: str | None, says: str, tmp_path: Path) -> None:
    box = Sandbox(tmp_path, QUICK)
    file = box.repo / ".superloop/config.json"
    file.write_text(config) if config else file.unlink()

    done = box.call("run", "--loop", LOOP)

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert box.events() == []
    assert box.document("state.json") is None


def test_approval_is_recorded_first_and_completed_by_the_next_run(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, QUICK._replace(scenario="approval"))
    assert box.call("run", "--loop", LOOP).returncode == 0

    done = box.call("approve", "--loop", LOOP, "--by", "alex", "--note", "fine")
    request = box.approval()
    again = box.call("approve", "--loop", LOOP)

    assert done.stdout == f"Recorded approval decision (approved) for loop '{LOOP}'.\n"
    assert request is not None
    assert request["decision"]["by"] == "alex"
    assert box.names()[-1] == "approval_decision"
    assert (again.returncode, again.stderr) == (1, "error: approval request is not pending (status=approved)\n")

    assert box.call("run", "--loop", LOOP).returncode == 0
    assert box.names()[-3:] == ["loop_start", "approval_consumed", "loop_complete"]
    assert box.approval() is None


def test_after_a_rejection_the_next_run_iterates_and_asks_again(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, QUICK._replace(scenario="approval"))
    box.call("run", "--loop", LOOP)

    box.call("approve", "--loop", LOOP, "--by", "alex", "--reject")
    assert box.call("run", "--loop", LOOP).returncode == 0

    assert "approval_rejected" in box.names()
    request = box.approval()
    assert request is not None
    assert request["status"] == "pending"


def test_two_loops_are_worked_through_by_one_run(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, QUICK._replace(scenario="two-loops"))

    assert box.call("run").returncode == 0

    assert [box.events(loop)[-1]["event"] for loop in box.loops] == ["loop_complete", "loop_complete"]
    state = box.document("state.json")
    assert state is not None
    assert (state["current_loop_id"], state["loop_index"], state["iteration"]) == ("", 2, 0)


def test_a_summary_is_told_in_one_line_without_the_lifecycle_gate(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, QUICK)
    box.call("run", "--loop", LOOP)

    told = dict(pair.split("=", 1) for pair in box.call("status", "--summary").stdout.split())

    assert (told["loop"], told["iteration"], told["promise"], told["tests"]) == (LOOP, "2", "true", "ok")
    assert "lifecycle" not in told


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("cancel",), 0, "No active state file found."),
        (("status",), 0, "No state file found."),
        (("approve",), 1, "error: --loop is required for approve"),
        (("approve", "--loop", LOOP), 1, f"error: no approval request found for loop '{LOOP}'"),
        (("approve", "--loop"), 1, "error: --loop: needs a value"),
        (("run", "--bogus"), 1, "error: unknown argument: --bogus"),
        (("run", "--loop", "nobody"), 1, "error: loop 'nobody' not found in config"),
        (("run", "--help"), 0, "Usage: superloop.sh <command> [options]"),
        (("resume",), 1, "Usage: superloop.sh <command> [options]"),
    ],
)
def test_what_the_command_answers(words: tuple[str, ...], code: int, says: str, tmp_path: Path) -> None:
    done = Sandbox(tmp_path, QUICK).call(*words)

    assert done.returncode == code
    assert (done.stderr if says.startswith("error") else done.stdout).startswith(says)


def test_the_version_is_the_runtimes(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, QUICK)

    done = subprocess.run([box.command, "--version"], capture_output=True, text=True, timeout=20, check=False)

    assert (done.returncode, done.stdout) == (0, "0.6.1\n")


def test_a_run_ends_when_its_keeper_is_gone(tmp_path: Path, started: list["subprocess.Popen[bytes]"]) -> None:
    """A test run that is killed must not leave a fleet behind."""
    box = Sandbox(tmp_path, QUICK._replace(scenario="silent-stall"))
    keeper = subprocess.Popen(["sleep", "60"])
    started.append(keeper)
    words = [box.command, "run", "--repo", str(box.repo), "--loop", LOOP]
    run = subprocess.Popen(words, env={**os.environ, "SUPERLOOP_SIM_KEEPER": str(keeper.pid)})
    started.append(run)
    eventually(lambda: len(box.names()) == 5, "the run has begun")

    keeper.kill()
    keeper.wait()

    assert run.wait(15) == 143
    assert box.document("active-run.json") is None


def test_a_part_with_an_unknown_member_is_refused(tmp_path: Path) -> None:
    write_part(str(tmp_path), Part())
    (tmp_path / ".sim.json").write_text('{"scenario": "complete", "sped": 3}')

    with pytest.raises(ValueError, match="no such member: sped"):
        read_part(str(tmp_path))


def test_the_command_loads_nothing_heavy(tmp_path: Path) -> None:
    """Hundreds of runs start at once; each of these modules would add 10 to 100 ms of CPU to every one of them."""
    package = Path(__file__).parents[2]
    program = (
        f"import sys; sys.path.insert(0, {str(package)!r}); import opsd.sim.runtime; "
        "print(*sorted({'asyncio', 'dataclasses', 'inspect', 'subprocess', 'argparse', 'msgspec'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-IS", "-c", program], capture_output=True, text=True, timeout=20, check=True
    )

    assert done.stdout == "\n"
