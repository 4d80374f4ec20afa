"""Where a service listens, and the server that is joined to its application there."""

import errno
import socket

import anyio.abc

from opsd.api.errors import ApiError, ErrorCode
from opsd.api.server import BoundedProtocol, serve
from opsd.api.server import Limits as ServerLimits
from opsd.listener import BACKLOG, ListenerError, SocketInUse
from opsd.sprite.service.app import G, ServiceApp
from opsd.sprite.service.errors import from_api


async def serving(sock: socket.socket, app: ServiceApp[G], *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Until cancelled; `started` once somebody can connect."""
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
