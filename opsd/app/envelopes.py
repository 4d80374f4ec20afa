"""A loop's files as the contract's envelopes: a snapshot of them, and the events behind a line of the log.

Strict where the contract is: what cannot be told whole is not told at all. What the envelopes say of what was read is
`opsd.core.envelopes`. Synchronous, for a worker thread. Source: loop-core 2 and 3.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from opsd.core import envelopes
from opsd.core.instants import whole
from opsd.model.envelopes import ArtifactRef, EnvelopeSource, LoopRunSnapshot, SnapshotArtifacts, SnapshotRuntime
from opsd.model.ids import LoopId
from opsd.model.runtime import Approval, EventLine, RuntimeState
from opsd.ports import Files, FileStat
from opsd.transports.artifacts import SUMMARY_BYTES_MAX, loop_folder, runtime_folder
from opsd.transports.confine import is_within
from opsd.transports.lenient import decode_object
from opsd.transports.lines import read_event
from opsd.transports.small import NotAnObjectError
from opsd.transports.tail import STANDARD_LIMITS, offset_of_line

_SLICE_BYTES: Final = 1024 * 1024
_SMALL_BYTES_MAX: Final = 1024 * 1024
_PIECE_BYTES: Final = 256 * 1024
_LOOKS_MAX: Final = 6
_PAUSE_S: Final = 0.02
_NO_SUCH_LINE: Final = 2**63
_UNPARSABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Reason(StrEnum):
    """Why there is no envelope; stable, for programs."""

    UNKNOWN_LOOP = "unknown_loop"
    ARTIFACTS_MISSING = "artifacts_missing"
    ARTIFACTS_UNREADABLE = "artifacts_unreadable"
    CURSOR_AHEAD = "cursor_ahead"
    INVALID_EVENT = "invalid_event"


class EnvelopeError(Exception):
    """The files do not make an envelope; the message says which and why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)  # nobody tells us that a writer is done: there is nothing to wait for but time


class _Read(msgspec.Struct, frozen=True):
    ref: ArtifactRef
    data: bytes = b""

    @property
    def verbatim(self) -> msgspec.Raw:
        return compact(self.data) if self.ref.exists else envelopes.NULL


class _Summary(msgspec.Struct):
    updated_at: str | None = None
    entries: list[msgspec.Raw] = []


def snapshot(
    files: Files,
    repo_path: str,
    loop_id: LoopId,
    now: datetime,
    *,
    trace_id: str | None = None,
    pause: Callable[[float], None] = _wait,
) -> LoopRunSnapshot:
    """The loop's artifacts as they are. A file that is just being rewritten is read again for about 100 ms.

    Raises:
        EnvelopeError: the loop or its log is missing, or a file is not what it must be.
    """
    folder = _folder(files, repo_path, loop_id)
    reader = _Reader(files, repo_path, pause)
    log = f"{folder}/events.jsonl"
    try:
        # The log first: what the others say may be newer than its end, never older.
        events, line_count, last_line = _read_log(files, log, repo_path)
        state = reader.read(f"{runtime_folder(repo_path)}/state.json")
        active_run = reader.read(f"{runtime_folder(repo_path)}/active-run.json")
        approval = reader.read(f"{folder}/approval.json")
        summary = reader.read(f"{folder}/run-summary.json", size_bytes_max=SUMMARY_BYTES_MAX)
        heartbeat = reader.read(f"{folder}/heartbeat.v1.json")
    except FileNotFoundError:
        raise EnvelopeError(Reason.ARTIFACTS_MISSING, f"required artifact missing: {log}") from None
    except OSError as error:
        raise _unreadable(error, folder) from error
    document = decode_object(summary.data, _Summary) if summary.ref.exists else _Summary()
    sources = envelopes.Sources(
        repo_path=repo_path,
        loop_id=loop_id,
        line_count=line_count,
        last=_last_event(last_line, log) if line_count else None,
        state=decode_object(state.data, RuntimeState) if state.ref.exists else None,
        approval=decode_object(approval.data, Approval) if approval.ref.exists else None,
        entry=_newest(document),
        summary_updated_at=document.updated_at,
        runtime=SnapshotRuntime(state.verbatim, active_run.verbatim, approval.verbatim, heartbeat.verbatim),
        artifacts=SnapshotArtifacts(events, summary.ref, state.ref, active_run.ref, approval.ref, heartbeat.ref),
    )
    return envelopes.snapshot(sources, trace_id, now)


class EventPage:
    """The events of the lines behind `cursor`, at most `events_max` (0: all there are when it is made).

    Every line is looked at when the page is made, so that one that is no event is told before the first is sent. What
    is appended later is not part of the page.

    Raises:
        EnvelopeError: the log is missing, shorter than `cursor`, or has a line in between that is no event.
    """

    def __init__(
        self,
        files: Files,
        repo_path: str,
        loop_id: LoopId,
        now: datetime,
        *,
        cursor: int,
        events_max: int = 0,
        trace_id: str | None = None,
    ) -> None:
        self.source = EnvelopeSource(repo_path, loop_id)
        self._files = files
        self._path = f"{_folder(files, repo_path, loop_id)}/events.jsonl"
        self._at = whole(now)
        self._trace_id = trace_id
        try:
            _confined(files, self._path, repo_path)
            self._start, self._first, _ = offset_of_line(files, self._path, cursor)
            self.line_count = self._first
            self._end = self._start
            if self._first == cursor:
                self._end, self.line_count, _ = offset_of_line(
                    files, self._path, _NO_SUCH_LINE, offset=self._start, counted=cursor
                )
            else:
                problem = (
                    f"cursor offset ({cursor}) exceeds available events ({self.line_count}); "
                    "reset cursor or use --from-start"
                )
                raise EnvelopeError(Reason.CURSOR_AHEAD, problem)
            self.count, self.last_line = 0, cursor
            for line, _, _, end in self._events():
                self.count, self.last_line = self.count + 1, line
                if self.count == events_max:
                    self._end = end
                    break
        except FileNotFoundError:
            raise EnvelopeError(Reason.ARTIFACTS_MISSING, f"required artifact missing: {self._path}") from None
        except OSError as error:
            raise _unreadable(error, self._path) from error

    @property
    def size_bytes(self) -> int:
        """How much of the log it is; the envelopes are about twice as much and 500 bytes for each event."""
        return self._end - self._start

    def pieces(self, between: bytes = b",") -> Iterator[bytes]:
        """The envelopes as JSON with commas (or `between`) between them, in pieces of some hundred kilobytes.

        Raises:
            OSError, EnvelopeError: the log is not any more what it was when the page was made.
        """
        encoder = msgspec.json.Encoder()
        piece = bytearray()
        for count, (line, read, raw, _) in enumerate(self._events()):
            if count:
                piece += between
            piece += encoder.encode(
                envelopes.event(
                    read,
                    raw,
                    line=line,
                    line_count=self.line_count,
                    source=self.source,
                    trace_id=self._trace_id,
                    at=self._at,
                )
            )
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)

    def _events(self) -> Iterator[tuple[int, EventLine, bytes, int]]:
        """(line, event, its bytes, offset behind it) of every line of the page that is not blank."""
        line, offset = self._first, self._start
        for raw in _lines(self._files, self._path, self._start, self._end):
            line += 1
            offset += len(raw) + 1
            raw = raw.strip(b" \t\r")
            if not raw:
                continue
            read = read_event(raw, STANDARD_LIMITS.line_bytes)
            if isinstance(read, str):
                raise EnvelopeError(Reason.INVALID_EVENT, f"invalid event at line {line} in {self._path}: {read}")
            yield line, read, raw, offset


def compact(data: bytes) -> msgspec.Raw:
    """The same JSON without the blanks between its parts."""
    return msgspec.Raw(msgspec.json.format(data, indent=-1))


class _Reader:
    """Reads small files, and shares what time there is for waiting among those that are being rewritten."""

    def __init__(self, files: Files, repo_path: str, pause: Callable[[float], None]) -> None:
        self._files = files
        self._repo_path = repo_path
        self._pause = pause
        self._left = _LOOKS_MAX - 1

    def read(self, path: str, *, size_bytes_max: int = _SMALL_BYTES_MAX) -> _Read:
        while True:
            name = path.removeprefix(f"{self._repo_path}/")
            try:
                stat, data = self._files.read(path, 0, size_bytes_max)
            except FileNotFoundError:
                return _Read(ArtifactRef(name))
            if stat.size_bytes > size_bytes_max:
                raise EnvelopeError(
                    Reason.ARTIFACTS_UNREADABLE, f"{path} is {stat.size_bytes} bytes long, more than {size_bytes_max}"
                )
            try:
                decode_object(data, _Anything)
                compact(data)
            except NotAnObjectError as error:
                raise EnvelopeError(Reason.ARTIFACTS_UNREADABLE, f"{path} {error}") from None
            except _UNPARSABLE as error:
                if not self._left:
                    raise EnvelopeError(Reason.ARTIFACTS_UNREADABLE, f"invalid JSON in {path}: {error}") from None
                self._left -= 1
                self._pause(_PAUSE_S)
                continue
            return _Read(_ref(name, stat, data.count(b"\n"), hashlib.sha256(data).hexdigest()), data)


class _Anything(msgspec.Struct):
    pass


class _LastLine(msgspec.Struct):
    timestamp: str | None = None
    event: str | None = None
    type: str | None = None
    run_id: str | None = None
    iteration: int = 0
    status: str | None = None


class _EntryMembers(msgspec.Struct):
    run_id: str | None = None
    iteration: int | None = None
    ended_at: str | None = None
    completion_ok: bool | None = None


class _EntryParts(msgspec.Struct):
    gates: msgspec.Raw = envelopes.NULL
    stuck: msgspec.Raw = envelopes.NULL


def _newest(document: _Summary) -> envelopes.NewestEntry | None:
    if not document.entries:
        return None
    raw = bytes(document.entries[-1])
    try:
        members, parts = decode_object(raw, _EntryMembers), msgspec.json.decode(raw, type=_EntryParts)
    except NotAnObjectError:
        return None
    return envelopes.NewestEntry(
        run_id=members.run_id,
        iteration=members.iteration,
        ended_at=members.ended_at,
        completion_ok=members.completion_ok,
        gates=compact(bytes(parts.gates)),
        stuck=compact(bytes(parts.stuck)),
        verbatim=compact(raw),
    )


def _folder(files: Files, repo_path: str, loop_id: LoopId) -> str:
    folder = loop_folder(repo_path, loop_id)
    try:
        stat = files.stat(folder)
        if stat is None or stat.kind != "dir":
            raise EnvelopeError(Reason.UNKNOWN_LOOP, f"required artifact root missing: {folder}")
        _confined(files, folder, repo_path)
    except OSError as error:
        raise _unreadable(error, folder) from error
    return folder


def _confined(files: Files, path: str, repo_path: str) -> None:
    if not is_within(files, path, repo_path):
        raise EnvelopeError(Reason.ARTIFACTS_UNREADABLE, f"{path} leads out of {repo_path} through a link")


def _read_log(files: Files, path: str, repo_path: str) -> tuple[ArtifactRef, int, bytes]:
    """What there is to say of the log, its number of newlines, and its last whole line. All of one moment's length."""
    _confined(files, path, repo_path)
    stat, _ = files.read(path, 0, 0)
    digest, count, offset = hashlib.sha256(), 0, 0
    kept = b""  # from the newline before the last one on
    while offset < stat.size_bytes:
        _, data = files.read(path, offset, min(_SLICE_BYTES, stat.size_bytes - offset))
        if not data:
            break
        digest.update(data)
        offset += len(data)
        newlines = data.count(b"\n")
        count += newlines
        kept += data
        if newlines:
            end = kept.rindex(b"\n")
            start = kept.rfind(b"\n", 0, end) + 1
            kept = kept[start:]
    name = path.removeprefix(f"{repo_path}/")
    return _ref(name, stat, count, digest.hexdigest()), count, kept.partition(b"\n")[0]


def _last_event(raw: bytes, path: str) -> EventLine:
    """The event on the last line; of one that has no name or no time, what it has. Source: loop-core 2.2, 2.3."""
    read = read_event(raw, STANDARD_LIMITS.line_bytes)
    if not isinstance(read, str):
        return read
    try:
        members = decode_object(raw, _LastLine)
    except (NotAnObjectError, *_UNPARSABLE):
        raise EnvelopeError(Reason.INVALID_EVENT, f"invalid JSON in final events line: {path}: {read}") from None
    return EventLine(
        members.timestamp or "",
        members.event,
        members.type,
        run_id=members.run_id,
        iteration=members.iteration,
        status=members.status,
    )


def _lines(files: Files, path: str, start: int, end: int) -> Iterator[bytes]:
    """The whole lines from `start` to `end`, which is behind a newline, without their newlines."""
    offset, rest = start, b""
    while offset < end:
        _, data = files.read(path, offset, min(_SLICE_BYTES, end - offset))
        if not data:
            raise EnvelopeError(Reason.ARTIFACTS_UNREADABLE, f"{path} was truncated while it was read")
        offset += len(data)
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        yield from lines


def _ref(name: str, stat: FileStat, line_count: int, sha256: str) -> ArtifactRef:
    return ArtifactRef(name, True, stat.size_bytes, line_count, sha256, stat.mtime_ns // 10**9)


def _unreadable(error: OSError, path: str) -> EnvelopeError:
    where = error.filename or path
    return EnvelopeError(Reason.ARTIFACTS_UNREADABLE, f"{where} cannot be read: {error.strerror or error}")
