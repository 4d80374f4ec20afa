"""The real daemon as a child process, and the few words one needs to talk to it."""

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from opsd.sim.player import KEEPER

LIMIT_S = 30.0
"""Only a failure takes so long."""


class OpsdProcess:
    """`opsd run --repo HOME`, ready when the block begins and stopped when it ends. `wrapper` is what runs it."""

    def __init__(
        self, home: Path, *flags: str, variables: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()
    ) -> None:
        self.socket = f"{home}/.superloop/ops-manager/opsd.sock"
        self._log = home / "opsd.log"
        self._flags = ("--repo", str(home), *flags)
        self._variables = variables
        self._wrapper = wrapper

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)

    def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = spawn("run", *self._flags, out=log, variables=self._variables, wrapper=self._wrapper)
        self.until(lambda: self.process.poll() is not None or "daemon.ready" in self.events(), "it is ready")
        assert self.process.poll() is None, self._log.read_text()

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)

    def log(self) -> list[dict[str, Any]]:
        """What it logged since it was last started."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def events(self) -> list[str]:
        return [line["event"] for line in self.log()]

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: object) -> Any:
        return self._ask("POST", path, json.dumps(body))

    def loop(self, loop_id: str) -> dict[str, Any]:
        """The loop's row of the fleet."""
        found: dict[str, Any] = next(row for row in self.get("/v1/fleet")["loops"] if row["loopId"] == loop_id)
        return found

    def findings(self) -> list[str]:
        """What is wrong with the daemon itself."""
        return [finding["code"] for finding in self.get("/v1/fleet")["daemon"]["findings"]]

    def watch(self, query: str = "") -> Iterator[dict[str, Any]]:
        """The lines of the feed, until it ends."""
        connection = _Connection(self.socket)
        connection.request("GET", f"/v1/watch{query}")
        with connection.getresponse() as response:
            while line := response.readline():
                yield json.loads(line)
        connection.close()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        wait_until(holds, what)

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        return ask(self.socket, method, path, body)


def ask(socket_path: str, method: str, path: str, body: str | None = None) -> Any:
    """What whoever listens there answers.

    Raises:
        OSError, http.client.HTTPException: nobody does, or the answer broke off.
    """
    with closing(_Connection(socket_path)) as connection:
        connection.request(method, path, body)
        with connection.getresponse() as response:
            return json.loads(response.read())


def spawn(
    *words: str,
    out: Any = subprocess.DEVNULL,
    err: Any = None,
    variables: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """`opsd` with an environment in which no setting of ours comes from outside."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPSD_")}
    # Simulated runs that it starts outlive it, but not us.
    environment[KEEPER] = str(os.getpid())
    return subprocess.Popen(
        [*wrapper, sys.executable, "-m", "opsd", *words],
        env=environment | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out if err is None else err,
        pass_fds=pass_fds,
    )


def finished(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of an `opsd` that ends by itself."""
    process = spawn(*words, out=subprocess.PIPE, err=subprocess.PIPE)
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out.decode(), err.decode()


def wait_until(holds: Callable[[], bool], what: str, *, limit_s: float = LIMIT_S) -> None:
    """Look until it is so; `what` completes the sentence of the failure."""
    deadline_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline_s, f"not within {limit_s:g} s: {what}"
        select.select([], [], [], 0.02)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("opsd", timeout=LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT_S)
        self.sock.connect(self._path)
