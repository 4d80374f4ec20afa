"""The service as a face of the daemon: its socket, its application, and the server that joins them.

Started by `opsd sprite-service`: everything that is not about HTTP over TCP is the daemon's (`opsd.daemon`).
"""

import socket

import anyio
import anyio.abc

from opsd.api.endpoint import Services
from opsd.api.peer import Access
from opsd.daemon import Parts
from opsd.logs import logger
from opsd.sprite.service.app import ENDPOINTS, ServiceApp
from opsd.sprite.service.calls import Sprite
from opsd.sprite.service.limits import Limits
from opsd.sprite.service.listen import listening, serving
from opsd.sprite.service.observing import Observer
from opsd.sprite.service.oldkeys import OldKeys
from opsd.sprite.service.options import Options
from opsd.sprite.service.token import Token
from opsd.store.layout import Layout
from opsd.supervisor.offload import Threads

_READ_THREADS = 8


class ServiceFace:
    """`opsd.daemon.Face` over TCP."""

    is_home_alone = True

    def __init__(self, options: Options, token: Token, *, limits: Limits | None = None) -> None:
        self._options = options
        self._token = token
        self._limits = limits or Limits()
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """
        Raises:
            ListenerError: the address is somebody else's, or not ours to listen on.
        """
        self._socket = listening(self._options.host, self._options.port)

    async def serve(self, parts: Parts, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        assert self._socket is not None
        stopping = anyio.Event()
        reads = Threads(_READ_THREADS, may_be_left_behind=True)
        fleet = parts.supervisor.fleet
        observer = Observer(
            parts.transport(),
            repo_path=parts.home,
            service_id=fleet.start_id,
            offload=reads,
            clock=parts.clock,
            stopping=stopping,
        )
        sprite = Sprite(
            repo_path=parts.home,
            services=Services(fleet, parts.supervisor.desk, parts.queries, Access(-1), reads, parts.clock, stopping),
            files=parts.files,
            observer=observer,
            old_keys=OldKeys(parts.files, Layout(parts.home)),
            reads=reads,
            limits=self._limits,
            clock=parts.clock,
            stopping=stopping,
        )
        app = ServiceApp(sprite, self._token, ENDPOINTS)
        parts.supervisor.passed = observer.passed
        address = self._socket.getsockname()
        async with anyio.create_task_group() as tasks:
            await tasks.start(serving, self._socket, app)
            logger().info(
                "sprite.listening", host=address[0], port=address[1], token=self._token.is_needed, home=parts.home
            )
            task_status.started()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
