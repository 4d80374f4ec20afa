"""The service as a face of the daemon: its socket, its application, and the server that joins them.

Started by `opsd sprite-service`: everything that is not about HTTP over TCP is the daemon's (`opsd.daemon`).
"""

import errno
import socket

import anyio
import anyio.abc

from opsd.api.endpoint import Services
from opsd.api.errors import ApiError, ErrorCode
from opsd.api.peer import Access
from opsd.api.server import BoundedProtocol, serve
from opsd.api.server import Limits as ServerLimits
from opsd.daemon import Parts
from opsd.listener import BACKLOG, ListenerError, SocketInUse
from opsd.logs import logger
from opsd.sprite.service.app import ServiceApp
from opsd.sprite.service.calls import Sprite
from opsd.sprite.service.errors import from_api
from opsd.sprite.service.limits import Limits
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
        )
        app = ServiceApp(sprite, self._token)
        parts.supervisor.passed = observer.passed
        address = self._socket.getsockname()
        async with anyio.create_task_group() as tasks:
            await tasks.start(_serving, self._socket, app)
            logger().info(
                "sprite.listening", host=address[0], port=address[1], token=self._token.is_needed, home=parts.home
            )
            task_status.started()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


async def _serving(sock: socket.socket, app: ServiceApp, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    await serve(sock, app, limits=ServerLimits(), protocol=ServiceProtocol, task_status=task_status)


class ServiceProtocol(BoundedProtocol):
    """What makes no HTTP is told in the contract's form."""

    not_http = ApiError(ErrorCode.BAD_REQUEST, "this is not HTTP/1.1, or its head makes no sense")

    @staticmethod
    def error_body(refused: ApiError) -> bytes:
        return from_api(refused).body()


def listening(host: str, port: int) -> socket.socket:
    """A TCP socket that listens.

    Raises:
        SocketInUse: somebody listens there.
        ListenerError: there is no such address here, or the port is not for us.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, proto, _, address = found[0]
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, proto)
    except OSError as error:
        raise ListenerError(f"--host {host}: {error.strerror or error}; name an address of this machine") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise SocketInUse(f"somebody listens on {host}:{port} already; name another port with --port") from error
        raise ListenerError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}; name another with --host and --port"
        ) from error
    return sock
