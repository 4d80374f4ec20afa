"""Records from other programs' JSON objects: a member of the wrong type is dropped, its neighbours are kept.

Files that are ours are decoded strictly, by msgspec alone.
"""

from typing import TypeVar, get_args

import msgspec

from opsd.transports.small import NotAnObjectError

R = TypeVar("R", bound=msgspec.Struct)


def decode_object(data: bytes, record: type[R]) -> R:
    """`data` as a `record`, whose members all have defaults.

    Raises:
        NotAnObjectError: it is JSON, and no object.
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is no JSON (or not yet).
    """
    try:
        return msgspec.json.decode(data, type=record)
    except msgspec.ValidationError:
        value = msgspec.json.decode(data)
        if not isinstance(value, dict):
            raise NotAnObjectError("is JSON, but not an object") from None
        return _salvaged(value, record)


def _salvaged(value: dict[str, object], record: type[R]) -> R:
    kept: dict[str, object] = {}
    for field in msgspec.structs.fields(record):
        if field.encode_name not in value:
            continue
        member = value[field.encode_name]
        nested = _nested_record(field.type)
        if nested is not None and isinstance(member, dict):
            kept[field.name] = _salvaged(member, nested)
            continue
        try:
            kept[field.name] = msgspec.convert(member, field.type)
        except msgspec.ValidationError:
            pass  # as if it were missing
    return record(**kept)


def _nested_record(annotation: object) -> type[msgspec.Struct] | None:
    """The record in `Record` or `Record | None`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None
