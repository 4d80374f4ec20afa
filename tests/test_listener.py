"""The control socket: never open to more than was said, never taken from somebody who answers."""

import os
import socket
import stat
from pathlib import Path

import pytest

from opsd.listener import Listener, ListenerError, SocketInUse


def test_it_listens_with_its_final_mode(tmp_path: Path) -> None:
    path = str(tmp_path / "run" / "opsd.sock")
    umask = os.umask(0o000)
    try:
        listener = Listener.open(path, mode=0o640, gid=os.getgid())
    finally:
        os.umask(umask)

    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert os.stat(path).st_gid == os.getgid()
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(path)
    listener.close()
    assert not os.path.lexists(path)


def test_a_stale_socket_gives_way(tmp_path: Path) -> None:
    """After a crash the socket's name is still there, and nobody is behind it."""
    path = str(tmp_path / "opsd.sock")
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(path)

    listener = Listener.open(path, mode=0o600, gid=None)

    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(path)
    listener.close()


def test_a_socket_that_somebody_answers_on_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "opsd.sock")
    first = Listener.open(path, mode=0o600, gid=None)

    with pytest.raises(SocketInUse, match="somebody answers"):
        Listener.open(path, mode=0o600, gid=None)

    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(path)
    first.close()


def test_something_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "opsd.sock"
    path.write_text("precious")

    with pytest.raises(ListenerError, match="no socket"):
        Listener.open(str(path), mode=0o600, gid=None)

    assert path.read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_said_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ListenerError, match="--socket-path"):
        Listener.open(str(tmp_path / "file" / "opsd.sock"), mode=0o600, gid=None)


def test_closing_leaves_alone_what_a_successor_put_there(tmp_path: Path) -> None:
    path = str(tmp_path / "opsd.sock")
    first = Listener.open(path, mode=0o600, gid=None)
    os.rename(path, f"{path}.old")
    second = Listener.open(path, mode=0o600, gid=None)

    first.close()

    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(path)
    second.close()
