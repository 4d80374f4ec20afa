"""A daemon over a simulated fleet, and what the real commands show of it: the means of the demo, not its plot.

The demo's own eyes are on the daemon's feed (`Watched`), as `opsctl watch` gives it to programs.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from opsd.sim.fleet import Fleet
from opsd.sim.player import KEEPER

PATIENCE_S = 45.0
STOP_S = 10.0

# A real fleet is given minutes of silence before anyone worries; a demo has not that long.
HURRY = {
    "OPSD_DEGRADED_INGEST_LAG_SECONDS": "8",
    "OPSD_CRITICAL_INGEST_LAG_SECONDS": "60",
    "OPSD_LOG_LEVEL": "warning",
    "OPSD_LOG_FORMAT": "console",
}

Item = dict[str, object]


class DemoError(Exception):
    """Something that the demo promises did not happen."""


class Watched:
    """Reads the daemon's feed through `opsctl watch`, once as data for the demo's own eyes, once as people see it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._seen: dict[str, list[Item]] = {}
        self._asked: dict[str, list[Item]] = {}
        self._shown: subprocess.Popen[bytes] | None = None
        self._feed = _opsctl(fleet, "watch", "-o", "jsonl", stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, name="demo feed", daemon=True)
        self._reader.start()

    @property
    def loops(self) -> list[str]:
        return [loop for loop, pictures in list(self._seen.items()) if pictures[-1].get("observedAt")]

    def saw(self, loop: str, *, before: tuple[str, object], after: tuple[str, object]) -> bool:
        """Whether the loop was once as `before` says, and later as `after` says: (member, value) of its picture."""
        pictures = list(self._seen.get(loop, ()))
        start = next((at for at, one in enumerate(pictures) if one.get(before[0]) == before[1]), None)
        return start is not None and any(one.get(after[0]) == after[1] for one in pictures[start:])

    def saw_finding(self, loop: str, code: str, *, ended: bool = False) -> bool:
        """Whether the loop once had this finding; with `ended`, whether it had it and has it no more."""
        had = [code in _codes(picture) for picture in list(self._seen.get(loop, ()))]
        return any(had) and not (ended and had[-1])

    def saw_intent(self, loop: str, intent: str, **members: object) -> bool:
        """Whether an intent of this kind on the loop once was as `members` say."""
        wanted = {"intent": intent, **members}.items()
        return any(wanted <= item.items() for item in map(_flat, list(self._asked.get(loop, ()))))

    def show(self) -> None:
        self._shown = _opsctl(self._fleet, "watch")

    def hide(self) -> None:
        """Enough of what people see; the demo's own eyes stay open."""
        if self._shown is not None:
            _interrupt(self._shown)
            self._shown = None

    def stop(self) -> None:
        self.hide()
        _interrupt(self._feed)
        self._reader.join(STOP_S)

    def _read(self) -> None:
        assert self._feed.stdout is not None
        with self._feed.stdout as lines:
            for line in lines:
                item = json.loads(line)
                for member, seen in (("loop", self._seen), ("intent", self._asked)):
                    if isinstance(item.get(member), dict):
                        seen.setdefault(str(item[member]["loopId"]), []).append(item[member])


def _codes(picture: Item) -> list[object]:
    findings = picture.get("findings")
    return [finding["code"] for finding in findings] if isinstance(findings, list) else []


def _flat(item: Item) -> dict[str, object]:
    return {name: value for name, value in item.items() if isinstance(value, str | int | float | bool)}


@contextmanager
def daemon_over(fleet: Fleet, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """`opsd run` on the fleet's home, from its open socket to its end.

    Raises:
        DemoError: it never opened its socket, or did not end well.
    """
    words = [sys.executable, "-m", "opsd", "run", "--repo", fleet.home, *flags]
    hands = {"OPSD_SUPERLOOP_BIN": fleet.command, "OPSD_LAUNCHER": "session", KEEPER: str(os.getpid())}
    process = subprocess.Popen(words, env={**os.environ, **HURRY, **hands}, stdin=subprocess.DEVNULL)
    try:
        socket = _socket(fleet)
        wait("the daemon to open its socket", lambda: os.path.exists(socket), process)
        yield process
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.terminate()
    if reap(process) != 0:
        raise DemoError(f"opsd ended with exit code {process.returncode}")


def wait(
    what: str, kept: Callable[[], bool], daemon: subprocess.Popen[bytes], turn: Callable[[], object] | None = None
) -> None:
    """Wait for a promise to be kept; `turn` is taken meanwhile, again and again, so that the fleet plays on.

    Raises:
        DemoError: it was not in time, or the daemon ended.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    while not kept():
        if daemon.poll() is not None:
            raise DemoError(f"opsd ended with exit code {daemon.returncode} while waiting for {what}")
        if time.monotonic() > deadline_s:
            raise DemoError(f"waited {PATIENCE_S:.0f} s in vain for {what}")
        if turn is not None:
            turn()
        time.sleep(0.1)


def show(fleet: Fleet, *words: str) -> None:
    """Run one command to its end, its output where everyone sees it. Raises DemoError when it fails."""
    print(f"\n$ opsctl {' '.join(_quoted(word) for word in words)}", flush=True)
    process = _opsctl(fleet, *words)
    if reap(process, PATIENCE_S) != 0:
        raise DemoError(f"opsctl {' '.join(words)} ended with exit code {process.returncode}")


def ask(fleet: Fleet, *words: str) -> Item:
    """What a command answers as data, shown to nobody. Raises DemoError when it fails."""
    process = _opsctl(fleet, *words, "-o", "json", stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as out:
        said = out.read()
    if reap(process) != 0:
        raise DemoError(f"opsctl {' '.join(words)} ended with exit code {process.returncode}")
    item: Item = json.loads(said)
    return item


def say(text: str) -> None:
    print(f"\n-- {text}", flush=True)


def _quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    reap(process)


def reap(process: subprocess.Popen[bytes], within_s: float = STOP_S) -> int:
    """The exit code of a process that should end by itself now; it is killed where it does not."""
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _socket(fleet: Fleet) -> str:
    return os.path.join(fleet.home, ".superloop", "ops-manager", "opsd.sock")


def _opsctl(fleet: Fleet, *words: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
    command: Sequence[str] = [sys.executable, "-m", "opsctl", "--socket", _socket(fleet), *words]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout)
