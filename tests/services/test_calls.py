"""How long is waited between the attempts of a call, and how far it may go."""

from collections.abc import Sequence

import anyio.lowlevel
import pytest

from opsd.clock import SystemClock
from opsd.disk import Disk
from opsd.model.run import ServiceRef
from opsd.services import Limits, Tokens, Trust
from opsd.services.calls import Calls
from opsd.services.message import Called, Request
from opsd.services.ways import Ways
from tests.doubles.threads import Inline
from tests.services.peer import Peer, answers, listening

LIMITS = Limits(connect_s=1.0, answer_s=1.0, total_s=100.0)


class Impatient(SystemClock):
    """Notes for how long it should have slept, and lets the time pass at once."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._slept_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._slept_s

    async def sleep_until(self, monotonic_s: float) -> None:
        pause_s = monotonic_s - self.monotonic()
        self.pauses.append(round(pause_s, 1))
        self._slept_s += pause_s
        await anyio.lowlevel.checkpoint()


async def called(
    clock: Impatient, *, attempts: int, backoff_s: float = 1.0, jitter: float = 1.0, said: str = ""
) -> Called:
    ways = Ways(Trust(), LIMITS, clock)
    tokens = Tokens(Disk(), Inline(), folders=(), variables={})
    calls = Calls(ways, tokens, LIMITS, clock, jitter=lambda: jitter)
    peer = Peer(answers("", 503, {"Retry-After": said} if said else {}))
    async with listening(peer):
        service = ServiceRef(peer.base_url, None, retry_attempts=attempts, retry_backoff_s=backoff_s)
        found = await calls.call(service, Request("GET", "/"))
        await ways.aclose()
    return found


@pytest.mark.parametrize(
    ("backoff_s", "jitter", "pauses"),
    [
        (1.0, 1.0, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]),
        (1.0, 0.5, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]),
        (1.0, 0.0, [0.0] * 6),
        (0.0, 1.0, [0.0] * 6),
    ],
)
async def test_pauses_double_up_to_a_bound_and_chance_takes_some_of_each(
    backoff_s: float, jitter: float, pauses: Sequence[float]
) -> None:
    clock = Impatient()

    found = await called(clock, attempts=7, backoff_s=backoff_s, jitter=jitter)

    assert clock.pauses == pauses
    assert found.attempts == 7


async def test_a_pause_is_at_least_what_the_service_asks_for() -> None:
    clock = Impatient()

    await called(clock, attempts=5, said="5")

    assert clock.pauses == [5.0, 5.0, 5.0, 8.0]


async def test_a_pause_that_would_outlast_the_deadline_is_not_begun() -> None:
    clock = Impatient()

    found = await called(clock, attempts=100)

    assert sum(clock.pauses) <= LIMITS.total_s < sum(clock.pauses) + LIMITS.pause_longest_s
    assert found.attempts == len(clock.pauses) + 1
    assert found.took_s <= LIMITS.total_s
