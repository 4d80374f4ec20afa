"""One look through a service for one caller, with a token of that caller's: nothing of either is kept.

Loops that are asked again and again have `opsd.services.http`, which is what this goes through.
"""

from opsd.model.service import ServiceAnswer
from opsd.ports import Ask, Clock, Files, Offload
from opsd.services.http import HttpServices
from opsd.services.tokens import DEFAULT_NAME, Tokens
from opsd.services.trust import Trust


async def look_once(
    ask: Ask, token: str | None, *, ca_file: str | None, files: Files, offload: Offload, clock: Clock
) -> ServiceAnswer:
    """What the service of `ask.ref`, which names no token, says; without one it is asked all the same."""
    variables = {} if token is None else {DEFAULT_NAME: token}
    tokens = Tokens(files, offload, folders=(), variables=variables)
    services = HttpServices(trust=Trust(ca_file), tokens=tokens, clock=clock, offload=offload)
    try:
        return await services.observe(ask, known=None, wait_s=0.0)
    finally:
        await services.aclose()
