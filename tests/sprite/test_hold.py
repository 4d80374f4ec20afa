"""A launched run holds its sprite awake through the platform's socket, and never depends on it."""

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opsd.sprite.hold import task_name
from tests.doubles.scripts import eventually
from tests.sprite.launched import LOOP, Launched

ENDS_WHEN_TOLD = "while [ ! -e ../end ]; do sleep 0.05; done"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[object, tuple[str, int]]:  # type: ignore[override]  # a peer that the handler can name
        request, _ = super().get_request()
        return request, ("sprite", 0)


class Platform:
    """The platform's tasks at a Unix socket: every request as (method, path, body)."""

    def __init__(self, path: Path, status: int) -> None:
        self.asked: list[tuple[str, str, object]] = []
        platform = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._answer()

            def do_DELETE(self) -> None:
                self._answer()

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                platform.asked.append((self.command, self.path, body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name for it
                pass

        self.server = _Server(str(path), Handler)


@contextmanager
def platform(path: Path, status: int = 200) -> Iterator[Platform]:
    one = Platform(path, status)
    thread = threading.Thread(target=one.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        thread.join()
        one.server.server_close()


def test_the_task_is_held_while_the_run_lives_and_put_away_with_it(short_path: Path) -> None:
    sock = short_path / "api.sock"
    with platform(sock) as sprite, Launched(short_path, ENDS_WHEN_TOLD, "--platform-socket", str(sock)) as launched:
        eventually(lambda: bool(sprite.asked), "the task")
        assert sprite.asked == [("PUT", f"/v1/tasks/opsd-run-{LOOP}", {"expire": "5m"})]

        (short_path / "end").touch()
        assert launched.process.wait(20) == 0

        assert sprite.asked[1:] == [("DELETE", f"/v1/tasks/opsd-run-{LOOP}", None)]


def test_a_platform_that_refuses_is_told_once_and_costs_the_run_nothing(short_path: Path) -> None:
    sock = short_path / "api.sock"
    with (
        platform(sock, status=500) as sprite,
        Launched(short_path, ENDS_WHEN_TOLD, "--platform-socket", str(sock)) as launched,
    ):
        eventually(lambda: bool(sprite.asked), "the attempt")
        (short_path / "end").touch()
        assert launched.process.wait(20) == 0
        assert launched.process.stderr is not None
        said = launched.process.stderr.read()

    assert said.count("the sprite may fall asleep during the run") == 1
    assert "HTTP 500" in said
    assert [method for method, _, _ in sprite.asked] == ["PUT"]


def test_without_a_platform_nothing_is_asked(short_path: Path) -> None:
    flags = ("--platform-socket", str(short_path / "nothing.sock"))
    with Launched(short_path, "exit 3", *flags) as launched:
        assert launched.process.wait(20) == 3
        assert launched.process.stderr is not None
        assert launched.process.stderr.read() == ""


@pytest.mark.parametrize(
    ("loop_id", "name"),
    [("docs-17", "opsd-run-docs-17"), ("a b/ü", "opsd-run-a-b--"), ("x" * 100, "opsd-run-" + "x" * 51)],
)
def test_a_task_is_named_for_its_loop(loop_id: str, name: str) -> None:
    assert task_name(loop_id) == name
