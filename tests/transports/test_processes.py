"""Real processes of this machine, and small fakes of /proc for what this machine is not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsd.model.observation import ProcessSighting
from opsd.processes import ProcFs


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def now() -> datetime:
    return datetime.now(UTC)


def eventually(pid: int, wanted: ProcessSighting) -> ProcessSighting:
    deadline = time.monotonic() + 10
    while (found := ProcFs().sighting(pid, now())) is not wanted and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def test_a_process_is_alive_then_stopped_then_gone(sleeper: "subprocess.Popen[bytes]") -> None:
    """Gone already as a zombie: nobody has waited for it yet, and it will never do anything again."""
    assert ProcFs().sighting(sleeper.pid, now()) is ProcessSighting.ALIVE

    sleeper.send_signal(signal.SIGSTOP)
    assert eventually(sleeper.pid, ProcessSighting.STOPPED) is ProcessSighting.STOPPED
    sleeper.send_signal(signal.SIGCONT)
    assert eventually(sleeper.pid, ProcessSighting.ALIVE) is ProcessSighting.ALIVE
    sleeper.kill()
    assert eventually(sleeper.pid, ProcessSighting.ABSENT) is ProcessSighting.ABSENT

    sleeper.wait()
    assert ProcFs().sighting(sleeper.pid, now()) is ProcessSighting.ABSENT


def test_a_process_younger_than_the_record_that_names_it_is_another_one(sleeper: "subprocess.Popen[bytes]") -> None:
    """Process numbers are given out again; the record is written at most two seconds after the process began."""
    begun = now()

    assert ProcFs().sighting(sleeper.pid, begun - timedelta(seconds=1)) is ProcessSighting.ALIVE
    assert ProcFs().sighting(sleeper.pid, begun - timedelta(seconds=4)) is ProcessSighting.ABSENT
    assert ProcFs().sighting(sleeper.pid, None) is ProcessSighting.ALIVE


@pytest.mark.parametrize("pid", [0, -1])
def test_a_number_that_names_no_process_proves_nothing(pid: int) -> None:
    """Signal 0 to such numbers would ask about whole process groups."""
    assert ProcFs().sighting(pid, None) is ProcessSighting.UNKNOWN


def test_a_number_beyond_every_process_table_is_absent() -> None:
    assert ProcFs().sighting(10**30, None) is ProcessSighting.ABSENT


def fake_proc(root: Path, pid: int, *, state: str = "S", flags: int = 0, comm: str = "bash", nspid: str = "") -> ProcFs:
    (root / "self").mkdir()
    (root / "self" / "stat").touch()
    folder = root / str(pid)
    folder.mkdir()
    fields = ["0"] * 50
    fields[0], fields[6], fields[19] = state, str(flags), "5"
    (folder / "stat").write_text(f"{pid} ({comm}) {' '.join(fields)}\n")
    (folder / "status").write_text(f"Name:\t{comm}\nNSpid:\t{nspid or pid}\n")
    return ProcFs(str(root))


def test_a_command_name_full_of_brackets_does_not_confuse(tmp_path: Path) -> None:
    assert fake_proc(tmp_path, 7, comm="a) Z (b").sighting(7, now()) is ProcessSighting.ALIVE


def test_a_process_in_a_namespace_below_ours_calls_itself_otherwise(tmp_path: Path) -> None:
    """The number in the record was written inside a container; out here it is somebody else's."""
    assert fake_proc(tmp_path, 7, nspid="7 3").sighting(7, now()) is ProcessSighting.UNKNOWN


def test_a_kernel_thread_is_not_what_a_record_names(tmp_path: Path) -> None:
    """Low numbers, as containers give them out, are kernel threads outside."""
    assert fake_proc(tmp_path, 7, flags=0x00200000).sighting(7, now()) is ProcessSighting.UNKNOWN


def test_where_proc_is_not_to_be_seen_nobody_can_say(tmp_path: Path) -> None:
    assert ProcFs(str(tmp_path)).sighting(os.getpid(), now()) is ProcessSighting.UNKNOWN


def test_a_process_hidden_from_proc_that_can_be_signalled_is_alive(tmp_path: Path) -> None:
    """/proc may hide what is not ours (`hidepid`); the number is in use all the same."""
    proc = fake_proc(tmp_path, 7)

    assert proc.sighting(os.getpid(), now()) is ProcessSighting.ALIVE


def test_in_a_container_a_number_never_given_out_is_another_namespaces(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, 7)
    (tmp_path / "self" / "ns").mkdir()
    (tmp_path / "self" / "ns" / "pid").symlink_to("pid:[4026532201]")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    (tmp_path / "loadavg").write_text(f"0.1 0.1 0.1 1/2 {gone.pid - 1}\n")
    assert proc.sighting(gone.pid, now()) is ProcessSighting.UNKNOWN
    (tmp_path / "loadavg").write_text(f"0.1 0.1 0.1 1/2 {gone.pid}\n")
    assert proc.sighting(gone.pid, now()) is ProcessSighting.ABSENT


def test_an_entry_that_cannot_be_understood_proves_nothing(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, 7)
    (tmp_path / "7" / "stat").write_text("7 (bash) S\n")

    assert proc.sighting(7, now()) is ProcessSighting.UNKNOWN
