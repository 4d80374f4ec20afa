"""A run is stopped and continued with all of its family, and nobody else ever is."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsd.controls.signals import signal_run
from opsd.model.acts import ActProblem, ActResult, SignalRun, SignalWord
from opsd.model.observation import ProcessSighting
from opsd.processes import ProcFs
from tests.doubles.scripts import eventually, kill, kill_group, number_in, parent_of, script, state_of

ROOT = Path(__file__).parents[2]
DONE = ActResult()

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `superloop.sh run` with these lines in it; whatever is left of it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(lines: str, *, name: str = "superloop.sh", own_group: bool = True) -> "subprocess.Popen[bytes]":
        argv = [script(tmp_path, lines, name=name), "run", "--loop", "docs"]
        run = subprocess.Popen(argv, start_new_session=own_group)
        started.append(run)
        eventually(lambda: run.poll() is not None or f"{name} run" in str(ProcFs().command_line(run.pid)), "it began")
        return run

    yield begin
    for process in started:
        for member in ProcFs().members(process.pid, process.pid):
            kill(member.pid)
        process.kill()
        process.wait()


def now() -> datetime:
    return datetime.now(UTC)


def told(pid: int, pgid: int | None, word: SignalWord, *, begun_by: datetime | None = None) -> ActResult:
    return signal_run(SignalRun(pid, pgid, begun_by or now(), word), ProcFs())


def stands_still(*pids: int) -> None:
    def still() -> bool:
        return {ProcFs().sighting(pid, None) for pid in pids} == {ProcessSighting.STOPPED}

    eventually(still, f"{pids} stand still")


def goes_on(*pids: int) -> None:
    eventually(lambda: {state_of(pid) for pid in pids} <= {"S", "R"}, f"{pids} go on")


def test_a_group_is_stopped_and_continued_as_one(tmp_path: Path, start: Start) -> None:
    run = start(f"sh -c 'echo $$ > {tmp_path}/child; sleep 60 & echo $! > {tmp_path}/grandchild; wait' & wait")
    family = (run.pid, number_in(tmp_path / "child"), number_in(tmp_path / "grandchild"))

    assert told(run.pid, run.pid, SignalWord.STOP) == DONE
    stands_still(*family)
    assert told(run.pid, run.pid, SignalWord.CONTINUE) == DONE
    goes_on(*family)


def test_a_run_within_anothers_group_is_stopped_alone(tmp_path: Path, start: Start) -> None:
    """Started from a shell's script it shares that one's group; here the group is that of these tests."""
    run = start(f"sh -c 'echo $$ > {tmp_path}/child; sleep 60; true' & wait", own_group=False)
    child = number_in(tmp_path / "child")
    bystander = subprocess.Popen(["sleep", "60"])

    assert told(run.pid, os.getpgid(0), SignalWord.STOP) == DONE
    stands_still(run.pid, child)
    assert state_of(bystander.pid) != "T"
    assert told(run.pid, os.getpgid(0), SignalWord.CONTINUE) == DONE
    goes_on(run.pid, child)

    bystander.kill()
    bystander.wait()


def test_a_group_number_that_is_only_the_pid_written_twice_is_not_believed(tmp_path: Path, start: Start) -> None:
    """The runtime writes its pid where it could not read its group."""
    run = start(f"sh -c 'echo $$ > {tmp_path}/child; sleep 60; true' & wait", own_group=False)
    child = number_in(tmp_path / "child")

    assert told(run.pid, run.pid, SignalWord.STOP) == DONE
    stands_still(run.pid, child)


def test_a_child_in_a_group_of_its_own_does_not_work_on(tmp_path: Path, start: Start) -> None:
    """`timeout`, which limits a role's time, puts it into a group of its own."""
    run = start(f"timeout 60 sh -c 'echo $$ > {tmp_path}/role; sleep 60; true'; true")
    role = number_in(tmp_path / "role")
    assert os.getpgid(role) != run.pid

    assert told(run.pid, run.pid, SignalWord.STOP) == DONE
    stands_still(run.pid, role)
    assert told(run.pid, run.pid, SignalWord.CONTINUE) == DONE
    goes_on(run.pid, role)


def test_one_of_the_group_whose_parent_is_gone_is_not_forgotten(tmp_path: Path, start: Start) -> None:
    run = start(f"sh -c 'sleep 60 & echo $! > {tmp_path}/orphan'; wait; sleep 60; true")
    orphan = number_in(tmp_path / "orphan")
    eventually(lambda: not ProcFs().command_line(orphan) or parent_of(orphan) != run.pid, "its parent is gone")

    assert told(run.pid, run.pid, SignalWord.STOP) == DONE
    stands_still(run.pid, orphan)


def test_one_that_waits_for_a_child_to_become_another_program_counts_as_stopped(start: Start) -> None:
    """Until then its shell waits in the kernel, where a stop reaches it only once it is back."""
    run = start("while :; do /bin/true; done")

    for _ in range(40):
        assert told(run.pid, run.pid, SignalWord.STOP) == DONE
        eventually(lambda: all(each.is_stopped for each in ProcFs().members(run.pid, run.pid)), "all stand still")
        assert ProcFs().sighting(run.pid, None) is ProcessSighting.STOPPED
        assert told(run.pid, run.pid, SignalWord.CONTINUE) == DONE


@pytest.mark.parametrize("own_group", [True, False])
def test_one_that_begins_processes_all_the_time_is_stopped_whole(start: Start, own_group: bool) -> None:
    run = start("while :; do (sleep 0.01; true) & (true; sleep 0.02) & sleep 0.001; done", own_group=own_group)
    pgid = run.pid if own_group else os.getpgid(0)
    eventually(lambda: len(ProcFs().members(run.pid, pgid)) > 4, "it has some")

    assert told(run.pid, pgid, SignalWord.STOP) == DONE

    eventually(lambda: all(each.is_stopped for each in ProcFs().members(run.pid, pgid)), "all stand still")
    family = ProcFs().members(run.pid, pgid)
    assert ProcFs().members(run.pid, pgid) == family


def test_a_process_that_began_after_the_record_is_another_one(start: Start) -> None:
    run = start("sleep 60; true")

    done = told(run.pid, run.pid, SignalWord.STOP, begun_by=now() - timedelta(seconds=4))

    assert done.problem is ActProblem.PROCESS_CHANGED
    assert state_of(run.pid) != "T"


def test_a_process_without_the_runs_words_is_none(start: Start) -> None:
    """Under another name the runtime itself would not know it, and nor do we."""
    run = start("sleep 60; true", name="renamed.sh")

    done = told(run.pid, run.pid, SignalWord.STOP)

    assert done.problem is ActProblem.PROCESS_CHANGED
    assert "superloop.sh run" in str(done.detail)
    assert state_of(run.pid) != "T"


def test_a_process_that_has_ended_is_not_signalled(start: Start) -> None:
    """Nor as a zombie, whose children would be the only ones to be stopped."""
    run = start("exit 0")
    eventually(lambda: state_of(run.pid) == "", "it has ended")

    assert told(run.pid, run.pid, SignalWord.STOP).problem is ActProblem.PROCESS_CHANGED
    run.wait()
    assert told(run.pid, run.pid, SignalWord.STOP).problem is ActProblem.PROCESS_CHANGED


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 10**30])
@pytest.mark.parametrize("word", SignalWord)
def test_a_number_that_names_no_process_reaches_nobody(pid: int, word: SignalWord) -> None:
    """To the kernel 0 and -1 mean whole groups."""
    assert told(pid, pid, word).problem is ActProblem.PROCESS_CHANGED


def test_a_run_that_is_stopped_already_stays_so(start: Start) -> None:
    run = start("sleep 60; true")
    run.send_signal(signal.SIGSTOP)

    assert told(run.pid, run.pid, SignalWord.STOP) == DONE
    stands_still(run.pid)


_AS_STRANGER = """
import json, os, sys
from opsd.controls.signals import signal_run
from opsd.model.acts import SignalRun, SignalWord
from opsd.processes import ProcFs
os.setgroups([]); os.setgid(64001); os.setuid(64001)
done = signal_run(SignalRun(int(sys.argv[1]), int(sys.argv[1]), None, SignalWord.STOP), ProcFs())
print(json.dumps([done.problem, done.detail]))
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def told_by_a_stranger(pid: int) -> tuple[str | None, str | None]:
    argv = [sys.executable, "-c", _AS_STRANGER, str(pid)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True, cwd=ROOT)
    problem, detail = json.loads(done.stdout)
    return problem, detail


@needs_root
def test_a_run_of_another_user_is_left_alone_and_that_is_said(start: Start) -> None:
    run = start("sleep 60; true")

    problem, detail = told_by_a_stranger(run.pid)

    assert problem == ActProblem.NOT_PERMITTED
    assert detail == f"Process {run.pid} may not be signalled: Operation not permitted."
    assert state_of(run.pid) != "T"


@needs_root
def test_a_child_of_another_user_is_named(tmp_path: Path) -> None:
    lines = "import os, subprocess, time; child = subprocess.Popen(['sleep', '60']); os.setuid(64001); time.sleep(60)"
    command = script(tmp_path, lines, first=f"#!{sys.executable} -IS")
    run = subprocess.Popen([command, "run"], start_new_session=True)
    try:
        eventually(lambda: len(ProcFs().members(run.pid, run.pid)) == 2 and _uid(run.pid) == 64001, "both are there")
        (child,) = (each.pid for each in ProcFs().members(run.pid, run.pid) if each.pid != run.pid)

        problem, detail = told_by_a_stranger(run.pid)

        assert problem is None
        assert str(child) in str(detail)
        stands_still(run.pid)
        assert state_of(child) != "T"
    finally:
        kill_group(run.pid)
        run.wait()


def _uid(pid: int) -> int:
    return os.stat(f"/proc/{pid}").st_uid
