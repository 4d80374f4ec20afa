"""Reading a log for people: its newest events, what follows, and what is asked for of it."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.disk import Disk
from opsd.transports.eventlog import START, Choice, LogSlice, Place, read_last, read_on
from tests.transports.trees import CountingDisk, event


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def names(found: LogSlice) -> list[str]:
    return [line.raw.split(b'"')[7].decode() for line in found.lines]


def at(minute: int, second: int) -> datetime:
    return datetime(2026, 11, 21, 2, minute, second, tzinfo=UTC)


def test_the_newest_events_carry_their_physical_line_numbers(log: Path) -> None:
    log.write_bytes(event("a") + b"\n" + b"bad\n" + event("b") + event("c") + b'{"torn')

    found = read_last(Disk(), str(log), count=2)

    assert names(found) == ["b", "c"]
    assert [line.line for line in found.lines] == [4, 5]
    assert found.end == Place(len(log.read_bytes()) - 6, 5)
    assert found.more
    assert not read_last(Disk(), str(log), count=3).more


def test_what_follows_a_page_is_the_next_page(log: Path) -> None:
    log.write_bytes(event("a") + event("b"))
    last = read_last(Disk(), str(log), count=1)

    with log.open("ab") as file:
        file.write(event("c") + event("d") + event("e")[:-1])
    first = read_on(Disk(), str(log), last.end, limit=1)
    second = read_on(Disk(), str(log), first.end, limit=10)

    assert (names(first), first.more) == (["c"], True)
    assert (names(second), second.more, second.lines[0].line) == (["d"], False, 4)
    assert read_on(Disk(), str(log), second.end, limit=10).lines == ()


@pytest.mark.parametrize("place", [Place(3, 1), Place(10_000, 9), Place(-1, 0), Place(0, 5)])
def test_a_place_that_is_not_in_the_log_means_its_start(log: Path, place: Place) -> None:
    """The log was replaced since, or somebody made the place up."""
    log.write_bytes(event("a") + event("b"))

    found = read_on(Disk(), str(log), place, limit=10)

    assert (found.restarted, names(found)) == (True, ["a", "b"])
    assert read_last(Disk(), str(log), count=1, near=place).lines[0].line == 2


def test_events_are_chosen_by_name_and_time(log: Path) -> None:
    log.write_bytes(
        b"".join(event("role_end" if n % 2 else "role_start", second=n) for n in range(100)) + event("role", second=99)
    )

    recent = read_last(Disk(), str(log), count=50, choice=Choice(since=at(1, 35)))
    ends = read_last(Disk(), str(log), count=2, choice=Choice(names=frozenset({"role_end"})))
    on = read_on(Disk(), str(log), START, limit=2, choice=Choice(at(1, 0), frozenset({"role_end"})))

    assert [line.line for line in recent.lines] == [96, 97, 98, 99, 100, 101]
    assert not recent.more
    assert [line.line for line in ends.lines] == [98, 100]
    assert [line.line for line in on.lines] == [62, 64]


def test_the_newest_events_of_a_large_log_are_read_from_its_end(log: Path) -> None:
    line = event("a", data={"text": "x" * 400})
    log.write_bytes(line * 20_000)
    disk = CountingDisk()

    found = read_last(disk, str(log), count=10, near=Place(len(line) * 19_990, 19_990))

    assert [found.lines[0].line, found.lines[-1].line] == [19_991, 20_000]
    assert disk.bytes_read < 200_000


def test_a_search_for_what_is_not_there_ends_in_time(log: Path) -> None:
    log.write_bytes(event("a") * 3000)

    found = read_last(Disk(), str(log), count=1, choice=Choice(names=frozenset({"z"})), scan_bytes_max=100_000)
    on = read_on(Disk(), str(log), START, limit=1, choice=Choice(names=frozenset({"z"})), scan_bytes_max=100_000)

    assert (found.lines, found.more) == ((), True)
    assert (on.lines, on.more) == ((), True)
    assert 0 < on.end.line < 3000


def test_a_line_of_absurd_length_is_passed_over_in_both_directions(log: Path) -> None:
    log.write_bytes(event("a") + b"\0" * (20 * 1024 * 1024) + b"\n" + event("b"))

    assert [line.line for line in read_last(Disk(), str(log), count=5).lines] == [1, 3]
    assert [line.line for line in read_on(Disk(), str(log), START, limit=5).lines] == [1, 3]


@pytest.mark.parametrize("data", [b"", b"\n", b"torn", b"\n\n"])
def test_a_log_without_events_has_none(log: Path, data: bytes) -> None:
    log.write_bytes(data)

    assert read_last(Disk(), str(log), count=5).lines == ()
    assert read_on(Disk(), str(log), START, limit=5).lines == ()


@given(
    st.lists(st.sampled_from(["event", "bad", "blank", "long"]), max_size=40),
    st.integers(1, 45),
    st.integers(0, 40),
    st.booleans(),
)
def test_reading_backwards_and_forwards_tell_the_same(kinds: list[str], count: int, near: int, torn: bool) -> None:
    spelled = {"event": event("a"), "bad": b"bad\n", "blank": b"\n", "long": event("b", data="x" * 70_000)}
    lines = [spelled[kind] for kind in kinds]
    near = min(near, len(lines))
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(lines) + (b'{"torn' if torn else b""))
        file.flush()
        place = Place(sum(map(len, lines[:near])), near)
        forwards = read_on(Disk(), file.name, START, limit=1000)
        backwards = read_last(Disk(), file.name, count=count, near=place)
        pages, at_place = list[int](), START
        while True:
            page = read_on(Disk(), file.name, at_place, limit=count)
            pages += [line.line for line in page.lines]
            at_place = page.end
            if not page.more:
                break

    assert [line.line for line in forwards.lines] == [n for n, kind in enumerate(kinds, 1) if kind in ("event", "long")]
    assert backwards.lines == forwards.lines[-count:]
    assert backwards.end == forwards.end == Place(sum(map(len, lines)), len(lines))
    assert backwards.more == (len(forwards.lines) > count)
    assert pages == [line.line for line in forwards.lines]
