"""In front of every request: who asks, may they, and a line in the log. A peer nobody vouches for is refused."""

import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opsd.api import replies
from opsd.api.endpoint import Services
from opsd.api.errors import ApiError, ErrorCode
from opsd.api.peer import Peer, user_name
from opsd.logs import Log, logger

PEER_EXTENSION = "opsd.peer"
_FAILED = ApiError(ErrorCode.INTERNAL, "the daemon failed at this request; its log says where, under 'api.request'")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def peer_in(scope: Scope) -> Peer:
    """Who is connected.

    Raises:
        ApiError: nobody says so.
    """
    peer = scope.get("extensions", {}).get(PEER_EXTENSION)
    if not isinstance(peer, Peer):
        raise ApiError(
            ErrorCode.NO_PEER_IDENTITY,
            "the kernel gives no identity for this connection; connect to the daemon's Unix socket itself, not a relay",
        )
    return peer


class Gate:
    """ASGI middleware: refuses by identity and group, and logs writes with who asked, reads at debug level."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        is_write = scope["method"] not in _READS
        log = logger().bind(method=scope["method"], path=scope["path"])
        try:
            peer = peer_in(scope)
            log = log.bind(uid=peer.uid, pid=peer.pid)
            self._admit(peer, is_write=is_write)
        except ApiError as refused:
            log.warning("api.request", refused=refused.code)
            await replies.refusal(refused)(scope, receive, send)
            return
        if is_write:
            log = log.bind(user=await self._services.offload.run(lambda: user_name(peer.uid)))
        await self._answer(scope, receive, send, log, is_write=is_write)

    def _admit(self, peer: Peer, *, is_write: bool) -> None:
        access = self._services.access
        if access.may_write(peer) if is_write else access.may_read(peer):
            return
        verb, group = ("write", "operator") if is_write else ("read", "socket")
        raise ApiError(
            ErrorCode.NOT_PERMITTED,
            f"uid {peer.uid} may not {verb} here; ask for membership of the daemon's {group} group, and log in anew",
            uid=str(peer.uid),
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send, log: Log, *, is_write: bool) -> None:
        began_s = self._services.clock.monotonic()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        trace = None
        try:
            await self._app(scope, receive, observed)
        except Exception:  # noqa: BLE001  the boundary of one request: its fault is logged, the daemon goes on
            trace = traceback.format_exc()
            if not status:
                await replies.refusal(_FAILED)(scope, receive, observed)
        finally:
            took_ms = round((self._services.clock.monotonic() - began_s) * 1_000, 1)
            if trace is not None:
                log.error("api.request", status=status, took_ms=took_ms, trace=trace)
            elif is_write:
                log.info("api.request", status=status, took_ms=took_ms)
            else:
                log.debug("api.request", status=status, took_ms=took_ms)
