"""What is wrong with a request is said by name, with a code that programs can rely on."""

from pathlib import Path

import msgspec
import pytest
from starlette.datastructures import QueryParams

from opsd.api.endpoint import BODY_BYTES_MAX, query_fields, read_query
from opsd.api.errors import ERRORS, ApiError, ErrorCode
from opsd.api.routes import ENDPOINTS
from opsd.protocol import EventsQuery, NoQuery, WatchQuery
from tests.api.wire import answer_in, ask, exchange
from tests.api.world import a_world


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("tial=3", "unknown query parameter 'tial'; known here: epoch, offset, line, tail, limit, since, name, wait"),
        ("tail=three", "query parameter 'tail' is 'three': expected int | null, got str"),
        ("tail=0", "query parameter 'tail' is '0': expected int >= 1"),
        ("wait=99", "query parameter 'wait' is '99': expected float <= 30.0"),
        ("since=yesterday", "query parameter 'since' is 'yesterday': invalid RFC3339 encoded datetime"),
        ("tail=1&tail=2", "query parameter 'tail' is given 2 times; give it once"),
        ("offset=-1", "query parameter 'offset' is '-1': expected int >= 0"),
    ],
)
def test_a_bad_query_is_refused_by_the_parameters_name(query: str, says: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_query(QueryParams(query), EventsQuery)

    assert refused.value.code is ErrorCode.BAD_REQUEST
    assert refused.value.message == says


def test_a_path_without_parameters_says_so() -> None:
    with pytest.raises(ApiError) as refused:
        read_query(QueryParams("pretty=1"), NoQuery)

    assert refused.value.message == "unknown query parameter 'pretty'; this path takes none"


def test_what_a_query_asks_for_arrives_typed() -> None:
    asked = read_query(QueryParams("startId=s1&after=7&loop=a&loop=b%20c"), WatchQuery)

    assert asked == WatchQuery(start_id="s1", after=7, loop=("a", "b c"))


def test_every_error_code_is_in_the_table() -> None:
    assert set(ERRORS) == set(ErrorCode)


async def test_every_path_refuses_an_unknown_parameter(tmp_path: Path) -> None:
    """Whoever misspells `tail` must not get the whole log and believe it is the tail."""
    async with a_world(tmp_path) as world:
        answers = {
            (each.method, each.path): await ask(
                world.path, each.path.replace("{id}", "docs-17") + "?zzz=1", method=each.method
            )
            for each in ENDPOINTS
        }

    assert len(answers) == len(ENDPOINTS)
    assert {asked: answer.error()[:2] for asked, answer in answers.items()} == dict.fromkeys(
        answers, (400, "bad_request")
    )


async def test_tail_and_offset_exclude_each_other(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/loops/docs-17/events?tail=3&offset=0")

    assert answer.error()[:2] == (400, "bad_request")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"fromStart": 1}', "body member 'fromStart': expected bool, got int"),
        (b'{"fromstart": true}', "body: object contains unknown field fromstart"),
        (b"[]", "body: expected object, got array"),
        (b"{", "the body is not JSON: Input data was truncated"),
        (b'{"\xff": 1}', "the body is not JSON: "),
    ],
)
async def test_a_bad_body_is_refused_by_the_members_name(tmp_path: Path, body: bytes, says: str) -> None:
    async with a_world(tmp_path) as world:
        answer = await ask(world.path, "/v1/loops/docs-17/reconcile", method="POST", body=body)

    status, code, message = answer.error()
    assert (status, code) == (400, "bad_request")
    assert message.startswith(says)
    assert not world.fleet.asked


async def test_a_body_has_a_size_limit_whether_it_is_declared_or_not(tmp_path: Path) -> None:
    big = b" " * (BODY_BYTES_MAX + 1)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(big), big)
    target = "/v1/loops/docs-17/reconcile"
    async with a_world(tmp_path) as world:
        declared = await ask(world.path, target, method="POST", body=big)
        head = (
            "POST " + target + " HTTP/1.1\r\nhost: o\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        ).encode()
        undeclared = answer_in(await exchange(world.path, head + chunked))

    assert declared.error()[:2] == (413, "payload_too_large")
    assert undeclared.error()[:2] == (413, "payload_too_large")
    assert not world.fleet.asked


@pytest.mark.parametrize(
    "target", ["/", "/v1", "/v1/fleet/", "/v1/loops/", "/v1/loops/a%2Fb", "/v2/fleet", "/v1/loops/../x"]
)
async def test_an_unknown_path_says_where_the_known_ones_are(tmp_path: Path, target: str) -> None:
    async with a_world(tmp_path) as world:
        answer = await world.get(target)

    status, code, message = answer.error()
    assert (status, code) == (404, "not_found")
    assert "/v1/openapi.json" in message


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("POST", "/v1/fleet", {"GET", "HEAD"}),
        ("GET", "/v1/loops/docs-17/reconcile", {"POST"}),
        ("PUT", "/metrics", {"GET", "HEAD"}),
        ("DELETE", "/v1/mode", {"GET", "HEAD", "POST"}),
        ("POST", "/v1/intents", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_refused_and_told_the_right_ones(
    tmp_path: Path, method: str, target: str, allowed: set[str]
) -> None:
    async with a_world(tmp_path) as world:
        answer = await ask(world.path, target, method=method)

    status, code, _ = answer.error()
    assert (status, code) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_the_document_describes_every_endpoint_and_its_parameters(tmp_path: Path) -> None:
    """It is made from the same table that routes; this checks that nothing is left dangling."""
    async with a_world(tmp_path) as world:
        answer = await world.get("/v1/openapi.json")

    document = msgspec.json.decode(answer.body)
    schemas = document["components"]["schemas"]
    for each in ENDPOINTS:
        operation = document["paths"][each.path][each.method.lower()]
        described = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
        assert described == set(query_fields(each.query))
        if each.reply is not None:
            assert each.reply.__name__ in schemas
        if each.body is not None:
            form = operation["requestBody"]["content"]["application/json"]["schema"]
            assert form == {"$ref": f"#/components/schemas/{each.body.__name__}"}
        succeeds = {status: said["content"] for status, said in operation["responses"].items() if status < "300"}
        assert set(succeeds) == ({"200"} if each.accepted is None else {"200", "202"})
        assert all(content == succeeds["200"] for content in succeeds.values())
        for code in each.errors:
            assert f"`{code}`" in operation["responses"][str(ERRORS[code].status)]["description"]
    text = answer.body.decode()
    assert all(f'"{name}"' in text for name in ("FleetStatus", "ErrorReply", "EventsQuery"))
    referenced = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referenced <= schemas.keys()
