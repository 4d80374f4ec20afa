"""Every line once, in order: across torn lines, limits, truncation, replacement and restart."""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from opsd.disk import Disk
from opsd.model.cursor import Cursor, by_line
from opsd.model.observation import QuarantinedLine, StreamChange
from opsd.transports.tail import Limits as TailLimits
from opsd.transports.tail import LogTail, TailBatch, offset_of_line
from tests.transports.trees import CountingDisk, aged, cursor_after, event, real_now


class Reader:
    """Reads one log and keeps the cursor, as a supervisor would; `restart` forgets everything but the stored cursor."""

    def __init__(self, path: Path, limits: TailLimits | None = None, files: Disk | None = None) -> None:
        self.path = path
        self.limits = limits or TailLimits()
        self.files = files or Disk()
        self.cursor: Cursor | None = None
        self.tail = LogTail(self.limits)

    def look(self, now: datetime | None = None, *, from_start: bool = False) -> TailBatch:
        batch = self.tail.look(self.files, str(self.path), self.cursor, now or real_now(), from_start=from_start)
        self.cursor = cursor_after(batch)
        return batch

    def restart(self) -> None:
        self.tail = LogTail(self.limits)
        self.cursor = msgspec.json.decode(msgspec.json.encode(self.cursor), type=Cursor)

    def names(self) -> list[str]:
        return [e.name for e in self.look().events]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def append(log: Path, data: bytes) -> None:
    with log.open("ab") as file:
        file.write(data)


def test_a_torn_line_waits_wherever_it_is_torn(log: Path) -> None:
    """A line of more than 4 KiB reaches the file in several writes; none of them may pass for the line."""
    line = event("torn", data={"text": "é" * 40})

    for cut in range(len(line)):
        log.write_bytes(event("whole") + line[:cut])
        reader = Reader(log)
        first = reader.look()
        assert ([e.name for e in first.events], first.quarantined, first.backlog_bytes) == (["whole"], [], 0)

        append(log, line[cut:])
        reader.restart()
        second = reader.look()
        assert ([e.name for e in second.events], list(second.lines)) == (["torn"], [2])


def test_an_empty_log_has_no_events_and_a_place_to_go_on_from(log: Path) -> None:
    log.touch()
    reader = Reader(log)

    assert reader.look().line_offset == 0
    append(log, event("first"))
    assert reader.names() == ["first"]


@pytest.mark.parametrize("size", [1, 10, 30, 2000])
def test_a_short_log_that_grows_stays_itself(log: Path, size: int) -> None:
    """The fingerprint of a short file covers what there was of it, and is checked at that length."""
    append(log, event("first"))
    reader = Reader(log)
    reader.look()

    for _ in range(size):
        append(log, event("more"))
    reader.restart()
    batch = reader.look()

    assert batch.change is None
    assert len(batch.events) == size


def test_a_log_that_shrank_is_read_anew_in_the_same_look(log: Path) -> None:
    append(log, event("a") + event("b"))
    reader = Reader(log)
    reader.look()

    os.truncate(log, len(event("a")))
    batch = reader.look()

    assert batch.change is StreamChange.TRUNCATED
    assert [e.name for e in batch.events] == ["a"]
    assert (batch.stream.epoch, list(batch.lines)) == (1, [1])


def test_a_log_emptied_for_a_moment_is_followed_from_its_new_start(log: Path) -> None:
    append(log, event("a") * 3)
    reader = Reader(log)
    reader.look()

    os.truncate(log, 0)
    assert (batch := reader.look()).change is StreamChange.TRUNCATED
    assert not batch.events
    append(log, event("new"))
    assert (batch := reader.look()).change is None
    assert [e.name for e in batch.events] == ["new"]


def test_another_file_in_the_logs_place_is_read_from_its_start(log: Path, tmp_path: Path) -> None:
    append(log, event("old"))
    reader = Reader(log)
    reader.look()

    (tmp_path / "new").write_bytes(event("old") + event("new"))
    (tmp_path / "new").replace(log)
    batch = reader.look()

    assert batch.change is StreamChange.REPLACED
    assert [e.name for e in batch.events] == ["old", "new"]


@pytest.mark.parametrize("where", ["first bytes", "bytes before the position"])
def test_a_log_rewritten_in_place_and_longer_than_before_is_noticed(log: Path, where: str) -> None:
    append(log, event("a", note="one") * 100)
    reader = Reader(log)
    reader.look()

    first, last = (b"two", b"one") if where == "first bytes" else (b"one", b"two")
    rewritten = event("a", note="one") * 50
    with log.open("r+b") as file:
        file.write(rewritten.replace(b"one", first) + rewritten.replace(b"one", last) + event("more"))
    reader.restart()
    batch = reader.look()

    assert batch.change is StreamChange.REPLACED
    assert len(batch.events) == 101


def test_the_same_log_on_another_device_number_is_the_same_log(log: Path) -> None:
    """Device numbers of some file systems change with every mount; a reboot is no reason to read everything again."""
    append(log, event("a"))
    reader = Reader(log)
    reader.look()
    assert reader.cursor
    assert reader.cursor.stream
    moved = msgspec.structs.replace(reader.cursor.stream, device=reader.cursor.stream.device + 1)
    reader.cursor = msgspec.structs.replace(reader.cursor, stream=moved)

    append(log, event("b"))
    batch = reader.look()

    assert (batch.change, [e.name for e in batch.events]) == (None, ["b"])


def test_from_start_reads_everything_again_in_the_same_epoch(log: Path) -> None:
    append(log, event("a") + event("b"))
    reader = Reader(log)
    reader.look()

    batch = reader.look(from_start=True)

    assert batch.change is StreamChange.CURSOR_RESET
    assert [e.name for e in batch.events] == ["a", "b"]
    assert batch.stream.epoch == 0


def reference_cursor(offset: int) -> Cursor:
    return Cursor("/srv/app", "demo-loop", "events.jsonl", offset, offset, datetime(2026, 11, 21, tzinfo=UTC))


@pytest.mark.parametrize("offset", [0, 1, 4, 5])
def test_a_cursor_that_knows_lines_only_is_taken_up(log: Path, offset: int) -> None:
    names = ["a", "b", "c", "d", "e"]
    append(log, b"".join(event(name) for name in names))
    reader = Reader(log)
    reader.cursor = reference_cursor(offset)

    batch = reader.look()

    assert [e.name for e in batch.events] == names[offset:]
    assert list(batch.lines) == list(range(offset + 1, 6))
    assert batch.change is None
    assert batch.stream.byte_offset == log.stat().st_size


@pytest.mark.parametrize(
    ("offset", "change", "epoch", "names"),
    [(2, None, 3, ["c"]), (3, None, 3, []), (7, StreamChange.TRUNCATED, 4, ["a", "b", "c"])],
)
def test_a_log_that_was_read_over_a_service_goes_on_in_its_epoch(
    log: Path, offset: int, change: StreamChange | None, epoch: int, names: list[str]
) -> None:
    append(log, event("a") + event("b") + event("c"))
    reader = Reader(log)
    reader.cursor = replace(reference_cursor(offset), stream=by_line(3))

    batch = reader.look()

    assert (batch.change, batch.stream.epoch, [e.name for e in batch.events]) == (change, epoch, names)
    assert batch.stream.byte_offset == log.stat().st_size


def test_a_line_taken_before_its_newline_is_taken_again_once_whole(log: Path) -> None:
    """The reference manager takes a last line without newline; its cursor is one line ahead of ours."""
    append(log, event("a") + event("b")[:-1])
    reader = Reader(log)
    reader.cursor = reference_cursor(2)

    assert reader.names() == []
    append(log, b"\n" + event("c"))
    assert reader.names() == ["b", "c"]


def test_a_cursor_beyond_the_log_means_that_the_log_shrank(log: Path) -> None:
    """The reference manager refuses for good here, until somebody edits the cursor by hand."""
    append(log, event("a"))
    reader = Reader(log)
    reader.cursor = reference_cursor(7)

    batch = reader.look()

    assert (batch.change, [e.name for e in batch.events]) == (StreamChange.TRUNCATED, ["a"])


def test_lines_are_counted_across_slices_of_a_large_log(log: Path) -> None:
    line = event("a", data={"text": "x" * 3000})
    append(log, line * 1500 + b"torn")

    assert offset_of_line(Disk(), str(log), 1000) == (1000 * len(line), 1000, 0)
    assert offset_of_line(Disk(), str(log), 1500) == (1500 * len(line), 1500, 0)
    assert offset_of_line(Disk(), str(log), 1501) == (1500 * len(line), 1500, 4)
    assert offset_of_line(Disk(), str(log), 1200, offset=1000 * len(line), counted=1000)[0] == 1200 * len(line)


def test_a_long_log_is_caught_up_in_slices_and_says_how_much_is_left(log: Path) -> None:
    append(log, event("a") * 1000)
    reader = Reader(log, TailLimits(bytes_per_pass=10_000, lines_per_pass=50))

    sizes, backlogs = list[int](), list[int]()
    while not backlogs or backlogs[-1]:
        batch = reader.look()
        sizes.append(len(batch.events))
        backlogs.append(batch.backlog_bytes)
        assert batch.backlog_bytes == log.stat().st_size - batch.stream.byte_offset

    assert sum(sizes) == 1000
    assert max(sizes) == 50
    assert backlogs == sorted(backlogs, reverse=True)


def test_an_old_log_is_caught_up_although_nothing_is_written_to_it(log: Path) -> None:
    """What is left behind by a limit is no unchanged file."""
    append(log, event("a") * 12)
    aged(log)
    reader = Reader(log, TailLimits(lines_per_pass=5))

    assert [len(reader.names()) for _ in range(4)] == [5, 5, 2, 0]


def test_garbage_counts_against_the_limit_of_a_pass(log: Path) -> None:
    """A megabyte of one-byte lines would otherwise be half a million rows at once."""
    append(log, b"x\n" * 1000 + event("good"))
    reader = Reader(log, TailLimits(lines_per_pass=300))

    counts = [len(reader.look().quarantined) for _ in range(4)]

    assert counts == [300, 300, 300, 100]
    assert reader.cursor
    assert reader.cursor.event_line_offset == 1001


@pytest.mark.parametrize("bytes_per_pass", [1024, 100_000, 4 * 1024 * 1024])
def test_a_line_longer_than_permitted_is_passed_over_in_slices(log: Path, bytes_per_pass: int) -> None:
    limits = TailLimits(bytes_per_pass=bytes_per_pass, line_bytes=65_536)
    long = event("long", data={"text": "x" * 300_000})
    append(log, event("before") + long + event("after"))
    files = CountingDisk()
    reader = Reader(log, limits, files)

    names, bad = list[str](), list[QuarantinedLine]()
    for _ in range(1 + len(long) // bytes_per_pass * 2 + 4):
        batch = reader.look()
        names += [e.name for e in batch.events]
        bad += batch.quarantined

    assert names == ["before", "after"]
    assert [(line.line, line.size_bytes) for line in bad] == [(2, len(long) - 1)]
    assert "longer than 65536 bytes" in bad[0].problem
    assert max(size for _, size in files.reads) <= max(1024 * 1024, bytes_per_pass, 65_536) + 4096
    assert files.bytes_read < 3 * len(long) + len(files.reads) * (bytes_per_pass + 8192)


def test_a_line_of_the_permitted_length_is_an_event_however_little_a_pass_may_read(log: Path) -> None:
    line = event("long", data={"text": "x" * 50_000})
    append(log, line + event("after"))
    reader = Reader(log, TailLimits(bytes_per_pass=512, line_bytes=65_536))

    assert [name for _ in range(3) for name in reader.names()] == ["long", "after"]


def test_an_endless_line_waits_for_its_newline_and_is_then_one_bad_line(log: Path) -> None:
    limits = TailLimits(bytes_per_pass=4096, line_bytes=8192)
    append(log, event("before") + b"\0" * 100_000)
    reader = Reader(log, limits)
    while reader.look().backlog_bytes:
        pass
    assert reader.look().quarantined == []

    append(log, b"\0" * 100_000)
    while reader.look().backlog_bytes:
        pass
    append(log, b"\n" + event("after"))
    names, bad = list[str](), list[QuarantinedLine]()
    for _ in range(4):
        batch = reader.look()
        names += [e.name for e in batch.events]
        bad += batch.quarantined

    assert names == ["after"]
    assert [(line.line, line.size_bytes) for line in bad] == [(2, 200_000)]


def test_a_long_line_begun_before_a_restart_is_still_one_bad_line(log: Path) -> None:
    limits = TailLimits(bytes_per_pass=4096, line_bytes=8192)
    append(log, b"\0" * 100_000 + b"\n" + event("after"))
    reader = Reader(log, limits)
    for _ in range(5):
        reader.look()

    reader.restart()
    bad = [line for _ in range(40) for line in reader.look().quarantined]

    assert [(line.line, line.size_bytes) for line in bad] == [(1, 100_000)]


def test_a_hole_of_zeros_is_one_bad_line(log: Path) -> None:
    """What some file systems leave of an append after a power cut."""
    append(log, event("a") + b"\0" * 5000 + event("lost") + event("b"))
    reader = Reader(log)

    batch = reader.look()

    assert [e.name for e in batch.events] == ["a", "b"]
    assert [line.line for line in batch.quarantined] == [2]


def test_a_look_at_an_unchanged_log_is_one_stat(log: Path) -> None:
    append(log, event() * 10)
    aged(log)
    files = CountingDisk()
    reader = Reader(log, files=files)
    reader.look()
    files.reads.clear()
    files.stats = 0

    batch = reader.look()

    assert (files.stats, files.reads) == (1, [])
    assert (batch.events, batch.line_offset, batch.backlog_bytes) == ((), 10, 0)


def test_a_log_written_a_moment_ago_is_read_again_although_it_looks_unchanged(log: Path) -> None:
    """Within one tick of the file system's clock a rewrite of the same size changes nothing that a stat shows."""
    append(log, event("a"))
    times = (log.stat().st_atime_ns, log.stat().st_mtime_ns)
    reader = Reader(log)
    reader.look(datetime.fromtimestamp(times[1] / 1e9, UTC))

    log.write_bytes(event("b"))
    os.utime(log, ns=times)
    batch = reader.look()

    assert (batch.change, [e.name for e in batch.events]) == (StreamChange.REPLACED, ["b"])


@pytest.mark.parametrize("count", [100, 20_000])
def test_one_new_event_costs_the_same_whatever_the_logs_size(log: Path, count: int) -> None:
    append(log, event() * count)
    files = CountingDisk()
    reader = Reader(log, files=files)
    reader.look()
    files.reads.clear()

    append(log, event("new"))

    assert reader.names() == ["new"]
    assert files.bytes_read <= 4096 + 4096 + len(event("new"))
    assert len(files.reads) <= 2


def test_a_missing_log_is_not_found(log: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Reader(log).look()


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_regular_file_is_refused_at_once(log: Path, kind: str) -> None:
    if kind == "folder":
        log.mkdir()
    else:
        os.mkfifo(log)

    with pytest.raises(OSError, match="regular"):
        Reader(log).look()
