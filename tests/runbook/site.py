"""Where the blocks of the page are run: a repository with a loop, whoever else works on it, and a caller's shell.

Nothing of a block is changed but its placeholders: the two repositories, the port, and where temporary files lie. The
loop is called `checkout-flow`, as on the page.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from opsd.sim.fleet import REGISTRY
from opsd.sim.player import KEEPER
from tests.batch.checkout import Checkout
from tests.docs.prose import ROOT
from tests.doubles.situations import Faults, Place, situation
from tests.doubles.sprites import TOKEN

LOOP = "checkout-flow"
LIMIT_S = 60.0
"""Only a failure takes so long."""
SYSTEM = "/usr/local/bin:/usr/bin:/bin"
INSTALLED = str(Path(sys.executable).parent)


class Cell(Enum):
    """From where, and beside whom, a block is run."""

    CHECKOUT = "from the checkout"
    DAEMON = "beside a daemon"
    ELSEWHERE = "from another folder"
    LINKED = "through a link"
    BARE = "without any environment"


class Ended(NamedTuple):
    """What a reader sees who copies a block into a shell."""

    code: int
    out: str
    err: str


class Site(msgspec.Struct):
    """`repo` is what the page calls /srv/checkout; `fleet` is its /srv/fleet, the manager's own repository."""

    root: Path
    repo: Path
    cell: Cell = Cell.CHECKOUT
    place: Place | None = None
    fleet: Path | None = None
    port: int = 0
    kept: ExitStack = msgspec.field(default_factory=ExitStack)
    """What goes on until the end: a daemon, a service."""

    @property
    def home(self) -> Path:
        """Where the manager writes."""
        return self.fleet or self.repo

    @property
    def ours(self) -> Path:
        return self.home / ".superloop/ops-manager" / LOOP

    def document(self, name: str) -> Any:
        return msgspec.json.decode((self.ours / name).read_bytes())

    def rows(self, name: str) -> list[Any]:
        path = self.ours / name
        return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def executions(self, command: str) -> int:
        """How often the runtime's command was called, by its own record."""
        assert self.place is not None
        return self.place.executions(command)

    def answers(self) -> bool:
        """Whether the service at `port` does."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/healthz", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=1) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def run(self, block: str) -> Ended:
        """The block, as `bash -eu` runs it."""
        with self.started(block) as process:
            out, err = process.communicate(timeout=LIMIT_S)
        return Ended(process.returncode, out, err)

    @contextmanager
    def started(self, block: str) -> Iterator["subprocess.Popen[str]"]:
        """The block under way. What is left of it at the end of ours, its own group of processes, ends then."""
        process = subprocess.Popen(
            ["bash", "-eu", "-c", self._filled_in(block)],
            cwd=self._folder(),
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _filled_in(self, block: str) -> str:
        told = {
            "/srv/checkout": str(self.repo),
            "/srv/fleet": str(self.fleet),
            ":8787": f":{self.port}",
            "--port 8787": f"--port {self.port}",
            "/tmp/": f"{self.root}/",
        }
        # In one go: what stands for one placeholder may look like another.
        block = re.sub("|".join(map(re.escape, told)), lambda found: told[found[0]], block)
        where = {Cell.ELSEWHERE: f"{ROOT}/scripts/", Cell.LINKED: "links/"}.get(self.cell)
        return block if where is None else block.replace("scripts/ops-manager", f"{where}ops-manager")

    def _folder(self) -> Path:
        if self.cell not in (Cell.ELSEWHERE, Cell.LINKED):
            return ROOT
        links = self.root / "links"
        if not links.exists():
            links.mkdir()
            for script in (ROOT / "scripts").glob("ops-manager-*"):
                (links / script.name).symlink_to(script)
        return self.root

    def _variables(self) -> Mapping[str, str]:
        usual = {"HOME": str(self.root), "TMPDIR": str(self.root), "SPRITE_TOKEN": TOKEN, KEEPER: str(os.getpid())}
        if self.cell is Cell.BARE:
            return {**usual, "PATH": "/usr/bin:/bin"}
        if self.cell in (Cell.ELSEWHERE, Cell.LINKED):
            return {**usual, "PATH": SYSTEM, "LANG": "C.UTF-8"}
        return {**usual, "PATH": f"{INSTALLED}:{SYSTEM}", "VIRTUAL_ENV": str(ROOT / ".venv"), "LANG": "C.UTF-8"}


@contextmanager
def played(root: Path, name: str, *, faults: Faults | None = None) -> Iterator[Site]:
    """A loop in one of the situations of `tests.doubles.situations`, with its command and its live processes."""
    with situation(root, name, faults=faults, loop_id=LOOP) as place:
        yield Site(root, place.repo, place=place)


@contextmanager
def managed(root: Path, name: str) -> Iterator[Site]:
    """The same, managed from a repository of its own, whose registry says where the loop's files are."""
    with situation(root, name, loop_id=LOOP) as place:
        registry = root / "fleet" / REGISTRY
        registry.parent.mkdir(parents=True)
        entry = {"loopId": LOOP, "transport": "local", "repoPath": str(place.repo)}
        registry.write_bytes(msgspec.json.encode({"schemaVersion": "v1", "fleetId": "runbook", "loops": [entry]}))
        yield Site(root, place.repo, place=place, fleet=root / "fleet", port=free_port())


@contextmanager
def beating(root: Path) -> Iterator[Site]:
    """A loop at work whose launcher has just beaten for it."""
    with played(root, "running") as site:
        beat = {"schemaVersion": "v1", "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "source": "runtime"}
        path = site.repo / ".superloop/loops" / LOOP / "heartbeat.v1.json"
        path.write_bytes(msgspec.json.encode({**beat, "status": "running", "stage": "iteration"}))
        yield site


@contextmanager
def contradictory(root: Path) -> Iterator[Site]:
    """A loop whose files say that it is complete, and that it waits for an approval."""
    both = Checkout(root / "repo", loop_id=LOOP).state(active=False).summary(completion_ok=True)
    both.event("loop_start").event("role_end", role="implementer").event("approval_requested")
    request = {"status": "pending", "run_id": "20200101T000000Z", "iteration": 1, "candidate": {}}
    path = both.loop / "approval.json"
    path.write_bytes(msgspec.json.encode({**request, "requested_at": "2020-01-01T00:00:03Z"}))
    yield Site(root, both.folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
