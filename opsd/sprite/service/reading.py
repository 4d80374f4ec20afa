"""`GET /healthz`, `/ops/snapshot` and `/ops/events`: the contract's. Source: control-and-service 9.3.

What the envelopes say is `opsd.app.envelopes`; here they become answers, long ones in pieces.
"""

from collections.abc import AsyncIterator, Iterator
from functools import partial

import msgspec
from starlette.responses import Response, StreamingResponse

from opsd.api.replies import JSON
from opsd.app import envelopes
from opsd.app.envelopes import EnvelopeError, EventPage
from opsd.core.instants import whole
from opsd.model.envelopes import EnvelopeSource, EventsCursor
from opsd.sprite.service.calls import Call, Ground, Sprite, loop_of, whole_number
from opsd.sprite.service.errors import OVERLOADED, RUNTIME_ERROR, ServiceError


class _EventsHead(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    ok: bool
    schema_version: str
    source: EnvelopeSource
    trace_id: str | None = None


async def healthz(sprite: Sprite, call: Call) -> Response:
    """The contract's word where every part is in time; else 503: nobody should take a blind service for a sound one."""
    daemon = sprite.services.fleet.daemon_status(sprite.clock.now())
    late = [part.name for part in daemon.subsystems if not part.ok]
    if late:
        raise ServiceError(OVERLOADED, f"not in time: {', '.join(late)}; see the service's log", reason="unwell")
    return Response(b'{"ok":true}', media_type=JSON)


async def snapshot(sprite: Ground, call: Call) -> Response:
    loop_id = loop_of(call.query.get("loopId"))
    now = sprite.clock.now()

    def read() -> bytes:
        return msgspec.json.encode(
            envelopes.snapshot(sprite.files, sprite.repo_path, loop_id, now, trace_id=call.trace_id)
        )

    try:
        return Response(await sprite.reads.run(read), media_type=JSON)
    except EnvelopeError as error:
        raise _runtime_error(error) from None


async def events(sprite: Ground, call: Call) -> Response:
    loop_id = loop_of(call.query.get("loopId"))
    cursor, events_max = whole_number(call, "cursor"), whole_number(call, "maxEvents")
    now = sprite.clock.now()
    try:
        page = await sprite.reads.run(
            partial(
                EventPage,
                sprite.files,
                sprite.repo_path,
                loop_id,
                now,
                cursor=cursor,
                events_max=events_max,
                trace_id=call.trace_id,
            )
        )
        head = msgspec.json.encode(_EventsHead(True, "v1", page.source, call.trace_id))[:-1] + b',"events":['
        position = EventsCursor(page.last_line, page.line_count, whole(now))
        tail = b'],"cursor":' + msgspec.json.encode(position) + b"}"
        if page.size_bytes <= sprite.limits.page_bytes or not call.takes_pieces:
            body = await sprite.reads.run(lambda: b"".join(page.pieces()))
            return Response(head + body + tail, media_type=JSON)
    except EnvelopeError as error:
        raise _runtime_error(error) from None
    return StreamingResponse(_in_pieces(sprite, head, page.pieces(), tail), media_type=JSON)


async def _in_pieces(sprite: Ground, head: bytes, pieces: Iterator[bytes], tail: bytes) -> AsyncIterator[bytes]:
    """A log that is not any more what it was breaks the answer off: half of one must not look whole."""
    yield head
    while (piece := await sprite.reads.run(lambda: next(pieces, None))) is not None:
        yield piece
    yield tail


def _runtime_error(error: EnvelopeError) -> ServiceError:
    return ServiceError(RUNTIME_ERROR, str(error), reason=error.reason.value)
