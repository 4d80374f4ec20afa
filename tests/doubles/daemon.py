"""The real server on a real socket, over a fleet that only a test changes; it may be stopped and started again."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

from opsd.api.app import build_app
from opsd.api.peer import Access
from opsd.api.seams import OneShots
from opsd.api.server import STANDARD_LIMITS, Limits, serve
from opsd.clock import SystemClock
from tests.doubles.desk import StandInDesk
from tests.doubles.fleet import StandInFleet, StandInQueries

R = TypeVar("R")


class WorkerThread:
    """`opsd.ports.Offload` with nothing added."""

    async def run(self, work: Callable[[], R], /) -> R:
        return await anyio.to_thread.run_sync(work)


def bound(path: str, mode: int = 0o600) -> socket.socket:
    """A listening Unix socket; what a dead daemon left at `path` is replaced."""
    if os.path.lexists(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    os.chmod(path, mode)
    sock.listen(64)
    return sock


@asynccontextmanager
async def serving(
    path: str,
    fleet: StandInFleet,
    queries: StandInQueries | None = None,
    access: Access | None = None,
    limits: Limits = STANDARD_LIMITS,
    desk: StandInDesk | None = None,
    oneshots: OneShots | None = None,
) -> AsyncIterator[None]:
    """While inside, the daemon answers; on the way out it stops as the real one does: first the feed, then this.

    What `desk` took in is also what `queries` find in the files.
    """
    desk, queries = desk or StandInDesk(fleet), queries or StandInQueries()
    queries.intent_log = lambda: desk.intents
    app = build_app(
        fleet,
        queries,
        access or Access(owner_uid=os.getuid()),
        desk=desk,
        oneshots=oneshots,
        offload=WorkerThread(),
        clock=SystemClock(),
    )
    mode = 0o600 if access is None else 0o666
    with anyio.fail_after(50):
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(serve, bound(path, mode), app, limits=limits))
            try:
                yield
            finally:
                fleet.feed.close()
                tasks.cancel_scope.cancel()


class Daemon:
    """One that a test starts, stops and starts again at the same path; stopped at the latest when it is left."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._running = AsyncExitStack()

    async def start(
        self, fleet: StandInFleet, queries: StandInQueries | None = None, desk: StandInDesk | None = None
    ) -> None:
        await self._running.enter_async_context(serving(self._path, fleet, queries, desk=desk))

    async def stop(self) -> None:
        await self._running.aclose()

    async def __aenter__(self) -> "Daemon":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
