"""A transport through services for a thread that knows no event loop: it waits while the loop, which began it, asks."""

from collections.abc import Sequence
from datetime import datetime

import anyio.from_thread

from opsd.model.observation import Observation
from opsd.model.run import LoopRef
from opsd.ports import Ask, Services


class AskingTransport:
    """`opsd.ports.Transport`, for a thread of anyio's; each look is a request of its own."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def observe(self, asks: Sequence[Ask], now: datetime) -> list[Observation]:
        return [anyio.from_thread.run(self._look, ask) for ask in asks]

    def forget(self, ref: LoopRef) -> None:
        self._services.forget(ref)

    async def _look(self, ask: Ask) -> Observation:
        observation = (await self._services.observe(ask, known=None, wait_s=0.0)).observation
        assert observation is not None  # only who knows a digest may hear that there is nothing new
        return observation
