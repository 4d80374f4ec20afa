"""The page of compatibility says of every command what it takes, and of every oddity of the contract what we do."""

import re
from collections.abc import Mapping
from importlib import import_module

import pytest

from opsd.batch.__main__ import COMMANDS
from opsd.batch.command import Parser
from tests.docs.prose import ROOT, code_spans, text_of

PAGE = text_of(ROOT / "docs" / "compatibility.md")


def rows(heading: str) -> Mapping[str, str]:
    """Of the tables below a heading, up to the next one, the first cell and the rest of each row."""
    part = re.split(rf"^#+ {heading}$", PAGE, flags=re.MULTILINE)[1]
    found = re.findall(r"^\| *`?([^|`]+?)`? *\|(.+)\|$", re.split(r"^#", part, flags=re.MULTILINE)[0], re.MULTILINE)
    return {first: rest for first, rest in found if set(first) - set("- ")}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_flags_of_a_command_are_those_that_it_takes(name: str) -> None:
    module = import_module(f"opsd.batch.{COMMANDS[name]}")
    parser = Parser(name, "")
    module.add_arguments(parser)
    taken = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    told = rows("Commands")[name].split("|")[0]

    assert set(code_spans(told)) == taken - {"--help"}


def test_every_command_is_there() -> None:
    assert set(rows("Commands")) - {"command"} == set(COMMANDS)


def test_every_variable_that_a_command_reads_is_told() -> None:
    read = set(re.findall(r'"(OPS_MANAGER_[A-Z_]+[A-Z]|SUPERLOOP_BIN)"', _batch_sources()))

    assert read - set(code_spans(PAGE)) == set()


def test_a_word_is_said_to_every_oddity() -> None:
    assert set(rows("Loop core")) == {str(number) for number in range(1, 40)}
    assert set(rows("Control and service")) == {
        f"{letter}{number}"
        for letter, count in {"A": 7, "B": 7, "C": 6, "D": 6, "E": 7}.items()
        for number in range(1, count + 1)
    }
    assert set(rows("Status, summary, drift")) == {f"S{number}" for number in range(1, 20)}


def _batch_sources() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "opsd" / "batch").glob("*.py"))
