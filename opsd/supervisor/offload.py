"""Worker threads for blocking work, one call for a whole batch: the real side of the `Offload` port."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

R = TypeVar("R")


class Threads:
    """At most `most` calls at once; further ones wait for their turn."""

    def __init__(self, most: int, *, may_be_left_behind: bool = False) -> None:
        self._limiter = anyio.CapacityLimiter(most)
        self._may_be_left_behind = may_be_left_behind

    async def run(self, work: Callable[[], R], /) -> R:
        """Cancelled, it waits for the work to end all the same, unless the work `may_be_left_behind`.

        Only work that writes nothing may be, or one that is cut off by the end of the process: its thread goes on for
        as long as the disk holds it, and nobody hears of the outcome.
        """
        return await anyio.to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=self._may_be_left_behind)
