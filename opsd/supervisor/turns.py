"""Taking turns: a bounded share of a list at a time, so that a round over thousands is never one long stretch."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Remembers where the last share ended; a list that changes in between may repeat or pass over a few."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._next = 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The next `most` items, going round; all of them where there are no more."""
        if len(items) <= self._most:
            return items
        first = self._next % len(items)
        self._next = first + self._most
        ahead = items[first : first + self._most]
        return [*ahead, *items[: self._most - len(ahead)]]
