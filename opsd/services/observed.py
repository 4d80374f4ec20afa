"""What a service observed, as far as it can be believed: pure.

It runs the same code as we do, but a pass must not break on one that is broken, or made to be. Services that bring no
observation are `envelopes`. When something was seen is told by our own clock: a sprite's may be off.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from opsd.model.observation import Artifact, Artifacts, Malformed, Observation, Seen, Unreachable
from opsd.model.wire import ObserveReply
from opsd.ports import Ask
from opsd.services.message import Trouble, foreign, invalid, one_line

PROBLEM_LENGTH_MAX = 1_000

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _AskId(msgspec.Struct, frozen=True, rename="camel"):
    ask_id: str = ""


_ask_id = msgspec.json.Decoder(_AskId)
_reply = msgspec.json.Decoder(ObserveReply)
_failure_code = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


def read_observed(body: bytes, ask: Ask, at: datetime) -> tuple[Observation | None, str] | Trouble:
    """(the observation, its digest) of a reply to `ask`; None where the loop still looks as it did."""
    try:
        if not body.isascii():
            body.decode()  # what is carried along undecoded has to be text as well
        reply = _reply.decode(body)
    except _UNREADABLE as error:
        return invalid(f"the service's answer is no observation: {one_line(str(error))}", body)
    if reply.schema_version != "v1":
        return foreign(f"the service's answer is of the unknown version {one_line(reply.schema_version)!r}", body)
    if reply.source.loop_id != ask.ref.loop_id:
        return foreign(f"the service answers about the loop {one_line(reply.source.loop_id)!r}", body)
    match reply.observation:
        case None:
            return None, reply.digest
        case Seen() as seen:
            fault = _fault(seen, ask)
            if fault is not None:
                return invalid(f"what the service has seen cannot be: {fault}", body)
            try:
                return _fit(seen, at), reply.digest
            except _UNREADABLE as error:
                return invalid(f"the service's answer holds a heartbeat that is none: {one_line(str(error))}", body)
        case Unreachable(_, cause, code, problem):
            if not _failure_code.match(code):
                return invalid(f"the service names no failure code but {one_line(code)!r}", body)
            return Unreachable(at, cause, code, _sentence(problem)), reply.digest
        case Malformed(_, code, problem, evidence):
            if not _failure_code.match(code):
                return invalid(f"the service names no failure code but {one_line(code)!r}", body)
            return Malformed(at, code, _sentence(problem), _sentence(evidence)), reply.digest


def is_of_another(body: bytes, ask_id: str) -> bool:
    """Whether this answers another request than the one of that id: one answer too many came on its connection."""
    try:
        return _ask_id.decode(body).ask_id not in ("", ask_id)
    except _UNREADABLE:
        return False


def _fault(seen: Seen, ask: Ask) -> str | None:
    """What no look at that log could have brought."""
    cursor = ask.cursor
    anew = cursor is None or ask.from_start or seen.change is not None
    behind = 0 if anew or cursor is None else cursor.event_line_offset
    if len(seen.events) != len(seen.lines):
        return f"{len(seen.events)} events on {len(seen.lines)} lines"
    if not _ascend(seen.lines, behind, seen.line_offset):
        return f"its lines do not ascend from {behind} to {seen.line_offset}"
    if not _ascend([bad.line for bad in seen.quarantined], behind, seen.line_offset):
        return f"its bad lines do not ascend from {behind} to {seen.line_offset}"
    if not all(event.name for event in seen.events):
        return "an event has no name"
    if seen.backlog_bytes < 0:
        return "less than nothing is left to read"
    known = cursor.stream if cursor is not None and seen.change is None else None
    if known is not None and seen.stream is not None and known.epoch != seen.stream.epoch:
        return "the log is another one, and nothing is said of that"
    if seen.last_raw and not _is_event(seen.last_raw):
        return "the last event is none"
    if any(moment is not None and moment.tzinfo is None for moment in _moments(seen)):
        return "a time has no zone"
    return None


def _ascend(lines: Sequence[int], behind: int, last: int) -> bool:
    """Whether every line lies behind `behind`, none behind `last`, and each behind the one before."""
    for line in lines:
        if line <= behind:
            return False
        behind = line
    return behind <= last


def _files(artifacts: Artifacts) -> dict[str, Artifact[Any]]:  # each file is of another type
    return {name: getattr(artifacts, name) for name in Artifacts.__struct_fields__}


def _moments(seen: Seen) -> Iterable[datetime | None]:
    yield seen.at
    yield seen.last_output_at
    for file in _files(seen.artifacts).values():
        yield file.since
        yield file.mtime


def _fit(seen: Seen, at: datetime) -> Seen:
    """The same, seen at `at`, in words that can be shown, and without holding on to the answer's bytes."""
    files = {
        name: file if file.problem is None else replace(file, problem=_sentence(file.problem))
        for name, file in _files(seen.artifacts).items()
    }
    beat = seen.artifacts.heartbeat.value
    if beat is not None and beat.verbatim:
        # On one line, since it goes on into journals of one line a row.
        verbatim = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(beat.verbatim)))
        files["heartbeat"] = replace(files["heartbeat"], value=replace(beat, verbatim=verbatim))
    quarantined = [replace(bad, head=_sentence(bad.head), problem=_sentence(bad.problem)) for bad in seen.quarantined]
    return replace(seen, at=at, artifacts=Artifacts(**files), quarantined=quarantined)


def _is_event(raw: bytes) -> bool:
    """It goes on into a document of ours as it stands."""
    try:
        return isinstance(msgspec.json.decode(raw), dict)
    except _UNREADABLE:
        return False


def _sentence(text: str) -> str:
    return one_line(text)[:PROBLEM_LENGTH_MAX]
