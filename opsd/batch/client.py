"""One request to a sprite's service, as a shell script makes it: prints the body of a 2xx answer.

Anything else is exit code 1, and standard error says what was asked, what came, and the end of the body.
Source: control-and-service 10.
"""

import argparse
import threading
from typing import TYPE_CHECKING, Final

import msgspec

from opsd.batch.command import CommandError, Outcome, Outside, Parser, one_of, whole_number
from opsd.model.defuse import defuse_lines

if TYPE_CHECKING:
    import httpx

METHODS: Final = ("GET", "POST")
_PASSES: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_NO_STATUS: Final = "000"
_LINES_MAX: Final = 40
_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_PAUSE_LONGEST_S: Final = 30.0


class Request(msgspec.Struct, frozen=True):
    """`body` is None for a GET. `connect_s` bounds the connection, `total_s` one attempt as a whole."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    attempts: int
    backoff_s: int
    connect_s: int
    total_s: int

    def __repr__(self) -> str:
        return f"<{self.method} {self.url}>"


class Answer(msgspec.Struct, frozen=True):
    """`code` is the HTTP status, or 000 with the `problem`. `is_sent`: some of the request may have been received."""

    code: str
    body: bytes = b""
    problem: str = ""
    is_sent: bool = True

    @property
    def is_ok(self) -> bool:
        return self.code.startswith("2")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--method", required=True, metavar="METHOD", help="GET or POST")
    parser.add_argument("--base-url", required=True, metavar="URL", help="one slash at its end is left out")
    parser.add_argument("--path", required=True, metavar="PATH", help="what follows it, with its query, as it is")
    parser.add_argument("--token", metavar="TOKEN", help="OPS_MANAGER_SERVICE_TOKEN by default")
    parser.add_argument("--trace-id", metavar="ID", help="sent as X-Trace-Id")
    parser.add_argument("--body-file", metavar="FILE", help="JSON to send; required for POST")
    parser.add_argument("--retry-attempts", default="3", metavar="N", help="all attempts together (3)")
    parser.add_argument("--retry-backoff-seconds", default="1", metavar="N", help="times the attempt's number (1)")
    parser.add_argument("--connect-timeout-seconds", default="5", metavar="N", help="for the connection (5)")
    parser.add_argument("--max-time-seconds", default="30", metavar="N", help="for one attempt as a whole (30)")


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    request = _request(given, outside)
    answer, attempt = _once(request, outside), 1
    while not answer.is_ok and attempt < request.attempts and _may_repeat(request, answer):
        threading.Event().wait(min(_PAUSE_LONGEST_S, request.backoff_s * attempt))
        answer, attempt = _once(request, outside), attempt + 1
    if answer.is_ok:
        return Outcome(answer.body)
    end = defuse_lines(answer.body.decode("utf-8", "backslashreplace")).splitlines()[-_LINES_MAX:]
    times = f" after {attempt} attempts" if attempt > 1 else ""
    told = "\n".join([answer.problem] if answer.problem else end)
    asked = f"service request failed: {request.method} {request.url} -> {answer.code}{times}"
    raise CommandError(f"{asked}\n{told}".rstrip())


def _request(given: argparse.Namespace, outside: Outside) -> Request:
    method = one_of("--method", given.method.upper(), METHODS)
    if "@" in given.base_url:
        raise CommandError("--base-url holds a user or a password; give a token instead")
    body = _body(given.body_file, outside) if method == "POST" else None
    token = given.token or outside.variable("OPS_MANAGER_SERVICE_TOKEN")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "opsd"}
    if token:
        headers |= {"Authorization": f"Bearer {token}", "X-Ops-Token": token}
    if given.trace_id:
        headers["X-Trace-Id"] = given.trace_id
    if body is not None:
        headers["Content-Type"] = "application/json"
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise CommandError(f"{name} holds characters that cannot be sent; look at --token and --trace-id")
    return Request(
        method,
        f"{given.base_url.removesuffix('/')}{given.path}",
        headers,
        body,
        attempts=whole_number("--retry-attempts", given.retry_attempts, least=1),
        backoff_s=whole_number("--retry-backoff-seconds", given.retry_backoff_seconds),
        connect_s=whole_number("--connect-timeout-seconds", given.connect_timeout_seconds, least=1),
        total_s=whole_number("--max-time-seconds", given.max_time_seconds, least=1),
    )


def _body(path: str | None, outside: Outside) -> bytes:
    if not path:
        raise CommandError("--body-file is required for POST")
    try:
        _, data = outside.files.read(path, 0, _BODY_BYTES_MAX)
    except OSError as error:
        raise CommandError(f"--body-file {path} cannot be read: {error.strerror}") from None
    return data


def _may_repeat(request: Request, answer: Answer) -> bool:
    """What reached nobody may always be tried again; what may have been carried out only under a key."""
    if answer.code == _NO_STATUS:
        return not answer.is_sent or request.method == "GET" or _has_key(request)
    if int(answer.code) not in _PASSES:
        return False
    return request.method == "GET" or int(answer.code) in (425, 429, 503) or _has_key(request)


class _Keyed(msgspec.Struct, rename="camel"):
    idempotency_key: str | None = None


def _has_key(request: Request) -> bool:
    try:
        return bool(msgspec.json.decode(request.body or b"", type=_Keyed).idempotency_key)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _once(request: Request, outside: Outside) -> Answer:
    """One attempt. httpx is loaded by who really asks."""
    import httpx

    ends_s = outside.monotonic() + request.total_s
    timeout = httpx.Timeout(request.total_s, connect=request.connect_s)
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False) as client,
            client.stream(request.method, request.url, headers=request.headers, content=request.body) as response,
        ):
            return _whole(response, ends_s, outside)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise CommandError(
            f"--base-url {request.url!r} cannot be asked ({error}); it must look like https://sprite.example:8787"
        ) from None
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        return Answer(_NO_STATUS, problem=str(error) or "no connection in time", is_sent=False)
    except httpx.HTTPError as error:
        return Answer(_NO_STATUS, problem=f"{type(error).__name__}: {error}".rstrip(": "))


def _whole(response: "httpx.Response", ends_s: float, outside: Outside) -> Answer:
    """The whole answer. httpx's own limits are for each piece, which a slow drip never misses."""
    pieces: list[bytes] = []
    size_bytes = 0
    for piece in response.iter_bytes():
        pieces.append(piece)
        size_bytes += len(piece)
        if outside.monotonic() > ends_s:
            return Answer(_NO_STATUS, problem="its answer did not end within --max-time-seconds")
        if size_bytes > _BODY_BYTES_MAX:
            return Answer(_NO_STATUS, problem=f"its answer has more than {_BODY_BYTES_MAX} bytes")
    return Answer(str(response.status_code), b"".join(pieces))
