"""Every command that a page or a message tells somebody to type is one that the programs understand."""

import argparse
import re
import shlex
from collections.abc import Callable, Iterator, Mapping

import pytest

from opsctl.arguments import build_parser
from opsctl.words import checked
from opsd.__main__ import build_parser as opsd_parser
from opsd.__main__ import launch_parser, run_parser, sim_parser, sprite_service_parser
from opsd.model.reasons import REASONS
from opsd.model.refusals import REFUSALS
from tests.docs.prose import ALL_PAGES, code_spans, name_of, quoted_commands, text_of

PARSERS: Mapping[str, Callable[[], argparse.ArgumentParser]] = {
    "opsctl": build_parser,
    "opsd run": run_parser,
    "opsd sprite-service": sprite_service_parser,
    "opsd launch": launch_parser,
    "opsd sim": sim_parser,
    "opsd": opsd_parser,
}
_ENDS_A_COMMAND = re.compile(r"[|&;()]+\Z")


def commands_in(line: str) -> Iterator[list[str]]:
    """The words of each simple command of ours in a line of shell; redirections are not among them."""
    lexer = shlex.shlex(re.sub(r"\d?[<>]+ *\S+", "", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not _ENDS_A_COMMAND.match(word):
            words.append(word)
            continue
        while words and re.match(r"\w+=", words[0]):
            del words[0]
        if words and (program := words[0].rpartition("/")[2]) in PARSERS:
            yield [program, *words[1:]]
        words = []


def parse(words: list[str]) -> argparse.Namespace:
    """As the program would. Raises SystemExit as its parser does."""
    if words[0] == "opsd" and words[1].startswith("-"):
        words = ["opsd", "run", *words[1:]]
    program = " ".join(words[:2]) if " ".join(words[:2]) in PARSERS else words[0]
    return PARSERS[program]().parse_args(words[len(program.split()) :])


def told_commands() -> dict[str, str]:
    """Command lines of ours, and where each is told first."""
    told: dict[str, str] = {}
    for page in ALL_PAGES:
        spans = (span for span in code_spans(text_of(page)) if " " in span and "[" not in span)
        for line in (*quoted_commands(text_of(page)), *spans):
            told.setdefault(line, name_of(page))
    for entry in REASONS.values():
        for span in code_spans(entry.next_step):
            told.setdefault(span, f"next step of {entry.code}")
    for refusal in REFUSALS.values():
        for span in code_spans(refusal.next_step):
            told.setdefault(span, f"next step of {refusal.code}")
    return {line: where for line, where in told.items() if any(commands_in(line))}


@pytest.mark.parametrize(("line", "where"), told_commands().items(), ids=told_commands())
def test_the_parser_takes_it(line: str, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands_in(line):
        if words[1:] == ["--version"] or "--help" in words or " ".join(words) in PARSERS:
            continue  # the last is a command that is only named
        try:
            args = parse(words)
        except SystemExit:
            pytest.fail(f"{where} tells to type `{line}`, and: {capsys.readouterr().err.splitlines()[0]}")
        for word in getattr(args, "words", None) or ():
            checked(word)


def test_the_pages_tell_enough_commands_for_this_to_mean_something() -> None:
    programs = [words[1] for line in told_commands() for words in commands_in(line)]

    assert {"status", "explain", "events", "logs", "runs", "escalations", "wait", "watch"} <= set(programs)
    assert {"verify", "reconcile", "version", "run", "demo"} <= set(programs)


def test_lines_of_shell_are_taken_apart_into_our_commands() -> None:
    line = "OPSD_SOCKET=/x opsctl status -o json | jq '.loops[]' && .venv/bin/opsctl events docs-17 > /tmp/opsctl"

    assert list(commands_in(line)) == [
        ["opsctl", "status", "-o", "json"],
        ["opsctl", "events", "docs-17"],
    ]
