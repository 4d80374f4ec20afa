"""`POST /ops/control`: the contract's control request, carried out by the desk. Source: control-and-service 9.4 and 8.

A key is bound to its request and kept in the intent log alone, so that neither two requests at once nor a restart in
between do anything twice. How an outcome looks to a client that knows the contract alone:

- `confirmed`, `executed_unconfirmed`: 200. `ambiguous`: 409. `failed_command`: 500. All three are the contract's. A
  client that repeats the last two under the same key gets 200 with `replayed`, and what is known by then.
- not settled within `wait`: 409, or 202 for a client that knows `intents.v1`. So the answer comes before the client's
  own deadline, and under the same key it can go on waiting.
- `refused`, `expired`, or a key that stands for another request: 422. Nothing was done: a status that such a client
  neither repeats nor takes for done. A client that neither says what it saw nor knows `intents.v1` is refused only for
  a neighbour's sake, and in observe mode: the contract's control acts in any state of a loop.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import anyio
import msgspec
from starlette.responses import Response

from opsd.api.errors import ErrorCode
from opsd.api.replies import JSON
from opsd.app.desk import CannotRecord, DeskError, IdempotencyConflict
from opsd.core.intents.rows import exit_code, intent_row
from opsd.model.control import IntentRow
from opsd.model.ids import LoopId
from opsd.model.intent import DECISIONS, NEVER_EXECUTED, Actor, Fence, Intent, IntentKind
from opsd.model.wire import INTENTS, WAIT_MAX_S
from opsd.protocol import IntentRequest, Submitted, WaitFor
from opsd.sprite.service.calls import Call, Ground, Sprite, converted, json_object, loop_of
from opsd.sprite.service.errors import INVALID_REQUEST, REFUSED, ErrorWords, ServiceError
from opsd.sprite.service.oldkeys import OldAnswer
from opsd.supervisor.fleet import FleetError

ALLOWED: Final = frozenset({IntentKind.CANCEL, *DECISIONS})
UNNAMED: Final = "ops-service"
"""Who asked, where nobody says so."""
_STATUS: Final[Mapping[int, int]] = {0: 200, 1: 500, 2: 409}


class ControlBody(msgspec.Struct, frozen=True, rename="camel"):
    """`expect` and `wait` are ours: what the operator saw, and how many seconds the answer may take."""

    by: str | None = None
    note: str | None = None
    idempotency_key: str | None = None
    trace_id: str | None = None
    no_confirm: bool = False
    expect: Fence = Fence()
    wait: Annotated[float, msgspec.Meta(ge=0, le=WAIT_MAX_S)] = WAIT_MAX_S


class ControlReply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The contract's control response; `accepted`, `intent_id` and `error` are ours."""

    ok: bool
    accepted: bool = False
    exit_code: int
    result: IntentRow
    stderr: str = ""
    replayed: bool
    trace_id: str | None = None
    intent_id: str
    error: ErrorWords | None = None


class Asked(msgspec.Struct, frozen=True):
    """A control request in the desk's words, and for how long its answer may be held back."""

    loop_id: LoopId
    request: IntentRequest
    wait_s: float
    trace_id: str | None


async def control(sprite: Sprite, call: Call) -> Response:
    asked = await asked_for(sprite, call)
    if isinstance(asked, Response):
        return asked
    submitted = await _submitted(sprite, asked.loop_id, asked.request, actor_of(call))
    intent = submitted.intent
    if intent.is_in_flight:
        intent = await awaited(sprite, intent, asked.wait_s)
    return answer(intent, replayed=submitted.replayed, trace_id=asked.trace_id, call=call)


async def asked_for(sprite: Ground, call: Call) -> Asked | Response:
    """What is asked for, or what was answered when an earlier service was asked under the same key.

    Raises:
        ServiceError: it makes no sense.
    """
    given = json_object(call.body)
    loop_id = loop_of(text_of(given, "loopId"))
    kind = kind_of(given)
    body = converted({name: value for name, value in given.items() if value is not None}, ControlBody)
    key = body.idempotency_key or call.key
    trace_id = body.trace_id or call.trace_id
    if key and (old := await sprite.reads.run(lambda: sprite.old_keys.find(loop_id, key))) is not None:
        return old_answer(old, kind)
    request = converted(
        {
            "intent": kind,
            "by": (body.by or "").strip() or UNNAMED,
            "note": body.note or "",
            "idempotencyKey": key or None,
            "traceId": trace_id or None,
            "confirm": not body.no_confirm,
            "expect": msgspec.to_builtins(body.expect),
            "asContract": body.expect == Fence() and INTENTS not in call.features,
        },
        IntentRequest,
    )
    return Asked(loop_id, request, body.wait, trace_id)


def actor_of(call: Call) -> Actor:
    """Who asked: of a peer on the network the kernel knows the address alone, and its token says that it may."""
    return Actor(-1, f"service@{call.peer}", 0)


async def awaited(sprite: Sprite, intent: Intent, wait_s: float) -> Intent:
    """The intent when it has settled, when the time is up or when the service stops."""
    services = sprite.services
    async with anyio.create_task_group() as tasks:

        async def until_stopped() -> None:
            await services.stopping.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(until_stopped)
        intent = await services.desk.wait(intent.id, WaitFor.SETTLED, wait_s) or intent
        tasks.cancel_scope.cancel()
    return services.desk.intent(intent.id) or intent


async def _submitted(sprite: Sprite, loop_id: LoopId, request: IntentRequest, actor: Actor) -> Submitted:
    try:
        return await sprite.services.desk.submit(loop_id, request, actor)
    except IdempotencyConflict as error:
        message = f"{error}; use a key of its own for this one"
        raise ServiceError(REFUSED, message, reason=ErrorCode.IDEMPOTENCY_CONFLICT) from None
    except CannotRecord as error:
        problem = f"nothing was done, because it could not be written down: {error.problem}"
        raise ServiceError(REFUSED, problem, reason=ErrorCode.STORE_UNWRITABLE) from None
    except (FleetError, DeskError) as error:
        raise ServiceError(REFUSED, str(error), reason=ErrorCode.UNKNOWN_LOOP) from None


def answer(intent: Intent, *, replayed: bool, trace_id: str | None, call: Call) -> Response:
    """How the outcome looks to whoever asked; see above."""
    code, knows_intents = exit_code(intent), INTENTS in call.features
    reply = ControlReply(
        ok=code == 0,
        exit_code=code,
        result=intent_row(intent),
        replayed=replayed,
        trace_id=intent.trace_id if replayed else trace_id or intent.trace_id,
        intent_id=intent.id,
    )
    status = _STATUS[code]
    if intent.is_in_flight:
        words = f"The {intent.intent} is {intent.status} and goes on; ask again under the same key."
        reply = msgspec.structs.replace(reply, accepted=True, ok=knows_intents, stderr=words)
        status = 202 if knows_intents else status
    elif intent.status in NEVER_EXECUTED:
        refusal = intent.refusal
        why, message = (refusal.code, refusal.message) if refusal is not None else (intent.status.value, "")
        reply = msgspec.structs.replace(reply, error=ErrorWords(REFUSED, message, why), stderr=f"{why}: {message}")
        status = 422
    elif replayed:
        status = 200
    return Response(msgspec.json.encode(reply), status_code=status, media_type=JSON)


def old_answer(old: OldAnswer, kind: IntentKind) -> Response:
    if old.intent is not None and old.intent != kind:
        raise ServiceError(
            REFUSED,
            f"the key stands for an earlier {old.intent}; use a key of its own for this {kind}",
            reason=ErrorCode.IDEMPOTENCY_CONFLICT,
        )
    stored = converted(msgspec.json.decode(old.body), dict[str, object])
    return Response(msgspec.json.encode({**stored, "replayed": True}), media_type=JSON)


def text_of(given: Mapping[str, object], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise ServiceError(INVALID_REQUEST, f"{name} must be a string")
    return value


def kind_of(given: Mapping[str, object]) -> IntentKind:
    text = (text_of(given, "intent") or "").strip()
    if text not in ALLOWED:
        raise ServiceError(INVALID_REQUEST, f"intent must be one of {', '.join(sorted(ALLOWED))}")
    return IntentKind(text)
