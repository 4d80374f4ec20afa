"""A call: one request, tried again where that can help and do no harm, within one deadline.

One attempt is `way`, what an answer's status says `trouble`. Source: control-and-service 10; for its hazard C4 other
answers are tried again here than there.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import anyio
from msgspec.structs import replace

from opsd.model.observation import UnreachableCause
from opsd.model.run import ServiceRef
from opsd.ports import Clock
from opsd.services.message import Called, Limits, Reply, Request, Trouble
from opsd.services.tokens import Token, Tokens
from opsd.services.trouble import of_status
from opsd.services.way import Way
from opsd.services.ways import Ways

STALE_MAX = 4
"""Connections closed by the service while they were kept cost no attempt; more than these cannot have been kept."""


class Calls:
    """`jitter` is from 0 up to 1."""

    def __init__(
        self, ways: Ways, tokens: Tokens, limits: Limits, clock: Clock, jitter: Callable[[], float] = random.random
    ) -> None:
        self._ways = ways
        self._tokens = tokens
        self._limits = limits
        self._clock = clock
        self._jitter = jitter

    async def call(self, service: ServiceRef, request: Request) -> Called:
        """What the request comes to, after at most the service's `retry_attempts`.

        A request that is not repeatable is tried again only while nothing of it can have been received.
        """
        began_s = self._clock.monotonic()
        taken = self._ways.taken if request.is_repeatable else self._ways.fresh
        async with taken(service.base_url) as way:
            if isinstance(way, Trouble):
                return Called(trouble=way, codes=(way.word,))
            token = await self._token(service.token_env)
            if isinstance(token, Trouble):
                return Called(trouble=token, codes=(token.word,))
            ends_s = began_s + self._limits.total_s + request.wait_s
            called = await self._repeated(service, way, request, token, ends_s)
        return replace(called, took_s=self._clock.monotonic() - began_s)

    async def _repeated(
        self, service: ServiceRef, way: Way, request: Request, token: Token | None, ends_s: float
    ) -> Called:
        called = Called()
        is_read_anew = False
        while True:
            called = await self._attempt(way, request, token, ends_s, called)
            if called.trouble is None:
                return called
            if called.answered is not None and called.answered.status == 401 and not is_read_anew:
                # Who is refused for the token was not listened to: even what must not be sent twice may be repeated.
                is_read_anew = True
                anew = await self._token(service.token_env, anew=True)
                if isinstance(anew, Token) and anew != token:
                    token = anew
                    continue
            may_repeat = request.is_repeatable or not called.trouble.is_sent
            if not (called.trouble.passes and may_repeat and called.attempts < service.retry_attempts):
                return called
            resumes_s = self._clock.monotonic() + self._pause_s(service, called)
            if resumes_s >= ends_s:
                return called
            await self._clock.sleep_until(resumes_s)
            request = request.again or request

    async def _attempt(self, way: Way, request: Request, token: Token | None, ends_s: float, before: Called) -> Called:
        """`before` with one attempt more."""
        limit_s = (request.patience_s or self._limits.answer_s) + request.wait_s
        outcome: Reply | Trouble | None = None
        is_sent, stale = before.is_sent, 0
        while outcome is None or (isinstance(outcome, Trouble) and outcome.is_stale and stale <= STALE_MAX):
            outcome = await way.once(request, token, max(0.0, min(limit_s, ends_s - self._clock.monotonic())))
            is_sent = is_sent or isinstance(outcome, Reply) or outcome.is_sent
            stale += 1
        reply = outcome if isinstance(outcome, Reply) else None
        trouble = outcome if isinstance(outcome, Trouble) else of_status(outcome, way.base_url)
        return Called(
            reply=reply if trouble is None else None,
            trouble=trouble,
            answered=reply,
            attempts=before.attempts + 1,
            codes=(*before.codes, outcome.word if isinstance(outcome, Trouble) else str(outcome.status)),
            is_sent=is_sent,
            retry_after_s=None if reply is None else self._asked_s(reply),
        )

    def _pause_s(self, service: ServiceRef, called: Called) -> float:
        """Full jitter below a ceiling that doubles, and at least what the service asks for."""
        ceiling_s = min(self._limits.pause_longest_s, service.retry_backoff_s * 2.0 ** (called.attempts - 1))
        return max(self._jitter() * ceiling_s, called.retry_after_s or 0.0)

    async def _token(self, name: str | None, *, anew: bool = False) -> Token | Trouble | None:
        with anyio.move_on_after(self._limits.connect_s):
            return await (self._tokens.again(name) if anew else self._tokens.get(name))
        problem = f"the token {name} could not be read within {self._limits.connect_s:g} s"
        return Trouble("no_token", problem, UnreachableCause.SERVICE_UNAUTHORIZED, is_sent=False)

    def _asked_s(self, reply: Reply) -> float | None:
        """For how long the service asks to be left alone, as far as it is believed."""
        said = reply.retry_after
        if not said:
            return None
        try:
            asked_s = float(said) if said.isdecimal() else self._until_s(parsedate_to_datetime(said))
        except (ValueError, OverflowError):
            return None
        return min(max(0.0, asked_s), self._limits.retry_after_max_s)

    def _until_s(self, moment: datetime) -> float:
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return (aware - self._clock.now()).total_seconds()
