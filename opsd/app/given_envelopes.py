"""Envelopes that somebody hands in, as bytes: of this loop, of this version, and what a projection takes from them.

Strict in what the contract checks, and in nothing else: any other member may be missing or odd. Source: loop-core 4.1.
"""

from typing import ClassVar, Final, TypeVar

import msgspec

from opsd.app.envelopes import compact
from opsd.core.envelopes import NULL
from opsd.model.ids import UNKNOWN_RUN, LoopId
from opsd.model.lifecycle import Lifecycle
from opsd.model.projected import BatchSays, SnapshotSays
from opsd.transports.lenient import decode_object
from opsd.transports.small import NotAnObjectError

E = TypeVar("E", bound="_Envelope")

_STATES: Final = tuple(state.value for state in Lifecycle if state is not Lifecycle.NONE)


class ProjectError(Exception):
    """There is nothing to project, or it cannot be written; the message says what, and nothing was changed."""


class _Loop(msgspec.Struct, frozen=True, rename="camel"):
    loop_id: str | None = None


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    of: ClassVar[str] = ""
    schema_version: str | None = None
    envelope_type: str | None = None
    source: _Loop = _Loop()


class _EventName(msgspec.Struct, frozen=True):
    name: str | None = None


class _Event(_Envelope, frozen=True, rename="camel"):
    of: ClassVar[str] = "loop_run_event"
    event: _EventName = _EventName()


class _Summary(msgspec.Struct, frozen=True):
    completion_ok: bool | None = None


class _Run(msgspec.Struct, frozen=True, rename="camel"):
    run_id: str | None = None
    iteration: int = 0
    status: str | None = None
    summary: _Summary = _Summary()


class _State(msgspec.Struct, frozen=True):
    active: bool | None = None


class _Runtime(msgspec.Struct, frozen=True, rename="camel"):
    superloop_state: _State = _State()


class _Position(msgspec.Struct, frozen=True, rename="camel"):
    event_line_offset: int = 0
    event_line_count: int = 0


class _Health(msgspec.Struct, frozen=True, rename="camel"):
    has_pending_approval: bool | None = None
    last_event_name: str | None = None
    last_event_at: str | None = None


class _Snapshot(_Envelope, frozen=True, rename="camel"):
    of: ClassVar[str] = "loop_run_snapshot"
    run: _Run = _Run()
    runtime: _Runtime = _Runtime()
    cursor: _Position = _Position()
    health: _Health = _Health()


class _Verbatim(msgspec.Struct, frozen=True):
    gates: msgspec.Raw = NULL
    stuck: msgspec.Raw = NULL


class _VerbatimHealth(msgspec.Struct, frozen=True):
    health: _Verbatim = _Verbatim()


def read_snapshot(data: bytes, loop_id: LoopId, source: str) -> SnapshotSays:
    """What a snapshot envelope of this loop says; `source` is for messages.

    Raises:
        ProjectError: it is none.
    """
    invalid = f"snapshot envelope is invalid or loop id mismatch: {source}"
    if not data.strip():
        raise ProjectError(f"{invalid} is empty")
    found = _read(data, _Snapshot, loop_id, not_json=f"invalid snapshot JSON: {source}", invalid=invalid)
    status = found.run.status or Lifecycle.UNKNOWN
    if status not in _STATES:
        raise ProjectError(f"{invalid}: run.status is {status!r}, not one of {', '.join(_STATES)}")
    try:
        verbatim = msgspec.json.decode(data, type=_VerbatimHealth).health
    except msgspec.ValidationError:
        verbatim = _Verbatim()
    return SnapshotSays(
        status=Lifecycle(status),
        run_id=found.run.run_id or UNKNOWN_RUN,
        iteration=found.run.iteration,
        completion_ok=found.run.summary.completion_ok is True,
        active=found.runtime.superloop_state.active is True,
        has_pending_approval=found.health.has_pending_approval is True,
        last_event_name=found.health.last_event_name,
        last_event_at=found.health.last_event_at,
        event_line_offset=found.cursor.event_line_offset,
        event_line_count=found.cursor.event_line_count,
        gates=compact(bytes(verbatim.gates)),
        stuck=compact(bytes(verbatim.stuck)),
    )


def read_batch(data: bytes, loop_id: LoopId, source: str) -> BatchSays:
    """What event envelopes of this loop say, one a line; blank lines count for nothing. `source` is for messages.

    Raises:
        ProjectError: one of them is none.
    """
    name, last = None, bytes(NULL)
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{source}: line {number}"
        invalid = f"event envelope is invalid or loop id mismatch: {where}"
        found = _read(line, _Event, loop_id, not_json=f"invalid event envelope in {where}", invalid=invalid)
        if not found.event.name:
            raise ProjectError(f"{invalid}: event.name is missing")
        name, last = found.event.name, line
    return BatchSays(name, compact(last))


def _read(data: bytes, record: type[E], loop_id: LoopId, *, not_json: str, invalid: str) -> E:
    try:
        data.decode()  # what is carried undecoded has to be UTF-8 as well
        msgspec.json.decode(data)
        found = decode_object(data, record)
    except NotAnObjectError as error:
        raise ProjectError(f"{invalid}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProjectError(f"{not_json}: {error}") from None
    for member, told, wanted in (
        ("schemaVersion", found.schema_version, "v1"),
        ("envelopeType", found.envelope_type, record.of),
        ("source.loopId", found.source.loop_id, loop_id),
    ):
        if told != wanted:
            raise ProjectError(f"{invalid}: {member} is {told!r}, not {wanted!r}")
    return found
