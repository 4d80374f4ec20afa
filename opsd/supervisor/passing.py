"""Runs the passes: loops that wait become batches, a batch is one call in one worker thread, a result is performed.

A batch that exceeds its deadline is left behind, so that a disk that hangs holds up only the loops that lie on it. Who
waits, and in which order, is `queue`; what follows from a result is `perform`.
"""

import random
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Sequence

import anyio
import anyio.abc

from opsd.app.passes import Passes, PassRequest, PassResult
from opsd.logs import Log
from opsd.model.ids import LoopId, TraceId
from opsd.ports import Clock, Offload
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.intake import Intake
from opsd.supervisor.perform import Performer
from opsd.supervisor.queue import WorkQueue
from opsd.supervisor.roster import Member, Request, Roster

LOOPS_PER_BATCH = 64
LEFT_BEHIND_MAX = 32
"""Threads that hang at once. Beyond, batches wait for them: a machine without a working disk has no other loops."""
WAIT_IN_TIME_S = 5.0
"""A loop that waits longer for its turn means that passes are not keeping up."""


OVERLAP_AFTER_S = 0.25
"""A batch that has been out for that long waits for a disk, and others may go on beside it. Sooner they would only
contend for the interpreter: two at once cost a third more CPU than one after the other, and came back later."""


class _Batch:
    """The loops of one call, and whether its thread has come back. `returned` is set by that thread."""

    def __init__(self, members: Sequence[Member], began_s: float) -> None:
        self.members = members
        self.began_s = began_s
        self.returned = False


class Passing:
    """One batch after the other, each of at most `LOOPS_PER_BATCH` loops and `deadline_s` long.

    While one waits for a disk others run beside it, `most_at_once` in all.

    Of a batch that was left behind nobody knows which loop held it up: each is looked at again alone, and one that
    is overdue alone waits until its thread returns. What a left-behind thread brings is not used.
    """

    def __init__(
        self,
        passes: Passes,
        *,
        queue: WorkQueue,
        intake: Intake,
        roster: Roster,
        performer: Performer,
        offload: Offload,
        clock: Clock,
        findings: DaemonFindings,
        log: Log,
        most_at_once: int,
        deadline_s: float,
    ) -> None:
        self.most_at_once = most_at_once
        self.deadline_s = deadline_s
        self.overdue_count = 0
        self._passes = passes
        self._queue = queue
        self._intake = intake
        self._roster = roster
        self._performer = performer
        self._offload = offload
        self._clock = clock
        self._findings = findings
        self._log = log
        self._running = 0
        self._newest_began_s = float("-inf")
        self._suspects: deque[LoopId] = deque()
        self._left_behind: list[_Batch] = []

    async def serve(self, beat: Callable[[], None]) -> None:
        """Runs batches until cancelled; returns only once the intake is closed and the last batch has ended."""
        async with anyio.create_task_group() as tasks:
            while not (self._intake.is_closed and not self._running):
                now_s = self._clock.monotonic()
                self._welcome_back(now_s)
                self._start_batches(tasks, now_s)
                if self._queue.oldest_wait_s(now_s) < WAIT_IN_TIME_S:
                    beat()
                # The daemon's pulse rings every second too, so that those who came back are seen.
                await self._intake.bell.wait(self._next_start_s(now_s))

    @property
    def left_behind(self) -> int:
        """How many threads hang."""
        return len(self._left_behind)

    @property
    def _is_full(self) -> bool:
        return len(self._left_behind) >= LEFT_BEHIND_MAX

    def _next_start_s(self, now_s: float) -> float | None:
        """When the next batch could start by itself; None where only a bell can change that."""
        if self._is_full or self._running >= self.most_at_once:
            return None
        next_s = self._queue.next_s(now_s)
        return next_s if next_s is None or not self._running else max(next_s, self._newest_began_s + OVERLAP_AFTER_S)

    def _may_start(self, now_s: float) -> bool:
        if self._is_full or self._intake.is_closed or self._running >= self.most_at_once:
            return False
        return not self._running or now_s >= self._newest_began_s + OVERLAP_AFTER_S

    def _start_batches(self, tasks: anyio.abc.TaskGroup, now_s: float) -> None:
        while self._may_start(now_s):
            if self._suspects:
                loop_ids = [self._suspects.popleft()]
            elif not (loop_ids := self._queue.take(LOOPS_PER_BATCH, now_s)):
                return
            members = self._present(loop_ids, now_s)
            if members:
                self._running += 1
                self._newest_began_s = now_s
                tasks.start_soon(self._run, _Batch(members, now_s), name=f"passes of {members[0].loop_id} and others")

    def _present(self, loop_ids: Sequence[LoopId], now_s: float) -> list[Member]:
        """The members behind the names; those that left meanwhile are given back to the queue."""
        members = []
        for loop_id in loop_ids:
            member = self._roster.get(loop_id)
            if member is not None and member.is_managed:
                members.append(member)
            else:
                self._queue.done(loop_id, now_s)
        return members

    async def _run(self, batch: _Batch) -> None:
        asked = [tuple(each for each in member.requests if each.is_ready) for member in batch.members]
        requests = [
            PassRequest(
                member.run,
                TraceId(str(uuid.UUID(int=random.getrandbits(128), version=4))),
                from_start=any(request.from_start for request in waiting),
                asked=bool(waiting),
            )
            for member, waiting in zip(batch.members, asked, strict=True)
        ]
        now = self._clock.now()

        def work() -> list[PassResult]:
            try:
                return self._passes.run(requests, now)
            finally:
                batch.returned = True

        try:
            with anyio.move_on_after(self.deadline_s) as deadline:
                results = await self._run_contained(work, batch)
            if deadline.cancelled_caught:
                self._leave_behind(batch)
                return
            for member, request, result, waiting in zip(batch.members, requests, results, asked, strict=True):
                member.looked_s = batch.began_s
                self._settle(member, request, result, waiting)
        finally:
            self._running -= 1
            self._intake.bell.ring()

    async def _run_contained(self, work: Callable[[], list[PassResult]], batch: _Batch) -> list[PassResult]:
        try:
            return await self._offload.run(work)
        except Exception:  # noqa: BLE001  a fault of ours in one batch must not lose its loops, nor end the others
            error = traceback.format_exc()
            return [PassResult(member.run, None, error) for member in batch.members]

    def _settle(self, member: Member, request: PassRequest, result: PassResult, waiting: Sequence[Request]) -> None:
        """One loop's result: performed, unless the loop has left, or joined anew, meanwhile."""
        now_s = self._clock.monotonic()
        loop_id = member.loop_id
        if self._roster.get(loop_id) is not member:
            self._queue.done(loop_id, now_s)
            return
        if self._findings.clear("pass_overdue", about=loop_id):
            self._log.info("pass.returned", loop_id=loop_id)
        decision = self._performer.perform(member, result)
        if member.run.ref.is_remote:
            self._queue.done(loop_id, now_s)  # when to ask again is decided where its service is asked
        elif decision is None:
            self._queue.done(loop_id, now_s, failed=True)
        else:
            self._queue.done(loop_id, now_s, failed=decision.failed, again=decision.again)
        for each in [each for each in member.requests if each in waiting]:
            each.from_start = False
            each.events_ingested += decision.events_ingested if decision else 0
            if decision is None or not decision.again:
                member.requests.remove(each)
                each.answer(request.trace_id, error=result.error)

    def _leave_behind(self, batch: _Batch) -> None:
        self.overdue_count += 1
        self._left_behind.append(batch)
        now = self._clock.now()
        alone = len(batch.members) == 1
        for member in batch.members:
            evidence = f"{member.loop_id}: its pass has not ended within {self.deadline_s:g} s"
            self._findings.add("pass_overdue", evidence, now, about=member.loop_id)
        if not alone:
            self._suspects.extend(member.loop_id for member in batch.members)
        self._log.error(
            "pass.overdue",
            loops=len(batch.members),
            loop_id=batch.members[0].loop_id,
            deadline_s=self.deadline_s,
            threads_left_behind=len(self._left_behind),
        )

    def _welcome_back(self, now_s: float) -> None:
        """Threads that were left behind and have ended: a loop that waited for its own is looked at again."""
        for batch in [batch for batch in self._left_behind if batch.returned]:
            self._left_behind.remove(batch)
            if len(batch.members) == 1:
                loop_id = batch.members[0].loop_id
                self._queue.done(loop_id, now_s, again=True)
