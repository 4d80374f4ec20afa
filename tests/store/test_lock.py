"""One writer per home, for as long as its process lives; the others are told who it is and what to do."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opsd.processes import has_flock
from opsd.store.faults import StoreError
from opsd.store.holder import Holder, live_holder, read_holder
from opsd.store.layout import Layout
from opsd.store.lock import HomeLock, HomeLocked
from tests.store.examples import NOW

_PROGRAM = """
import os, sys
from opsd.store.holder import Holder
from opsd.store.lock import HomeLock
from tests.store.examples import NOW
lock = HomeLock.acquire(sys.argv[1], Holder(os.getpid(), NOW, sys.argv[2] or None))
print("held", flush=True)
sys.stdin.read()
lock.release()
"""

_WITH_CHILD = _PROGRAM.replace(
    "sys.stdin.read()",
    """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "input()"], close_fds=False)
print(child.pid, flush=True)
child.wait()
""",
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return Layout(str(tmp_path)).lock


@contextmanager
def _another_holder(path: str, socket_path: str = "", program: str = _PROGRAM) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", program, path, socket_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def _me(socket_path: str | None = None) -> Holder:
    return Holder(os.getpid(), NOW, socket_path)


def test_the_lock_is_held_until_released_and_says_who_holds_it(path: str) -> None:
    with HomeLock.acquire(path, _me("/run/opsd.sock")) as lock:
        assert read_holder(path) == _me("/run/opsd.sock")
        assert lock.still_ours()
        with pytest.raises(HomeLocked):
            HomeLock.acquire(path, _me())

    assert read_holder(path) is None
    HomeLock.acquire(path, _me()).release()


def test_the_refusal_names_the_daemon_since_when_and_where_it_answers(path: str) -> None:
    with _another_holder(path, "/run/opsd.sock") as other, pytest.raises(HomeLocked) as refused:
        HomeLock.acquire(path, _me())

    assert str(refused.value) == (
        f"{path} is held by the opsd with pid {other.pid} since 2026-11-21T01:38:44+00:00; "
        f"ask it over /run/opsd.sock, or stop pid {other.pid}"
    )


def test_a_one_shot_command_is_named_as_one_to_wait_for(path: str) -> None:
    with (
        _another_holder(path) as other,
        pytest.raises(HomeLocked, match=f"wait for it to end, or stop pid {other.pid}"),
    ):
        HomeLock.acquire(path, _me())


def test_a_killed_holder_holds_nothing_though_its_name_stays_in_the_file(path: str) -> None:
    with _another_holder(path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait(timeout=10)
        assert read_holder(path) == Holder(other.pid, NOW)

        with HomeLock.acquire(path, _me()):
            assert read_holder(path) == _me()


@pytest.mark.parametrize("content", [b"", b"4711\n", b"{", b"\0" * 5000, b'{"pid":1}' + b" " * 5000])
def test_whatever_the_file_says_only_the_kernel_is_believed(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).write_bytes(content)

    with HomeLock.acquire(path, _me()):
        assert read_holder(path) == _me()


def test_a_waiting_command_gets_its_turn(path: str) -> None:
    with _another_holder(path) as other:
        assert other.stdin is not None
        other.stdin.close()

        HomeLock.acquire(path, _me(), wait_s=20).release()


def test_waiting_ends(path: str) -> None:
    with HomeLock.acquire(path, _me()), pytest.raises(HomeLocked):
        HomeLock.acquire(path, _me(), wait_s=0.2)


def test_a_holder_notices_that_its_file_was_removed(path: str) -> None:
    """Two processes can then each hold a lock; the first must find out and stop writing."""
    with HomeLock.acquire(path, _me()) as first:
        os.unlink(path)
        assert not first.still_ours()
        with HomeLock.acquire(path, _me()) as second:
            assert second.still_ours()
            assert not first.still_ours()


def test_a_child_process_does_not_inherit_the_lock(path: str) -> None:
    """A loop that was started by a holder goes on after its death, and must not keep the home locked."""
    with _another_holder(path, program=_WITH_CHILD) as other:
        assert other.stdout is not None
        child = int(other.stdout.readline())
        try:
            other.kill()
            other.wait(timeout=10)

            HomeLock.acquire(path, _me(), wait_s=20).release()

            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_home_that_cannot_be_written_says_which_file(tmp_path: Path) -> None:
    (tmp_path / ".superloop").write_bytes(b"")
    with pytest.raises(StoreError, match="ops-manager cannot be made: Not a directory"):
        HomeLock.acquire(Layout(str(tmp_path)).lock, _me())

    (tmp_path / "lock").mkdir()
    with pytest.raises(StoreError, match="lock cannot be opened for writing: Is a directory"):
        HomeLock.acquire(str(tmp_path / "lock"), _me())


def test_who_only_asks_sees_a_live_holder_and_keeps_nobody_from_the_lock(path: str) -> None:
    assert live_holder(path) is None
    with _another_holder(path, "/run/opsd.sock") as other:
        assert live_holder(path) == Holder(other.pid, NOW, "/run/opsd.sock")
        other.send_signal(signal.SIGKILL)
        other.wait(timeout=10)
        assert read_holder(path) is not None
        assert live_holder(path) is None

    with HomeLock.acquire(path, _me()):
        assert live_holder(path) == _me()
    assert live_holder(path) is None


def test_a_lock_on_another_file_a_shared_one_and_a_queue_for_it_mean_nothing(tmp_path: Path) -> None:
    device, inode, pid = os.makedev(0xFE, 0), 77, 4711
    rows = {
        "1: FLOCK  ADVISORY  WRITE 4711 fe:00:78 0 EOF": False,
        "1: POSIX  ADVISORY  WRITE 4711 fe:00:77 0 EOF": False,
        "1: FLOCK  ADVISORY  READ 4711 fe:00:77 0 EOF": False,
        "1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:77 0 EOF": False,
        "1: FLOCK  ADVISORY  WRITE 12 00:2a:77 0 EOF": False,
        "1: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF": True,
        "1: FLOCK  ADVISORY  WRITE 4711 00:2a:77 0 EOF": True,
    }

    for row, held in rows.items():
        (tmp_path / "locks").write_text(f"{row}\n")
        assert has_flock(pid, device, inode, proc=str(tmp_path)) is held, row


def test_where_locks_are_not_to_be_seen_the_process_is_looked_for(path: str, tmp_path: Path) -> None:
    with HomeLock.acquire(path, _me("/run/opsd.sock")):
        assert live_holder(path, proc=str(tmp_path)) is None
        (tmp_path / str(os.getpid())).mkdir()
        assert live_holder(path, proc=str(tmp_path)) == _me("/run/opsd.sock")
