"""The words of a call of `superloop.sh`, and those of its answer. Pure. Source: runtime-artifacts 7.

What a call does is in `opsd.sim.control` and `opsd.sim.script`; the process around it is `opsd.sim.runtime`.
"""

from collections.abc import Sequence
from typing import NamedTuple

VERSION = "0.6.1"
USAGE = """Usage: superloop.sh <command> [options]

Commands: run, cancel, approve, status
Options:  --repo DIR  --config FILE  --loop ID  --by NAME  --note TEXT  --reject  --summary
          --fast  --dry-run  --skip-validate  --help  --version"""
COMMANDS = ("run", "cancel", "approve", "status")
_VALUED = ("--repo", "--config", "--loop", "--by", "--note", "--hosted")
_PLAIN = ("--fast", "--dry-run", "--skip-validate", "--reject", "--summary")


class Options(NamedTuple):
    """What was said on the command line: values by flag, and the plain flags."""

    values: dict[str, str]
    plain: frozenset[str]


class Answer(NamedTuple):
    """What a call came to: its exit code, and what it prints, without the newline at the end."""

    code: int
    out: str = ""
    err: str = ""


def complaint(sentence: str) -> Answer:
    """`error: ...` on stderr and exit code 1, as the runtime complains."""
    return Answer(1, err=f"error: {sentence}")


def options_of(words: Sequence[str]) -> Options | Answer:
    """What follows the command's name, as options in any order; a complaint where they cannot be understood."""
    values: dict[str, str] = {}
    plain: set[str] = set()
    left = iter(words)
    for word in left:
        if word in _PLAIN:
            plain.add(word)
        elif word in _VALUED:
            value = next(left, None)
            if value is None:
                return complaint(f"{word}: needs a value")
            values[word] = value
        else:
            return complaint(f"unknown argument: {word}")
    return Options(values, frozenset(plain))
