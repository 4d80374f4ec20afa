"""`reference/api.md` and `openapi.json`: what can be asked for over the control socket, from the table of endpoints."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from docs.generate.markdown import code, page, table
from opsd.api import openapi
from opsd.api.endpoint import Endpoint
from opsd.api.errors import ERRORS
from opsd.api.routes import ENDPOINTS
from opsd.protocol import FeedItem

_INTRODUCTION = """
HTTP/1.1 over a Unix socket, JSON in camelCase. `opsctl` uses nothing else, and any other client may:

```console
curl --unix-socket /run/opsd/opsd.sock http://opsd/v1/fleet
```

Who may ask is decided by the peer's user and groups, as the kernel tells them. The records of all replies are in
[openapi.json](openapi.json), which the daemon serves as well. Members may be added within `v1`; ignore those that you
do not know.
"""


def render() -> str:
    return page(
        "Control API",
        "`opsd/api/routes.py`, `opsd/api/errors.py` and `opsd/protocol.py`",
        _INTRODUCTION,
        table(("request", "what it answers"), ((_link(each), each.says) for each in ENDPOINTS)),
        *(_section(each) for each in ENDPOINTS),
        "## Errors",
        'Every answer that is not 2xx has the body `{"error": {"code", "message", "details"}}`. Codes are stable;\n'
        "messages are for people and say what to do.",
        table(
            ("code", "status", "meaning"),
            ((code(each.value), str(entry.status), entry.says) for each, entry in ERRORS.items()),
        ),
    )


def openapi_document() -> str:
    return json.dumps(_described(), indent=2, ensure_ascii=False) + "\n"


def _described() -> Any:
    return json.loads(openapi.document(ENDPOINTS))


def _title(each: Endpoint) -> str:
    return f"{each.method} {each.path}"


def _link(each: Endpoint) -> str:
    anchor = "".join(letter for letter in _title(each).lower().replace(" ", "-") if letter.isalnum() or letter in "-_")
    return f"[{code(_title(each))}](#{anchor})"


def _section(each: Endpoint) -> str:
    parts = [f"## {_title(each)}", each.says]
    parameters = list(_parameters(each))
    if parameters:
        about = _prose(each.query)
        parts += [about] if about else []
        parts.append(table(("parameter", "form", "default"), parameters))
    if each.body is not None:
        schema = _schema(each.body.__name__)
        defaults = "" if schema.get("required") else "; an empty one stands for all defaults"
        about = _prose(each.body)
        parts += [f"Body: {code(each.body.__name__)}{defaults}.", *([about] if about else [])]
        parts.append(table(("member", "form", "default"), _members(schema)))
    parts.append(f"Answers {code(each.reply.__name__) if each.reply else code(each.media_type)}.")
    if each.accepted is not None:
        parts.append(f"With status 202: {each.accepted[:1].lower()}{each.accepted[1:]}")
    if each.reply is FeedItem:
        parts += ["One record per line:", _prose(FeedItem)]
    if each.errors:
        parts.append(f"May also answer {', '.join(code(error.value) for error in each.errors)}.")
    return "\n\n".join(parts)


def _parameters(each: Endpoint) -> Iterator[tuple[str, str, str]]:
    operation = _described()["paths"][each.path][each.method.lower()]
    for parameter in operation["parameters"]:
        if parameter["in"] == "query":
            schema = parameter["schema"]
            yield code(parameter["name"]), _form(schema), _default(schema)


def _members(schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", [])
    for name, member in schema["properties"].items():
        yield code(name), _form(member), "*required*" if name in required else _default(member)


def _schema(name: str) -> Any:
    return _described()["components"]["schemas"][name]


def _form(schema: dict[str, Any]) -> str:
    variants = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    return " or ".join(_one_form(each) for each in variants)


def _one_form(schema: dict[str, Any]) -> str:
    if schema.get("type") == "array":
        return f"{_form(schema['items'])}, may be repeated"
    if "$ref" in schema:
        record = schema["$ref"].rpartition("/")[2]
        words = _schema(record).get("enum")
        return code(record) if words is None else _one_of(words)
    if "enum" in schema:
        return _one_of(schema["enum"])
    name = schema.get("format") or schema["type"]
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f"{name}, {least} to {most}"
    above = schema.get("exclusiveMinimum")
    if above is not None and most is not None:
        return f"{name}, above {above}, at most {most}"
    if schema.get("maxLength") is not None:
        return f"{name}, {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return f"{name}, {least} or more" if least is not None else str(name)


def _one_of(words: list[str]) -> str:
    return " or ".join(code(word) for word in words)


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, [], {}, "") else code(json.dumps(default))


def _prose(record: type[msgspec.Struct]) -> str:
    """A record's docstring as a paragraph, its line breaks kept, its members spelled as on the wire."""
    text = "\n".join(line.strip() for line in (record.__doc__ or "").strip().splitlines())
    for field in msgspec.structs.fields(record):
        text = text.replace(code(field.name), code(field.encode_name))
    return text
