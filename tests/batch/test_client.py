"""`ops-manager service-client`: what it sends, repeats and tells. Source: control-and-service 10."""

from pathlib import Path

import pytest

from tests.batch.cli import Done, run
from tests.batch.test_control_service import nobody
from tests.batch.through import peer
from tests.services.peer import Act, Peer, answers, drips, hangs_up, stays_silent

TOKEN = "sesame-5f2b9c"
KEYED = b'{"loopId": "x", "idempotencyKey": "k-1"}'
UNKEYED = b'{"loopId": "x"}'


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPS_MANAGER_SERVICE_TOKEN", raising=False)


def get(at: Peer | str, *words: str) -> Done:
    base_url = at if isinstance(at, str) else at.base_url
    where = ("--base-url", base_url, "--path", "/ops/snapshot?loopId=x", "--retry-backoff-seconds", "0")
    return run("service-client", "--method", "GET", *where, *words)


def post(at: Peer, folder: Path, body: bytes) -> Done:
    (folder / "body").write_bytes(body)
    where = ("--base-url", f"{at.base_url}/", "--path", "/ops/control", "--retry-backoff-seconds", "0")
    return run("service-client", "--method", "POST", *where, "--body-file", str(folder / "body"))


def test_a_body_goes_to_standard_output_as_it_came() -> None:
    with peer(answers(b'{"ok": true}  \n')) as service:
        done = get(service, "--token", TOKEN, "--trace-id", "tr-1")

    assert done == (0, '{"ok": true}  \n', "")
    (asked,) = service.asked
    assert (asked.method, asked.target) == ("GET", "/ops/snapshot?loopId=x")
    assert (asked.headers["authorization"], asked.headers["x-ops-token"]) == (f"Bearer {TOKEN}", TOKEN)
    assert asked.headers["x-trace-id"] == "tr-1"


def test_a_post_sends_the_file_to_where_one_slash_is_enough(tmp_path: Path) -> None:
    with peer(answers({"ok": True}, 202)) as service:
        assert post(service, tmp_path, KEYED).code == 0

    (asked,) = service.asked
    assert (asked.target, asked.body, asked.headers["content-type"]) == ("/ops/control", KEYED, "application/json")


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(status: int) -> None:
    with peer(answers("wait", status), answers("{}")) as service:
        assert get(service).code == 0
    assert len(service.asked) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 404, 501])
def test_what_does_not_pass_is_told_at_once(status: int) -> None:
    with peer(answers("\n".join(f"line {n}" for n in range(60)), status)) as service:
        done = get(service, "--token", TOKEN)

    assert (done.code, done.out, len(service.asked)) == (1, "", 1)
    first, *end = done.err.splitlines()
    assert first == f"error: service request failed: GET {service.base_url}/ops/snapshot?loopId=x -> {status}"
    assert end == [f"line {n}" for n in range(20, 60)]
    assert TOKEN not in done.err


def test_a_connection_that_cannot_be_had_or_breaks_is_tried_again() -> None:
    assert " -> 000 after 3 attempts" in get(nobody()).err
    with peer(hangs_up(), answers("{}")) as service:
        assert get(service).code == 0


@pytest.mark.parametrize("failure", [hangs_up(), answers("", 500), answers("", 409), answers("", 502)])
def test_what_may_have_been_done_is_repeated_under_a_key_alone(tmp_path: Path, failure: Act) -> None:
    with peer(failure, answers("{}")) as service:
        assert post(service, tmp_path, UNKEYED).code == 1
        assert len(service.asked) == 1
    with peer(failure, answers("{}")) as service:
        assert post(service, tmp_path, KEYED).code == 0
        assert len(service.asked) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer", [stays_silent(), drips(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b"x" * 900, 0.05)]
)
def test_no_attempt_takes_longer_than_it_may(answer: Act) -> None:
    with peer(answer) as service:
        done = get(service, "--max-time-seconds", "1", "--retry-attempts", "1")
    assert (done.code, " -> 000" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--method", "PUT"), "--method must be one of GET, POST"),
        (("--method", "POST"), "--body-file is required for POST"),
        (("--method", "POST", "--body-file", "/no/such"), "--body-file /no/such cannot be read"),
        (("--method", "GET", "--retry-attempts", "0"), "--retry-attempts must be"),
        (("--method", "GET", "--base-url", "ftp://x"), "cannot be asked"),
        (("--method", "GET", "--base-url", "http://me:secret@x"), "holds a user or a password"),
        (("--method", "GET", "--token", "two words\n"), "characters that cannot be sent"),
    ],
)
def test_what_is_wrong_with_a_flag_is_told(words: tuple[str, ...], told: str) -> None:
    done = run("service-client", "--base-url", "http://127.0.0.1:9", "--path", "/x", *words)

    assert (done.code, done.out, told in done.err, "secret" in done.err) == (1, "", True, False)
