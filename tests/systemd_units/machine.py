"""A systemd of its own, booted on a throw-away copy of this machine's files, with opsd's units installed in it.

Needs root and systemd-nspawn; where booting is not possible, the tests that ask for it are skipped with the reason.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.doubles.process import LIMIT_S, wait_until

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
# The service is an ordinary user, who cannot follow us into a home of root's: what it runs is shown to it elsewhere.
_SHOWN = {
    sys.base_prefix: "/opt/opsd/python",
    sysconfig.get_path("purelib"): "/opt/opsd/packages",
    **{str(ROOT / part): f"/opt/opsd/checkout/{part}" for part in ("opsd", "opsctl", "config")},
}
_INTERPRETER = f"/opt/opsd/python/{os.path.relpath(os.path.realpath(sys.executable), sys.base_prefix)}"
_USERS = {"opsd": 991, "reader": 992, "stranger": 993, "runner": 994}
_PATHS = "LD_LIBRARY_PATH=/opt/opsd/python/lib PYTHONPATH=/opt/opsd/checkout:/opt/opsd/packages"


class Machine:
    """A booted one. `root` is where its files lie, seen from outside."""

    def __init__(self, root: Path, init_pid: int) -> None:
        self.root = root
        self._init_pid = init_pid

    def run(self, *words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """What `user` gets for a command in there."""
        return subprocess.run(self._inside(words, user), capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def must(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.must("systemctl", "show", unit, f"--property={name}", "--value").strip()

    def journal(self) -> str:
        return self.must("journalctl", "--no-pager", "--output=cat", "--unit=opsd.service")

    def _inside(self, words: tuple[str, ...], user: str) -> list[str]:
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user != "root" else []
        return ["nsenter", f"--target={self._init_pid}", "--all", "--root", "--wd", *become, *words]


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """A machine with users, units and programs in place, and nothing of ours started; powered off in the end."""
    _skip_unless_possible()
    with ExitStack() as stack:
        root = _copy_of_this_machine(folder, stack)
        _install(root)
        log = stack.enter_context((folder / "console.log").open("wb"))
        nspawn = subprocess.Popen(
            [
                "systemd-nspawn", "--quiet", f"--directory={root}", "--register=no", "--keep-unit", "--private-network",
                f"--machine=opsd-{folder.stat().st_ino}", "--tmpfs=/tmp", "--tmpfs=/var/tmp",
                *(f"--bind-ro={here}:{there}" for here, there in _SHOWN.items()),
                "/lib/systemd/systemd", "--unit=basic.target",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        stack.callback(_end, nspawn)
        init_pids: list[int] = []

        def is_up() -> bool:
            init_pids[:] = _children(nspawn.pid)
            if nspawn.poll() is not None:
                pytest.skip(f"no systemd boots here: {(folder / 'console.log').read_text(errors='replace')[-500:]}")
            return (
                bool(init_pids)
                and Machine(root, init_pids[0]).run("systemctl", "is-active", "basic.target").stdout == "active\n"
            )

        wait_until(is_up, "the machine is up")
        stack.callback(os.kill, init_pids[0], signal.SIGRTMIN + 4)  # to a systemd: power off
        machine = Machine(root, init_pids[0])
        if machine.run("/opt/opsd/bin/opsd", "version", user="opsd").returncode != 0:
            pytest.skip("the service's user can read this checkout or this Python nowhere: their folders are private")
        yield machine


def _skip_unless_possible() -> None:
    missing = [tool for tool in ("systemd-nspawn", "nsenter", "setpriv") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"booting a systemd needs {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("booting a systemd needs root")


def _copy_of_this_machine(folder: Path, stack: ExitStack) -> Path:
    disk, root = folder / "disk", folder / "root"
    disk.mkdir()
    root.mkdir()
    _mount("tmpfs", disk, "size=256m", stack)
    for part in ("changes", "work"):
        (disk / part).mkdir()
    _mount("overlay", root, f"lowerdir=/,upperdir={disk}/changes,workdir={disk}/work", stack)
    return root


def _mount(kind: str, at: Path, options: str, stack: ExitStack) -> None:
    done = subprocess.run(
        ["mount", "-t", kind, "-o", options, kind, str(at)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    stack.callback(subprocess.run, ["umount", str(at)], timeout=LIMIT_S, check=True)


def _install(root: Path) -> None:
    etc = root / "etc"
    (etc / "machine-id").unlink(missing_ok=True)
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")  # without one it would ask who it is to be
    units = etc / "systemd" / "system"
    # It would clean this machine's /tmp, file by file.
    (units / "systemd-tmpfiles-setup.service").unlink(missing_ok=True)
    (units / "systemd-tmpfiles-setup.service").symlink_to("/dev/null")
    for unit in ("opsd.service", "opsd.socket"):
        shutil.copy(UNITS / unit, units)
    (etc / "opsd").mkdir()
    shutil.copy(UNITS / "opsd.toml", etc / "opsd")
    with (
        (etc / "passwd").open("a") as users,
        (etc / "group").open("a") as groups,
        (etc / "shadow").open("a") as shadows,
    ):
        for user, number in _USERS.items():
            users.write(f"{user}:x:{number}:{number}::/:/usr/sbin/nologin\n")
            shadows.write(f"{user}:!*:19000::::::\n")  # without a line there systemd makes it no manager
            groups.write(f"{user}:x:{number}:{'reader,runner' if user == 'opsd' else ''}\n")
    programs = root / "opt" / "opsd" / "bin"
    programs.mkdir(parents=True)
    for program in ("opsd", "opsctl"):
        script = programs / program
        script.write_text(f'#!/bin/sh\n{_PATHS} exec {_INTERPRETER} -m {program} "$@"\n')
        script.chmod(0o755)
    (programs / "python").write_text(f'#!/bin/sh\n{_PATHS} exec {_INTERPRETER} "$@"\n')
    (programs / "python").chmod(0o755)
    # For what a user's own systemd manager starts.
    (etc / "environment.d").mkdir(exist_ok=True)
    (etc / "environment.d" / "opsd.conf").write_text(_PATHS.replace(" ", "\n") + "\n")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _end(nspawn: subprocess.Popen[bytes]) -> None:
    try:
        nspawn.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        nspawn.kill()
        nspawn.wait(LIMIT_S)
        raise
