"""Answers that are not what was asked for, in the contract's form. Source: control-and-service 9.5.

`code` is the contract's where it has one; `reason` is ours and stable. What the control desk refuses keeps the code
that the control socket has for it (`opsd.api.errors`).
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from opsd.api.errors import ERRORS, ApiError, ErrorCode

INVALID_REQUEST: Final = "invalid_request"
INVALID_JSON: Final = "invalid_json"
UNAUTHORIZED: Final = "unauthorized"
NOT_FOUND: Final = "not_found"
RUNTIME_ERROR: Final = "runtime_error"
NOT_IMPLEMENTED: Final = "not_implemented"
RATE_LIMITED: Final = "rate_limited"
OVERLOADED: Final = "overloaded"
REFUSED: Final = "refused"

STATUS: Final[Mapping[str, int]] = {
    INVALID_REQUEST: 400,
    INVALID_JSON: 400,
    UNAUTHORIZED: 401,
    NOT_FOUND: 404,
    RUNTIME_ERROR: 502,
    NOT_IMPLEMENTED: 501,
    RATE_LIMITED: 429,
    OVERLOADED: 503,
    # Neither among the statuses that the contract's client tries again, nor a 2xx that it would take for done.
    REFUSED: 422,
}


class ErrorWords(msgspec.Struct, frozen=True, omit_defaults=True):
    code: str
    message: str
    reason: str | None = None
    details: Mapping[str, str] = {}


class ErrorEnvelope(msgspec.Struct, frozen=True):
    ok: bool
    error: ErrorWords


class ServiceError(Exception):
    """`retry_after_s` is how long the peer should leave us alone."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        reason: str | None = None,
        status: int | None = None,
        details: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = STATUS[code] if status is None else status
        self.words = ErrorWords(code, message, reason, details or {})
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        return msgspec.json.encode(ErrorEnvelope(False, self.words))


def from_api(error: ApiError) -> ServiceError:
    """The same refusal in this service's form."""
    code = INVALID_REQUEST if error.code is ErrorCode.BAD_REQUEST else error.code.value
    status = ERRORS[error.code].status
    reason = None if code in (INVALID_REQUEST, NOT_FOUND) else code
    return ServiceError(code, error.message, reason=reason, status=status, details=error.details)
