"""Talking to a service from a command that otherwise knows no event loop: one `anyio.run`, and what came of it.

Imported by whoever really talks: httpx and anyio take longer to load than a local pass takes as a whole.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from opsd.batch.command import Outside
from opsd.clock import SystemClock
from opsd.services.http import HttpServices
from opsd.services.tokens import DEFAULT_NAME, Tokens
from opsd.services.trust import Trust

R = TypeVar("R")


class _AtOnce:
    """`opsd.ports.Offload` where nobody else waits: the work is done here."""

    async def run(self, work: Callable[[], R], /) -> R:
        return work()


def with_services(token: str | None, outside: Outside, talk: Callable[[HttpServices], Awaitable[R]]) -> R:
    """What `talk` comes to. `token` is what the service is shown; without one it is asked without."""

    async def session() -> R:
        offload = _AtOnce()
        variables = {DEFAULT_NAME: token} if token is not None else {}
        tokens = Tokens(outside.files, offload, folders=(), variables=variables)
        trust = Trust(outside.variable("OPSD_SERVICE_CA_FILE"))
        services = HttpServices(trust=trust, tokens=tokens, clock=SystemClock(), offload=offload)
        try:
            return await talk(services)
        finally:
            await services.aclose()

    return anyio.run(session)
