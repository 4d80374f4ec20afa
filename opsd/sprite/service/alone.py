"""The life of the service that has no supervisor (`bare`): listen, serve, and stop when told to."""

import signal
import socket
import sys
from collections.abc import Mapping

import anyio

from opsd import logs
from opsd.clock import SystemClock
from opsd.disk import Disk
from opsd.environ import for_others
from opsd.sprite.service.app import ServiceApp
from opsd.sprite.service.bare import ENDPOINTS, Bare
from opsd.sprite.service.limits import Limits
from opsd.sprite.service.listen import listening, serving
from opsd.sprite.service.oldkeys import OldKeys
from opsd.sprite.service.token import Token
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.supervisor.offload import Threads

_READ_THREADS = 8


def serve_alone(repo: str, host: str, port: int, token: str | None, variables: Mapping[str, str]) -> None:
    """Until SIGTERM or SIGINT.

    Raises:
        ListenerError: the address cannot be listened on.
        TokenUnusable: the token cannot be sent in a header.
    """
    kept = Token(Disk(), path=None, value=token)
    kept.check()
    logs.configure(level="info", form="auto", journal_stream=variables.get("JOURNAL_STREAM"))
    sock = listening(host, port)
    try:
        anyio.run(_serve, repo, sock, kept, variables)
    finally:
        sock.close()
        sys.stderr.flush()


async def _serve(repo: str, sock: socket.socket, token: Token, variables: Mapping[str, str]) -> None:
    files, layout = Disk(), Layout(repo)
    sprite = Bare(
        repo_path=repo,
        files=files,
        old_keys=OldKeys(files, layout),
        reads=Threads(_READ_THREADS, may_be_left_behind=True),
        limits=Limits(),
        clock=SystemClock(),
        stopping=anyio.Event(),
        store=Store(layout, files),
        variables=for_others(variables),
    )
    app = ServiceApp(sprite, token, ENDPOINTS, features=())
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as tasks:
            await tasks.start(serving, sock, app)
            address = sock.getsockname()
            logs.logger().info("sprite.listening", host=address[0], port=address[1], token=token.is_needed, home=repo)
            async for _ in signals:
                break
            sprite.stopping.set()
            tasks.cancel_scope.cancel()
