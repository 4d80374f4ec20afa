"""What is kept of a command's output: its end, in bounded memory, safe to show."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.controls.output import LINES_MAX, SIZE_BYTES_MAX, Tail


def tail_of(data: bytes, *, chunk: int = 65_536) -> str:
    tail = Tail()
    for at in range(0, len(data), chunk):
        tail.add(data[at : at + chunk])
    return tail.text()


@given(st.lists(st.binary(max_size=400), max_size=60), st.integers(1, 500))
def test_whatever_is_printed_what_is_kept_is_bounded_and_plain(lines: list[bytes], chunk: int) -> None:
    shown = tail_of(b"\n".join(lines), chunk=chunk)

    assert all(line.isprintable() for line in shown.split("\n"))
    assert len(shown.split("\n")) <= LINES_MAX
    assert len(shown.encode()) <= SIZE_BYTES_MAX


@given(st.lists(st.text(st.characters(categories=("L", "N")), max_size=300), max_size=60), st.integers(1, 100_000))
def test_plain_lines_come_out_as_they_went_in(lines: list[str], chunk: int) -> None:
    text = "\n".join(lines)

    shown = tail_of(text.encode(), chunk=chunk)

    wanted = "\n".join(text.rstrip("\n").split("\n")[-LINES_MAX:])
    assert wanted.endswith(shown)
    assert len(shown.encode()) > SIZE_BYTES_MAX - 4 or shown == wanted


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"\x1b[2J\x07gone\n", "\\x1b[2J\\x07gone"),
        ("user \u202egnirts\n".encode(), "user \\u202egnirts"),
        (b"half \xff\xfe a letter\n", "half \ufffd\ufffd a letter"),
        (b"a\r\nb\tc\r\n", "a\nb       c"),
        (b"10 %\r20 %\r", "10 %\\r20 %"),
        (b"\n\n", ""),
        (b"no newline at the end", "no newline at the end"),
    ],
)
def test_what_could_act_on_a_terminal_is_shown_as_an_escape(printed: bytes, shown: str) -> None:
    assert tail_of(printed) == shown


def test_the_last_forty_lines_are_kept() -> None:
    shown = tail_of(b"".join(b"line %d\n" % number for number in range(100)), chunk=7)

    assert shown.split("\n") == [f"line {number}" for number in range(60, 100)]


def test_of_one_endless_line_the_end_is_kept_from_a_whole_character_on() -> None:
    shown = tail_of("\u20ac".encode() * 100_000, chunk=1009)

    assert set(shown) == {"\u20ac"}
    assert SIZE_BYTES_MAX - 3 <= len(shown.encode()) <= SIZE_BYTES_MAX


def test_a_flood_costs_no_more_memory_than_what_is_kept() -> None:
    tail, chunk = Tail(), b"\x1b[31mred\n" * 7_000
    tracemalloc.start()
    try:
        for _ in range(500):
            tail.add(chunk)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000
    assert tail.text().endswith("\\x1b[31mred")
