"""Records become bytes here, refusals too: one form for every answer."""

import msgspec
from starlette.responses import Response

from opsd.api.errors import ERRORS, ApiError
from opsd.protocol import ErrorBody, ErrorReply

JSON = "application/json"
_encoder = msgspec.json.Encoder()


def ok(record: msgspec.Struct, status: int = 200) -> Response:
    return Response(_encoder.encode(record), status_code=status, media_type=JSON)


def error_body(refused: ApiError) -> bytes:
    return _encoder.encode(ErrorReply(ErrorBody(refused.code, refused.message, refused.details)))


def refusal(refused: ApiError, headers: dict[str, str] | None = None) -> Response:
    return Response(
        error_body(refused), status_code=ERRORS[refused.code].status, media_type=JSON, headers=headers or None
    )
