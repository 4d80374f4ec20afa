"""What a transport brought back about one loop: `Seen`, `Unreachable` or `Malformed`. Never an exception.

The transport says what it found; whether that is good or bad is judged in `opsd.core`.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from opsd.model.cursor import Stream
from opsd.model.runtime import (
    ActiveRun,
    Approval,
    EventLine,
    Heartbeat,
    LoopConfig,
    Presence,
    RateLimit,
    RecoveryRequest,
    RunSummary,
    RuntimeState,
)

T = TypeVar("T")


class Artifact(msgspec.Struct, Generic[T], frozen=True):
    """One small file. While `settling` or `unreadable`, `value` is what was last readable, `since` when that began.

    `problem` is one plain sentence naming the path, for `unreadable` only. `mtime` is the file's own, if it exists.
    """

    presence: Presence = Presence.ABSENT
    value: T | None = None
    since: datetime | None = None
    problem: str | None = None
    mtime: datetime | None = None


class Artifacts(msgspec.Struct, frozen=True):
    """The small files of one loop run at one look; not a consistent snapshot, since the runtime offers none."""

    state: Artifact[RuntimeState] = Artifact()
    active_run: Artifact[ActiveRun] = Artifact()
    summary: Artifact[RunSummary] = Artifact()
    approval: Artifact[Approval] = Artifact()
    heartbeat: Artifact[Heartbeat] = Artifact()
    config: Artifact[LoopConfig] = Artifact()
    rate_limit: Artifact[RateLimit] = Artifact()
    recovery: Artifact[RecoveryRequest] = Artifact()


class ProcessSighting(StrEnum):
    """What /proc says of the pid in `active-run.json`; `unknown` where this host cannot judge."""

    ALIVE = "alive"
    STOPPED = "stopped"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    NONE = "none"
    """No `active-run.json`, or it names another loop: there is no process to ask about."""


class QuarantinedLine(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A line of the log that is no event. `offset` and `size_bytes` locate it; `head` is its first bytes, defused."""

    line: int
    offset: int
    size_bytes: int
    sha256: str
    head: str
    problem: str


class StreamChange(StrEnum):
    """Why ingestion started over: the log shrank, is another file, or our cursor was removed or reset."""

    TRUNCATED = "stream_truncated"
    REPLACED = "stream_replaced"
    CURSOR_RESET = "cursor_reset"


class StreamNote(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """That the log was found truncated or replaced (or our cursor reset), when, and in favour of which epoch."""

    change: StreamChange
    at: datetime
    epoch: int


class Asked(msgspec.Struct, frozen=True, gc=False):
    """How a service was asked for a look: how many requests it took, what each came to (an HTTP status, or a word for
    what kept one from coming), and how long all of them took; None where the answer was held back for news."""

    attempts: int
    codes: tuple[str, ...] = ()
    took_s: float | None = None


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """The loop's artifacts at `at`, and the events after the cursor.

    Where nobody has looked since, what was seen last comes again, without events and with its own `at`.

    `lines[i]` is the physical line number of `events[i]`; `last_raw` the bytes of the last event's line.
    `line_offset` is the last line consumed (events, blank and quarantined lines alike). `backlog_bytes` is what was
    left unread because of the limits per pass: it is 0 when the picture is complete. `asked` is None where no service
    was.
    """

    at: datetime
    events: Sequence[EventLine]
    lines: Sequence[int]
    last_raw: bytes
    line_offset: int
    stream: Stream | None
    artifacts: Artifacts
    process: ProcessSighting
    change: StreamChange | None = None
    quarantined: Sequence[QuarantinedLine] = ()
    backlog_bytes: int = 0
    last_output_at: datetime | None = None
    asked: Asked | None = None


class UnreachableCause(StrEnum):
    """Where the way to the loop ended. The first two are local trouble, the rest is the service transport's."""

    ARTIFACTS_MISSING = "artifacts_missing"
    ARTIFACTS_UNREADABLE = "artifacts_unreadable"
    SERVICE_REQUEST_FAILED = "service_request_failed"
    """It answered with an error that has no word of its own here."""
    SERVICE_UNREACHED = "service_unreached"
    """No connection, or none that lasted: refused, no such host, reset, closed in the middle."""
    SERVICE_TIMED_OUT = "service_timed_out"
    SERVICE_UNAUTHORIZED = "service_unauthorized"
    """The token is missing, wrong, or not allowed to do this."""
    SERVICE_CERTIFICATE = "service_certificate"
    """Its certificate has expired, names another host, or was signed by nobody we trust."""
    SERVICE_OVERLOADED = "service_overloaded"
    """It asked to be left alone for a while (429, 503)."""


class Unreachable(msgspec.Struct, frozen=True, tag="unreachable"):
    """The loop could not be looked at. `failure_code` is the contract's (loop-core 5.3), `problem` our sentence.

    The same failure may come again as long as nobody has tried anew: `at` tells.
    """

    at: datetime
    cause: UnreachableCause
    failure_code: str
    problem: str
    asked: Asked | None = None


class Malformed(msgspec.Struct, frozen=True, tag="malformed"):
    """An answer came and cannot be believed: wrong loop, unknown schema, garbage. `evidence` is its head, defused."""

    at: datetime
    failure_code: str
    problem: str
    evidence: str = ""
    asked: Asked | None = None


Observation = Seen | Unreachable | Malformed
