"""One service's connections, and one request over them: bounded in time and size, and never tried again here.

httpx's transport is used without its client: no cookies, no redirects, no proxies, and no credentials out of a URL.
What an answer's status says is `trouble`, and repeating a request `calls`.
"""

import ssl
from collections.abc import Mapping

import anyio
import httpx

from opsd.model.wire import FEATURES_HEADER
from opsd.services.message import Limits, Reply, Request, Trouble, invalid
from opsd.services.tokens import Token
from opsd.services.trouble import of_error, timed_out

CONNECTIONS_MAX = 32
KEEPALIVE_S = 4.0
"""Shorter than any server's: uvicorn closes a connection that has been idle for 5 s."""
_KEPT_MAX = 4


class Way:
    """The connections to the service at `base_url`."""

    def __init__(self, base_url: str, context: ssl.SSLContext, limits: Limits) -> None:
        self.base_url = base_url
        self._limits = limits
        self._transport = httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            http2=False,
            limits=httpx.Limits(
                max_connections=CONNECTIONS_MAX, max_keepalive_connections=_KEPT_MAX, keepalive_expiry=KEEPALIVE_S
            ),
            retries=0,
        )

    async def once(self, request: Request, token: Token | None, limit_s: float) -> Reply | Trouble:
        """The whole answer to one request, or what kept it from coming within `limit_s`."""
        progress = _Progress()
        outcome: Reply | Trouble | None = None
        with anyio.move_on_after(limit_s):
            try:
                outcome = await self._ask(self._made(request, token, progress))
            except httpx.ConnectTimeout:
                return timed_out(self.base_url, self._limits.connect_s, is_sent=False)
            except Exception as error:  # noqa: BLE001 whatever the libraries below come up with, trouble is an answer
                return of_error(error, self.base_url, is_sent=progress.is_sent, is_stale=progress.is_stale)
        return outcome or timed_out(self.base_url, limit_s, is_sent=progress.is_sent)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _made(self, request: Request, token: Token | None, progress: "_Progress") -> httpx.Request:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "opsd"}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if token is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
            headers["X-Ops-Token"] = token.reveal()
        if request.trace_id and request.trace_id.isascii() and request.trace_id.isprintable():
            headers["X-Trace-Id"] = request.trace_id
        if not request.wait_s or not request.is_repeatable:
            # Who does not wait for news comes back late: an open connection may keep the sprite awake until then.
            headers["Connection"] = "close"
        return httpx.Request(
            request.method,
            f"{self.base_url}{request.target}",
            content=request.body,
            headers=headers,
            extensions={"timeout": {"connect": self._limits.connect_s}, "trace": progress.note},
        )

    async def _ask(self, request: httpx.Request) -> Reply | Trouble:
        response = await self._transport.handle_async_request(request)
        try:
            return await self._whole(response)
        finally:
            await response.aclose()

    async def _whole(self, response: httpx.Response) -> Reply | Trouble:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            return invalid(f"{self.base_url} answers in an encoding that was not asked for", word="encoded")
        pieces: list[bytes] = []
        size_bytes = 0
        async for piece in response.aiter_raw():
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes > self._limits.answer_bytes:
                problem = f"{self.base_url} answers with more than {self._limits.answer_bytes} bytes"
                return invalid(problem, pieces[0], word="too_large")
        announced = response.headers.get(FEATURES_HEADER)
        return Reply(
            status=response.status_code,
            body=b"".join(pieces),
            features=None if announced is None else frozenset(announced.split()),
            retry_after=response.headers.get("Retry-After"),
        )


class _Progress:
    """How far a request came, as its connection tells. Nothing is sent before the step that is listened for here."""

    def __init__(self) -> None:
        self.is_sent = False
        self._is_new = False
        self._is_answered = False

    @property
    def is_stale(self) -> bool:
        """Whether the request went out on a connection kept from before, and nothing came back."""
        return self.is_sent and not self._is_new and not self._is_answered

    async def note(self, step: str, _: Mapping[str, object]) -> None:
        if step == "connection.connect_tcp.started":
            self._is_new = True
        elif step == "http11.send_request_headers.started":
            self.is_sent = True
        elif step == "http11.receive_response_headers.complete":
            self._is_answered = True
