import ast
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from opsd import logs

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    """Logging is configured once per process, and other tests capture theirs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_every_name_that_is_logged_is_listed_and_every_listed_one_is_logged() -> None:
    """Names are interface: people search for them, and a misspelt one is a line that nobody finds."""
    used = {name for path in sorted((ROOT / "opsd").rglob("*.py")) for name in logged_names(path)}

    assert used == set(logs.EVENTS)


def logged_names(path: Path) -> Iterator[str]:
    """First arguments of calls such as `log.info("a.b", ...)`, where they are dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in (*logs.LEVELS, "critical")
            and node.args
        ):
            for argument in ast.walk(node.args[0]):
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and "." in argument.value:
                    yield argument.value


def test_elsewhere_than_on_a_terminal_a_line_is_json() -> None:
    out = io.StringIO()
    logs.configure(level="info", form="auto", stream=out)

    logs.logger().info("loop.added", loop_id="a", repo_path="/r")
    logs.logger().debug("api.request")

    (line,) = out.getvalue().splitlines()
    said = json.loads(line)
    assert {"level": "info", "event": "loop.added", "loop_id": "a", "repo_path": "/r"}.items() <= said.items()
    assert said["at"].endswith("Z")


def test_the_journal_gets_the_priority_in_front(tmp_path: Path) -> None:
    """systemd reads `<4>` as a warning; it connects a stream to the journal and names its device and inode."""
    with (tmp_path / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        logs.configure(level="info", form="auto", stream=stream, journal_stream=f"{found.st_dev}:{found.st_ino}")
        logs.logger().warning("watch.blind", missed=3)
        stream.seek(0)

        priority, _, line = stream.read().partition(">")

    assert priority == "<4"
    assert json.loads(line)["event"] == "watch.blind"


def test_text_from_a_run_cannot_steer_a_terminal() -> None:
    out = io.StringIO()
    logs.configure(level="info", form="console", stream=out)

    logs.logger().info("run.changed", basis="\x1b]0;owned\x07")

    assert "\x1b]0" not in out.getvalue()
    assert "owned" in out.getvalue()


def test_what_libraries_warn_about_becomes_an_event() -> None:
    out = io.StringIO()
    logs.configure(level="info", form="json", stream=out)

    logging.getLogger("uvicorn.error").warning("odd %s", "thing")
    logging.getLogger("uvicorn.error").info("chatter")

    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["event"] == "library.logged"
    assert json.loads(line)["message"] == "odd thing"


def test_an_error_keeps_its_traceback_in_one_line() -> None:
    out = io.StringIO()
    logs.configure(level="info", form="json", stream=out)

    try:
        raise ValueError("no")
    except ValueError:
        logs.logger().error("service.failed", service="x", exc_info=True)

    (line,) = out.getvalue().splitlines()
    assert "ValueError: no" in json.loads(line)["exception"]
