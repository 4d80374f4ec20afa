"""What is an event, what is quarantined, and how odd types are read."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.model.runtime import EventLine
from opsd.transports.lines import LineReader, read_event
from tests.transports.trees import event

LIMIT = 8 * 1024 * 1024


def a_reader(*, taken_max: int = 1000, line_bytes_max: int = LIMIT) -> LineReader:
    return LineReader(0, 0, taken_max=taken_max, line_bytes_max=line_bytes_max)


def read(line: bytes) -> EventLine:
    found = read_event(line, LIMIT)
    assert isinstance(found, EventLine), found
    return found


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"garbage", "not one JSON object"),
        (b'{"timestamp":"t","event":"e"', "not one JSON object"),
        (b'{"timestamp":"t","event":"e"}{"timestamp":"t","event":"e"}', "not one JSON object"),
        (b'["timestamp"]', "not an object"),
        (b"7", "not an object"),
        (b'{"timestamp":"t"}', "neither `event` nor `type`"),
        (b'{"timestamp":"t","event":"","type":false}', "neither `event` nor `type`"),
        (b'{"event":"e"}', "no `timestamp`"),
        (b'{"event":"e","timestamp":""}', "no `timestamp`"),
        (b'{"timestamp":"t","event":"\xff"}', "not UTF-8"),
        (b'{"timestamp":"t","event":"e","data":{"text":"\xff"}}', "not UTF-8"),
        (b'{"timestamp":"t","event":"e","unknown":"\xff"}', "not UTF-8"),
        (b'{"timestamp":"t","event":"e","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"timestamp":7,"event":"e","role":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b"\0" * 4096, "not one JSON object"),
        (b"\xef\xbb\xbf" + event().strip(), "not one JSON object"),
        (b'{"timestamp":"t","event":"e","data":"a\x01b"}', "not one JSON object"),
    ],
)
def test_what_is_no_event_is_said_in_one_sentence(line: bytes, why: str) -> None:
    found = read_event(line, LIMIT)

    assert isinstance(found, str)
    assert why in found


def test_a_line_longer_than_permitted_is_no_event() -> None:
    assert read_event(event("e" * 100).strip(), 64) == "the line is longer than 64 bytes"


@pytest.mark.parametrize(
    ("members", "role"),
    [(b'"tester"', "tester"), (b"3", "3"), (b"2.5", "2.5"), (b"true", "true"), (b'{"a": 1}', '{"a":1}')],
)
def test_a_role_of_another_type_becomes_text(members: bytes, role: str) -> None:
    """The reference reads these members through a shell, where everything is text. Source: loop-core 3.4."""
    assert read(b'{"timestamp":"t","event":"e","role":' + members + b"}").role == role


@pytest.mark.parametrize("empty", [b'""', b"false", b"null"])
@pytest.mark.parametrize("member", ["role", "status", "message", "run_id"])
def test_an_empty_or_false_member_is_none(member: str, empty: bytes) -> None:
    found = read(b'{"timestamp":"t","event":"e","%s":%s}' % (member.encode(), empty))

    assert getattr(found, member) is None


@pytest.mark.parametrize(
    ("iteration", "number"),
    [(b'"3"', 3), (b"3.0", 3), (b'"2.9"', 2), (b"null", 0), (b"true", 0), (b'"many"', 0), (b'"inf"', 0), (b"[1]", 0)],
)
def test_an_iteration_that_spells_a_number_is_that_number(iteration: bytes, number: int) -> None:
    assert read(b'{"timestamp":"t","event":"e","iteration":' + iteration + b"}").iteration == number


def test_type_stands_in_for_a_missing_or_empty_event() -> None:
    assert read(b'{"timestamp":"t","type":"loop_started"}').name == "loop_started"
    assert read(b'{"timestamp":"t","event":"","type":"loop_started"}').name == "loop_started"


def test_a_payload_of_any_type_is_carried_as_it_stands() -> None:
    assert bytes(read(b'{"timestamp":"t","event":"e","iteration":"1","data":[1, 2]}').data) == b"[1, 2]"


def test_lines_are_numbered_by_where_they_stand() -> None:
    reader = a_reader()

    reader.take(event("a") + b"\n  \r\n" + event("b") + b"bad\n" + event("c") + b"torn")

    assert [e.name for e in reader.events] == ["a", "b", "c"]
    assert list(reader.numbers) == [1, 4, 6]
    assert [bad.line for bad in reader.quarantined] == [5]
    assert reader.line == 6
    assert reader.last_raw == event("c").strip()


def test_a_bad_line_is_located_and_its_head_is_harmless() -> None:
    """It is shown on terminals and carried into messages: no control character and no bidi override may survive."""
    bad = "\x1b[31m\u202eéx".encode() + b"\xff" + b"z" * 500
    reader = a_reader()

    reader.take(event() + bad + b"\n")

    [line] = reader.quarantined
    assert (line.line, line.offset, line.size_bytes) == (2, len(event()), len(bad))
    assert line.sha256 == hashlib.sha256(bad).hexdigest()
    assert line.head.startswith(r"\x1b[31m\u202eéx\xffzzz")
    assert len(line.head) < 200


@pytest.mark.parametrize(
    "text",
    [
        event("a").strip() + event("b").strip() + b"\n\n" + event("c"),
        b"\n" + event("a").strip() + b" " + event("b") + event("c"),
        event("x").replace(b",", b",\n", 1) + event("a").strip() + event("b") + event("c"),
    ],
)
def test_lines_and_values_that_only_agree_in_number_do_not_pass(text: bytes) -> None:
    """Two values on one line and a blank line make as many events as lines, and none of them where it seems to be."""
    reader = a_reader()

    reader.take(text)

    assert [e.name for e in reader.events] == ["c"]
    assert list(reader.numbers) == [text.count(b"\n")]
    assert reader.quarantined


def test_numbers_stay_a_range_while_every_line_is_an_event() -> None:
    reader = a_reader(taken_max=100_000)

    reader.take(event() * 5000)

    assert reader.numbers == range(1, 5001)


@given(
    st.lists(st.sampled_from(["good", "bad", "blank", "typed"]), max_size=60),
    st.integers(min_value=1, max_value=12),
    st.integers(min_value=0, max_value=100),
)
def test_taking_lines_in_portions_is_taking_them_at_once(kinds: list[str], portion: int, torn: int) -> None:
    """A pass may take few lines at a time; nothing may depend on where it stopped."""
    spelled = {
        "good": event("a"),
        "bad": b"bad\n",
        "blank": b"\n",
        "typed": b'{"timestamp":"t","event":"e","role":1}\n',
    }
    data = b"".join(spelled[kind] for kind in kinds)
    whole = data + event()[:torn] if torn < len(event()) else data
    line, offset, seen = 0, 0, list[tuple[int, str]]()
    for _ in range(len(kinds) + 1):
        reader = LineReader(line, offset, taken_max=portion, line_bytes_max=LIMIT)
        reader.take(whole[offset:])
        seen += zip(reader.numbers, ("event" for _ in reader.events), strict=True)
        seen += [(bad.line, "bad") for bad in reader.quarantined]
        assert len(reader.events) + len(reader.quarantined) <= portion
        line, offset = reader.line, reader.offset

    expected = {"good": "event", "typed": "event", "bad": "bad"}
    assert sorted(seen) == [(n, expected[kind]) for n, kind in enumerate(kinds, 1) if kind in expected]
    assert (line, offset) == (len(kinds), len(data))
