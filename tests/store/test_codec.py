"""Bytes become records here and nowhere else, so whatever lies in a file must end as a record or as `Corrupt`."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.model.cursor import Cursor, Stream
from opsd.model.heartbeat import Freshness, HeartbeatRow
from opsd.model.state import StateDocument
from opsd.store.codec import decode, encode
from opsd.store.faults import Corrupt
from tests.store.examples import NOW, a_cursor, a_state

_COUNTS = st.integers(0, 2**53)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_STREAMS = st.builds(
    Stream,
    device=_COUNTS,
    inode=_COUNTS,
    epoch=_COUNTS,
    byte_offset=_COUNTS,
    fingerprint=_TEXTS,
    fingerprint_bytes=_COUNTS,
    tail=_COUNTS,
)
_CURSORS = st.builds(
    Cursor,
    repo_path=_TEXTS,
    loop_id=_TEXTS,
    events_file=_TEXTS,
    event_line_offset=_COUNTS,
    event_line_count=_COUNTS,
    updated_at=st.datetimes(timezones=st.just(NOW.tzinfo)),
    stream=st.none() | _STREAMS,
)


@given(_CURSORS)
def test_what_is_written_is_read_back(cursor: Cursor) -> None:
    data = encode(cursor)

    assert data.count(b"\n") == 1
    assert decode(data, Cursor, "cursor.json") == cursor


@given(st.binary() | st.text().map(str.encode) | st.sampled_from([b"[" * 5000, b"null", b"[]", b'"v1"', b"\0" * 64]))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(Corrupt):
        decode(data, Cursor, "cursor.json")


@given(st.data())
def test_a_document_cut_short_is_corrupt_wherever_it_is_cut(data: st.DataObject) -> None:
    whole = encode(a_state(7))
    length = data.draw(st.integers(0, len(whole) - 2))

    with pytest.raises(Corrupt):
        decode(whole[:length], StateDocument, "state.json")


def test_carried_text_that_was_pretty_printed_does_not_tear_its_row() -> None:
    """The runtime's heartbeat is copied verbatim, and its writer may have spread it over lines."""
    row = HeartbeatRow(NOW, "demo-loop", "t", "local", Freshness.FRESH, msgspec.Raw(b'{\n  "pid": 7,\n  "a": "b c"\n}'))

    data = encode(row)

    assert data.count(b"\n") == 1
    assert json.loads(data)["heartbeat"] == {"pid": 7, "a": "b c"}


def test_members_that_we_do_not_know_are_ignored() -> None:
    data = json.dumps(json.loads(encode(a_cursor(3))) | {"futureMember": [1]}).encode()

    assert decode(data, Cursor, "cursor.json") == a_cursor(3)


def test_the_place_of_the_offence_is_named() -> None:
    data = encode(a_state(3)).replace(b'"eventLineOffset":3', b'"eventLineOffset":"3"', 1)

    with pytest.raises(Corrupt) as refused:
        decode(data, StateDocument, "/o/state.json")

    assert (refused.value.path, refused.value.where) == ("/o/state.json", "$.cursor.eventLineOffset")
    assert "/o/state.json: $.cursor.eventLineOffset: Expected `int`, got `str`" in str(refused.value)


@pytest.mark.parametrize("also", [{}, {"eventLineOffset": "three"}])
def test_another_schema_version_is_refused_as_that_and_not_for_its_shape(also: dict[str, str]) -> None:
    data = json.dumps(json.loads(encode(a_cursor(3))) | {"schemaVersion": "v2"} | also).encode()

    with pytest.raises(Corrupt, match="'v2', and this opsd reads 'v1' only") as refused:
        decode(data, Cursor, "cursor.json")

    assert refused.value.where == "$.schemaVersion"


@pytest.mark.parametrize("member", ["eventLineOffset", "eventLineCount"])
def test_a_cursor_before_the_first_line_is_refused(member: str) -> None:
    data = json.dumps(json.loads(encode(a_cursor(3))) | {member: -1}).encode()

    with pytest.raises(Corrupt, match=member):
        decode(data, Cursor, "cursor.json")
