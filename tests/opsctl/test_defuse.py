"""What a run wrote reaches a terminal only as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsctl.defuse import defuse, defuse_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcödé, 表 and 🚀", "plain, ünïcödé, 表 and 🚀"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("\u2066a\u2069", "\\u2066a\\u2069"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_what_would_steer_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert defuse(text) == shown


@given(st.text())
def test_what_is_defused_is_printable_and_stays_as_it_is(text: str) -> None:
    once = defuse(text)

    assert once.isprintable()
    assert defuse(once) == once


@given(st.text())
def test_lines_stay_lines(text: str) -> None:
    shown = defuse_lines(text)

    assert shown.count("\n") == text.count("\n")
    assert all(line.isprintable() for line in shown.split("\n"))


def test_tabs_and_windows_line_ends_are_no_threat() -> None:
    assert defuse_lines("a\tb\r\nc") == "a       b\nc"
