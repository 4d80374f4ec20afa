"""A call of the simulated command goes wrong in the way that its checkout's part says, and the next one is sound.

Real processes again: a caller has to cope with output, exit codes, time and what is left alive.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opsd.sim.faults import FLOOD_BYTES
from opsd.sim.ledger import calls, executions
from opsd.sim.part import read_part, write_part
from opsd.sim.player import alive
from opsd.sim.steps import Document
from tests.sim.checkouts import LOOP, QUICK, Sandbox, eventually


def faulty(root: Path, command: str, fault: Document) -> Sandbox:
    """A checkout that waits for approval, and whose first call of `command` goes wrong."""
    box = Sandbox(root, QUICK._replace(scenario="approval"))
    box.call("run", "--loop", LOOP)
    write_part(str(box.repo), read_part(str(box.repo))._replace(faults={command: [fault]}))
    return box


@pytest.mark.parametrize(
    ("kind", "code", "status", "told"),
    [
        ("fail", 3, "pending", False),
        ("lie", 0, "pending", False),
        ("partial", 0, "approved", False),
        ("slow", 0, "approved", True),
        ("late-fail", 3, "approved", True),
    ],
)
def test_a_faulty_command_misbehaves_once_and_then_works(
    kind: str, code: int, status: str, told: bool, tmp_path: Path
) -> None:
    """The ledger counts every call, whatever the call itself claimed."""
    fault: Document = {"kind": kind, "code": 3, "seconds": 0.05}
    box = faulty(tmp_path, "approve", fault)

    done = box.call("approve", "--loop", LOOP, "--by", "alex")

    assert done.returncode == code
    request = box.approval()
    assert request is not None
    assert request["status"] == status
    assert (box.names()[-1] == "approval_decision") is told
    again = box.call("approve", "--loop", LOOP, "--by", "alex")
    assert again.returncode == (0 if status == "pending" else 1)
    assert executions(box.repo, "approve") == 2
    assert [call.exit for call in calls(box.repo, "approve") if call.phase == "ended"] == [code, again.returncode]


def test_an_unknown_fault_is_refused_aloud(tmp_path: Path) -> None:
    """A misspelt fault that does nothing would make a test of faults pass for nothing."""
    box = faulty(tmp_path, "cancel", {"kind": "sloow"})

    done = box.call("cancel")

    assert done.returncode != 0
    assert "no kind 'sloow'" in done.stderr


@contextmanager
def calling(box: Sandbox, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A call under way, its output in a pipe. Whatever is left of it ends with the block."""
    full = [box.command, words[0], "--repo", str(box.repo), *words[1:]]
    process = subprocess.Popen(full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)


def approval_status(box: Sandbox) -> object:
    return (box.approval() or {}).get("status")


def test_a_hanging_call_is_in_the_ledger_before_it_hangs_and_does_nothing(tmp_path: Path) -> None:
    box = faulty(tmp_path, "approve", {"kind": "hang"})

    with calling(box, "approve", "--loop", LOOP) as process:
        eventually(lambda: executions(box.repo, "approve") == 1, "it is called")
        process.terminate()
        code = process.wait(10)

    assert code == -signal.SIGTERM
    assert approval_status(box) == "pending"
    assert [call.phase for call in calls(box.repo, "approve")] == ["called"]


def test_a_call_that_hangs_late_has_done_everything(tmp_path: Path) -> None:
    box = faulty(tmp_path, "approve", {"kind": "late-hang"})

    with calling(box, "approve", "--loop", LOOP) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert process.poll() is None

    assert said == f"Recorded approval decision (approved) for loop '{LOOP}'.\n".encode()
    assert box.names()[-1] == "approval_decision"


def test_a_flooding_call_prints_megabytes_of_foul_text_and_works(tmp_path: Path) -> None:
    box = faulty(tmp_path, "approve", {"kind": "flood"})

    with calling(box, "approve", "--loop", LOOP) as process:
        output, _ = process.communicate(timeout=20)

    assert process.returncode == 0
    assert len(output) > FLOOD_BYTES
    assert b"\x1b[2J" in output
    assert "\u202e".encode() in output
    assert output.endswith(f"Recorded approval decision (approved) for loop '{LOOP}'.\n".encode())
    assert approval_status(box) == "approved"


def test_a_forking_call_ends_and_leaves_a_process_that_holds_its_output(tmp_path: Path) -> None:
    box = faulty(tmp_path, "approve", {"kind": "fork", "seconds": 1.0})

    with calling(box, "approve", "--loop", LOOP) as process:
        assert process.stdout is not None
        code = process.wait(10)
        said = process.stdout.readline()
        held = [pid for pid in members(process.pid) if alive(pid)]
        rest = process.stdout.read()

    assert code == 0
    assert said.startswith(b"Recorded approval decision")
    assert len(held) == 1
    assert rest == b""
    assert approval_status(box) == "approved"


def members(group: int) -> Iterator[int]:
    """The processes of a group."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(stat.rpartition(")")[2].split()[2]) == group:
            yield int(folder.name)


def test_another_request_slips_under_the_decision(tmp_path: Path) -> None:
    """The runtime decides on whatever is pending: it cannot be told which request was meant."""
    box = faulty(tmp_path, "approve", {"kind": "other"})
    asked = box.approval()

    done = box.call("approve", "--loop", LOOP, "--by", "alex")

    decided = box.approval()
    assert done.returncode == 0
    assert asked is not None
    assert decided is not None
    assert decided["status"] == "approved"
    assert (decided["run_id"], decided["iteration"]) != (asked["run_id"], asked["iteration"])
    assert box.names()[-2:] == ["approval_requested", "approval_decision"]
    assert box.events()[-1]["run_id"] == decided["run_id"]
    assert box.call("run", "--loop", LOOP).returncode == 0
    assert box.names()[-2:] == ["approval_consumed", "loop_complete"]


def test_a_run_may_die_at_once_in_words_of_the_parts_own(tmp_path: Path) -> None:
    fault: Document = {"kind": "fail", "says": "model 'gpt-0' is not available"}
    box = Sandbox(tmp_path, QUICK._replace(faults={"run": [fault]}))

    done = box.call("run", "--loop", LOOP)

    assert (done.returncode, done.stderr) == (1, "error: model 'gpt-0' is not available\n")
    assert box.events() == []
    assert box.call("run", "--loop", LOOP).returncode == 0


def test_a_hanging_run_is_alive_and_writes_nothing(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, QUICK._replace(faults={"run": [{"kind": "hang"}]}))

    with calling(box, "run", "--loop", LOOP) as process:
        eventually(lambda: executions(box.repo, "run") == 1, "it is called")
        assert process.poll() is None

    assert sorted(path.name for path in (box.repo / ".superloop").iterdir()) == ["config.json"]


def test_calls_side_by_side_show_a_fault_each(tmp_path: Path) -> None:
    """Were each asked how many had been called, two that start together would show the same one."""
    faults: list[Document] = [{"kind": "fail", "code": 11}, {"kind": "fail", "code": 12}, {"kind": "fail", "code": 13}]
    box = Sandbox(tmp_path, QUICK._replace(faults={"cancel": faults}))
    full = [box.command, "cancel", "--repo", str(box.repo)]

    together = [subprocess.Popen(full, stderr=subprocess.DEVNULL) for _ in range(3)]

    assert sorted(process.wait(20) for process in together) == [11, 12, 13]
