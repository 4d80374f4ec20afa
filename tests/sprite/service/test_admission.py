"""Who is let in, to what, and how much of it: the service over real TCP."""

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from opsd.exits import ExitCode
from opsd.model.wire import FEATURES
from tests.doubles.process import LIMIT_S, finished, spawn
from tests.sprite.service.serving import TOKEN, Sprite, SpriteService, sprite

PATHS = (
    ("GET", "/healthz"),
    ("GET", "/ops/snapshot?loopId=demo-loop"),
    ("GET", "/ops/events?loopId=demo-loop"),
    ("POST", "/ops/control"),
    ("POST", "/ops/observe"),
    ("POST", "/ops/intents"),
    ("GET", "/ops/intents/some-id"),
    ("POST", "/ops/intents/some-id/ack"),
    ("GET", "/nowhere"),
    ("POST", "/healthz"),
    ("DELETE", "/ops/control"),
)


@pytest.fixture(scope="module")
def live() -> Iterator[Sprite]:
    with sprite("complete") as running:
        yield running


@pytest.fixture
def service(live: Sprite) -> SpriteService:
    return live.service


# The token


@pytest.mark.parametrize(("method", "target"), PATHS)
def test_every_path_needs_the_token_even_one_that_is_none(service: SpriteService, method: str, target: str) -> None:
    for token in (None, "wrong", TOKEN[:-1], f"{TOKEN}x", ""):
        told = service.ask(method, target, b"{}" if method == "POST" else None, token=token)
        assert told.error == (401, "unauthorized", None)
        assert told.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bEARER   {TOKEN}  "},
        {"X-Ops-Token": TOKEN},
        {"x-ops-token": f" {TOKEN} "},
        {"Authorization": f"Bearer {TOKEN}", "X-Ops-Token": TOKEN},
        {"Authorization": "Basic c2VzYW1l", "X-Ops-Token": TOKEN},
    ],
)
def test_the_token_may_come_either_way(service: SpriteService, headers: Mapping[str, str]) -> None:
    assert service.ask("GET", "/healthz", token=None, headers=headers).body == b'{"ok":true}'


def test_a_token_under_another_scheme_is_none(service: SpriteService) -> None:
    headers = {"Authorization": f"Basic {TOKEN}"}

    assert service.ask("GET", "/healthz", token=None, headers=headers).status == 401


def test_the_token_is_in_no_log_line_and_no_answer(service: SpriteService) -> None:
    told = [service.ask("POST", "/ops/control", body) for body in (b"{", {"loopId": "x", "intent": "cancel"})]
    told.append(service.ask("GET", f"/{TOKEN[:4]}", token="wrong"))

    assert TOKEN not in service.text()
    assert not any(TOKEN.encode() in each.body for each in told)
    assert TOKEN not in Path(f"/proc/{service.process.pid}/cmdline").read_text()


def test_a_rotated_token_file_holds_from_the_next_request_on(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    with sprite("complete", "--token-file", str(file), variables={}) as live:
        ask = live.service.ask
        assert ask("GET", "/healthz", token="first-token").status == 200

        beside = tmp_path / "new"
        beside.write_text("second-token\n")
        beside.replace(file)
        assert ask("GET", "/healthz", token="second-token").status == 200
        assert ask("GET", "/healthz", token="first-token").status == 401

        file.unlink()
        assert ask("GET", "/healthz", token="second-token").status == 401
        assert [each["event"] for each in live.service.log()].count("sprite.token_unusable") == 1

        file.write_text("third-token")
        assert ask("GET", "/healthz", token="third-token").status == 200


def test_a_token_file_comes_before_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-the-file")
    with sprite("complete", "--token-file", str(file)) as live:
        assert live.service.ask("GET", "/healthz", token="from-the-file").status == 200
        assert live.service.ask("GET", "/healthz", token=TOKEN).status == 401


def test_a_credential_of_systemd_is_taken_by_itself(tmp_path: Path) -> None:
    (tmp_path / "ops-manager-token").write_text("credential-token")
    with sprite("complete", variables={"CREDENTIALS_DIRECTORY": str(tmp_path)}) as live:
        assert live.service.ask("GET", "/healthz", token="credential-token").status == 200


def test_on_loopback_and_told_so_it_serves_without_a_token() -> None:
    with sprite("complete", "--insecure-no-token", variables={}) as live:
        assert live.service.ask("GET", "/healthz", token=None).status == 200


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "there is no token"),
        (("--insecure-no-token", "--host", "0.0.0.0"), "goes with a loopback address only"),
        (("--token-file", "/nonexistent/token"), "/nonexistent/token cannot be read"),
        (("--token-file", "/dev/null"), "cannot be read"),
        (("--port", "70000"), "is no port"),
        (("--token", "in-the-open"), "unrecognized arguments"),
    ],
)
def test_it_does_not_start_open_by_accident(tmp_path: Path, flags: tuple[str, ...], says: str) -> None:
    code, out, err = finished("sprite-service", "--repo", str(tmp_path), *flags)

    assert (code, out) == (ExitCode.USAGE, "")
    assert says in err


# The place


def test_a_port_that_is_taken_is_said_to_be(live: Sprite, tmp_path: Path) -> None:
    code, _, err = finished(
        "sprite-service", "--repo", str(tmp_path), "--insecure-no-token", "--port", str(live.service.port)
    )

    assert code == ExitCode.LOCKED
    assert "somebody listens on" in err


def test_the_control_socket_is_there_as_well(live: Sprite) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LIMIT_S)
        sock.connect(f"{live.place.repo}/.superloop/ops-manager/opsd.sock")
        sock.sendall(b"GET /v1/fleet HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n")
        said = b""
        while piece := sock.recv(65_536):
            said += piece

    assert [row["loopId"] for row in json.loads(said.partition(b"\r\n\r\n")[2])["loops"]] == [live.loop_id]


# The shape of requests


def test_every_answer_announces_the_features(service: SpriteService) -> None:
    told = [service.get("/healthz"), service.get("/nowhere"), service.ask("GET", "/healthz", token=None)]

    assert {each.headers["x-ops-features"] for each in told} == {" ".join(FEATURES)}


@pytest.mark.parametrize(
    ("method", "target", "error"),
    [
        ("GET", "/", (404, "not_found", None)),
        ("GET", "/healthz/", (404, "not_found", None)),
        ("GET", "/ops/control", (404, "not_found", None)),
        ("POST", "/ops/snapshot", (404, "not_found", None)),
        ("GET", "/ops/intents/", (404, "not_found", None)),
        ("GET", "/ops/intents/a%2Fb", (404, "not_found", None)),
        ("PUT", "/ops/control", (501, "not_implemented", None)),
        ("OPTIONS", "*", (501, "not_implemented", None)),
    ],
)
def test_what_is_not_served_is_said_to_be(
    service: SpriteService, method: str, target: str, error: tuple[int, str, None]
) -> None:
    assert service.ask(method, target).error == error


def test_a_content_length_that_is_no_number_is_answered(service: SpriteService) -> None:
    head = f"POST /ops/control HTTP/1.1\r\nhost: o\r\nx-ops-token: {TOKEN}\r\ncontent-length: many\r\n\r\n"

    assert service.exchange(head.encode()).error == (400, "invalid_request", None)


def test_a_head_without_end_is_answered(service: SpriteService) -> None:
    head = b"GET /healthz HTTP/1.1\r\nhost: o\r\nx-long: " + b"x" * 70_000

    assert service.exchange(head).error == (431, "headers_too_large", "headers_too_large")


def test_a_body_in_chunks_is_read(service: SpriteService) -> None:
    body = json.dumps({"loopId": "demo-loop"}).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:]))
    head = f"POST /ops/observe HTTP/1.1\r\nhost: o\r\nx-ops-token: {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n"

    assert service.exchange(head.encode() + pieces + b"0\r\n\r\n").json["source"]["loopId"] == "demo-loop"


def test_a_body_that_no_request_needs_is_refused(service: SpriteService) -> None:
    body = json.dumps({"loopId": "demo-loop", "intent": "cancel", "note": "x" * 70_000}).encode()

    assert service.ask("POST", "/ops/control", body).error[:2] == (413, "payload_too_large")


def test_one_connection_takes_many_requests(service: SpriteService) -> None:
    request = f"GET /healthz HTTP/1.1\r\nhost: o\r\nx-ops-token: {TOKEN}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", service.port), LIMIT_S) as sock:
        sock.sendall(request * 3)
        said = b""
        while said.count(b'{"ok":true}') < 3:
            said += sock.recv(65_536)

    assert said.count(b"HTTP/1.1 200") == 3


def test_who_asks_too_often_is_told_to_wait_and_others_are_not() -> None:
    with sprite("complete") as live:
        refused = [live.service.ask("GET", "/healthz", token="wrong") for _ in range(400)]
        known = live.service.get("/healthz")

    assert {each.status for each in refused} == {401, 429}
    assert next(each for each in refused if each.status == 429).headers["retry-after"] == "1"
    assert known.status == 200, "the same address with the token"


def test_it_ends_in_good_order() -> None:
    with sprite("complete") as live:
        assert live.service.stop() == ExitCode.OK
        assert "daemon.stopped" in [each["event"] for each in live.service.log()]


def test_its_command_takes_the_settings_of_the_daemon(tmp_path: Path) -> None:
    process = spawn("sprite-service", "--repo", str(tmp_path), "--insecure-no-token", "--sweep-interval-s", "nope")

    assert process.wait(LIMIT_S) == ExitCode.USAGE
