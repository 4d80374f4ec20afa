"""The API's own description (OpenAPI 3.1), made from the table of endpoints and the records they name."""

from collections.abc import Mapping

import msgspec

from opsd.api.endpoint import Endpoint, query_fields
from opsd.api.errors import ERRORS, ErrorCode
from opsd.protocol import API_VERSION, ErrorReply

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
_REF = "#/components/schemas/{name}"
# Any path may answer with these.
_ALWAYS = (ErrorCode.BAD_REQUEST, ErrorCode.NO_PEER_IDENTITY, ErrorCode.NOT_PERMITTED, ErrorCode.INTERNAL)


def document(endpoints: tuple[Endpoint, ...]) -> bytes:
    """The whole description as JSON; the same endpoints give the same bytes."""
    records = {record for each in endpoints for record in (each.query, each.reply, each.body) if record is not None}
    ordered = sorted(records | {ErrorReply}, key=lambda record: record.__name__)
    references, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, references, strict=True))
    paths: dict[str, Json] = {}
    for each in endpoints:
        operations = paths.setdefault(each.path, {})
        assert isinstance(operations, dict)
        operations[each.method.lower()] = _operation(each, schema_of, schemas)
    whole: dict[str, Json] = {
        "openapi": "3.1.0",
        "info": {"title": "opsd control API", "version": API_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return msgspec.json.encode(whole)


def _operation(each: Endpoint, schema_of: Mapping[type[msgspec.Struct], Json], schemas: Json) -> Json:
    parameters: list[Json] = []
    if "{id}" in each.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    parameters += _query_parameters(each.query, schemas)
    content: Json = {"schema": schema_of[each.reply]} if each.reply else {}
    responses: dict[str, Json] = {"200": {"description": each.says, "content": {each.media_type: content}}}
    if each.accepted is not None:
        responses["202"] = {"description": each.accepted, "content": {each.media_type: content}}
    for code in (*_ALWAYS, *each.errors):
        status = str(ERRORS[code].status)
        says = f"`{code}`: {ERRORS[code].says}"
        before = responses.get(status)
        if isinstance(before, dict):
            says = f"{before['description']} {says}"
        responses[status] = {
            "description": says,
            "content": {"application/json": {"schema": schema_of[ErrorReply]}},
        }
    operation: dict[str, Json] = {"summary": each.says, "parameters": parameters, "responses": responses}
    if each.body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": schema_of[each.body]}}}
    return operation


def _query_parameters(query: type[msgspec.Struct], schemas: Json) -> list[Json]:
    assert isinstance(schemas, dict)
    schema = schemas[query.__name__]
    assert isinstance(schema, dict)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    return [{"name": name, "in": "query", "schema": properties[name]} for name in query_fields(query)]
