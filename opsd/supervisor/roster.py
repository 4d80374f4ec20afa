"""Which loops the fleet has, and what is believed of each at this moment. In memory, no task, no file.

Who puts loops in is `membership`, who looks at them is `passing`, what the API sees of them is `fleet`.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import anyio
import msgspec

from opsd.app import view
from opsd.model.ids import LoopId
from opsd.model.run import LoopRef, Run
from opsd.ports import Clock
from opsd.protocol import LoopSummary


class Answer(msgspec.Struct, frozen=True):
    """What came of the passes that an operator asked for; `error` where they broke off."""

    trace_id: str
    events_ingested: int
    error: str | None = None


class Request:
    """An operator waits for a pass: that one, and those that its backlog needs."""

    def __init__(self, *, from_start: bool, is_ready: bool = True) -> None:
        self.from_start = from_start
        # Of a loop behind a service the pass answers only once the service was asked for this very request.
        self.is_ready = is_ready
        self.events_ingested = 0
        self._answered = anyio.Event()
        self._answer: Answer | None = None

    def answer(self, trace_id: str, *, error: str | None = None) -> None:
        self._answer = Answer(trace_id, self.events_ingested, error)
        self._answered.set()

    async def answered(self) -> Answer:
        await self._answered.wait()
        assert self._answer is not None
        return self._answer


class Member:
    """One loop of the fleet. A loop that leaves and comes back is another member.

    `looked_s` is when its last look began, by the monotonic clock: what changed before is in `run`.
    """

    __slots__ = ("looked_s", "requests", "run")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.looked_s = float("-inf")
        self.requests: list[Request] = []

    @property
    def loop_id(self) -> LoopId:
        return self.run.ref.loop_id

    @property
    def was_looked_at(self) -> bool:
        """Whether there is anything to judge."""
        return self.looked_s > float("-inf")

    def ask(self, *, from_start: bool = False) -> Request:
        """A request for a look, which the next pass that can will answer."""
        request = Request(from_start=from_start, is_ready=not self.run.ref.is_remote)
        self.requests.append(request)
        return request

    @property
    def is_managed(self) -> bool:
        """Whether it is looked at at all; the others are only listed."""
        return self.run.ref.enabled and self.run.ref.fault is None


class Roster:
    """The members in the order of the registry. Also the picture that the feed shows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._members: dict[LoopId, Member] = {}
        self._by_place: dict[str, dict[LoopId, Member]] = {}

    def get(self, loop_id: LoopId) -> Member | None:
        return self._members.get(loop_id)

    def put(self, run: Run) -> Member:
        """A member for `run`, last in order."""
        self.remove(run.ref.loop_id)
        member = Member(run)
        self._members[member.loop_id] = member
        self._by_place.setdefault(run.ref.place, {})[member.loop_id] = member
        return member

    def remove(self, loop_id: LoopId) -> Member | None:
        member = self._members.pop(loop_id, None)
        if member is not None:
            neighbours = self._by_place[member.run.ref.place]
            del neighbours[loop_id]
            if not neighbours:
                del self._by_place[member.run.ref.place]
        return member

    def order(self, loop_ids: Iterable[LoopId]) -> None:
        """Show the members in this order, which names each of them."""
        self._members = {loop_id: self._members[loop_id] for loop_id in loop_ids}

    def refs(self) -> dict[LoopId, LoopRef]:
        return {loop_id: member.run.ref for loop_id, member in self._members.items()}

    def repo_paths(self) -> frozenset[str]:
        """The checkouts on this host."""
        return frozenset(
            place for place, members in self._by_place.items() if not next(iter(members.values())).run.ref.is_remote
        )

    def in_checkout(self, place: str) -> Iterable[Member]:
        """The members that share one `state.json`; see `LoopRef.place`."""
        return self._by_place.get(place, {}).values()

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def loop_ids(self) -> Sequence[LoopId]:
        return list(self._members)

    def summary(self, loop_id: LoopId) -> LoopSummary | None:
        member = self._members.get(loop_id)
        return None if member is None else view.summary(member.run, self._clock.now())

    def summaries(self, now: datetime) -> tuple[LoopSummary, ...]:
        return tuple([view.summary(member.run, now) for member in self._members.values()])
