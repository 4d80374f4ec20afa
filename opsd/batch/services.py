"""Talking to a service from a command that otherwise knows no event loop: one `anyio.run`, and what came of it.

Imported by whoever really talks: httpx and anyio take longer to load than a local pass takes as a whole.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from opsd.batch.command import Outside
from opsd.clock import SystemClock
from opsd.ports import Transport
from opsd.services.asking import AskingTransport
from opsd.services.http import HttpServices
from opsd.services.lent import lent

R = TypeVar("R")


class _AtOnce:
    """`opsd.ports.Offload` where nobody else waits: the work is done here."""

    async def run(self, work: Callable[[], R], /) -> R:
        return work()


def with_services(token: str | None, outside: Outside, talk: Callable[[HttpServices], Awaitable[R]]) -> R:
    """What `talk` comes to. `token` is what the service is shown; without one it is asked without."""

    async def session() -> R:
        ca_file, clock = outside.variable("OPSD_SERVICE_CA_FILE"), SystemClock()
        async with lent(token, ca_file=ca_file, files=outside.files, offload=_AtOnce(), clock=clock) as services:
            return await talk(services)

    return anyio.run(session)


def through_service(token: str | None, outside: Outside, look: Callable[[Transport], R]) -> R:
    """What `look`, which knows no event loop, comes to with a transport through the service of whatever it asks for."""

    async def talk(services: HttpServices) -> R:
        return await anyio.to_thread.run_sync(look, AskingTransport(services), abandon_on_cancel=True)

    return with_services(token, outside, talk)
