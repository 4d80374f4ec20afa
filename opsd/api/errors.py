"""The one table of errors that the API answers with: stable code, HTTP status, one sentence.

Programs choose by code, people read the message. Handlers raise `ApiError`; `opsd.api.replies` makes bytes of it.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class ErrorCode(StrEnum):
    BAD_REQUEST = "bad_request"
    NO_PEER_IDENTITY = "no_peer_identity"
    NOT_PERMITTED = "not_permitted"
    NOT_FOUND = "not_found"
    UNKNOWN_LOOP = "unknown_loop"
    UNKNOWN_INTENT = "unknown_intent"
    UNKNOWN_PROFILE = "unknown_profile"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    LOOP_NOT_MANAGED = "loop_not_managed"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    NOT_AMBIGUOUS = "not_ambiguous"
    CANNOT_SWITCH = "cannot_switch"
    UNUSABLE_PROFILE = "unusable_profile"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    HEADERS_TOO_LARGE = "headers_too_large"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    TIMED_OUT = "timed_out"
    STORE_UNWRITABLE = "store_unwritable"


class ErrorEntry(msgspec.Struct, frozen=True):
    status: int
    says: str


ERRORS: Mapping[ErrorCode, ErrorEntry] = {
    ErrorCode.BAD_REQUEST: ErrorEntry(400, "The request is malformed; the message names the parameter and the remedy."),
    ErrorCode.NO_PEER_IDENTITY: ErrorEntry(403, "The kernel did not say who is at the other end of the socket."),
    ErrorCode.NOT_PERMITTED: ErrorEntry(403, "The peer belongs to none of the groups that may do this."),
    ErrorCode.NOT_FOUND: ErrorEntry(404, "There is no such path, or the loop has no such log."),
    ErrorCode.UNKNOWN_LOOP: ErrorEntry(404, "No loop of this name is in the fleet; near names are in the details."),
    ErrorCode.UNKNOWN_INTENT: ErrorEntry(404, "No loop of the fleet has an intent of this id."),
    ErrorCode.UNKNOWN_PROFILE: ErrorEntry(404, "The catalog has no profile of this name; the message names its own."),
    ErrorCode.METHOD_NOT_ALLOWED: ErrorEntry(405, "The path exists, but not for this method."),
    ErrorCode.LOOP_NOT_MANAGED: ErrorEntry(409, "The loop is listed but not supervised; the message says why."),
    ErrorCode.IDEMPOTENCY_CONFLICT: ErrorEntry(
        409, "The key was used for another request; the details name the intent that it stands for."
    ),
    ErrorCode.CANNOT_SWITCH: ErrorEntry(409, "The registry names no such way to the loop."),
    ErrorCode.NOT_AMBIGUOUS: ErrorEntry(
        409, "The intent is not ambiguous, so there is nothing to acknowledge; the details have its status."
    ),
    ErrorCode.PAYLOAD_TOO_LARGE: ErrorEntry(413, "The request body is larger than any request needs."),
    ErrorCode.UNUSABLE_PROFILE: ErrorEntry(
        422, "The profile's values make no sense, by themselves or with the single values that were set for all loops."
    ),
    ErrorCode.HEADERS_TOO_LARGE: ErrorEntry(431, "The request line and headers are larger than any request needs."),
    ErrorCode.INTERNAL: ErrorEntry(500, "A fault of ours; the daemon's log has the particulars."),
    ErrorCode.UNAVAILABLE: ErrorEntry(
        503, "A file could not be read, or a pass broke off; the same request may succeed later."
    ),
    ErrorCode.TIMED_OUT: ErrorEntry(504, "The work was not finished in time; it may still finish."),
    # Not 503: clients repeat that by themselves, and here somebody has to make room first.
    ErrorCode.STORE_UNWRITABLE: ErrorEntry(
        507, "It could not be written down, so nothing was changed; the message names the path and the problem."
    ),
}


class ApiError(Exception):
    """An answer that is not what was asked for. `message` names what was wrong and the remedy."""

    def __init__(self, code: ErrorCode, message: str, **details: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
