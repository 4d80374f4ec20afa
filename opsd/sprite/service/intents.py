"""`/ops/intents` and `/ops/observe`: what we add to the contract, announced by `X-Ops-Features`.

The records are those of the control socket, and so is what is done with them (`opsd.api.intents`): the sprite's desk is
the same desk, whoever asks it.
"""

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from opsd.api import intents as api
from opsd.api import replies
from opsd.model.wire import ObserveRequest
from opsd.protocol import AckRequest, IntentQuery, SpriteIntentRequest
from opsd.sprite.service.calls import Call, Sprite, Watching, converted, json_object, loop_of
from opsd.sprite.service.control import UNNAMED, actor_of
from opsd.sprite.service.errors import INVALID_REQUEST, ServiceError


async def observe(sprite: Watching, call: Call) -> Response:
    request = converted(json_object(call.body), ObserveRequest)
    loop_of(request.loop_id)
    return Response(await sprite.observer.answer(request), media_type=replies.JSON)


async def submit(sprite: Sprite, call: Call) -> Response:
    """202 while the intent is in flight, 200 once it is settled. A key may come in the header, as with `control`."""
    request = requested(call)
    return await api.submitted(sprite.services, loop_of(request.loop_id), request, actor_of(call))


async def show(sprite: Sprite, call: Call) -> Response:
    return replies.ok(await api.shown(sprite.services, call.id, query_of(call)))


async def acknowledge(sprite: Sprite, call: Call) -> Response:
    return replies.ok(await api.acknowledged(sprite.services, call.id, word_of(call), actor_of(call)))


def requested(call: Call) -> SpriteIntentRequest:
    """
    Raises:
        ServiceError: it makes no sense.
    """
    request = converted(json_object(call.body), SpriteIntentRequest)
    key, trace_id = request.idempotency_key or call.key, request.trace_id or call.trace_id
    return replace(request, by=request.by or UNNAMED, idempotency_key=key, trace_id=trace_id)


def query_of(call: Call) -> IntentQuery:
    """
    Raises:
        ServiceError: it makes no sense.
    """
    try:
        return msgspec.convert(dict(call.query), IntentQuery, strict=False)
    except msgspec.ValidationError as error:
        raise ServiceError(INVALID_REQUEST, str(error).replace("`", "'")) from None


def word_of(call: Call) -> AckRequest:
    """
    Raises:
        ServiceError: it makes no sense.
    """
    request = converted(json_object(call.body), AckRequest)
    return replace(request, by=request.by or UNNAMED)
