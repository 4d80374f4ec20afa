"""Where triggers come in, from whatever source, until the daemon stops: names into the work queue, and a ring."""

from collections.abc import Callable, Iterable

from opsd.model.ids import LoopId
from opsd.ports import Clock
from opsd.supervisor.bell import Bell
from opsd.supervisor.queue import WorkQueue
from opsd.supervisor.roster import Answer, Member, Roster


class Intake:
    """Lets in members that are looked at, and nobody once it is closed."""

    def __init__(self, queue: WorkQueue, roster: Roster, clock: Clock) -> None:
        self.bell = Bell(clock)
        self.trigger_count = 0
        self._queue = queue
        self._roster = roster
        self._clock = clock
        self._closed = False
        self.poll: Callable[[LoopId, bool], None] = lambda _loop_id, _asked: None
        """Has the service behind a loop asked: at once, where somebody asked for it."""

    def trigger(self, loop_ids: Iterable[LoopId], *, asked: bool = False) -> None:
        """Something may have changed about these loops; names that the fleet does not know are nobody's."""
        if self._closed:
            return
        now_s = self._clock.monotonic()
        for loop_id in loop_ids:
            member = self._roster.get(loop_id)
            if member is not None and member.is_managed:
                self.trigger_count += 1
                if member.run.ref.is_remote:
                    self.poll(loop_id, asked)
                else:
                    self._queue.add(loop_id, now_s, asked=asked)
        self.bell.ring()

    def judge_anew(self, loop_ids: Iterable[LoopId]) -> None:
        """Something other than the runs has changed for these loops: a moment came, an intent moved. Nobody is asked
        for news that would have to come a long way."""
        if self._closed:
            return
        now_s = self._clock.monotonic()
        for loop_id in loop_ids:
            member = self._roster.get(loop_id)
            if member is None or not member.is_managed:
                continue
            self.trigger_count += 1
            if not member.run.ref.is_remote or member.was_looked_at:
                self._queue.add(loop_id, now_s)
        self.bell.ring()

    def brought(self, loop_id: LoopId) -> None:
        """A service has answered about the loop."""
        if not self._closed:
            self._queue.add(loop_id, self._clock.monotonic(), asked=True)
            self.bell.ring()

    async def asked_for(self, member: Member, *, from_start: bool = False) -> Answer:
        """Look at the member now, and at what its backlog needs; what came of it. The caller bounds the wait.

        The request goes on if the caller stops waiting.
        """
        request = member.ask(from_start=from_start)
        self.trigger([member.loop_id], asked=True)
        return await request.answered()

    def close(self) -> None:
        self._closed = True
        self.bell.ring()

    @property
    def is_closed(self) -> bool:
        return self._closed
