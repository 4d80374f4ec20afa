"""The one reader of the system's clocks."""

import time
from datetime import UTC, datetime

import anyio


class SystemClock:
    """Wall time as aware UTC with microseconds, and the monotonic clock that anyio's deadlines use."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep_until(self, monotonic_s: float) -> None:
        await anyio.sleep(max(0.0, monotonic_s - time.monotonic()))
