"""The one reader of the system's clocks. What waits for them brings its own import: one-shot commands never wait."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Aware UTC with microseconds."""
    return datetime.now(UTC)


def monotonic() -> float:
    return time.monotonic()


class SystemClock:
    """Wall time as aware UTC with microseconds, and the monotonic clock that anyio's deadlines use."""

    def now(self) -> datetime:
        return now()

    def monotonic(self) -> float:
        return monotonic()

    async def sleep_until(self, monotonic_s: float) -> None:
        import anyio

        await anyio.sleep(max(0.0, monotonic_s - time.monotonic()))
