"""The daemon under measurement: a real `opsd` on a home of its own, from its start to its end.

What it costs is read from /proc by `benchmarks.usage`; what it answers comes over its socket.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from benchmarks.fleet import Fleet
from benchmarks.wire import Connection

STOP_S = 20.0
LOOK_S = 0.005


class Daemon:
    """Starts with the block and is gone after it. With `profile_file` its threads are sampled into that file."""

    def __init__(
        self, fleet: Fleet, folder: str, *, profile_file: str | None = None, flags: Sequence[str] = ()
    ) -> None:
        self.socket = fleet.layout.socket
        self._log = os.path.join(folder, "opsd.log")
        self._is_sampled = profile_file is not None
        module = ["-m", "opsd"] if profile_file is None else ["-m", "benchmarks.sampler", profile_file, "opsd"]
        self._words = [sys.executable, *module, "--repo", fleet.layout.home, *flags]
        self.started_s = 0.0
        """When it was spawned, by the monotonic clock."""

    def __enter__(self) -> Self:
        with open(self._log, "ab") as log:
            self.started_s = time.monotonic()
            self._process = subprocess.Popen(self._words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            if error is None:
                raise RuntimeError(f"opsd did not stop within {STOP_S} s of SIGTERM:\n{self.last_words()}") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_up(self, within_s: float = 30.0) -> None:
        """Return once the socket takes connections.

        Raises:
            RuntimeError: it did not come up in time, or ended; with what it said last.
        """
        deadline_s = time.monotonic() + within_s
        while True:
            connection = Connection(self.socket)
            try:
                connection.connect()
                connection.close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError(f"opsd did not come up:\n{self.last_words()}") from None
            time.sleep(LOOK_S)

    def wait_for_picture(self, loops: int, within_s: float = 120.0) -> float:
        """Follow the feed until every loop was looked at and read to its end; seconds since the spawn.

        Raises:
            RuntimeError: not all of them in time.
        """
        self.wait_until_up(within_s)
        connection = Connection(self.socket, timeout_s=within_s)
        missing = loops
        waiting: set[str] = set()
        known: set[str] = set()
        with connection.stream("/v1/watch") as feed:
            for line in feed:
                loop = json.loads(line).get("loop")
                if loop is None:
                    continue
                known.add(loop["loopId"])
                if loop.get("observedAt") is None:
                    waiting.add(loop["loopId"])
                else:
                    waiting.discard(loop["loopId"])
                missing = loops - len(known) + len(waiting)
                if not missing:
                    break
        connection.close()
        if missing:
            raise RuntimeError(f"{missing} of {loops} loops never seen:\n{self.last_words()}")
        return time.monotonic() - self.started_s

    def profile_from_now(self) -> None:
        """What was sampled so far is forgotten. Without a profile nothing happens."""
        if self._is_sampled:
            self._process.send_signal(signal.SIGUSR1)

    def metric(self, name: str) -> float:
        """What the daemon itself counts under `name`, one of its metrics without labels."""
        connection = Connection(self.socket)
        text = connection.fetch("/metrics").decode()
        connection.close()
        (value,) = (line.split()[1] for line in text.splitlines() if line.startswith(f"{name} "))
        return float(value)

    def last_words(self) -> str:
        """The end of what it logged."""
        with open(self._log, encoding="utf-8", errors="replace") as file:
            return file.read()[-3000:]
