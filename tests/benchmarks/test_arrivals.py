"""Joining the stamps of writer and readers: an error here would flatter the daemon in every figure."""

import json
import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.arrivals import latencies_ms, sightings_of
from benchmarks.observer import Sighting
from benchmarks.runtime import Stamp
from benchmarks.watcher import Picture, pictures

MS = 1_000_000


def a_stamp(line: int, at_ms: int, *, loop: str = "loop", name: str = "role_end", timestamp: str = "t") -> Stamp:
    return Stamp(loop, line, at_ms * MS, 0, name, 2, timestamp)


def a_picture(at_ms: int, *, loop: str = "loop", name: str = "role_end", timestamp: str = "t") -> Picture:
    return Picture(at_ms * MS, loop, name, 2, timestamp)


def test_a_later_line_covers_the_earlier_ones_and_no_sighting_is_infinite() -> None:
    """The daemon may skip a picture in a burst, but what it never shows was never shown."""
    stamps = [a_stamp(1, 0), a_stamp(2, 10), a_stamp(3, 20)]

    assert latencies_ms(stamps, [Sighting("loop", 2, 15 * MS)]) == [15, 5, math.inf]


def test_a_sighting_of_another_loop_proves_nothing() -> None:
    assert latencies_ms([a_stamp(1, 0)], [Sighting("other", 9, 5 * MS)]) == [math.inf]


@given(st.data())
def test_the_join_equals_the_definition(data: st.DataObject) -> None:
    """First sighting of the line or of a later one, by exhaustive search over random histories."""
    lines = data.draw(st.integers(1, 8))
    stamps = [a_stamp(line, line * 10) for line in range(1, lines + 1)]
    at_ms, sightings = 0, []
    for _ in range(data.draw(st.integers(0, 10))):
        at_ms += data.draw(st.integers(1, 20))
        sightings.append(Sighting("loop", data.draw(st.integers(1, lines)), at_ms * MS))

    wanted = [
        min((one.at_ns - stamp.at_ns for one in sightings if one.line >= stamp.line), default=math.inf)
        for stamp in stamps
    ]

    assert latencies_ms(stamps, sightings) == [at_ns / MS for at_ns in wanted]


def test_of_events_that_look_alike_a_picture_proves_only_the_earliest() -> None:
    """Two roles may end within one second: the picture could be of either, and the daemon gets no benefit of it."""
    stamps = [a_stamp(1, 0), a_stamp(2, 1, name="role_start"), a_stamp(3, 2)]

    assert sightings_of([a_picture(30)], stamps) == [Sighting("loop", 1, 30 * MS)]
    assert sightings_of([a_picture(30), a_picture(40)], stamps) == [Sighting("loop", 1, 30 * MS)]
    assert sightings_of([a_picture(30), a_picture(40, name="role_start"), a_picture(50)], stamps) == [
        Sighting("loop", 1, 30 * MS),
        Sighting("loop", 2, 40 * MS),
        Sighting("loop", 3, 50 * MS),
    ]


def test_pictures_of_what_was_not_written_here_count_for_nothing() -> None:
    """The first picture shows the history that was laid down before the load."""
    assert sightings_of([a_picture(1, timestamp="before"), a_picture(2, loop="other")], [a_stamp(1, 0)]) == []


@given(st.sets(st.integers(0, 200)))
def test_a_line_of_the_feed_counts_from_its_last_byte(cuts: set[int]) -> None:
    """However the socket cuts the stream, a picture came when it was whole."""
    shown = {"loopId": "loop", "progress": {"iteration": 4}, "lastEventName": "tests_end", "lastEventAt": "t"}
    feed = b'{"kind":"hello"}\n' + json.dumps({"kind": "loop", "loop": shown}).encode() + b"\n"
    places = sorted({min(place, len(feed)) for place in cuts} | {0, len(feed)})
    pieces = [(number, feed[begin:end]) for number, (begin, end) in enumerate(pairwise(places))]

    assert list(pictures(pieces)) == [Picture(len(pieces) - 1, "loop", "tests_end", 4, "t")]
