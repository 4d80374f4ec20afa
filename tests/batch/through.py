"""Somebody who answers commands on a real socket, as a test tells him to; he listens in a thread of his own."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio.from_thread

from tests.services.peer import Act, Peer, listening


@contextmanager
def peer(*script: Act) -> Iterator[Peer]:
    """What is beyond the script's end is answered like its last one."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(listening(Peer(*script))) as listener,
    ):
        yield listener
