"""YAML that any reader takes for what it was."""

import json

from hypothesis import given
from hypothesis import strategies as st

from opsctl.yaml import Json, dump


def test_structure_is_shown_in_blocks() -> None:
    value: Json = {
        "loopId": "docs-17",
        "ages": {"event": 1.5, "output": None},
        "codes": ["a_b", "c"],
        "findings": [{"code": "x", "deep": [{"z": []}]}, [1, 2]],
        "none": {},
        "enabled": True,
    }

    assert dump(value).splitlines() == [
        "loopId: docs-17",
        "ages:",
        "  event: 1.5",
        "  output: null",
        "codes:",
        "  - a_b",
        "  - c",
        "findings:",
        "  - code: x",
        "    deep:",
        "      - z: []",
        "  - - 1",
        "    - 2",
        "none: {}",
        "enabled: true",
    ]


def test_strings_that_look_like_something_else_are_quoted() -> None:
    for text in (
        "true",
        "No",
        "null",
        "~",
        "",
        "1",
        "-1",
        "1e3",
        "2026-01-01",
        "- x",
        "a: b",
        "a #b",
        " a",
        "a ",
        "*x",
    ):
        assert dump(text) == json.dumps(text) + "\n"


def test_characters_that_yaml_does_not_allow_are_escaped() -> None:
    assert dump("\x7f\x85\u2028\ufeff\U000e0001") == '"\\u007f\\u0085\\u2028\\ufeff\\U000e0001"\n'
    assert dump("é 🚀") == '"é 🚀"\n'


@given(st.text())
def test_a_string_is_one_line_and_reads_back(text: str) -> None:
    """Whatever is quoted is a JSON string, apart from the one escape that only YAML has."""
    shown = dump(text)[:-1]

    assert shown.isprintable()
    if shown.startswith('"') and "\\U" not in shown:
        assert json.loads(shown) == text
    elif not shown.startswith('"'):
        assert shown == text
