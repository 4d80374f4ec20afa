"""Journals are read from their end, whatever a crash, an editor or another program left in them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.model.effects import Journal
from opsd.ports import FileStat
from opsd.store.journal import RETENTION, Line, Retention, Unreadable, generations, newest_first, read_tail
from tests.doubles.files import MemoryFiles
from tests.store.examples import at

PATH = "/o/telemetry/reconcile.jsonl"
PATHS = generations(PATH, Retention(100, kept=3))


def _row(n: int, padding: int = 0) -> bytes:
    return json.dumps({"timestamp": at(n).isoformat(), "n": n, "x": "x" * padding}).encode()


def _numbers(rows: tuple[bytes, ...]) -> list[int]:
    return [json.loads(row)["n"] for row in rows]


def _files(*contents: bytes) -> MemoryFiles:
    """The generations with these contents, youngest first."""
    files = MemoryFiles("/o/telemetry")
    for path, content in zip(PATHS, contents, strict=False):
        files.append(path, content, sync=False)
    return files


def test_every_journal_has_a_bound() -> None:
    assert set(RETENTION) == set(Journal)


def test_a_journal_that_was_never_written_has_no_rows() -> None:
    assert read_tail(MemoryFiles("/o"), PATHS, rows_max=5).rows == ()
    assert read_tail(_files(b""), PATHS, rows_max=5).rows == ()


def test_the_newest_rows_come_oldest_first() -> None:
    files = _files(b"".join(_row(n) + b"\n" for n in range(10)))

    assert _numbers(read_tail(files, PATHS, rows_max=3).rows) == [7, 8, 9]
    assert read_tail(files, PATHS, rows_max=0).rows == ()


def test_a_row_torn_by_a_crash_is_not_there_yet() -> None:
    tail = read_tail(_files(_row(1) + b"\n" + _row(2)[:20]), PATHS, rows_max=5)

    assert _numbers(tail.rows) == [1]
    assert tail.unreadable == ()


def test_a_time_window_reaches_across_rotations_and_ends_at_its_edge() -> None:
    files = _files(_row(5) + b"\n", _row(3) + b"\n" + _row(4) + b"\n", _row(1) + b"\n" + _row(2) + b"\n")

    assert _numbers(read_tail(files, PATHS, rows_max=100, since=at(2)).rows) == [2, 3, 4, 5]


def test_a_clock_that_was_set_back_hides_no_newer_row() -> None:
    files = _files(b"".join(_row(n) + b"\n" for n in (1, 60, 61, 30, 31)))

    assert _numbers(read_tail(files, PATHS, rows_max=100, since=at(20)).rows) == [60, 61, 30, 31]


def test_a_bad_line_costs_its_neighbours_nothing_and_is_located() -> None:
    first = _row(1) + b"\n"
    files = _files(first + b"<<<<<<< HEAD\n" + _row(2) + b"\n" + b'{"timestamp":7}\n' + b"\xff\n" + _row(3) + b"\n")

    tail = read_tail(files, PATHS, rows_max=100)

    assert _numbers(tail.rows) == [1, 2, 3]
    assert [bad.path for bad in tail.unreadable] == [PATH] * 3
    assert tail.unreadable[0].offset == len(first)


def test_a_generation_that_cannot_be_read_is_reported_and_the_others_are_read() -> None:
    files = _files(_row(2) + b"\n")
    files.make_dirs(PATHS[1])
    files.append(PATHS[2], _row(1) + b"\n", sync=False)

    tail = read_tail(files, PATHS, rows_max=100)

    assert _numbers(tail.rows) == [1, 2]
    assert tail.unreadable == (Unreadable(PATHS[1], 0, "not a regular file (EINVAL)", is_file=True),)


class _RotatingFiles(MemoryFiles):
    """Rotates the journal after `reads` more reads, as the writer may at any moment under a reader's hands."""

    reads = 0

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        if self.reads == 0:
            self.rename(PATHS[1], PATHS[2])
            self.rename(PATHS[0], PATHS[1])
            self.append(PATHS[0], _row(9_999) + b"\n", sync=False)
        self.reads -= 1
        return super().read(path, offset, size_bytes)


def test_a_rotation_while_reading_neither_hides_nor_repeats_a_row() -> None:
    """Whenever it strikes: rows of one file may be found again under another name."""
    struck = 0
    for reads in range(1, 100):
        files = _RotatingFiles("/o/telemetry")
        files.reads = -1
        files.append(PATHS[1], b"".join(_row(n, 400) + b"\n" for n in range(200)), sync=False)
        files.append(PATHS[0], b"".join(_row(n, 400) + b"\n" for n in range(200, 600)), sync=False)
        files.reads = reads

        numbers = _numbers(read_tail(files, PATHS, rows_max=10_000).rows)

        if files.reads >= 0:
            break
        struck += 1
        assert [n for n in numbers if n < 9_999] == list(range(600))
    assert struck >= 5


def test_only_the_wanted_end_of_a_large_journal_is_read() -> None:
    """A status query must not cost more as a journal fills."""

    class Counting(MemoryFiles):
        bytes_read = 0

        def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
            found, data = super().read(path, offset, size_bytes)
            self.bytes_read += len(data)
            return found, data

    files = Counting("/o/telemetry")
    files.append(PATH, b"".join(_row(n, 400) + b"\n" for n in range(10_000)), sync=False)

    assert len(read_tail(files, PATHS, rows_max=20).rows) == 20
    assert files.bytes_read <= 1 << 16


_LINES = st.lists(
    st.one_of(
        st.integers(0, 1000).map(_row),
        st.integers(0, 1000).map(lambda n: _row(n, 200_000)),
        st.just(b""),
        st.binary(max_size=20).filter(lambda line: b"\n" not in line and b"{" not in line),
    ),
    max_size=12,
)


@given(
    lines=_LINES, torn=st.binary(max_size=30).filter(lambda tail: b"\n" not in tail), cuts=st.lists(st.integers(0, 12))
)
def test_whatever_lies_in_the_files_each_whole_line_is_met_once_newest_first(
    lines: list[bytes], torn: bytes, cuts: list[int]
) -> None:
    edges = sorted({0, *(min(cut, len(lines)) for cut in cuts[:3])})
    parts = [lines[a:b] for a, b in zip(edges, [*edges[1:], len(lines)], strict=True)]
    contents = [b"".join(line + b"\n" for line in part) for part in parts]
    contents[-1] += torn

    files = _files(*reversed(contents))
    met = list(newest_first(files, PATHS))

    assert [line.data for line in met if isinstance(line, Line)] == [line for line in reversed(lines) if line]
    for line in met:
        assert isinstance(line, Line)
        assert files.read(line.path, line.offset, len(line.data) + 1)[1] == line.data + b"\n"


@given(lines=_LINES, rows_max=st.integers(0, 15), since=st.none() | st.integers(0, 1000))
def test_a_tail_is_the_end_of_what_could_be_read(lines: list[bytes], rows_max: int, since: int | None) -> None:
    files = _files(b"".join(line + b"\n" for line in lines))
    edge = None if since is None else at(since)

    tail = read_tail(files, PATHS, rows_max=rows_max, since=edge)

    good = [n for n in (_number(line) for line in lines) if n is not None]
    if since is not None:
        older = [index for index, n in enumerate(good) if at(n) < at(since)]
        good = good[older[-1] + 1 :] if older else good
    assert _numbers(tail.rows) == good[len(good) - min(rows_max, len(good)) :]


def _number(line: bytes) -> int | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row["n"] if isinstance(row, dict) else None


@pytest.mark.parametrize("size", [1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 17])
def test_lines_may_end_anywhere_relative_to_a_read(size: int) -> None:
    files = _files(b"a" * size + b"\n" + b"b" * size + b"\n")

    assert [line.data[:1] for line in newest_first(files, PATHS) if isinstance(line, Line)] == [b"b", b"a"]
