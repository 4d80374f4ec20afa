"""The processes and the time that a real call of the command meets: how `cancel` recognises a run and ends it."""

import os
import signal
import time
from collections.abc import Iterator

from opsd.sim.control import FORCED, POLLS_MAX, STOPPED
from opsd.sim.player import alive, play
from opsd.sim.steps import Step
from opsd.sim.tree import Tree


class Host:
    """`opsd.sim.control.Outside` on this host, for a call on `tree`; `poll_s` is between looks at an ending run."""

    def __init__(self, tree: Tree, *, poll_s: float) -> None:
        self._tree, self._poll_s = tree, poll_s

    def now_s(self) -> float:
        return time.time()

    def play(self, steps: Iterator[Step]) -> None:
        play(steps, self._tree, keeper=None)

    def is_run(self, pid: int) -> bool:
        return alive(pid) and b"superloop.sh run" in _command_line(pid)

    def end(self, pid: int, *, grouped: bool) -> str:
        _signal(pid, signal.SIGTERM, grouped=grouped)
        for _ in range(POLLS_MAX):
            time.sleep(self._poll_s)
            if not alive(pid):
                return STOPPED
        _signal(pid, signal.SIGKILL, grouped=grouped)
        time.sleep(self._poll_s)
        return FORCED


def _command_line(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _signal(pid: int, number: signal.Signals, *, grouped: bool) -> None:
    send = os.killpg if grouped else os.kill
    for each in (pid,) if grouped else (*_descendants(pid), pid):
        try:
            send(each, number)
        except ProcessLookupError:
            pass


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(name))
    found = list(parents.get(pid, ()))
    for child in found:  # grows while it is walked: children of children follow
        found.extend(parents.get(child, ()))
    return found
