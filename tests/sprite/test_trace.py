"""What the runtime's own files tell of a launched run, whatever else stands in them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.sprite.trace import Trace

OLD, NEW = "2026-11-20T01:00:00Z", "2026-11-21T01:38:44Z"


def line(event: str, run_id: str) -> bytes:
    return json.dumps({"timestamp": run_id, "event": event, "loop_id": "docs", "run_id": run_id}).encode() + b"\n"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / ".superloop" / "loops" / "docs").mkdir(parents=True)
    return tmp_path


def log_of(repo: Path) -> Path:
    return repo / ".superloop" / "loops" / "docs" / "events.jsonl"


def active_run(repo: Path, text: str) -> None:
    (repo / ".superloop" / "active-run.json").write_text(text)


def test_only_what_came_after_the_beginning_is_the_runs(repo: Path) -> None:
    log_of(repo).write_bytes(line("loop_start", OLD))
    trace = Trace(str(repo), "docs")

    assert not trace.look()
    with log_of(repo).open("ab") as log:
        log.write(line("approval_decision", OLD) + line("loop_start", NEW) + line("approval_consumed", OLD))

    assert trace.look()
    assert trace.run_id == NEW
    assert not trace.look()


def test_a_log_that_begins_anew_is_read_from_its_beginning(repo: Path) -> None:
    log_of(repo).write_bytes(line("loop_start", OLD) * 5)
    trace = Trace(str(repo), "docs")

    log_of(repo).write_bytes(line("loop_start", NEW))

    assert trace.look()
    assert trace.run_id == NEW


def test_a_loop_without_a_log_has_no_run_yet(repo: Path) -> None:
    trace = Trace(str(repo), "docs")

    assert not trace.look()
    log_of(repo).write_bytes(line("loop_start", NEW))
    assert trace.look()


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(1, 40), st.integers(0, 3))
def test_garbage_and_torn_lines_are_in_nobodys_way(
    tmp_path_factory: pytest.TempPathFactory, garbage: list[bytes], chunk: int, others: int
) -> None:
    repo = tmp_path_factory.mktemp("checkout")
    log_of(repo).parent.mkdir(parents=True)
    trace = Trace(str(repo), "docs")
    noise = b"".join(part.replace(b"\n", b"") + b"\n" for part in garbage)
    data = noise + line("iteration_start", OLD) * others + line("loop_start", NEW) + line("loop_start", OLD)

    with log_of(repo).open("ab", buffering=0) as log:
        for at in range(0, len(data), chunk):
            log.write(data[at : at + chunk])
            trace.look()

    assert trace.run_id == NEW


def test_a_line_longer_than_is_read_at_once_does_not_stop_it(repo: Path) -> None:
    trace = Trace(str(repo), "docs")
    log_of(repo).write_bytes(b"x" * 600_000 + b"\n" + line("loop_start", NEW))

    assert any(trace.look() for _ in range(4))
    assert trace.run_id == NEW


def test_the_stage_is_the_loops_own(repo: Path) -> None:
    trace = Trace(str(repo), "docs")

    active_run(repo, '{"loop_id": "other", "stage": "loop_start"}')
    assert not trace.look()
    active_run(repo, '{"loop_id": "docs", "stage": "run_start"}')
    assert trace.look()
    assert trace.stage == "run_start"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"loop_id": "docs"}', '{"loop_id": "docs", "stage": 7}'])
def test_a_file_that_is_being_rewritten_leaves_what_is_known(repo: Path, text: str) -> None:
    trace = Trace(str(repo), "docs")
    active_run(repo, '{"loop_id": "docs", "stage": "loop_start"}')
    trace.look()

    active_run(repo, text)

    assert not trace.look()
    assert trace.stage == "loop_start"
