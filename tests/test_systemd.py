import os
import socket
from pathlib import Path

from opsd.systemd import Systemd


def test_words_reach_the_notify_socket(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        Systemd({"NOTIFY_SOCKET": address}).notify("READY=1", "STATUS=supervising 3 loops")

        assert manager.recv(4_096) == b"READY=1\nSTATUS=supervising 3 loops"


def test_an_abstract_address_begins_with_a_zero_byte() -> None:
    name = f"opsd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).notify("STOPPING=1")

        assert manager.recv(4_096) == b"STOPPING=1"


def test_a_manager_that_is_gone_or_absent_hurts_nobody(tmp_path: Path) -> None:
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify("WATCHDOG=1")
    Systemd({}).notify("WATCHDOG=1")


def test_sockets_meant_for_another_process_are_not_taken() -> None:
    assert Systemd({}).listening_socket() is None
    assert Systemd({"LISTEN_FDS": "1", "LISTEN_PID": "1"}).listening_socket() is None
    assert Systemd({"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())}).listening_socket() is None


def test_signs_of_life_are_wanted_only_of_the_process_that_is_named() -> None:
    assert Systemd({"WATCHDOG_USEC": "30000000"}).watchdog
    assert Systemd({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}).watchdog
    assert not Systemd({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog
    assert not Systemd({}).watchdog
