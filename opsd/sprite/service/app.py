"""The service as one ASGI application: who may ask, how much, which endpoint it is, and one form for every refusal.

The order of the checks is the contract's: token, path, body, parameters, work. Source: control-and-service 9.2 to 9.5.
"""

import re
import traceback
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

import anyio
import msgspec
from starlette.datastructures import Headers, State
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from opsd.api.errors import ApiError, ErrorCode
from opsd.api.replies import JSON
from opsd.logs import Log, logger
from opsd.model.wire import FEATURES, FEATURES_HEADER, WAIT_MAX_S
from opsd.sprite.service import control, intents, pages, reading
from opsd.sprite.service.calls import Call, Ground, Sprite, read_call
from opsd.sprite.service.errors import (
    INVALID_REQUEST,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    OVERLOADED,
    RATE_LIMITED,
    UNAUTHORIZED,
    ServiceError,
    from_api,
)
from opsd.sprite.service.limits import Allowance
from opsd.sprite.service.token import Token

G = TypeVar("G", bound=Ground)
G_contra = TypeVar("G_contra", bound=Ground, contravariant=True)


class Handle(Protocol[G_contra]):
    def __call__(self, sprite: G_contra, call: Call, /) -> Awaitable[Response]: ...


class Endpoint(msgspec.Struct, Generic[G], frozen=True):
    """`{id}` in the path stands for an intent's. `waits`: an answer may be held back for `WAIT_MAX_S`.

    `acts`: it may change something, which is worth a line in the log. `ours`: the contract does not know it.
    """

    method: str
    path: str
    handle: Handle[G]
    says: str
    waits: bool = False
    acts: bool = False
    ours: bool = True


ENDPOINTS: Final[tuple[Endpoint[Sprite], ...]] = (
    Endpoint("GET", "/healthz", reading.healthz, "Whether every part of the service is in time.", ours=False),
    Endpoint(
        "GET",
        "/ops/snapshot",
        reading.snapshot,
        "The artifacts of the loop `loopId` as they are: a `loop_run_snapshot`.",
        ours=False,
    ),
    Endpoint(
        "GET",
        "/ops/events",
        reading.events,
        "The events of the loop `loopId` behind line `cursor`, at most `maxEvents` (0: all): `loop_run_event`s.",
        ours=False,
    ),
    Endpoint(
        "POST",
        "/ops/control",
        control.control,
        "Cancel, approve or reject, and what came of it. `expect` (what the operator saw) and `wait` (s) are ours.",
        waits=True,
        acts=True,
        ours=False,
    ),
    Endpoint(
        "POST",
        "/ops/observe",
        intents.observe,
        "A look at a loop with a cursor, as a manager's own would be; held back while there is no news.",
        waits=True,
    ),
    Endpoint("POST", "/ops/intents", intents.submit, "Take an intent in, under its key.", waits=True, acts=True),
    Endpoint("GET", "/ops/intents/{id}", intents.show, "An intent as it stands, or once `until` is true.", waits=True),
    Endpoint("POST", "/ops/intents/{id}/ack", intents.acknowledge, "Settle an ambiguous intent by a word.", acts=True),
    Endpoint(
        "POST", "/ops/pages", pages.page, "Events, role logs or a verification, as `opsctl` shows them.", waits=True
    ),
)
_INTENT: Final = re.compile(r"/ops/intents/(?P<id>[A-Za-z0-9_-]{1,128})(?P<ack>/ack)?\Z")


class ServiceApp(Generic[G]):
    """Answers whoever has the token. `features` are announced: what there is beyond the contract."""

    def __init__(
        self, sprite: G, token: Token, endpoints: Sequence[Endpoint[G]], *, features: Sequence[str] = FEATURES
    ) -> None:
        self.state = State({"stopping": sprite.stopping})
        self._sprite = sprite
        self._by_path = {(endpoint.method, endpoint.path): endpoint for endpoint in endpoints}
        self._announced = [(FEATURES_HEADER.lower().encode(), " ".join(features).encode())] if features else []
        self._token = token
        self._allowance = Allowance(sprite.limits)
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        clock = self._sprite.clock
        began_s, status = clock.monotonic(), 0
        peer = str(scope["client"][0]) if scope.get("client") else "?"
        log = logger().bind(method=scope["method"], path=scope["path"], peer=peer)

        async def announced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._announced]
            await send(message)

        self._running += 1
        trace, refused = None, None
        try:
            try:
                response = await self._answer(scope, receive, peer)
            except ServiceError as error:
                refused = error
                response = _refusal(error)
            with anyio.fail_after(self._sprite.limits.send_s):
                await response(scope, receive, announced)
        except Exception:
            trace = traceback.format_exc()
            if status:
                raise  # the answer has begun, and must not look whole
            await _refusal(_FAILED)(scope, receive, announced)
        finally:
            self._running -= 1
            found = self._by_path.get((scope["method"], _without_id(scope["path"])[0]))
            acts = found is not None and found.acts
            _tell(log, status, refused, trace, round((clock.monotonic() - began_s) * 1_000, 1), acts=acts)

    async def _answer(self, scope: Scope, receive: Receive, peer: str) -> Response:
        limits = self._sprite.limits
        self._admit(Headers(scope=scope), peer)
        if self._running > limits.running:
            raise ServiceError(OVERLOADED, f"{limits.running} requests are being answered already", retry_after_s=1)
        endpoint, path_id = self._endpoint(scope["method"], scope["path"])
        request = Request(scope, receive)
        try:
            with anyio.fail_after(limits.body_s):
                call = await read_call(request, path_id, peer)
        except TimeoutError:
            problem = f"the body did not arrive within {limits.body_s:g} s"
            raise ServiceError(INVALID_REQUEST, problem, status=408) from None
        limit_s = limits.request_s + (WAIT_MAX_S if endpoint.waits else 0.0)
        try:
            with anyio.fail_after(limit_s):
                return await endpoint.handle(self._sprite, call)
        except ApiError as error:
            raise from_api(error) from None
        except TimeoutError:
            problem = f"it took longer than {limit_s:g} s; it may still be done"
            raise ServiceError(ErrorCode.TIMED_OUT, problem, status=504) from None

    def _endpoint(self, method: str, path: str) -> tuple[Endpoint[G], str]:
        """The endpoint, and the id in its path.

        Raises:
            ServiceError: there is none.
        """
        if method not in ("GET", "POST"):
            raise ServiceError(NOT_IMPLEMENTED, f"{method[:20]!a} is not served; GET and POST are")
        path, path_id = _without_id(path)
        endpoint = self._by_path.get((method, path))
        if endpoint is None:
            raise ServiceError(NOT_FOUND, f"there is no {method} {path[:200]!a}")
        return endpoint, path_id

    def _admit(self, headers: Headers, peer: str) -> None:
        """
        Raises:
            ServiceError: the token is not among what was sent, or the peer asks too often.
        """
        is_known = not self._token.is_needed or self._token.is_among(_presented(headers))
        # Who has no token does not eat up what those have who come from the same address.
        wait_s = self._allowance.take(f"{peer} {is_known}", self._sprite.clock.monotonic())
        if wait_s > 0:
            raise ServiceError(
                RATE_LIMITED, "too many requests from this address; leave some time between them", retry_after_s=wait_s
            )
        if not is_known:
            raise ServiceError(UNAUTHORIZED, "send the service's token as Authorization: Bearer, or as X-Ops-Token")


_FAILED: Final = ServiceError(
    ErrorCode.INTERNAL, "the service failed at this request; its log says where, under 'sprite.request'", status=500
)


def _presented(headers: Headers) -> Iterator[bytes]:
    """Every token that came with the request."""
    for value in headers.getlist("authorization"):
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            yield token.strip().encode("latin-1")
    for value in headers.getlist("x-ops-token"):
        yield value.strip().encode("latin-1")


def _without_id(path: str) -> tuple[str, str]:
    found = _INTENT.match(path)
    return (path, "") if found is None else (f"/ops/intents/{{id}}{found['ack'] or ''}", found["id"])


def _refusal(error: ServiceError) -> Response:
    headers: Mapping[str, str] = {}
    if error.retry_after_s is not None:
        headers = {"Retry-After": str(max(1, round(error.retry_after_s)))}
    elif error.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    return Response(error.body(), status_code=error.status, media_type=JSON, headers=dict(headers))


def _tell(
    log: Log, status: int, refused: ServiceError | None, trace: str | None, took_ms: float, *, acts: bool
) -> None:
    """Acts and refusals are worth a line, reads only to whoever looks closely."""
    if refused is not None:
        log = log.bind(refused=refused.words.reason or refused.words.code)
    if trace is not None:
        log.error("sprite.request", status=status, took_ms=took_ms, trace=trace)
    elif status in (401, 429):
        log.warning("sprite.request", status=status, took_ms=took_ms)
    elif acts:
        log.info("sprite.request", status=status, took_ms=took_ms)
    else:
        log.debug("sprite.request", status=status, took_ms=took_ms)
