"""`POST /ops/observe`: a look at a loop for a manager elsewhere, as the local transport brings it.

What is remembered of files between looks only saves work, so that any number of managers with cursors of their own can
ask. Which looks are news to whom is decided here; what an observation means, the manager decides.
"""

import hashlib
from functools import partial

import anyio
import msgspec
from msgspec.structs import replace

from opsd.model.ids import LoopId
from opsd.model.observation import Observation, Seen
from opsd.model.run import LoopRef
from opsd.model.wire import ObserveReply, ObserveRequest, ObserveSource
from opsd.ports import Ask, Clock, Offload
from opsd.transports.local import LocalTransport

SCHEMA_VERSION = "v1"


class _Look(msgspec.Struct, frozen=True):
    """`answer` is the encoded reply; `is_news` whether it says anything that the request did not know."""

    answer: bytes
    is_news: bool


class _Watched:
    """A loop that somebody asks about. One look at a time: they share what is remembered of its files."""

    def __init__(self) -> None:
        self.looking = anyio.Lock()
        self.news = anyio.Event()
        self.users = 0


class Observer:
    """`transport` is for this alone: the supervisor has another. `stopping` ends every wait."""

    def __init__(
        self,
        transport: LocalTransport,
        *,
        repo_path: str,
        service_id: str,
        offload: Offload,
        clock: Clock,
        stopping: anyio.Event,
    ) -> None:
        self._transport = transport
        self._repo_path = repo_path
        self._service_id = service_id
        self._offload = offload
        self._clock = clock
        self._stopping = stopping
        self._watched: dict[LoopId, _Watched] = {}

    def passed(self, loop_id: LoopId) -> None:
        """The supervisor has looked at the loop, which it does whenever something may have changed."""
        watched = self._watched.get(loop_id)
        if watched is not None:
            watched.news.set()
            watched.news = anyio.Event()

    def passed_all(self) -> None:
        """Where nobody supervises, every loop is looked at again at this moment."""
        for loop_id in list(self._watched):
            self.passed(loop_id)

    async def answer(self, request: ObserveRequest) -> bytes:
        """The encoded `ObserveReply`, held back for up to `wait_s` while it would say nothing new."""
        loop_id = LoopId(request.loop_id)
        watched = self._watched.setdefault(loop_id, _Watched())
        watched.users += 1
        ends_s = self._clock.monotonic() + request.wait_s
        try:
            while True:
                news = watched.news  # before the look: what happens during it must not be slept through
                async with watched.looking:
                    look = await self._offload.run(partial(self._look, request))
                if look.is_news or self._stopping.is_set() or self._clock.monotonic() >= ends_s:
                    return look.answer
                await self._until(news, ends_s)
        finally:
            watched.users -= 1
            if not watched.users and self._watched.get(loop_id) is watched:
                del self._watched[loop_id]

    async def _until(self, news: anyio.Event, ends_s: float) -> None:
        """Something happened, the time is up, or the service stops."""
        async with anyio.create_task_group() as tasks:

            async def stop_waiting(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(stop_waiting, news)
            tasks.start_soon(stop_waiting, self._stopping)
            await self._clock.sleep_until(ends_s)
            tasks.cancel_scope.cancel()

    def _look(self, request: ObserveRequest) -> _Look:
        """In a worker thread."""
        ref = LoopRef(LoopId(request.loop_id), self._repo_path)
        ask = Ask(ref, request.cursor, request.from_start)
        observation = self._transport.observe([ask], self._clock.now())[0]
        if not isinstance(observation, Seen):
            self._transport.forget(ref)  # whatever names are asked for, nothing is held for loops that are not there
        digest = digest_of(observation)
        is_news = not (request.known == digest and _brings_nothing(observation, request))
        reply = ObserveReply(
            ok=True,
            schema_version=SCHEMA_VERSION,
            source=ObserveSource(self._repo_path, request.loop_id, self._service_id),
            digest=digest,
            observation=_sendable(observation) if is_news else None,
            ask_id=request.ask_id,
        )
        return _Look(msgspec.json.encode(reply), is_news)


def digest_of(observation: Observation) -> str:
    """How the loop looks, apart from when that was seen and from which events are new to whom."""
    if isinstance(observation, Seen):
        told = (observation.artifacts, observation.process, observation.last_output_at)
        return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:32]
    return hashlib.sha256(msgspec.json.encode((observation.failure_code, observation.problem))).hexdigest()[:32]


def _brings_nothing(observation: Observation, request: ObserveRequest) -> bool:
    """Whether nothing follows the request's cursor. A failed look is never held back: it may be over in a moment."""
    if not isinstance(observation, Seen) or request.from_start:
        return False
    cursor = request.cursor
    return (
        not observation.events
        and not observation.quarantined
        and not observation.backlog_bytes
        and observation.change is None
        and observation.stream == (cursor.stream if cursor else None)
        and observation.line_offset == (cursor.event_line_offset if cursor else 0)
    )


def _sendable(observation: Observation) -> Observation:
    """Line numbers come as a range where no line was passed over, and JSON has only lists."""
    if isinstance(observation, Seen):
        return replace(observation, lines=list(observation.lines))
    return observation
