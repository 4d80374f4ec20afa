"""A command is run once, to its end or to its time limit, and costs no more than that whatever it does."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opsd.controls import command
from opsd.controls.output import LINES_MAX, SIZE_BYTES_MAX
from opsd.model.acts import ActProblem, ActResult
from tests.doubles.scripts import eventually, kill, number_in, script, state_of


def run(*argv: str, cwd: Path | str | None = None, timeout_s: float = 20.0, **variables: str) -> ActResult:
    given = {"PATH": os.environ["PATH"], **variables}
    return command.run(argv, cwd=None if cwd is None else str(cwd), variables=given, timeout_s=timeout_s)


def test_both_outputs_come_back_in_the_order_in_which_they_were_printed(tmp_path: Path) -> None:
    said = script(tmp_path, 'echo one; echo two >&2; echo "three $1"; pwd; echo "$WORD"')

    done = run(said, "x y; $(exit)", cwd="/", WORD="given")

    assert done == ActResult(0, "one\ntwo\nthree x y; $(exit)\n/\ngiven")


def test_a_failure_has_its_code_and_what_was_said(tmp_path: Path) -> None:
    done = run(script(tmp_path, "echo 'error: no'; exit 3"))

    assert done == ActResult(3, "error: no", ActProblem.COMMAND_FAILED, "It ended with exit code 3.")


def test_a_command_that_kills_itself_is_said_to_have_been_killed(tmp_path: Path) -> None:
    done = run(script(tmp_path, "kill -KILL $$"))

    assert (done.exit_code, done.problem) == (-9, ActProblem.COMMAND_FAILED)
    assert done.detail == "It was ended by SIGKILL."


def test_it_reads_nothing_and_inherits_no_open_file(tmp_path: Path) -> None:
    with (tmp_path / "held").open("w"):
        done = run(script(tmp_path, "cat; ls -l /proc/$$/fd | grep -c held"))

    assert done.output == "0"


@pytest.mark.parametrize(
    ("path", "code", "problem", "says"),
    [
        ("missing/superloop.sh", 127, ActProblem.COMMAND_MISSING, "There is no "),
        ("plain/superloop.sh", 126, ActProblem.COMMAND_NOT_EXECUTABLE, "Permission denied"),
        ("folder/superloop.sh", 126, ActProblem.COMMAND_NOT_EXECUTABLE, "Permission denied"),
        ("interpreter/superloop.sh", 126, ActProblem.COMMAND_NOT_EXECUTABLE, "the interpreter that its first line"),
        ("garbage/superloop.sh", 126, ActProblem.COMMAND_NOT_EXECUTABLE, "Exec format error"),
    ],
)
def test_what_cannot_be_begun_is_told_apart(
    tmp_path: Path, path: str, code: int, problem: ActProblem, says: str
) -> None:
    Path(script(tmp_path / "plain", "echo hello")).chmod(0o644)
    (tmp_path / "folder" / "superloop.sh").mkdir(parents=True)
    script(tmp_path / "interpreter", "echo hello", first="#!/no/such/shell")
    Path(script(tmp_path / "garbage", "")).write_bytes(b"\x7fELF no more\n")

    done = run(str(tmp_path / path), cwd=tmp_path)

    assert (done.exit_code, done.problem, done.output) == (code, problem, "")
    assert says in str(done.detail)


def test_a_folder_that_is_gone_is_no_missing_command(tmp_path: Path) -> None:
    done = run(script(tmp_path, "echo hello"), cwd=tmp_path / "gone")

    assert (done.exit_code, done.problem) == (126, ActProblem.COMMAND_NOT_EXECUTABLE)
    assert done.detail == f"There is no folder {tmp_path}/gone."


def test_words_that_no_command_can_be_given_are_no_crash(tmp_path: Path) -> None:
    said = script(tmp_path, "echo hello")

    for word in ("zero \0 byte", "x" * 4_000_000):
        assert run(said, word).problem is ActProblem.COMMAND_NOT_EXECUTABLE


def test_where_no_process_can_be_made_nothing_was_done(tmp_path: Path) -> None:
    said = script(tmp_path, "echo hello")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        done = run(said)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert done.problem is ActProblem.START_UNAVAILABLE
    assert "Too many open files" in str(done.detail)


def test_a_flood_of_escapes_is_drained_bounded_and_ended_at_the_limit(tmp_path: Path) -> None:
    flood = script(tmp_path, "while :; do printf '\\033[2J\\033]0;title\\007boo\\n'; done | cat")
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    done = run(flood, timeout_s=1.0)

    assert done.problem is ActProblem.COMMAND_TIMED_OUT
    assert len(done.output.split("\n")) == LINES_MAX
    assert len(done.output.encode()) <= SIZE_BYTES_MAX
    assert set(done.output.split("\n")[1:-1]) == {"\\x1b[2J\\x1b]0;title\\x07boo"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 4_000


def test_a_hundred_megabytes_are_no_deadlock(tmp_path: Path) -> None:
    done = run(script(tmp_path, "head -c 100000000 /dev/zero | tr '\\0' 'x'; echo; echo end"))

    assert (done.exit_code, done.output[-7:]) == (0, "xxx\nend")


def test_a_command_that_hangs_is_ended_with_all_its_children(tmp_path: Path) -> None:
    hangs = script(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; echo waiting; wait")

    started_s = time.monotonic()
    done = run(hangs, timeout_s=0.5)

    assert (done.exit_code, done.problem, done.output) == (None, ActProblem.COMMAND_TIMED_OUT, "waiting")
    assert "SIGTERM" in str(done.detail)
    assert time.monotonic() - started_s < 2
    child = number_in(tmp_path / "child")
    eventually(lambda: state_of(child) == "", "the child is gone")


@pytest.mark.slow
def test_one_that_is_deaf_to_sigterm_is_killed_and_so_are_its_deaf_children(tmp_path: Path) -> None:
    deaf = f"trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > {tmp_path}/child; while :; do sleep 1; done' & wait; wait"

    started_s = time.monotonic()
    done = run(script(tmp_path, deaf), timeout_s=0.5)

    assert (done.exit_code, done.problem) == (None, ActProblem.COMMAND_TIMED_OUT)
    assert "was killed" in str(done.detail)
    assert time.monotonic() - started_s < 0.5 + command.TERM_GRACE_S + 2
    child = number_in(tmp_path / "child")
    eventually(lambda: state_of(child) == "", "the child is gone")


def test_a_stopped_command_is_ended_too(tmp_path: Path) -> None:
    done = run(script(tmp_path, "kill -STOP $$"), timeout_s=0.3)

    assert done.problem is ActProblem.COMMAND_TIMED_OUT


@pytest.mark.parametrize("prints", ["", "while :; do echo more; done"])
def test_a_grandchild_that_holds_the_output_open_does_not_hold_us(tmp_path: Path, prints: str) -> None:
    leaves = script(tmp_path, f"setsid sh -c 'echo $$ > {tmp_path}/child; {prints or 'sleep 60'}' & echo done")
    started_s = time.monotonic()

    done = run(leaves)

    assert (done.exit_code, done.problem) == (0, None)
    assert time.monotonic() - started_s < 3
    child = number_in(tmp_path / "child")
    if not prints:
        assert done.output == "done"
        assert state_of(child) != ""  # what a command leaves running on purpose is its own affair
    kill(child)


def test_what_the_command_printed_last_is_not_lost_by_a_race(tmp_path: Path) -> None:
    said = script(tmp_path, "seq 1 3000")

    for _ in range(20):
        assert run(said).output.endswith("2999\n3000")


def test_no_child_is_left_unreaped(tmp_path: Path) -> None:
    run(script(tmp_path, "exit 0"))
    run(script(tmp_path, "sleep 60"), timeout_s=0.2)

    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)


def test_signals_that_python_ignores_are_heard_by_the_command(tmp_path: Path) -> None:
    """A program that ignores SIGPIPE goes on writing for ever where its reader is gone."""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN

    done = run(script(tmp_path, "grep SigIgn /proc/$$/status"))

    assert int(done.output.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0


_RUNNER = """
import sys
from opsd.controls import command
command.run(sys.argv[1:], cwd=None, variables={}, timeout_s=20)
"""


def test_a_command_is_not_cut_off_by_the_death_of_who_waits_for_it(tmp_path: Path) -> None:
    """Half of a cancel is a state that is gone and a process that is not."""
    lines = f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/dead ]; do sleep 0.01; done; echo one; echo two"
    command_path = script(tmp_path, f"PATH=/usr/bin:/bin; {lines}; touch {tmp_path}/done")
    runner = subprocess.Popen([sys.executable, "-c", _RUNNER, command_path], cwd=Path(__file__).parents[2])
    eventually((tmp_path / "begun").exists, "it has begun")

    runner.kill()
    runner.wait()
    (tmp_path / "dead").touch()

    eventually((tmp_path / "done").exists, "it is done")
