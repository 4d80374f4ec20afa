"""Which socket is meant: one order, the same for every command."""

import os
from pathlib import Path

import pytest

from opsctl.discovery import SYSTEM_SOCKET, find_socket


def a_home(folder: Path) -> str:
    socket = folder / ".superloop" / "ops-manager" / "opsd.sock"
    socket.parent.mkdir(parents=True)
    socket.touch()
    return str(socket)


def test_the_option_wins_over_everything(tmp_path: Path) -> None:
    a_home(tmp_path)

    assert find_socket("/given", "/variable", str(tmp_path)) == "/given"


def test_the_variable_wins_over_the_folder(tmp_path: Path) -> None:
    a_home(tmp_path)

    assert find_socket(None, "/variable", str(tmp_path)) == "/variable"


def test_the_nearest_home_above_the_folder_wins(tmp_path: Path) -> None:
    a_home(tmp_path)
    inner = tmp_path / "a"
    below = inner / "b" / "c"
    below.mkdir(parents=True)

    assert find_socket(None, None, str(below)) == str(tmp_path / ".superloop/ops-manager/opsd.sock")
    assert find_socket(None, None, str(inner)) == find_socket(None, None, str(below))
    assert find_socket(None, None, str(below)) != (nearest := a_home(inner))
    assert find_socket(None, None, str(below)) == nearest


def test_without_any_it_is_the_system_s(tmp_path: Path) -> None:
    assert find_socket(None, None, str(tmp_path)) == SYSTEM_SOCKET


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is locked away from root")
def test_a_home_that_is_locked_away_is_still_the_one_that_is_meant(tmp_path: Path) -> None:
    """Asking the system's daemon instead would answer about another fleet."""
    socket = a_home(tmp_path)
    folder = Path(socket).parent
    folder.chmod(0)
    try:
        assert find_socket(None, None, str(tmp_path)) == socket
    finally:
        folder.chmod(0o700)


def test_a_folder_that_was_removed_leads_to_the_systems_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell may stand in a folder that somebody has removed meanwhile."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert find_socket(None, None, os.curdir) == SYSTEM_SOCKET
