"""`POST /ops/pages`: what the runtime left in its files, as the control socket shows it.

A manager elsewhere cannot read them, and whoever looks at a loop through it should see what he would see here.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from opsd.api import endpoint, handlers, replies
from opsd.api.endpoint import Services
from opsd.api.peer import Peer
from opsd.model.ids import LoopId
from opsd.model.wire import PageKind, PageRequest
from opsd.protocol import EventsQuery, LogsQuery, VerifyQuery
from opsd.sprite.service.calls import Call, Sprite, converted, json_object, loop_of
from opsd.sprite.service.errors import INVALID_REQUEST, ServiceError

_Handle = Callable[[Services, endpoint.Call[Any, None]], Awaitable[msgspec.Struct]]
_PAGES: Final[Mapping[PageKind, tuple[type[msgspec.Struct], _Handle]]] = {
    PageKind.EVENTS: (EventsQuery, handlers.events),
    PageKind.LOGS: (LogsQuery, handlers.logs),
    PageKind.VERIFY: (VerifyQuery, handlers.verify),
}
_NOBODY: Final = Peer(0, 0, 0, frozenset())


async def page(sprite: Sprite, call: Call) -> Response:
    loop_id, kind, query = asked_page(call)
    handle = _PAGES[kind][1]
    services = sprite.services
    return replies.ok(await handle(services, endpoint.Call(loop_id, query, None, _NOBODY, services.clock.now())))


def asked_page(call: Call) -> tuple[LoopId, PageKind, msgspec.Struct]:
    """The loop, what is to be read of it, and the query of the control socket that stands for that.

    Raises:
        ServiceError: it makes no sense.
    """
    request = converted(json_object(call.body), PageRequest)
    loop_id = loop_of(request.loop_id)
    try:
        query = msgspec.convert(request.query, _PAGES[request.kind][0])
    except msgspec.ValidationError as error:
        problem = str(error).replace("`", "'")
        raise ServiceError(INVALID_REQUEST, f"query: {problem}") from None
    return loop_id, request.kind, VerifyQuery(loop=loop_id) if isinstance(query, VerifyQuery) else query
