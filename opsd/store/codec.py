"""Records to bytes and back: compact JSON, one line, `schemaVersion` checked. Bytes become records here only.

Which record a file holds is said here too; where it lies is `layout`, how it is written is `commit`.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from opsd.model.cursor import Cursor
from opsd.model.effects import Document
from opsd.model.health import HealthDocument
from opsd.model.heartbeat import HeartbeatDocument
from opsd.model.sequence import SequenceDocument
from opsd.model.state import StateDocument
from opsd.model.transport import TransportHealth
from opsd.model.tuning import DriftDocument
from opsd.store.faults import Corrupt

T = TypeVar("T")

SCHEMA_VERSION = "v1"
RECORDS: Mapping[Document, type[msgspec.Struct]] = {
    Document.STATE: StateDocument,
    Document.HEALTH: HealthDocument,
    Document.HEARTBEAT: HeartbeatDocument,
    Document.SEQUENCE: SequenceDocument,
    Document.TRANSPORT_HEALTH: TransportHealth,
    Document.PROFILE_DRIFT: DriftDocument,
    Document.CURSOR: Cursor,
}

_encoder = msgspec.json.Encoder()
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


class _Versioned(msgspec.Struct, rename="camel"):
    schema_version: str = SCHEMA_VERSION


def encode(record: msgspec.Struct) -> bytes:
    """One compact line, newline at its end."""
    data = _encoder.encode(record)
    if b"\n" in data:
        # Text that is carried verbatim (a pretty-printed heartbeat) may hold line breaks, which would tear a row.
        data = msgspec.json.format(data, indent=-1)
    return data + b"\n"


def decode(data: bytes, record: type[T], path: str) -> T:
    """`path` is for the message only. Unknown members are ignored, additive members may be missing.

    Raises:
        Corrupt: no JSON, a wrong type somewhere, or a schema version that this opsd does not know.
    """
    try:
        found = _decoder(record).decode(data)
    except msgspec.ValidationError as error:
        _check_version(data, path)  # another version's shape is the cause, not the offence
        problem, _, where = str(error).partition(" - at `")
        raise Corrupt(path, where.rstrip("`") or "$", problem) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(path, "$", f"not JSON: {error}" if data.strip() else "empty") from error
    _refuse_version(getattr(found, "schema_version", SCHEMA_VERSION), path)
    return found


def _decoder(record: type[T]) -> msgspec.json.Decoder[T]:
    made: msgspec.json.Decoder[T] | None = _decoders.get(record)
    if made is None:
        made = _decoders[record] = msgspec.json.Decoder(record)
    return made


def _check_version(data: bytes, path: str) -> None:
    try:
        _refuse_version(_decoder(_Versioned).decode(data).schema_version, path)
    except msgspec.ValidationError:
        pass  # not even an object: the first error says so better


def _refuse_version(found: str, path: str) -> None:
    if found != SCHEMA_VERSION:
        raise Corrupt(path, "$.schemaVersion", f"{found!r}, and this opsd reads {SCHEMA_VERSION!r} only")
