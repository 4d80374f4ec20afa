"""Services for one caller, asked with a token of that caller's: nothing of either is kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opsd.ports import Clock, Files, Offload
from opsd.services.http import HttpServices
from opsd.services.tokens import DEFAULT_NAME, Tokens
from opsd.services.trust import Trust


@asynccontextmanager
async def lent(
    token: str | None, *, ca_file: str | None, files: Files, offload: Offload, clock: Clock
) -> AsyncIterator[HttpServices]:
    """For references that name no token. Without one they are asked all the same."""
    variables = {} if token is None else {DEFAULT_NAME: token}
    tokens = Tokens(files, offload, folders=(), variables=variables)
    services = HttpServices(trust=Trust(ca_file), tokens=tokens, clock=clock, offload=offload)
    try:
        yield services
    finally:
        await services.aclose()
