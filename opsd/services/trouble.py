"""What kept a request from its answer, or what an answer's status says, in words.

Whether it is tried again is `calls`. Source: control-and-service 9.5, 10 and 11.
"""

import errno
import socket
import ssl
from collections.abc import Iterator

import httpx
import msgspec

from opsd.model.observation import UnreachableCause
from opsd.services.message import Reply, Trouble, invalid, one_line

MESSAGE_LENGTH_MAX = 300

_UNREACHED = UnreachableCause.SERVICE_UNREACHED
_REFUSED = (errno.ECONNREFUSED,)
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
# X509_V_ERR_*: the reasons that an operator can do something about have a sentence of their own.
_CERTIFICATES = {
    9: "is not valid yet; compare the clocks of both machines",
    10: "has expired; renew it",
    18: "is signed by itself; name its authority with the CA file setting",
    19: "is signed by an authority that is not trusted here; name it with the CA file setting",
    20: "is signed by an authority that is not trusted here; name it with the CA file setting",
    21: "is signed by an authority that is not trusted here; name it with the CA file setting",
    62: "names another host; correct the base URL or the certificate",
    64: "names another address; correct the base URL or the certificate",
}


class ErrorWords(msgspec.Struct, frozen=True):
    """The contract's error body; `reason` is ours, and only our own services tell it."""

    code: str = ""
    message: str = ""
    reason: str = ""


class _ErrorReply(msgspec.Struct, frozen=True):
    error: ErrorWords


_error_reply = msgspec.json.Decoder(_ErrorReply)


def of_error(error: Exception, where: str, *, is_sent: bool, is_stale: bool) -> Trouble:
    """What `error` means for a request to the service at `where`."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            says = _CERTIFICATES.get(cause.verify_code, f"cannot be verified: {one_line(cause.verify_message)}")
            problem = f"the certificate of {where} {says}"
            return Trouble("certificate", problem, UnreachableCause.SERVICE_CERTIFICATE, is_sent=is_sent)
    word, says = _in_words(error, chain, is_sent=is_sent)
    if word == "not_http" and not is_stale:
        return invalid(f"what {where} answers is not HTTP: {says}", word=word)
    return Trouble(word, f"{where} {says}", _UNREACHED, is_sent=is_sent, is_stale=is_stale, passes=True)


def timed_out(where: str, limit_s: float, *, is_sent: bool) -> Trouble:
    what = "did not answer" if is_sent else "could not be connected to"
    problem = f"{where} {what} within {limit_s:.3g} s"
    return Trouble("timed_out", problem, UnreachableCause.SERVICE_TIMED_OUT, is_sent=is_sent, passes=True)


def of_status(reply: Reply, where: str) -> Trouble | None:
    """What is wrong with an answer by its status alone; None for any 2xx."""
    status = reply.status
    if reply.is_ok:
        return None
    words = error_words(reply)
    turned_down = words.code if words and 400 <= status < 500 else None
    cause, passes, says = UnreachableCause.SERVICE_REQUEST_FAILED, False, f"answered {status}"
    if status in (401, 403):
        cause = UnreachableCause.SERVICE_UNAUTHORIZED
        says = f"does not accept the token ({status})" if status == 401 else f"does not allow this ({status})"
    elif status in (429, 503):
        cause, passes = UnreachableCause.SERVICE_OVERLOADED, status == 503
        says = f"asks to be left alone ({status})"
    elif status in (502, 504):
        # An error of the runtime's files passes: they may have been caught while being written. Our own service waits
        # until they are whole before it says so.
        passes = not (words and words.reason)
    elif 300 <= status < 400:
        says = f"answered with a redirect ({status}), which is not followed; correct the base URL"
    told = f": {one_line(words.message)[:MESSAGE_LENGTH_MAX]}" if words and words.message else ""
    return Trouble(str(status), f"{where} {says}{told}", cause, passes=passes, turned_down=turned_down)


def error_words(reply: Reply) -> ErrorWords | None:
    """The contract's error body, None where the answer is none: a gateway's page, or something else."""
    try:
        return _error_reply.decode(reply.body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _in_words(error: Exception, chain: list[BaseException], *, is_sent: bool) -> tuple[str, str]:
    for cause in chain:
        if isinstance(cause, socket.gaierror):
            return "unknown_host", f"cannot be found: {one_line(cause.strerror or str(cause))}"
        if isinstance(cause, ssl.SSLError) and not is_sent:
            return "tls", f"and we cannot agree on TLS: {one_line(cause.reason or str(cause))}"
        if isinstance(cause, OSError) and cause.errno in _REFUSED:
            return "refused", "refuses connections; nothing listens there"
        if isinstance(cause, OSError) and cause.errno in _NO_WAY:
            return "no_way", f"cannot be reached: {one_line(cause.strerror or str(cause))}"
    if isinstance(error, httpx.ConnectError):
        return "unreached", f"cannot be reached: {one_line(str(error))}"
    if isinstance(error, httpx.RemoteProtocolError):
        # h11 has one error for both: what is no HTTP, and what ends before it is whole.
        text = str(error)
        if "disconnected" in text or "closed connection" in text:
            return "closed", "closed the connection before its answer was complete"
        return "not_http", one_line(text)
    if isinstance(error, httpx.ReadError | httpx.WriteError | httpx.CloseError | ssl.SSLError):
        return "closed", "closed the connection before its answer was complete"
    return "failed", f"could not be asked: {type(error).__name__}: {one_line(str(error))}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what lies behind it: several where several addresses were tried."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        waiting.extend(behind for behind in (each.__cause__, each.__context__) if behind is not None)
