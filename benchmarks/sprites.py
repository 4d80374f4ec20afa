"""The child that is many sprites: the service's own code over many checkouts, an address and a token for each.

It is a whole daemon for all those checkouts, so that a change is noticed and looked at as in a real sprite, with a face
that answers each address as the service of one of them. What such a process costs says nothing about a sprite's.
"""

import os
import signal
import socket
import sys
import threading

import anyio
import anyio.abc
import msgspec
from starlette.datastructures import State
from starlette.types import Receive, Scope, Send

from benchmarks.child import task, tell
from opsd import daemon, settings
from opsd.api.endpoint import Services
from opsd.api.peer import Access
from opsd.api.server import BoundedProtocol, serve
from opsd.api.server import Limits as ServerLimits
from opsd.daemon import Parts
from opsd.disk import Disk
from opsd.listener import BACKLOG
from opsd.model.ids import LoopId
from opsd.sprite.service.app import ENDPOINTS, ServiceApp
from opsd.sprite.service.calls import Sprite
from opsd.sprite.service.limits import Limits
from opsd.sprite.service.observing import Observer
from opsd.sprite.service.oldkeys import OldKeys
from opsd.sprite.service.token import Token
from opsd.store.layout import Layout
from opsd.supervisor.offload import Threads
from opsd.systemd import Systemd

_CONNECTIONS_MAX = 16_384
_READ_THREADS = 8


class Served(msgspec.Struct, frozen=True):
    """A loop and its checkout, as the service at `address` (of 127.0.0.0/8) has them."""

    loop_id: str
    repo: str
    address: str
    token: str


class SpritesTask(msgspec.Struct, frozen=True):
    """`home` has a registry of the same loops as local ones. All of them are served at one port."""

    home: str
    port: int
    log_file: str
    served: tuple[Served, ...]


class Sprites:
    """`opsd.daemon.Face`, and the ASGI application behind it: hands each request to the service at its address."""

    is_home_alone = False

    def __init__(self, mine: SpritesTask) -> None:
        self.state = State()
        self._mine = mine
        self._apps: dict[str, ServiceApp[Sprite]] = {}

    def open(self) -> None:
        # One socket for all of 127.0.0.0/8: whoever else finds it has no token.
        self._socket = socket.create_server(("0.0.0.0", self._mine.port), backlog=max(BACKLOG, 4_096))

    async def serve(self, parts: Parts, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        self.state.stopping = stopping = anyio.Event()
        reads = Threads(_READ_THREADS, may_be_left_behind=True)
        fleet = parts.supervisor.fleet
        services = Services(fleet, parts.supervisor.desk, parts.queries, Access(-1), reads, parts.clock, stopping)
        observers: dict[LoopId, Observer] = {}
        for one in self._mine.served:
            observer = observers[LoopId(one.loop_id)] = Observer(
                parts.transport(),
                repo_path=one.repo,
                service_id=fleet.start_id,
                offload=reads,
                clock=parts.clock,
                stopping=stopping,
            )
            old_keys = OldKeys(parts.files, Layout(one.repo))
            sprite = Sprite(
                repo_path=one.repo,
                services=services,
                files=parts.files,
                observer=observer,
                old_keys=old_keys,
                reads=reads,
                limits=Limits(),
                clock=services.clock,
                stopping=services.stopping,
            )
            self._apps[one.address] = ServiceApp(sprite, Token(Disk(), path=None, value=one.token), ENDPOINTS)
        parts.supervisor.passed = lambda loop_id: observers[loop_id].passed(loop_id)
        tell("ready")
        limits = ServerLimits(connections=_CONNECTIONS_MAX)
        await serve(self._socket, self, limits=limits, protocol=BoundedProtocol, task_status=task_status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._apps[scope["server"][0]](scope, receive, send)

    def close(self) -> None:
        self._socket.close()


def main() -> None:
    mine = task(SpritesTask)
    said = os.open(mine.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 2)
    given = {"repo": mine.home, "log_level": "warning"}

    def load() -> settings.Loaded:
        return settings.load(given, config=None, environment={})

    threading.Thread(target=_end_with_input, name="end of input", daemon=True).start()
    sys.exit(daemon.run(load(), reload=load, variables={}, systemd=Systemd({}), face=Sprites(mine)))


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
