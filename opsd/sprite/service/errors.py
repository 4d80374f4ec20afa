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
HOLDER_GONE: Final = "holder_gone"


class Entry(msgspec.Struct, frozen=True):
    status: int
    says: str


ERROR_CODES: Final[Mapping[str, Entry]] = {
    INVALID_REQUEST: Entry(400, "A parameter or member is missing or makes no sense; the message names it."),
    INVALID_JSON: Entry(400, "The body is not JSON in UTF-8."),
    UNAUTHORIZED: Entry(401, "The token is missing or wrong."),
    NOT_FOUND: Entry(404, "There is no such path for this method."),
    # Neither among the statuses that the contract's client tries again, nor a 2xx that it would take for done.
    REFUSED: Entry(422, "Nothing was done; `reason` is the refusal's code, or why the request was not taken in."),
    RATE_LIMITED: Entry(429, "This address asks too often; `Retry-After` says when to come again."),
    NOT_IMPLEMENTED: Entry(501, "The method is neither GET nor POST."),
    RUNTIME_ERROR: Entry(
        502,
        "The runtime's files do not make an answer; `reason` is `unknown_loop`, `artifacts_missing`, "
        "`artifacts_unreadable`, `cursor_ahead` or `invalid_event`.",
    ),
    HOLDER_GONE: Entry(
        503, "The daemon that holds the home does not answer, so nothing can be done; the files can still be read."
    ),
    OVERLOADED: Entry(503, "Too much is being answered already, or a part of the service is not in time."),
}
"""Beside those of the control socket."""


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
        self.status = ERROR_CODES[code].status if status is None else status
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
