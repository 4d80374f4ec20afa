"""JSON values as YAML 1.2, for reading: block style, strings quoted as soon as they could be taken for something else.

Written here because a whole YAML library for one direction of one format would be the client's only dependency.
"""

import json
import re
from collections.abc import Iterator

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

# Certain to be read back as the same string by any YAML reader; everything else is quoted.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*\Z")
_WORDS_WITH_A_MEANING = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def dump(value: Json) -> str:
    return "\n".join(_block(value, "")) + "\n"


def _block(value: Json, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _entry(f"{indent}{_scalar(key)}:", each, indent + "  ")
    elif isinstance(value, list) and value:
        for each in value:
            first, *rest = _block(each, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
    else:
        yield indent + _scalar(value)


def _entry(label: str, value: Json, indent: str) -> Iterator[str]:
    if isinstance(value, (dict, list)) and value:
        yield label
        yield from _block(value, indent)
    else:
        yield f"{label} {_scalar(value)}"


def _scalar(value: Json) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.match(value) and value.lower() not in _WORDS_WITH_A_MEANING:
        return value
    # YAML takes a JSON string as it is, except that it allows fewer characters to stand for themselves.
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in quoted)


def _escape(point: int) -> str:
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
