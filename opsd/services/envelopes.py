"""The contract's envelopes, as a service without anything newer sends them, made into what a look brings: pure.

The same readers make records of their bytes as for files of this host. Asking for them is `older`.
Source: control-and-service 9.3, loop-core 2.3 and 3.4.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec

from opsd.model.ids import LoopId
from opsd.model.observation import Artifact, Artifacts
from opsd.model.runtime import ActiveRun, EventLine, Presence, RunSummary, RuntimeState, SummaryEntry
from opsd.services.message import Trouble, foreign, invalid, one_line
from opsd.transports.artifacts import read_approval, read_heartbeat
from opsd.transports.lenient import decode_object
from opsd.transports.lines import read_event
from opsd.transports.small import NotAnObjectError
from opsd.transports.tail import STANDARD_LIMITS

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

Count = Annotated[int, msgspec.Meta(ge=0)]
_NULL = msgspec.Raw(b"null")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Source(msgspec.Struct, frozen=True, rename="camel"):
    repo_path: str
    loop_id: str


class FileRef(msgspec.Struct, frozen=True, rename="camel"):
    """A file as `artifacts` lists it."""

    path: str = ""
    exists: bool = False
    size_bytes: int = 0
    mtime_epoch: int | None = None


class _FileRefs(msgspec.Struct, frozen=True, rename="camel"):
    events: FileRef = FileRef()
    run_summary: FileRef = FileRef()
    state: FileRef = FileRef()
    active_run: FileRef = FileRef()
    approval: FileRef = FileRef()
    heartbeat: FileRef = FileRef()


class _Runtime(msgspec.Struct, frozen=True, rename="camel"):
    superloop_state: msgspec.Raw
    active_run: msgspec.Raw
    approval: msgspec.Raw
    heartbeat: msgspec.Raw = _NULL


class _Run(msgspec.Struct, frozen=True, rename="camel"):
    summary: msgspec.Raw = _NULL


class _Position(msgspec.Struct, frozen=True, rename="camel"):
    event_line_count: Count


class _Health(msgspec.Struct, frozen=True, rename="camel"):
    last_summary_at: str | None = None


class _Snapshot(msgspec.Struct, frozen=True, rename="camel"):
    """Its parts stay undecoded, so that two snapshots can be compared without what differs in any two."""

    schema_version: str
    envelope_type: str
    source: Source
    run: msgspec.Raw
    runtime: msgspec.Raw
    artifacts: msgspec.Raw
    cursor: msgspec.Raw
    health: msgspec.Raw


class Snapshot(msgspec.Struct, frozen=True):
    """What is judged of a snapshot. `line_count` counts the log's newlines; `gist` is equal for equal pictures."""

    repo_path: str
    line_count: int
    log_bytes: int
    artifacts: Artifacts
    gist: str


class _Sequence(msgspec.Struct, frozen=True, rename="camel"):
    value: Count


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    raw: msgspec.Raw


class _EventEnvelope(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: str
    envelope_type: str
    source: Source
    sequence: _Sequence
    cursor: _Position
    event: _Event


class _NewCursor(msgspec.Struct, frozen=True, rename="camel"):
    event_line_offset: Count
    event_line_count: Count


class _EventsReply(msgspec.Struct, frozen=True, rename="camel"):
    ok: bool
    events: list[msgspec.Raw]
    cursor: _NewCursor


class Line(msgspec.Struct, frozen=True):
    """An event on its line of the log, and its bytes on one line."""

    number: int
    event: EventLine
    raw: bytes

    def fingerprint(self) -> str:
        """Equal for equal events, however they are spelt."""
        canonical = msgspec.json.encode(msgspec.json.decode(self.raw), order="deterministic")
        return hashlib.sha256(canonical).hexdigest()


class Page(msgspec.Struct, frozen=True):
    """Events in order. `is_full`: as many as were asked for, so that there may be more."""

    lines: tuple[Line, ...]
    is_full: bool


def read_snapshot(body: bytes, loop_id: LoopId, at: datetime) -> Snapshot | Trouble:
    """The snapshot of that loop in a 2xx answer, taken `at`."""
    try:
        document = _decoded(body, _Snapshot)
        if document.schema_version != "v1" or document.envelope_type != "loop_run_snapshot":
            return foreign("the service's answer is no snapshot of version v1", body)
        if document.source.loop_id != loop_id:
            return foreign(f"the service answers about the loop {one_line(document.source.loop_id)!r}", body)
        refs = msgspec.json.decode(document.artifacts, type=_FileRefs)
        return Snapshot(
            repo_path=document.source.repo_path,
            line_count=msgspec.json.decode(document.cursor, type=_Position).event_line_count,
            log_bytes=refs.events.size_bytes,
            artifacts=_artifacts(document, refs, at),
            gist=_gist(document),
        )
    except _UNREADABLE as error:
        if _is_json(body):
            return foreign(f"the service's answer is no snapshot: {one_line(str(error))}", body)
        return invalid(f"the service's answer is no JSON: {one_line(str(error))}", body)


def read_page(body: bytes, loop_id: LoopId, repo_path: str, *, behind: int, asked: int) -> Page | Trouble:
    """The events behind line `behind` in a 2xx answer to a request for `asked` of them.

    An event whose line had no newline yet when it was read is left for later: the line may still grow.
    """
    try:
        reply = _decoded(body, _EventsReply)
    except _UNREADABLE as error:
        return invalid(f"the service's answer holds no events: {one_line(str(error))}", body)
    if not reply.ok:
        return invalid("the service's answer says that it is none", body)
    lines: list[Line] = []
    for raw in reply.events:
        line = _line(bytes(raw), loop_id, repo_path)
        if isinstance(line, Trouble):
            return line
        if line is None:
            return Page(tuple(lines), is_full=False)
        if line.number <= behind:
            return foreign(f"the service's events do not ascend from line {behind}", bytes(raw))
        behind = line.number
        lines.append(line)
    return Page(tuple(lines), is_full=len(lines) >= asked)


def _line(envelope: bytes, loop_id: LoopId, repo_path: str) -> Line | Trouble | None:
    """None for a line that was not whole yet."""
    try:
        found = msgspec.json.decode(envelope, type=_EventEnvelope)
        if found.schema_version != "v1" or found.envelope_type != "loop_run_event":
            return foreign("what the service sends is no event of version v1", envelope)
        if (found.source.loop_id, found.source.repo_path) != (loop_id, repo_path):
            return foreign("what the service sends is an event of another loop", envelope)
        raw = msgspec.json.format(bytes(found.event.raw), indent=-1)
    except _UNREADABLE as error:
        return foreign(f"what the service sends is no event: {one_line(str(error))}", envelope)
    if found.sequence.value > found.cursor.event_line_count:
        return None
    event = read_event(raw, STANDARD_LIMITS.line_bytes)
    if isinstance(event, str):
        return foreign(f"line {found.sequence.value} is no event: {event}", envelope)
    return Line(found.sequence.value, event, raw)


def _decoded(body: bytes, record: type[S]) -> S:
    if not body.isascii():
        body.decode()  # what is carried along undecoded has to be text as well
    return msgspec.json.decode(body, type=record)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except _UNREADABLE:
        return False
    return True


def _artifacts(document: _Snapshot, refs: _FileRefs, at: datetime) -> Artifacts:
    """The files that a snapshot carries; of the others it says nothing, as if there were none."""
    runtime = msgspec.json.decode(document.runtime, type=_Runtime)
    return Artifacts(
        state=_artifact(runtime.superloop_state, refs.state, at, lambda data: decode_object(data, RuntimeState)),
        active_run=_artifact(runtime.active_run, refs.active_run, at, lambda data: decode_object(data, ActiveRun)),
        summary=_summary(document, refs.run_summary, at),
        approval=_artifact(runtime.approval, refs.approval, at, read_approval),
        heartbeat=_artifact(runtime.heartbeat, refs.heartbeat, at, read_heartbeat),
    )


def _artifact(raw: msgspec.Raw, ref: FileRef, at: datetime, parse: Callable[[bytes], T]) -> Artifact[T]:
    data = bytes(raw)
    if data == b"null":
        return Artifact()
    mtime = _time(ref.mtime_epoch)
    try:
        return Artifact(Presence.PRESENT, parse(data), mtime=mtime)
    except NotAnObjectError as error:
        return Artifact(Presence.UNREADABLE, None, mtime or at, f"{one_line(ref.path)} {error}", mtime)


def _summary(document: _Snapshot, ref: FileRef, at: datetime) -> Artifact[RunSummary]:
    """A snapshot has the newest entry alone; how many there were before it is not told."""
    entry = msgspec.json.decode(document.run, type=_Run).summary
    if bytes(entry) == b"null":
        return Artifact(Presence.PRESENT, RunSummary(), mtime=_time(ref.mtime_epoch)) if ref.exists else Artifact()
    updated_at = msgspec.json.decode(document.health, type=_Health).last_summary_at
    return _artifact(
        entry, ref, at, lambda data: RunSummary(updated_at, decode_object(data, SummaryEntry), entry_count=1)
    )


def _gist(document: _Snapshot) -> str:
    parts = (document.run, document.runtime, document.artifacts, document.cursor, document.health)
    digest = hashlib.sha256(document.source.repo_path.encode())
    for part in parts:
        digest.update(bytes(part))
    return digest.hexdigest()


def _time(epoch_s: int | None) -> datetime | None:
    try:
        return None if epoch_s is None else datetime.fromtimestamp(epoch_s, UTC)
    except (ValueError, OverflowError, OSError):
        return None
