"""What a service answers to intents and to the contract's control request, as far as it can be believed: pure.

What follows for an intent of ours is the control desk's. Source: control-and-service 4.2 and 9.4.
"""

from datetime import datetime

import msgspec
from msgspec.structs import replace

from opsd.model.ids import LoopId
from opsd.model.service import ControlAnswer, IntentAnswer
from opsd.model.wire import INTENTS
from opsd.protocol import IntentReply
from opsd.services.message import Called, Reply, Trouble, foreign, invalid, one_line

_CONTROLLED = (200, 409, 500)
"""What the contract's control response comes with: done, ambiguous, failed."""
CONTROL_BYTES_MAX = 1024 * 1024
"""Of a control response, which stands in our rows as it is."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_intent_reply = msgspec.json.Decoder(IntentReply)


class _ControlReply(msgspec.Struct, frozen=True):
    ok: bool
    error: msgspec.Raw = msgspec.Raw()


_control_reply = msgspec.json.Decoder(_ControlReply)


def intent_answer(
    called: Called, loop_id: LoopId, at: datetime, *, key: str | None = None, intent_id: str | None = None
) -> IntentAnswer:
    """The intent that was asked for under `key`, or asked about by `intent_id`, which may be its key as well."""
    if called.trouble is not None:
        answered = called.answered
        return IntentAnswer(
            problem=called.trouble.observed(at),
            surely_not_sent=not called.is_sent,
            unknown=intent_id is not None and answered is not None and _knows_no_such(answered),
            attempts=called.attempts,
            turned_down=called.trouble.turned_down,
            codes=called.codes,
        )
    assert called.reply is not None
    read = _read_intent(called.reply.body, loop_id, key, intent_id)
    if isinstance(read, Trouble):
        return IntentAnswer(problem=read.observed(at), attempts=called.attempts, codes=called.codes)
    return IntentAnswer(read.intent, attempts=called.attempts, replayed=read.replayed, codes=called.codes)


def control_answer(called: Called, at: datetime) -> ControlAnswer:
    """The control response: its body where the answer is one, whatever it says."""
    return replace(_control_answer(called, at), attempts=called.attempts, codes=called.codes)


def _control_answer(called: Called, at: datetime) -> ControlAnswer:
    answered = called.answered
    if answered is None:
        assert called.trouble is not None
        return ControlAnswer(problem=called.trouble.observed(at), surely_not_sent=not called.is_sent)
    if answered.is_ok or answered.status in _CONTROLLED:
        read = _read_control(answered.body)
        if not isinstance(read, Trouble):
            return ControlAnswer(answered.status, read)
        trouble = read if answered.is_ok or called.trouble is None else called.trouble
    else:
        assert called.trouble is not None
        trouble = called.trouble
    return ControlAnswer(answered.status, problem=trouble.observed(at), turned_down=trouble.turned_down)


def _read_intent(body: bytes, loop_id: LoopId, key: str | None, intent_id: str | None) -> IntentReply | Trouble:
    try:
        reply = _intent_reply.decode(body)
    except _UNREADABLE as error:
        return invalid(f"the service's answer is no intent: {one_line(str(error))}", body)
    intent = reply.intent
    if intent.loop_id != loop_id:
        return foreign(f"the service answers with an intent of the loop {one_line(intent.loop_id)!r}", body)
    named = (intent.id, intent.idempotency_key)
    if (key is not None and intent.idempotency_key != key) or (intent_id is not None and intent_id not in named):
        return foreign(f"the service answers with another intent, {one_line(intent.id)!r}", body)
    return reply


def _read_control(body: bytes) -> msgspec.Raw | Trouble:
    if len(body) > CONTROL_BYTES_MAX:
        return invalid(f"the service's control response has more than {CONTROL_BYTES_MAX} bytes", body)
    try:
        reply = _control_reply.decode(body)
        whole = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(body)))
    except _UNREADABLE as error:
        return invalid(f"the service's answer is no control response: {one_line(str(error))}", body)
    if bytes(reply.error) not in (b"", b"null"):
        return invalid("the service's answer is an error, and says that it is none", body)
    return whole


def _knows_no_such(reply: Reply) -> bool:
    """Only a service that has intents can say that it has not got this one."""
    return reply.status == 404 and reply.features is not None and INTENTS in reply.features
