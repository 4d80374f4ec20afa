"""Loops behind a service: what the poller brought, handed to the passes. Asking is `opsd.supervisor.polling`.

A pass may come without news (a deadline, a changed mode): then what was seen last is seen again, with the time when it
was seen, and nothing of it counts twice.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from opsd.model.ids import LoopId
from opsd.model.observation import Asked, Observation, Seen, Unreachable, UnreachableCause
from opsd.model.run import LoopRef
from opsd.model.transport import TransportMode
from opsd.ports import Ask, Transport


class ServiceTransport:
    """`opsd.ports.Transport` over the answers of services: deposited on the event loop, observed in a pass's thread."""

    def __init__(self) -> None:
        self._fresh: dict[LoopId, Observation] = {}
        self._last: dict[LoopId, Observation] = {}

    def deposit(self, loop_id: LoopId, observation: Observation) -> None:
        """What the next pass over the loop will see; an answer that no pass has taken yet gives way."""
        self._fresh[loop_id] = observation

    def still(self, loop_id: LoopId, at: datetime, asked: Asked | None = None) -> bool:
        """It was asked again at `at`, and looks as it did; whether it was ever seen at all."""
        last = self._last.get(loop_id)
        if not isinstance(last, Seen):
            return False
        self._last[loop_id] = replace(last, at=at, asked=asked)
        return True

    def observe(self, asks: Sequence[Ask], now: datetime) -> list[Observation]:
        return [self._look(ask.ref.loop_id, now) for ask in asks]

    def forget(self, ref: LoopRef) -> None:
        self._fresh.pop(ref.loop_id, None)
        self._last.pop(ref.loop_id, None)

    def _look(self, loop_id: LoopId, now: datetime) -> Observation:
        fresh = self._fresh.pop(loop_id, None)
        if fresh is not None:
            self._last[loop_id] = _without_news(fresh)
            return fresh
        problem = "Its service has not been asked yet."
        return self._last.get(loop_id) or Unreachable(
            now, UnreachableCause.SERVICE_UNREACHED, "service_request_failed", problem
        )


def _without_news(observation: Observation) -> Observation:
    if not isinstance(observation, Seen):
        return observation
    return replace(observation, events=(), lines=(), quarantined=(), change=None)


class RoutedTransport:
    """Each loop by its own way: one transport for each mode."""

    def __init__(self, ways: Mapping[TransportMode, Transport]) -> None:
        self._ways = ways

    def observe(self, asks: Sequence[Ask], now: datetime) -> list[Observation]:
        found: dict[int, Observation] = {}
        for mode, way in self._ways.items():
            places = [place for place, ask in enumerate(asks) if ask.ref.transport is mode]
            if places:
                found.update(zip(places, way.observe([asks[place] for place in places], now), strict=True))
        return [found[place] for place in range(len(asks))]

    def forget(self, ref: LoopRef) -> None:
        self._ways[ref.transport].forget(ref)
