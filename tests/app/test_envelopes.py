"""Envelopes read from real files: caught while they are written, cut off, long, or leading elsewhere."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsd.app.envelopes import EnvelopeError, EventPage, Reason, snapshot
from opsd.disk import Disk
from opsd.model.ids import LoopId

NOW = datetime(2026, 11, 4, 9, 30, tzinfo=UTC)
LOOP = LoopId("demo")


def line(number: int, **members: object) -> str:
    return json.dumps({"timestamp": "2026-11-04T09:30:00Z", "event": "role_end", "iteration": number, **members})


def loop(tmp_path: Path, *lines: str, end: str = "\n") -> Path:
    folder = tmp_path / ".superloop/loops/demo"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("\n".join(lines) + (end if lines else ""))
    return folder


def page(tmp_path: Path, cursor: int = 0, events_max: int = 0) -> EventPage:
    return EventPage(Disk(), str(tmp_path), LOOP, NOW, cursor=cursor, events_max=events_max)


def numbers(found: EventPage) -> list[int]:
    told = msgspec.json.decode(b"[" + b"".join(found.pieces()) + b"]")
    return [each["sequence"]["value"] for each in told]


def test_a_file_that_is_being_rewritten_is_read_once_it_is_whole(tmp_path: Path) -> None:
    folder = loop(tmp_path, line(1))
    approval = folder / "approval.json"
    approval.write_text("")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            approval.write_text('{"status": "pending"}')

    found = snapshot(Disk(), str(tmp_path), LOOP, NOW, pause=pause)

    assert found.run.status == "awaiting_approval"
    assert len(pauses) == 3


def test_a_file_that_stays_half_there_is_told(tmp_path: Path) -> None:
    folder = loop(tmp_path, line(1))
    (folder / "run-summary.json").write_text('{"entries": [')

    with pytest.raises(EnvelopeError, match=r"run-summary\.json") as raised:
        snapshot(Disk(), str(tmp_path), LOOP, NOW, pause=lambda _: None)
    assert raised.value.reason is Reason.ARTIFACTS_UNREADABLE


def test_a_last_line_without_its_end_is_not_there_yet(tmp_path: Path) -> None:
    loop(tmp_path, line(1), line(2), '{"torn', end="")

    assert snapshot(Disk(), str(tmp_path), LOOP, NOW).cursor.event_line_count == 2
    assert numbers(page(tmp_path)) == [1, 2]
    assert numbers(page(tmp_path, cursor=2)) == []


def test_an_empty_log_has_no_event_and_no_error(tmp_path: Path) -> None:
    loop(tmp_path)

    found = snapshot(Disk(), str(tmp_path), LOOP, NOW)
    assert (found.health.last_event_name, found.sequence.value) == (None, 0)
    assert numbers(page(tmp_path)) == []


def test_blank_lines_count_and_are_no_events(tmp_path: Path) -> None:
    loop(tmp_path, line(1), "", "  ", line(4), "")
    found = page(tmp_path)

    assert numbers(found) == [1, 4]
    assert (found.last_line, found.line_count) == (4, 5)


def test_what_is_appended_after_a_page_was_made_is_not_part_of_it(tmp_path: Path) -> None:
    folder = loop(tmp_path, line(1))
    found = page(tmp_path)
    with (folder / "events.jsonl").open("a") as log:
        log.write(line(2) + "\n")

    assert numbers(found) == [1]


def test_a_log_that_shrinks_under_a_page_breaks_it_off(tmp_path: Path) -> None:
    folder = loop(tmp_path, *map(line, range(200)))
    found = page(tmp_path)
    (folder / "events.jsonl").write_text("")

    with pytest.raises(EnvelopeError, match="truncated"):
        numbers(found)


def test_members_of_odd_types_are_read_as_the_contract_reads_them(tmp_path: Path) -> None:
    loop(tmp_path, line(1, iteration="7", status=5, role="", message=False, run_id="r", data=[1]))
    (told,) = msgspec.json.decode(b"[" + b"".join(page(tmp_path).pieces()) + b"]")

    assert told["run"] == {"runId": "r", "iteration": 7}
    assert (told["event"]["role"], told["event"]["status"], told["event"]["message"]) == (None, "5", None)
    assert told["event"]["payload"] == [1]


@pytest.mark.parametrize("bad", ["no json", "[]", '{"timestamp": "t"}', '{"event": "e"}', "\x00"])
def test_a_line_that_is_no_event_is_named(tmp_path: Path, bad: str) -> None:
    loop(tmp_path, line(1), bad, line(3))

    with pytest.raises(EnvelopeError, match="line 2") as raised:
        page(tmp_path)
    assert raised.value.reason is Reason.INVALID_EVENT
    assert numbers(page(tmp_path, cursor=2)) == [3]


@pytest.mark.parametrize("what", ["loop", "events.jsonl"])
def test_links_do_not_lead_out_of_the_repository(tmp_path: Path, what: str) -> None:
    repo, outside = tmp_path / "repo", tmp_path / "outside"
    elsewhere = loop(outside, line(1))
    if what == "loop":
        (repo / ".superloop/loops").mkdir(parents=True)
        (repo / ".superloop/loops/demo").symlink_to(elsewhere)
    else:
        loop(repo).joinpath("events.jsonl").unlink()
        (repo / ".superloop/loops/demo/events.jsonl").symlink_to(elsewhere / "events.jsonl")

    for read in (lambda: snapshot(Disk(), str(repo), LOOP, NOW), lambda: page(repo)):
        with pytest.raises(EnvelopeError, match="leads out") as raised:
            read()
        assert raised.value.reason is Reason.ARTIFACTS_UNREADABLE


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.integers(0, 45), st.integers(0, 10))
def test_pages_of_any_size_are_the_events_behind_the_cursor(
    tmp_path_factory: pytest.TempPathFactory, is_event: list[bool], cursor: int, events_max: int
) -> None:
    repo = tmp_path_factory.mktemp("repo")
    loop(repo, *(line(number) if each else "" for number, each in enumerate(is_event, 1)))
    if cursor > len(is_event):
        with pytest.raises(EnvelopeError, match="exceeds") as raised:
            page(repo, cursor, events_max)
        assert raised.value.reason is Reason.CURSOR_AHEAD
        return

    expected = [number for number, each in enumerate(is_event, 1) if each and number > cursor]
    found = page(repo, cursor, events_max)
    assert numbers(found) == expected[: events_max or None]
    assert found.last_line == (numbers(found)[-1] if expected else cursor)
