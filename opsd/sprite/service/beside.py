"""The service where a daemon holds the home already: files are read here, whatever acts is handed on to the daemon.

Snapshots, events and looks come from the runtime's files, also while the daemon is away. Intents go to its desk over
its control socket, with their keys, so that an intent is the same one whichever of the two was asked for it.
"""

import signal
import socket
import uuid
from functools import partial
from typing import Final

import anyio
import anyio.abc
import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from opsd import logs
from opsd.api.errors import ApiError, ErrorCode
from opsd.api.replies import JSON
from opsd.clock import SystemClock
from opsd.disk import Disk
from opsd.exits import ExitCode
from opsd.listener import ListenerError, SocketInUse
from opsd.model.wire import WAIT_MAX_S, PageKind
from opsd.processes import ProcFs
from opsd.protocol import IntentReply, IntentRequest
from opsd.settings import Settings
from opsd.sprite.service import control, intents, pages, reading
from opsd.sprite.service.app import ENDPOINTS as SUPERVISED
from opsd.sprite.service.app import Endpoint, Handle, ServiceApp
from opsd.sprite.service.calls import Call, Watching, loop_of
from opsd.sprite.service.errors import REFUSED, ServiceError
from opsd.sprite.service.holder import HolderLink, loop_path
from opsd.sprite.service.limits import Limits
from opsd.sprite.service.listen import listening, serving
from opsd.sprite.service.observing import Observer
from opsd.sprite.service.oldkeys import OldKeys
from opsd.sprite.service.options import Options
from opsd.sprite.service.token import Token
from opsd.store.holder import live_holder
from opsd.store.layout import Layout
from opsd.supervisor.offload import Threads
from opsd.systemd import Systemd
from opsd.transports.local import LocalTransport
from opsd.transports.tail import Limits as TailLimits

LOOK_EVERY_S: Final = 1.0
"""How late news may be for who waits for them: nobody here is told when a file changes."""
_ANSWER_S: Final = 20.0
_READ_THREADS: Final = 8
_PATHS: Final = {PageKind.EVENTS: "events", PageKind.LOGS: "logs"}
_NOT_DONE: Final = frozenset(
    {
        ErrorCode.UNKNOWN_LOOP,
        ErrorCode.LOOP_NOT_MANAGED,
        ErrorCode.IDEMPOTENCY_CONFLICT,
        ErrorCode.STORE_UNWRITABLE,
        ErrorCode.NOT_PERMITTED,
    }
)
"""With these a request was not taken in; the contract's client must neither repeat it nor take it for done."""


class Beside(Watching, frozen=True, kw_only=True):
    """`holder` leads to the daemon."""

    holder: HolderLink


async def healthz(sprite: Beside, call: Call) -> Response:
    await sprite.holder.ask("GET", "/healthz", limit_s=_ANSWER_S)
    return Response(b'{"ok":true}', media_type=JSON)


async def ordered(sprite: Beside, call: Call) -> Response:
    asked = await control.asked_for(sprite, call)
    if isinstance(asked, Response):
        return asked
    try:
        reply = await _submitted(sprite, asked.loop_id, replace(asked.request, wait_s=asked.wait_s))
    except ApiError as error:
        if error.code not in _NOT_DONE:
            raise
        raise ServiceError(REFUSED, error.message, reason=error.code) from None
    return control.answer(reply.intent, replayed=reply.replayed, trace_id=asked.trace_id, call=call)


async def submit(sprite: Beside, call: Call) -> Response:
    asked = intents.requested(call)
    loop_id = loop_of(asked.loop_id)
    named = msgspec.to_builtins(asked)
    del named["loopId"]
    heard = await sprite.holder.ask(
        "POST",
        loop_path(loop_id, "intents"),
        body=msgspec.json.encode(named),
        limit_s=asked.wait_s + _ANSWER_S,
    )
    return Response(heard.body, status_code=heard.status, media_type=JSON)


async def show(sprite: Beside, call: Call) -> Response:
    query = intents.query_of(call)
    heard = await sprite.holder.ask(
        "GET", f"/v1/intents/{call.id}", query=_spoken(query), limit_s=query.wait + _ANSWER_S
    )
    return Response(heard.body, status_code=heard.status, media_type=JSON)


async def acknowledge(sprite: Beside, call: Call) -> Response:
    body = msgspec.json.encode(intents.word_of(call))
    heard = await sprite.holder.ask("POST", f"/v1/intents/{call.id}/ack", body=body, limit_s=_ANSWER_S)
    return Response(heard.body, status_code=heard.status, media_type=JSON)


async def page(sprite: Beside, call: Call) -> Response:
    loop_id, kind, query = pages.asked_page(call)
    path = "/v1/verify" if kind is PageKind.VERIFY else loop_path(loop_id, _PATHS[kind])
    heard = await sprite.holder.ask("GET", path, query=_spoken(query), limit_s=WAIT_MAX_S + _ANSWER_S)
    return Response(heard.body, status_code=heard.status, media_type=JSON)


_HANDLES: Final[dict[str, Handle[Beside]]] = {
    "GET /healthz": healthz,
    "GET /ops/snapshot": reading.snapshot,
    "GET /ops/events": reading.events,
    "POST /ops/control": ordered,
    "POST /ops/observe": intents.observe,
    "POST /ops/intents": submit,
    "GET /ops/intents/{id}": show,
    "POST /ops/intents/{id}/ack": acknowledge,
    "POST /ops/pages": page,
}
ENDPOINTS: Final[tuple[Endpoint[Beside], ...]] = tuple(
    Endpoint(
        each.method,
        each.path,
        _HANDLES[f"{each.method} {each.path}"],
        each.says,
        waits=each.waits,
        acts=each.acts,
        ours=each.ours,
    )
    for each in SUPERVISED
)
"""The same as where the service supervises by itself."""


def serve_beside(given: Settings, options: Options, token: Token, *, journal: str | None, systemd: Systemd) -> ExitCode:
    """Until SIGTERM or SIGINT."""
    logs.configure(level=given.log_level, form=given.log_format, journal_stream=journal)
    try:
        sock = listening(options.host, options.port)
    except ListenerError as error:
        code = ExitCode.LOCKED if isinstance(error, SocketInUse) else ExitCode.UNUSABLE
        logs.logger().error("daemon.refused", problem=str(error), code=int(code))
        return code
    try:
        anyio.run(_serve, given, sock, token, systemd)
    finally:
        sock.close()
    return ExitCode.OK


async def _serve(given: Settings, sock: socket.socket, token: Token, systemd: Systemd) -> None:
    files, layout, clock, stopping = Disk(), Layout(given.repo), SystemClock(), anyio.Event()
    reads = Threads(_READ_THREADS, may_be_left_behind=True)
    limits = TailLimits(given.bytes_per_pass, given.events_per_pass, given.line_bytes)
    observer = Observer(
        LocalTransport(files, ProcFs(), limits=limits),
        repo_path=layout.home,
        service_id=uuid.uuid4().hex,
        offload=reads,
        clock=clock,
        stopping=stopping,
    )
    link = HolderLink(partial(live_holder, layout.lock), reads=reads)
    sprite = Beside(
        repo_path=layout.home,
        files=files,
        old_keys=OldKeys(files, layout),
        reads=reads,
        limits=Limits(),
        clock=clock,
        stopping=stopping,
        observer=observer,
        holder=link,
    )
    app = ServiceApp(sprite, token, ENDPOINTS)
    try:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with anyio.create_task_group() as tasks:
                await tasks.start(serving, sock, app)
                tasks.start_soon(_look_again, observer, clock, systemd, name="looks")
                address, holder = sock.getsockname(), live_holder(layout.lock)
                logs.logger().info(
                    "sprite.beside",
                    host=address[0],
                    port=address[1],
                    token=token.is_needed,
                    home=layout.home,
                    holder=holder.pid if holder is not None else None,
                )
                systemd.notify("READY=1", "STATUS=serving beside the daemon that holds the home")
                async for _ in signals:
                    break
                systemd.notify("STOPPING=1")
                stopping.set()
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await link.aclose()


async def _look_again(observer: Observer, clock: SystemClock, systemd: Systemd) -> None:
    while True:
        await clock.sleep_until(clock.monotonic() + LOOK_EVERY_S)
        observer.passed_all()
        if systemd.watchdog:
            systemd.notify("WATCHDOG=1")


async def _submitted(sprite: Beside, loop_id: str, request: IntentRequest) -> IntentReply:
    heard = await sprite.holder.ask(
        "POST",
        loop_path(loop_id, "intents"),
        body=msgspec.json.encode(request),
        limit_s=request.wait_s + _ANSWER_S,
    )
    return heard.read(IntentReply)


def _spoken(query: msgspec.Struct) -> dict[str, object]:
    """As it stands behind the `?`; what is not given is left out."""
    given = msgspec.to_builtins(query)
    return {name: value for name, value in given.items() if value is not None}
