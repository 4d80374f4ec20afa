"""Sprites as processes: the real service over a checkout, and a proxy on the way to it that does harm on demand.

What the proxy can do is `tests.doubles.proxy.Fault`; sprites in memory are `tests.doubles.services`.
"""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.doubles.process import LIMIT_S, spawn, wait_until
from tests.doubles.proxy import Arm, Command, Disarm, Fault, Open, Tell, Told

TOKEN = "sesame-5f2b9c"
TOKEN_NAME = "SPRITE_TOKEN"
"""Under which name a manager has the token."""
VARIABLES = {TOKEN_NAME: TOKEN}
"""The environment of such a manager."""

_ROOT = Path(__file__).parents[2]


class SpriteProcess:
    """`opsd sprite-service --repo REPO` on a port of its own; started by `start`, at the same place each time."""

    def __init__(self, repo: Path) -> None:
        self.repo = repo
        self.port = 0
        self._log = repo.parent / f"{repo.name}-service.log"

    def start(self) -> None:
        self.begin()
        self.await_ready()

    def begin(self) -> None:
        """Start it and do not wait: many begin side by side."""
        with self._log.open("wb") as log:
            words = ("sprite-service", "--repo", str(self.repo), "--port", str(self.port))
            self.process = spawn(*words, out=log, variables={"OPS_MANAGER_SERVICE_TOKEN": TOKEN})

    def await_ready(self) -> None:
        wait_until(lambda: self.process.poll() is not None or "daemon.ready" in self._events(), "the service is ready")
        assert self.process.poll() is None, self._log.read_text()
        self.port = next(line["port"] for line in self._lines() if line["event"] == "sprite.listening")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.process.terminate()
        return self.process.wait(LIMIT_S)

    def entry(self, loop_id: str, *, port: int | None = None, **service: object) -> dict[str, object]:
        """The loop as a registry lists it; reached through `port` where there is somebody in between."""
        base_url = f"http://127.0.0.1:{port or self.port}"
        reached = {"baseUrl": base_url, "tokenEnv": TOKEN_NAME, **service}
        return {"loopId": loop_id, "transport": "sprite_service", "service": reached}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()

    def _events(self) -> list[str]:
        return [line["event"] for line in self._lines()]

    def _lines(self) -> list[dict[str, Any]]:
        lines = self._log.read_bytes().splitlines()
        return [msgspec.json.decode(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]


class Proxy:
    """The proxy's process, for as long as the block lasts. Every way through it has a name. Any thread may tell it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        words = [sys.executable, "-m", "tests.doubles.proxy"]
        self._process = subprocess.Popen(words, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait(LIMIT_S)
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()

    def open(self, name: str, to: int) -> int:
        """The port from which the way `name` leads to the port `to`."""
        return self._do(Open(name, to)).port

    def arm(self, name: str, fault: Fault) -> None:
        self._do(Arm(name, fault))

    def disarm(self, name: str) -> None:
        self._do(Disarm(name))

    def tell(self, name: str) -> Told:
        return self._do(Tell(name))

    def fired(self, name: str) -> int:
        """How often harm was done on this way, of whatever kind."""
        return sum(self.tell(name).fired.values())

    def _do(self, command: Command) -> Told:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(msgspec.json.encode(command) + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        return msgspec.json.decode(answer, type=Told)
