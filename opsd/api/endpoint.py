"""What an endpoint is: method, path, which query and body it takes, what it answers, and the function behind it.

The table of endpoints drives the router, the checking of queries, and the OpenAPI document, so they cannot disagree.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

import anyio
import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from opsd.api.errors import ApiError, ErrorCode
from opsd.api.peer import Access, Peer
from opsd.api.seams import Afar, Desk, Fleet, OneShots, Queries
from opsd.ports import Clock, Offload

BODY_BYTES_MAX = 65_536
_JSON_PATH = re.compile(r" - at `\$\.?(?P<where>[^`]*)`\Z")

Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct | None)


class Services(msgspec.Struct, frozen=True):
    """What handlers work with. `stopping` is set when the server begins to stop: held-back answers go out then."""

    fleet: Fleet
    desk: Desk
    queries: Queries
    access: Access
    offload: Offload
    clock: Clock
    stopping: anyio.Event
    afar: Afar | None = None
    """None where every loop's files are on this host."""
    oneshots: OneShots | None = None
    """None where no one-shot command is forwarded to."""


class Call(msgspec.Struct, Generic[Q, B], frozen=True):
    """One request, checked: `id` is the loop or the intent that the path names, or empty where it names nothing."""

    id: str
    query: Q
    body: B
    peer: Peer
    now: datetime


Answer = msgspec.Struct | Response


class Endpoint(msgspec.Struct, frozen=True):
    """`reply` is the record on success, or None where `media_type` says what comes instead.

    `accepted` is what it means where success is a 202. `errors` are those of its own, beside the ones that any path may
    answer with.
    """

    method: str
    path: str
    says: str
    handle: Callable[[Services, Call[Any, Any]], Awaitable[Answer]]
    query: type[msgspec.Struct]
    reply: type[msgspec.Struct] | None
    body: type[msgspec.Struct] | None = None
    media_type: str = "application/json"
    accepted: str | None = None
    errors: tuple[ErrorCode, ...] = ()
    body_bytes_max: int = BODY_BYTES_MAX


class QueryField(msgspec.Struct, frozen=True, gc=False):
    name: str
    repeated: bool


@lru_cache(maxsize=64)
def query_fields(query: type[msgspec.Struct]) -> dict[str, QueryField]:
    """The parameters of a query record by their spelling on the wire; those of tuple type may be given repeatedly."""
    info = msgspec.inspect.type_info(query)
    assert isinstance(info, msgspec.inspect.StructType)
    return {
        field.encode_name: QueryField(field.encode_name, isinstance(field.type, msgspec.inspect.VarTupleType))
        for field in info.fields
    }


def read_query(params: QueryParams, query: type[Q]) -> Q:
    """The query record from what stands behind the `?`.

    Raises:
        ApiError: an unknown parameter, one given twice, or a value out of bounds; the message names it.
    """
    known = query_fields(query)
    given: dict[str, str | list[str]] = {}
    for name in params:
        if name not in known:
            raise ApiError(
                ErrorCode.BAD_REQUEST,
                f"unknown query parameter '{name}'; "
                + (f"known here: {', '.join(known)}" if known else "this path takes none"),
                parameter=name,
            )
        values = params.getlist(name)
        if known[name].repeated:
            given[name] = values
        elif len(values) > 1:
            raise ApiError(
                ErrorCode.BAD_REQUEST,
                f"query parameter '{name}' is given {len(values)} times; give it once",
                parameter=name,
            )
        else:
            given[name] = values[0]
    try:
        return msgspec.convert(given, query, strict=False)
    except msgspec.ValidationError as error:
        where, problem = _where(error)
        name = where.partition("[")[0]
        raise ApiError(
            ErrorCode.BAD_REQUEST, f"query parameter '{name}' is '{given.get(name, '')}': {problem}", parameter=name
        ) from None


async def read_body(request: Request, body: type[msgspec.Struct], bytes_max: int = BODY_BYTES_MAX) -> msgspec.Struct:
    """The request's body as a record; an empty one stands for all defaults.

    Raises:
        ApiError: too large, not JSON, or not of this form; the message names the member.
    """
    try:
        declared = int(request.headers.get("content-length", "0"))
    except ValueError:
        declared = 0  # the HTTP parser refuses such a request before it comes here
    received = bytearray()
    if declared <= bytes_max:
        try:
            async for chunk in request.stream():
                received += chunk
                if len(received) > bytes_max:
                    break
        except ClientDisconnect:
            raise ApiError(ErrorCode.BAD_REQUEST, "the connection ended before the body did; send it whole") from None
    if max(declared, len(received)) > bytes_max:
        raise ApiError(
            ErrorCode.PAYLOAD_TOO_LARGE,
            f"the body has more than {bytes_max} bytes; no request here needs that many",
            limit_bytes=str(bytes_max),
        )
    try:
        return msgspec.json.decode(bytes(received) or b"{}", type=body)
    except msgspec.ValidationError as error:
        where, problem = _where(error)
        raise ApiError(
            ErrorCode.BAD_REQUEST, f"body member '{where}': {problem}" if where else f"body: {problem}", member=where
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(ErrorCode.BAD_REQUEST, f"the body is not JSON: {error}") from None


def _where(error: msgspec.ValidationError) -> tuple[str, str]:
    """The member that a validation error is about, and what is wrong with it."""
    text = str(error)
    found = _JSON_PATH.search(text)
    problem = (text[: found.start()] if found else text).replace("`", "")
    return (found["where"] if found else ""), problem[:1].lower() + problem[1:]
