"""Turns documents into timed steps: keeps the script's own time, dice and way of writing. Knows nothing of the plot.

Pure: the same part and start give the same steps. Waiting for a step's time is the player's business.
"""

import random
import time
from collections.abc import Iterator

from opsd.sim.part import Part
from opsd.sim.steps import Append, Document, Op, Step, Touch, Truncate
from opsd.sim.tree import compact, pretty

WRITE_BYTES_MAX = 4096
"""The runtime's shell flushes longer lines in several write(2) calls."""


class Pen:
    """One script's hand. `start_s` is the wall time (seconds since 1970) at which the script begins."""

    def __init__(self, part: Part, start_s: float, *, salt: str, torn: bool = False) -> None:
        self.at_s = 0.0
        self.dice = random.Random(f"{part.seed}/{part.scenario}/{salt}")
        self._part = part
        self._start_s = start_s
        self._torn = torn
        self._made: set[str] = set()

    @property
    def epoch_s(self) -> int:
        """The script's time as a whole number of seconds since 1970."""
        # The microsecond keeps a sum that should be a whole second from being floored to the one before.
        return int(self._start_s + self.at_s + 1e-6)

    def stamp(self) -> str:
        """The script's time as the runtime writes it: UTC, whole seconds."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.epoch_s))

    def wait(self, life_s: float) -> None:
        """Let so many seconds of life pass; the part's speed shortens them."""
        self.at_s += life_s / self._part.speed

    def wait_about(self, life_s: float) -> float:
        """Let 0.6 to 1.6 times `life_s` pass; returns how much of life it was."""
        took_s = life_s * self.dice.uniform(0.6, 1.6)
        self.wait(took_s)
        return took_s

    def step(self, op: Op) -> Step:
        """`op` at the script's present time."""
        return Step(self.at_s, op)

    def put(self, path: str, document: Document) -> Iterator[Step]:
        """Rewrite a JSON file in place: empty first, full after the part's gap."""
        yield from self.text(path, pretty(document))

    def text(self, path: str, text: str) -> Iterator[Step]:
        """Rewrite any file in place, as `put` does."""
        yield self.step(Truncate(path))
        self.at_s += self._part.gap_s
        yield self.step(Append(path, text))

    def log(self, path: str, document: Document) -> Iterator[Step]:
        """Append one line; a log that is not there yet exists with 0 bytes a moment before."""
        if path not in self._made:
            self._made.add(path)
            yield self.step(Touch(path))
            self.at_s += self._part.gap_s
        pieces = self._pieces(compact(document))
        yield self.step(Append(path, next(pieces)))
        for piece in pieces:
            if self._torn:
                self.at_s += max(self._part.gap_s, 0.5 / self._part.speed)
            yield self.step(Append(path, piece))

    def _pieces(self, line: str) -> Iterator[str]:
        """The line as write(2) gets it. Its text is ASCII, so characters are bytes."""
        size = WRITE_BYTES_MAX
        if self._torn and len(line) <= WRITE_BYTES_MAX and self.dice.random() < 0.4:
            size = self.dice.randrange(1, len(line))
        for begin in range(0, len(line), size):
            yield line[begin : begin + size]
