"""The real service as a child process on a port of its own, and a client as bare as it gets."""

import http.client
import json
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.doubles.process import LIMIT_S, spawn, wait_until
from tests.doubles.situations import Place, situation

TOKEN = "sesame-0123456789"


class Told(NamedTuple):
    """An answer: status, headers by lower-case name, and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str | None]:
        """Status, code and reason of a refusal."""
        error = self.json["error"]
        assert self.json["ok"] is False
        assert error["message"]
        return self.status, error["code"], error.get("reason")


class SpriteService:
    """`opsd sprite-service --repo REPO`, ready when the block begins and stopped when it ends."""

    def __init__(self, repo: Path, *flags: str, variables: Mapping[str, str] | None = None) -> None:
        self.repo = repo
        self._log = repo / "service.log"
        self._flags = flags
        self._variables = {"OPS_MANAGER_SERVICE_TOKEN": TOKEN} if variables is None else variables
        self.port = 0

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
        """Started again, it listens where it did."""
        flags = ("--repo", str(self.repo), "--port", str(self.port), *self._flags)
        with self._log.open("wb") as log:
            self.process = spawn("sprite-service", *flags, out=log, variables=self._variables)
        wait_until(lambda: self.process.poll() is not None or self._is_ready(), "it is ready")
        assert self.process.poll() is None, self.text()
        self.port = next(line["port"] for line in self.log() if line["event"] in ("sprite.listening", "sprite.beside"))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)

    def _is_ready(self) -> bool:
        return any(event in self.text() for event in ("daemon.ready", "sprite.beside"))

    def text(self) -> str:
        return self._log.read_text()

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{") and line.endswith("}")]

    def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> Told:
        """One request over a connection of its own. `body` is JSON, or the very bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S + 30)
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        proof = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request(method, target, sent, {**proof, **(headers or {})})
        with connection.getresponse() as response:
            told = Told(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return told

    def get(self, target: str) -> Told:
        return self.ask("GET", target)

    def control(self, loop_id: str, intent: str, **members: object) -> Told:
        return self.ask("POST", "/ops/control", {"loopId": loop_id, "intent": intent, **members})

    def rows(self, loop_id: str, file: str) -> list[dict[str, Any]]:
        """The rows of one of the service's own files about the loop."""
        path = self.repo / ".superloop/ops-manager" / loop_id / file
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def exchange(self, sent: bytes) -> Told:
        """What it says to these very bytes."""
        with socket.create_connection(("127.0.0.1", self.port), LIMIT_S) as sock:
            sock.sendall(sent)
            response = http.client.HTTPResponse(sock)
            response.begin()
            return Told(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


class Sprite(NamedTuple):
    """A loop in a situation, and the service of its repository."""

    place: Place
    service: SpriteService

    @property
    def loop_id(self) -> str:
        return self.place.loop_id


@contextmanager
def sprite(name: str, *flags: str, variables: Mapping[str, str] | None = None, **plan: Any) -> Iterator[Sprite]:
    """The situation `name`, laid out as `tests.doubles.situations.situation` does, with its service running."""
    with (
        tempfile.TemporaryDirectory(prefix="opsd-") as root,
        situation(Path(root), name, **plan) as place,
        SpriteService(place.repo, *flags, variables=variables) as service,
    ):
        yield Sprite(place, service)
