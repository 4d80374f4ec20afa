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


def fake_proc(
    root: Path, pid: int, *, state: str = "S", flags: int = 0, comm: str = "bash", nspid: str = "", pending: int = 0
) -> ProcFs:
    (root / "self").mkdir()
    (root / "self" / "stat").touch()
    folder = root / str(pid)
    folder.mkdir()
    fields = ["0"] * 50
    fields[0], fields[6], fields[19] = state, str(flags), "5"
    (folder / "stat").write_text(f"{pid} ({comm}) {' '.join(fields)}\n")
    (folder / "status").write_text(f"Name:\t{comm}\nNSpid:\t{nspid or pid}\nShdPnd:\t{pending:016x}\n")
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


STOP_PENDING = 1 << (signal.SIGSTOP - 1)


@pytest.mark.parametrize(
    ("state", "pending", "seen"),
    [
        ("D", STOP_PENDING | 1 << (signal.SIGCHLD - 1), ProcessSighting.STOPPED),
        ("D", 1 << (signal.SIGCHLD - 1), ProcessSighting.ALIVE),
        ("D", 0, ProcessSighting.ALIVE),
        ("S", STOP_PENDING, ProcessSighting.ALIVE),  # it is about to stop, and not there yet
        ("t", 0, ProcessSighting.STOPPED),
    ],
)
def test_one_that_waits_in_the_kernel_with_a_stop_before_it_stands_still(
    tmp_path: Path, state: str, pending: int, seen: ProcessSighting
) -> None:
    assert fake_proc(tmp_path, 7, state=state, pending=pending).sighting(7, now()) is seen


class Tree:
    """A leader with one child in its group and one in a group of its own; both have a child."""

    _LINES = """
import os, time
def child(own_group):
    number = os.fork()
    if number == 0:
        if own_group: os.setpgid(0, 0)
        os.fork()
        time.sleep(60)
        os._exit(0)
child(False); child(True)
time.sleep(60)
"""

    def __init__(self, own_session: bool) -> None:
        argv = [sys.executable, "-c", self._LINES]
        self.leader = subprocess.Popen(argv, start_new_session=own_session)
        self.pid = self.leader.pid

    def members(self, pgid: int | None) -> set[int]:
        return {member.pid for member in ProcFs().members(self.pid, pgid)}

    def end(self) -> None:
        for member in ProcFs().members(self.pid, self.pid):
            os.kill(member.pid, signal.SIGKILL)
        self.leader.wait()


@pytest.fixture(params=[True, False], ids=["own group", "another's group"])
def tree(request: pytest.FixtureRequest) -> Iterator[Tree]:
    tree = Tree(request.param)
    deadline = time.monotonic() + 10
    while len(tree.members(None)) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    yield tree
    tree.end()


@pytest.mark.parametrize("says_it_leads", [True, False])
def test_a_run_is_its_leader_and_all_that_descends_from_it_whatever_their_groups(
    tree: Tree, says_it_leads: bool
) -> None:
    members = tree.members(tree.pid if says_it_leads else os.getpgid(0))

    assert len(members) == 5
    assert tree.pid in members
    assert os.getpid() not in members


def test_of_a_stopped_run_every_process_is_seen_to_stand_still(tree: Tree) -> None:
    members = ProcFs().members(tree.pid, tree.pid)
    for member in members[:-1]:
        os.kill(member.pid, signal.SIGSTOP)

    def seen() -> dict[ProcessSighting, int]:
        family = ProcFs().family(tree.pid, tree.pid)
        return {each: family.count(each) for each in set(family)}

    deadline = time.monotonic() + 10
    while seen().get(ProcessSighting.STOPPED) != 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen() == {ProcessSighting.STOPPED: 4, ProcessSighting.ALIVE: 1}


def test_a_group_outlives_its_leader_and_is_still_the_runs() -> None:
    tree = Tree(own_session=True)
    deadline = time.monotonic() + 10
    while len(tree.members(tree.pid)) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    strays = {member.pid for member in ProcFs().members(tree.pid, tree.pid) if member.group != tree.pid}

    tree.leader.kill()
    tree.leader.wait()

    members = tree.members(tree.pid)
    assert tree.pid not in members
    assert len(members) == 2
    assert not members & strays
    for pid in members | strays:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_a_number_that_leads_nobody_has_no_family(pid: int) -> None:
    """The first process is the child of number 0, and so is all that runs."""
    assert list(ProcFs().family(pid, pid)) == []


def test_a_process_that_is_another_by_now_is_no_member_any_more(sleeper: "subprocess.Popen[bytes]") -> None:
    (member,) = ProcFs().members(sleeper.pid, None)

    assert ProcFs().is_member(member)
    assert not ProcFs().is_member(member._replace(started_ticks=member.started_ticks - 1))
    sleeper.kill()
    assert eventually(sleeper.pid, ProcessSighting.ABSENT) is ProcessSighting.ABSENT
    assert not ProcFs().is_member(member)  # a zombie does nothing any more
