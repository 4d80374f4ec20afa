"""One request, read as far as every endpoint needs it, and what the endpoints work with."""

from collections.abc import Mapping
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import anyio
import msgspec
from starlette.requests import ClientDisconnect, Request

from opsd.api.endpoint import BODY_BYTES_MAX, Services
from opsd.api.errors import ErrorCode
from opsd.model.ids import LoopId, loop_id_fault
from opsd.model.wire import FEATURES_HEADER
from opsd.ports import Clock, Files, Offload
from opsd.sprite.service.errors import INVALID_JSON, INVALID_REQUEST, ServiceError
from opsd.sprite.service.limits import Limits
from opsd.sprite.service.observing import Observer
from opsd.sprite.service.oldkeys import OldKeys

R = TypeVar("R")
_FIELDS_MAX = 100
_Whole = Annotated[int, msgspec.Meta(ge=0)]


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What every service stands on. `reads` is where files are read; `stopping` is set when it begins to stop."""

    repo_path: str
    files: Files
    old_keys: OldKeys
    reads: Offload
    limits: Limits
    clock: Clock
    stopping: anyio.Event


class Watching(Ground, frozen=True, kw_only=True):
    """A service whose loops can be followed closely."""

    observer: Observer


class Sprite(Watching, frozen=True, kw_only=True):
    """A service with a supervisor behind it. `services` is what the control socket's handlers work with."""

    services: Services


class Call(msgspec.Struct, frozen=True):
    """`query` has the first value of each parameter, blank ones left out. `id` is the part of the path that varies.

    `features` are those that the peer understands; `peer` is its address. `takes_pieces`: an answer may be sent before
    its length is known.
    """

    query: Mapping[str, str]
    id: str
    body: bytes
    trace_id: str | None
    key: str | None
    features: frozenset[str]
    peer: str
    takes_pieces: bool


async def read_call(request: Request, path_id: str, peer: str) -> Call:
    """
    Raises:
        ServiceError: more than any request needs, or cut off.
    """
    try:
        pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise ServiceError(INVALID_REQUEST, f"more than {_FIELDS_MAX} query parameters; none here takes many") from None
    query: dict[str, str] = {}
    for name, value in pairs:
        if value.strip():
            query.setdefault(name, value)
    return Call(
        query=query,
        id=path_id,
        body=await _body(request) if request.method == "POST" else b"",
        trace_id=request.headers.get("x-trace-id") or None,
        key=request.headers.get("x-idempotency-key") or None,
        features=frozenset(request.headers.get(FEATURES_HEADER, "").split()),
        peer=peer,
        takes_pieces=request.scope.get("http_version") != "1.0",
    )


async def _body(request: Request) -> bytes:
    received = bytearray()
    try:
        async for chunk in request.stream():
            received += chunk
            if len(received) > BODY_BYTES_MAX:
                raise ServiceError(
                    ErrorCode.PAYLOAD_TOO_LARGE,
                    f"the body has more than {BODY_BYTES_MAX} bytes; no request here needs that many",
                    status=413,
                )
    except ClientDisconnect:
        raise ServiceError(INVALID_REQUEST, "the connection ended before the body did; send it whole") from None
    return bytes(received)


def loop_of(text: str | None) -> LoopId:
    """
    Raises:
        ServiceError: none is named, or it cannot be one.
    """
    name = (text or "").strip()
    if not name:
        raise ServiceError(INVALID_REQUEST, "loopId is required", reason="loop_id_missing")
    if fault := loop_id_fault(name):
        raise ServiceError(
            INVALID_REQUEST,
            f"loopId {name[:200]!a} cannot name a loop: letters, digits and _@+=,:~%.- only",
            reason=fault,
        )
    return LoopId(name)


def whole_number(call: Call, name: str) -> int:
    """A query parameter that counts something; 0 where it is not given.

    Raises:
        ServiceError: it is none.
    """
    text = call.query.get(name, "0").strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise ServiceError(INVALID_REQUEST, f"{name} must be an integer of 0 or more, and is {text[:200]!a}")
    return int(text)


def json_object(body: bytes) -> Mapping[str, object]:
    """An empty body counts as `{}`. Source: control-and-service 9.5.

    Raises:
        ServiceError: it is no JSON, or no object.
    """
    try:
        found = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServiceError(INVALID_JSON, f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ServiceError(INVALID_REQUEST, "the body must be a JSON object")
    return found


def converted(value: object, record: type[R]) -> R:
    """
    Raises:
        ServiceError: it does not fit; the message names the member.
    """
    try:
        return msgspec.convert(value, record)
    except msgspec.ValidationError as error:
        raise ServiceError(INVALID_REQUEST, str(error).replace("`", "'")) from None
