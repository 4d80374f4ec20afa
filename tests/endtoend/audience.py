"""One who watches the real daemon's feed, and the stories that are allowed to be told there.

What makes the stories happen is in `plays` and `recordings`.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.doubles.process import LIMIT_S, OpsdProcess

Picture = dict[str, Any]


def words(picture: Picture) -> str:
    """A picture in one line: phase, the contract's word, the overall status, and the worst findings' codes."""
    findings = picture["findings"]
    worst = [finding["code"] for finding in findings if finding["severity"] == findings[0]["severity"]]
    return " ".join([f"{picture['phase']}/{picture['lifecycle']}", picture["overallStatus"], *sorted(worst)])


class Audience:
    """Every picture of every loop, in the order in which the feed brought it."""

    def __init__(self) -> None:
        self.pictures: dict[str, list[Picture]] = {}
        self.kinds: list[str] = []

    def hear(self, lines: Iterator[Picture]) -> None:
        """Until the daemon says goodbye."""
        for line in lines:
            if loop := line.get("loop"):
                self.pictures.setdefault(loop["loopId"], []).append(loop)
            self.kinds.append(line["kind"])

    def has_met(self, loops: int) -> bool:
        """Whether so many loops have been looked at, successfully or not."""
        latest = [words(pictures[-1]) for pictures in list(self.pictures.values())]
        return len(latest) - latest.count("unknown/unknown healthy") == loops

    def told(self, loop_id: str) -> list[str]:
        """The loop's story: its pictures in words, each once while it lasts."""
        told = [words(picture) for picture in list(self.pictures.get(loop_id, ()))]
        return [word for index, word in enumerate(told) if index == 0 or word != told[index - 1]]


@contextmanager
def listening(opsd: OpsdProcess) -> Iterator[Audience]:
    """Someone who watches from now on; within the block the daemon must end, for the feed ends with it."""
    audience = Audience()
    thread = threading.Thread(target=audience.hear, args=(opsd.watch(),), name="audience", daemon=True)
    thread.start()
    yield audience
    thread.join(LIMIT_S)
    assert audience.kinds[-1] == "bye", "the feed broke off"


def untold(told: Sequence[str], allowed: Sequence[str]) -> list[str]:
    """What of the allowed story is still to come.

    A step that begins with `?` is so quick that a look may miss it; of steps joined by ` | ` one is told.

    Raises:
        AssertionError: something else was told, or a step was left out.
    """
    left = list(allowed)
    for word in told:
        while left and word not in left[0].removeprefix("?").split(" | "):
            step = left.pop(0)
            assert step.startswith("?"), f"told {word!r} where only {step!r} is right; the whole story: {told}"
        assert left, f"told {word!r} after the end; the whole story: {told}"
        left.pop(0)
    return [step for step in left if not step.startswith("?")]


def read_rows(text: str) -> list[dict[str, Any]]:
    """The lines of a journal; each must be JSON."""
    return [json.loads(line) for line in text.splitlines()]
