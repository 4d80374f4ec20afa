"""`opsd demo`: a live simulated fleet, a real daemon over it, and what an operator sees; then everything ends.

Whatever is shown is what the real commands print. The demo fails unless it saw on the socket each change that it
promises: it is a test of the whole as well.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from opsd.sim.fleet import Fleet, FleetPlay, make_fleet
from opsd.sim.part import Part

CAST = (
    "steady", "approval", "silent-stall", "role-error", "complete", "steady",
    "tests-failing", "rate-limited", "stuck", "recovery", "torn-lines", "cancelled",
)  # fmt: skip
SPEED = 6.0
SEED = 11
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


def main(given: Sequence[str] = ()) -> int:
    """Run the demo in a temporary folder. Exit code 0 only if every promised change was seen and all ended cleanly."""
    argparse.ArgumentParser(prog="opsd demo", description=__doc__).parse_args(given)
    try:
        with tempfile.TemporaryDirectory(prefix="opsd-demo-") as root:
            _demo(root)
    except DemoError as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _demo(root: str) -> None:
    fleet = make_fleet(root, len(CAST), SEED, SPEED, CAST, part=Part(role_s=15.0))
    _say(f"A simulated fleet of {len(CAST)} loop runs, and opsd over it (thresholds of seconds instead of minutes).")
    with FleetPlay(fleet, stagger_s=1.0, rerun=False) as play, _daemon(fleet) as daemon:
        watched = _Watched(fleet)
        try:
            _wait("the daemon to know every loop", lambda: len(watched.loops) == len(CAST), daemon, play)
            _show(fleet, "status")
            _say("Following live until the fleet has shown what it can do ...")
            watched.show()
            for promise, kept in _promises(fleet, watched).items():
                _wait(promise, kept, daemon, play)
        finally:
            watched.stop()
        _show(fleet, "status")
        _show(fleet, "explain", _loop(fleet, "silent-stall"))
        _show(fleet, "escalations", "-n", "8")
        _show(fleet, "verify")
        _say("Stopping.")
    _say("The daemon and every run have ended; nothing is left behind.")


def _promises(fleet: Fleet, watched: "_Watched") -> dict[str, Callable[[], bool]]:
    """What the demo promises to show, each as a question to what came over the socket."""
    stalled, asking = _loop(fleet, "silent-stall"), _loop(fleet, "approval")
    finishing, crashing = _loop(fleet, "complete"), _loop(fleet, "role-error")
    return {
        f"{stalled} to stall and turn degraded": lambda: watched.saw(
            stalled, before=("overallStatus", "healthy"), after=("health", "degraded")
        ),
        f"{asking} to ask for an approval": lambda: watched.saw(
            asking, before=("lifecycle", "running"), after=("phase", "awaiting_approval")
        ),
        f"{finishing} to complete": lambda: watched.saw(
            finishing, before=("lifecycle", "running"), after=("phase", "complete")
        ),
        f"{crashing} to crash in a role": lambda: watched.saw(
            crashing, before=("lifecycle", "running"), after=("phase", "crashed")
        ),
    }


def _loop(fleet: Fleet, scenario: str) -> str:
    return next(checkout.loops[0] for checkout in fleet.checkouts if checkout.scenario == scenario)


class _Watched:
    """Reads the daemon's feed through `opsctl watch`, once as data for the demo's own eyes, once as people see it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._seen: dict[str, list[Item]] = {}
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

    def show(self) -> None:
        self._shown = _opsctl(self._fleet, "watch")

    def stop(self) -> None:
        for process in (self._shown, self._feed):
            if process is not None:
                process.send_signal(signal.SIGINT)
                _reap(process)
        self._reader.join(STOP_S)

    def _read(self) -> None:
        assert self._feed.stdout is not None
        with self._feed.stdout as lines:
            for line in lines:
                loop = json.loads(line).get("loop")
                if isinstance(loop, dict):
                    self._seen.setdefault(str(loop["loopId"]), []).append(loop)


@contextmanager
def _daemon(fleet: Fleet) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "opsd", "run", "--repo", fleet.home]
    process = subprocess.Popen(words, env={**os.environ, **HURRY}, stdin=subprocess.DEVNULL)
    try:
        socket = _socket(fleet)
        _wait("the daemon to open its socket", lambda: os.path.exists(socket), process)
        yield process
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.terminate()
    if _reap(process) != 0:
        raise DemoError(f"opsd ended with exit code {process.returncode}")


def _reap(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _wait(what: str, kept: Callable[[], bool], daemon: subprocess.Popen[bytes], play: FleetPlay | None = None) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not kept():
        if daemon.poll() is not None:
            raise DemoError(f"opsd ended with exit code {daemon.returncode} while waiting for {what}")
        if time.monotonic() > deadline_s:
            raise DemoError(f"waited {PATIENCE_S:.0f} s in vain for {what}")
        if play is not None:
            play.poll()
        time.sleep(0.1)


def _socket(fleet: Fleet) -> str:
    return os.path.join(fleet.home, ".superloop", "ops-manager", "opsd.sock")


def _show(fleet: Fleet, *words: str) -> None:
    print(f"\n$ opsctl {' '.join(words)}", flush=True)
    process = _opsctl(fleet, *words)
    if _reap(process) != 0:
        raise DemoError(f"opsctl {' '.join(words)} ended with exit code {process.returncode}")


def _opsctl(fleet: Fleet, *words: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
    command: Sequence[str] = [sys.executable, "-m", "opsctl", "--socket", _socket(fleet), *words]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout)


def _say(text: str) -> None:
    print(f"\n-- {text}", flush=True)
