"""The ways to all services: one each, made when needed and closed when idle.

One for each service, because in httpx a request walks every connection that its transport holds: with a thousand hosts
in one of them that costs thirty times what the request does.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import httpx

from opsd.model.observation import UnreachableCause
from opsd.ports import Clock
from opsd.services.message import Limits, Trouble, one_line
from opsd.services.trust import Trust
from opsd.services.way import KEEPALIVE_S, Way

_CLOSE_S = 1.0


class _Held:
    """A way, how many requests are on it, and since when there are none."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.users = 0
        self.idle_s = 0.0
        self.is_retired = False


class Ways:
    """By base URL. Those that nobody uses are in the order in which they fell idle."""

    def __init__(self, trust: Trust, limits: Limits, clock: Clock) -> None:
        self._trust = trust
        self._limits = limits
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._idle: OrderedDict[str, _Held] = OrderedDict()
        self._leaving: list[Way] = []

    @asynccontextmanager
    async def taken(self, base_url: str) -> AsyncIterator[Way | Trouble]:
        """The way to that service; trouble where there can be none."""
        held = self._held.get(base_url)
        if held is None:
            made = self._made(base_url)
            if isinstance(made, Trouble):
                yield made
                return
            held = self._held[base_url] = _Held(made)
        self._idle.pop(base_url, None)
        held.users += 1
        try:
            yield held.way
        finally:
            held.users -= 1
            self._given_back(base_url, held)
            await self.tidy()

    @asynccontextmanager
    async def fresh(self, base_url: str) -> AsyncIterator[Way | Trouble]:
        """One for a single request, without any connection from before."""
        made = self._made(base_url)
        try:
            yield made
        finally:
            if isinstance(made, Way):
                await _close(made)

    def retire(self, base_url: str) -> None:
        """Nobody is going to ask that service any more; requests under way end as they would."""
        held = self._held.pop(base_url, None)
        if held is not None:
            self._idle.pop(base_url, None)
            held.is_retired = True
            if not held.users:
                self._leaving.append(held.way)

    async def tidy(self) -> None:
        """Close what has been idle for longer than its connections last."""
        oldest_s = self._clock.monotonic() - KEEPALIVE_S
        while self._idle:
            base_url, held = next(iter(self._idle.items()))
            if held.idle_s > oldest_s and len(self._idle) <= self._limits.idle_max:
                break
            del self._idle[base_url], self._held[base_url]
            self._leaving.append(held.way)
        while self._leaving:
            await _close(self._leaving.pop())

    async def aclose(self) -> None:
        """Close every one that is not on a request."""
        for base_url in list(self._held):
            self.retire(base_url)
        await self.tidy()

    def _given_back(self, base_url: str, held: _Held) -> None:
        if held.users:
            return
        if held.is_retired:
            self._leaving.append(held.way)
        else:
            held.idle_s = self._clock.monotonic()
            self._idle[base_url] = held

    def _made(self, base_url: str) -> Way | Trouble:
        fault = _fault(base_url)
        if fault is not None:
            return Trouble("bad_url", fault, UnreachableCause.SERVICE_UNREACHED, is_sent=False)
        try:
            return Way(base_url, self._trust.context(base_url), self._limits)
        except OSError as error:
            problem = (
                f"the authorities to trust cannot be read from the CA file: {one_line(error.strerror or str(error))}"
            )
            return Trouble("no_trust", problem, UnreachableCause.SERVICE_CERTIFICATE, is_sent=False)


async def _close(way: Way) -> None:
    # Who was cancelled closes all the same, but does not wait for a peer that does not take part.
    with anyio.move_on_after(_CLOSE_S, shield=True), suppress(OSError, httpx.HTTPError):
        await way.aclose()


def _fault(base_url: str) -> str | None:
    """Why this cannot be a service's base URL. What may hold a password is not repeated."""
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, UnicodeError):
        return "its base URL is none; it must look like https://sprite.example:8787"
    if url.userinfo:
        return "its base URL holds a user or a password; name a token instead"
    is_place = url.scheme in ("http", "https") and url.host and 0 < (url.port or 1) < 65_536
    if not is_place or url.query or url.fragment:
        return f"its base URL {one_line(base_url)} is none that can be asked; it must look like https://sprite.example:8787"
    return None
