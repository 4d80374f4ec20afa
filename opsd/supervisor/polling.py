"""Asks the services inside sprites, each at its own pace, and has a pass made of every answer.

When to ask again is `opsd.core.pace`; how a request is made is `opsd.services`. Nothing else asks a service to look: a
trigger of a loop behind one becomes a poll here, and the pass follows the answer.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from datetime import timedelta

import anyio
import anyio.abc
from msgspec.structs import replace

from opsd.core import pace as rules
from opsd.core.pace import Next, Pace
from opsd.core.reconcile import Decision
from opsd.logs import Log
from opsd.model.ids import LoopId
from opsd.model.observation import Asked, Observation, Seen, Unreachable, UnreachableCause
from opsd.model.service import Reach, ServiceAnswer
from opsd.model.thresholds import Thresholds
from opsd.model.wire import OBSERVE, WAIT_MAX_S
from opsd.ports import Ask, Clock, Services
from opsd.supervisor.bell import Bell
from opsd.supervisor.intake import Intake
from opsd.supervisor.roster import Member, Roster
from opsd.transports.service import ServiceTransport

AT_ONCE_MAX = 4_096
"""Polls under way, most of them held back by the service for news."""
SPREAD_S = 2.0
"""The first polls of a fleet are spread over this long, for each hundred loops."""
_HOUR_S = 3_600.0
_SIGN_OF_LIFE_S = 5.0


class _Line:
    """How asking one loop's service stands. All times are monotonic seconds."""

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.wait_s = 0.0
        self.scope: anyio.CancelScope | None = None
        self.in_pass = False
        self.hurried = False
        self.digest: str | None = None
        self.news_s: float | None = None
        self.failures = 0
        self.retry_after_s: float | None = None
        self.requests = 0
        self.polls: deque[tuple[float, bool]] = deque(maxlen=4_096)
        self.reach = Reach()


class Polls:
    """One line for each loop behind a service. Everything runs on the event loop's thread."""

    def __init__(
        self,
        services: Services,
        transport: ServiceTransport,
        *,
        roster: Roster,
        intake: Intake,
        thresholds: Callable[[LoopId], Thresholds],
        pace: Callable[[], Pace],
        clock: Clock,
        log: Log,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.count = 0
        self.failure_count = 0
        self._services = services
        self._transport = transport
        self._roster = roster
        self._intake = intake
        self._thresholds = thresholds
        self._pace = pace
        self._clock = clock
        self._log = log
        self._jitter = jitter
        self._lines: dict[LoopId, _Line] = {}
        self._due: list[tuple[float, LoopId]] = []
        self._bell = Bell(clock)
        self._under_way = 0

    def soon(self, loop_id: LoopId, asked: bool) -> None:
        """Ask the loop's service: at once where somebody waits for it, else when the line is due anyway."""
        line = self._lines.get(loop_id)
        now_s = self._clock.monotonic()
        if line is None:
            first_s = 0.0 if asked else SPREAD_S * len(self._lines) / 100 * self._jitter()
            line = self._lines[loop_id] = _Line(now_s + first_s)
            self._put(loop_id, line, line.due_s)
        elif asked:
            if line.scope is not None and line.wait_s:
                line.hurried = True
                line.scope.cancel()  # an answer that is held back says nothing about this moment
            elif line.scope is not None or line.in_pass:
                line.hurried = True
            else:
                self._put(loop_id, line, now_s)

    def looked(self, member: Member, decision: Decision | None) -> None:
        """The pass over an answer has ended: when to ask again follows from what it found."""
        line = self._lines.get(member.loop_id)
        if line is None:
            return
        line.in_pass = False
        now_s, now = self._clock.monotonic(), self._clock.now()
        if decision is not None and decision.again:
            following = Next(0.0)
        elif line.failures:
            following = rules.after_failure(line.failures, retry_after_s=line.retry_after_s, jitter=self._jitter())
        else:
            quiet_s = now_s - line.news_s if line.news_s is not None else 0.0
            wait_s = WAIT_MAX_S if OBSERVE in line.reach.features else 0.0
            following = rules.after_answer(
                member.run,
                self._pace(),
                self._thresholds(member.loop_id),
                quiet_s=quiet_s,
                wait_s=wait_s,
                jitter=self._jitter(),
                now=now,
            )
        if line.hurried or any(not request.is_ready for request in member.requests):
            following, line.hurried = Next(0.0), False
        if line.scope is None and (line.due_s <= now_s or line.due_s > now_s + following.in_s):
            self._plan(member, line, following)

    def forget(self, loop_id: LoopId) -> None:
        line = self._lines.pop(loop_id, None)
        if line is not None and line.scope is not None:
            line.scope.cancel()

    async def serve(self, beat: Callable[[], None]) -> None:
        """For ever."""
        for line in self._lines.values():
            line.scope, line.in_pass = None, False
        async with anyio.create_task_group() as tasks:
            while True:
                beat()
                now_s = self._clock.monotonic()
                while self._due and self._due[0][0] <= now_s and self._under_way < AT_ONCE_MAX:
                    due_s, loop_id = heapq.heappop(self._due)
                    self._begin(tasks, loop_id, due_s)
                latest_s = now_s + _SIGN_OF_LIFE_S
                next_s = self._due[0][0] if self._due and self._under_way < AT_ONCE_MAX else latest_s
                await self._bell.wait(min(next_s, latest_s))

    def _begin(self, tasks: anyio.abc.TaskGroup, loop_id: LoopId, due_s: float) -> None:
        line, member = self._lines.get(loop_id), self._roster.get(loop_id)
        if line is None or line.due_s != due_s or line.scope is not None:
            return
        if member is None or not member.is_managed or not member.run.ref.is_remote or self._intake.is_closed:
            self._lines.pop(loop_id, None)
            return
        line.scope = anyio.CancelScope()
        self._under_way += 1
        tasks.start_soon(self._poll, member, line, line.scope, name=f"poll {loop_id}")

    async def _poll(self, member: Member, line: _Line, scope: anyio.CancelScope) -> None:
        waiting = list(member.requests)
        ask = Ask(member.run.ref, member.run.cursor, any(request.from_start for request in waiting))
        known = None if waiting and ask.from_start else line.digest
        wait_s = 0.0 if waiting else line.wait_s
        answer = None
        try:
            with scope:
                answer = await self._services.observe(ask, known=known, wait_s=wait_s)
        finally:
            self._under_way -= 1
            line.scope = None
            self._bell.ring()
        if self._lines.get(member.loop_id) is not line:
            return
        if answer is None:  # somebody asked meanwhile
            line.hurried = False
            self._put(member.loop_id, line, self._clock.monotonic())
            return
        for request in waiting:
            request.is_ready = True
        self._take(member, line, answer)

    def _take(self, member: Member, line: _Line, answer: ServiceAnswer) -> None:
        now_s = self._clock.monotonic()
        failed = answer.observation is not None and _is_failure(answer.observation)
        self.count += 1
        self.failure_count += failed
        line.requests += answer.attempts
        line.retry_after_s = answer.retry_after_s
        line.polls.append((now_s, failed))
        if failed:
            line.failures += 1
        else:
            line.failures = 0
            line.digest = answer.digest
        if answer.observation is not None:
            if isinstance(answer.observation, Seen):
                line.news_s = now_s
            self._transport.deposit(member.loop_id, answer.observation)
        elif not self._transport.still(member.loop_id, answer.at, Asked(answer.attempts, answer.codes)):
            line.digest = None  # we have nothing that it could still look like
            self._put(member.loop_id, line, now_s)
            return
        line.reach = replace(
            line.reach,
            asked_at=answer.at,
            requests=line.requests,
            failures=line.failures,
            budget_spent=self._is_spent(line, now_s),
            features=tuple(sorted(answer.features)) or line.reach.features,
        )
        self._show(line, member)
        line.in_pass = True
        self._intake.brought(member.loop_id)

    def _is_spent(self, line: _Line, now_s: float) -> bool:
        while line.polls and line.polls[0][0] < now_s - _HOUR_S:
            line.polls.popleft()
        return rules.is_spent(len(line.polls), sum(failed for _, failed in line.polls), self._pace())

    def _plan(self, member: Member, line: _Line, following: Next) -> None:
        now, resting = self._clock.now(), line.failures >= rules.RESTS_AFTER
        line.wait_s = following.wait_s
        due = now + timedelta(seconds=following.in_s)
        line.reach = replace(line.reach, next_at=due, resting_until=due if resting else None)
        self._show(line, member)
        self._put(member.loop_id, line, self._clock.monotonic() + following.in_s)

    def _put(self, loop_id: LoopId, line: _Line, due_s: float) -> None:
        line.due_s = due_s
        heapq.heappush(self._due, (due_s, loop_id))
        self._bell.ring()

    def _show(self, line: _Line, member: Member) -> None:
        member.run = replace(member.run, reach=line.reach)


_OF_THE_LOOP = frozenset({UnreachableCause.ARTIFACTS_MISSING, UnreachableCause.ARTIFACTS_UNREADABLE})


def _is_failure(observation: Observation) -> bool:
    """Whether asking failed. A service that says that a loop has no files has answered well."""
    if isinstance(observation, Unreachable):
        return observation.cause not in _OF_THE_LOOP
    return not isinstance(observation, Seen)
