"""Checkouts of a fleet as if each lay in a sprite of its own: a real `opsd sprite-service` over each, reached by HTTP.

Who supervises them has nothing of their files: only an address in its registry, and a token in a folder of its own.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from opsd.sim.documents import folder
from opsd.sim.fleet import REGISTRY, Checkout, Fleet
from opsd.sim.player import KEEPER
from opsd.sim.showing import DemoError, reap, wait

_LISTENING = "sprite.listening"


class Sprite:
    """One checkout behind its service, which can be stopped and started again at the same address."""

    def __init__(self, fleet: Fleet, checkout: Checkout, number: int) -> None:
        self.loop_id = checkout.loops[0]
        self.repo = checkout.repo
        self.scenario = checkout.scenario
        self.token_name = f"SPRITE_{number}_TOKEN"
        self.token = secrets.token_urlsafe(24)
        self._base = os.path.join(fleet.root, f"sprite-{number}")
        self._command = fleet.command
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def events(self) -> int:
        """How many events the run has logged, as the sprite's own file has them."""
        with open(os.path.join(self.repo, folder(self.loop_id), "events.jsonl"), "rb") as file:
            return sum(1 for _ in file)

    def start(self) -> None:
        """Returns once it listens.

        Raises:
            DemoError: it does not, or ended.
        """
        token_file, log_file = f"{self._base}.token", f"{self._base}.log"
        write_token(token_file, self.token)
        words = [
            *(sys.executable, "-m", "opsd", "sprite-service", "--repo", self.repo, "--port", str(self._port)),
            # A checkout's path may be longer than a socket's can be.
            *("--token-file", token_file, "--socket-path", f"{self._base}.sock", "--log-format", "json"),
        ]
        hands = {"OPSD_SUPERLOOP_BIN": self._command, "OPSD_LAUNCHER": "session", KEEPER: str(os.getpid())}
        with open(log_file, "wb") as log:
            self._process = subprocess.Popen(
                words, env={**os.environ, **hands}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait(f"the service of {self.loop_id} to listen", lambda: self._listens(log_file), self._process)

    def stop(self) -> None:
        """
        Raises:
            DemoError: it did not end well.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        if reap(process) != 0:
            raise DemoError(f"the service of {self.loop_id} ended with exit code {process.returncode}")

    def _listens(self, log_file: str) -> bool:
        with open(log_file, encoding="utf-8") as log:
            for line in log:
                if _LISTENING in line and line.endswith("\n"):
                    self._port = json.loads(line)["port"]
                    return True
        return False


@contextmanager
def sprites_of(fleet: Fleet) -> Iterator[tuple[Sprite, ...]]:
    """A service for each of the fleet's checkouts, all of them listening; none is left after the block."""
    with ExitStack() as stack:
        sprites = tuple(Sprite(fleet, checkout, number) for number, checkout in enumerate(fleet.checkouts, start=1))
        for sprite in sprites:
            stack.callback(sprite.stop)
            sprite.start()
        yield sprites


def register(fleet: Fleet, sprites: Sequence[Sprite], token_folder: str) -> None:
    """Add the sprites' loops to the registry of the fleet's home, and their tokens to a folder for the daemon."""
    path = os.path.join(fleet.home, REGISTRY)
    with open(path, encoding="utf-8") as file:
        registry = json.load(file)
    registry["loops"] += _entries(sprites)
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(registry, indent=2) + "\n")
    os.makedirs(token_folder, mode=0o700)
    for sprite in sprites:
        write_token(os.path.join(token_folder, sprite.token_name), sprite.token)


def _entries(sprites: Iterable[Sprite]) -> list[dict[str, object]]:
    return [
        {
            "loopId": sprite.loop_id,
            "transport": "sprite_service",
            "service": {"baseUrl": sprite.base_url, "tokenEnv": sprite.token_name},
            "metadata": {"simulates": sprite.scenario},
        }
        for sprite in sprites
    ]


def write_token(path: str, token: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(f"{token}\n")
