"""The load: what is appended, when, and to whom. A load that spares the daemon would make every figure worthless."""

import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.cases.replay import check
from benchmarks.eventlog import write_log
from benchmarks.moves import Life
from benchmarks.pipeline import Pipeline
from benchmarks.reference import read
from benchmarks.runtime import deal, play
from opsd.transports.lines import read_event

LINE_BYTES_MAX = 1 << 20


def lives(tmp_path: Path, count: int) -> list[Life]:
    made = []
    for number in range(count):
        life = Life(str(tmp_path / str(number)), f"loop-{number}", "steady", pid=1, start_s=time.time())
        life.lay_down("iteration-1")
        made.append(life)
    return made


def log_of(life: Life) -> list[bytes]:
    return (Path(life.tree.repo) / life.log).read_bytes().splitlines()


def test_events_are_dealt_evenly_over_all_loops(tmp_path: Path) -> None:
    """Each loop has its turn before any has another, so the rate holds for each of them too."""
    dealt = deal(lives(tmp_path, 5), events=23, seed=3)

    turns = Counter(due.life.loop_id for due in dealt)
    assert sorted(turns.values()) == [4, 4, 5, 5, 5]
    assert len({due.life.loop_id for due in dealt[5:10]}) == 5


def test_each_stamp_names_the_line_that_was_written(tmp_path: Path) -> None:
    """The join stands on it: a wrong line would be a latency of some other event."""
    played = lives(tmp_path, 3)

    stamps = play(deal(played, events=120, seed=1), 1e6, time.monotonic_ns())

    assert len(stamps) == 120
    for stamp in stamps:
        life = played[int(stamp.loop_id.removeprefix("loop-"))]
        event = read_event(log_of(life)[stamp.line - 1], LINE_BYTES_MAX)
        assert not isinstance(event, str)
        assert (event.name, event.iteration, event.timestamp) == (stamp.name, stamp.iteration, stamp.timestamp)
    assert [len(log_of(life)) for life in played] == [life.lines + 40 for life in played]


def test_the_schedule_is_open_a_late_event_is_sent_at_once_and_none_is_left_out(tmp_path: Path) -> None:
    """Whoever waits for the slow leaves out just the events that would have been late."""
    begun_late_ns = time.monotonic_ns() - int(10e9)

    stamps = play(deal(lives(tmp_path, 2), events=10, seed=1), 1.0, begun_late_ns)

    assert len(stamps) == 10
    assert all(stamp.late_ns > 0 for stamp in stamps[:9])
    assert [stamp.at_ns for stamp in stamps] == sorted(stamp.at_ns for stamp in stamps)


@pytest.mark.parametrize("lines", [1, 700, 3_000])
def test_a_replayed_log_equals_the_slow_reading_of_it(tmp_path: Path, lines: int) -> None:
    """The benchmark refuses to give a figure for a replay that is fast and wrong; here on logs of many endings."""
    log = write_log(str(tmp_path), "replayed", lines=lines)
    pipeline = Pipeline(str(tmp_path), "replayed")

    taken = pipeline.catch_up()

    assert log.lines == lines
    check(pipeline, read(log.path), taken)


def test_a_replay_that_lost_an_event_is_refused(tmp_path: Path) -> None:
    log = write_log(str(tmp_path), "replayed", lines=300)
    pipeline = Pipeline(str(tmp_path), "replayed")
    pipeline.catch_up()

    with pytest.raises(RuntimeError, match="events taken: 299, not 300"):
        check(pipeline, read(log.path), 299)


def test_a_long_log_is_written_out_and_no_two_lines_are_alike(tmp_path: Path) -> None:
    """A sparse or repeated log would be cheaper to read than any real one."""
    log = write_log(str(tmp_path), "long", size_bytes=500_000)

    path = Path(log.path)
    lines = path.read_bytes().splitlines()
    assert path.stat().st_size == log.size_bytes >= 500_000
    assert path.stat().st_blocks * 512 >= log.size_bytes
    assert len(set(lines)) == len(lines) == log.lines
    assert f'"run_id":"{log.run_id}"'.encode() in lines[-1]
