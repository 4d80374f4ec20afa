"""Sprites in memory, behind the port that opsd asks them through: what they hold, and every request they received."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import anyio
from msgspec.structs import replace

from opsd.model.cursor import Stream
from opsd.model.ids import LoopId
from opsd.model.observation import (
    Artifact,
    Artifacts,
    Malformed,
    ProcessSighting,
    Seen,
    Unreachable,
    UnreachableCause,
)
from opsd.model.run import LoopRef
from opsd.model.runtime import ActiveRun, Approval, EventLine, Presence, RuntimeState
from opsd.model.service import PageAnswer, ServiceAnswer
from opsd.model.wire import FEATURES, PageRequest
from opsd.ports import Ask
from tests.doubles.clock import VirtualClock
from tests.doubles.sprite_desks import Desks

RUN = "2026-01-01T00:00:00Z"
RUNS = ("loop_start", "iteration_start", "role_start")
COMPLETES = (*RUNS, "role_end", "loop_complete")


class Asked(NamedTuple):
    at: datetime
    loop_id: LoopId
    wait_s: float


class Sprite:
    """One loop's log and process. Whatever changes wakes those whose answers are held back."""

    def __init__(self, clock: VirtualClock, loop_id: str) -> None:
        self.names: list[EventLine] = []
        self.alive = False
        self.approval: Approval | None = None
        self.trouble: Unreachable | Malformed | None = None
        self.retry_after_s: float | None = None
        self.version = 0
        self._clock = clock
        self._loop_id = loop_id
        self._changed = anyio.Event()

    def log(self, *names: str) -> None:
        at = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        for name in names:
            role = "planner" if name.startswith("role_") else None
            self.names.append(EventLine(timestamp=at, event=name, run_id=RUN, iteration=1, role=role))
        self.alive = bool(self.names) and self.names[-1].event not in ("loop_complete", "loop_stop")
        self.touch()

    def touch(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = anyio.Event()

    def fails(self, cause: UnreachableCause = UnreachableCause.SERVICE_UNREACHED) -> None:
        self.trouble = Unreachable(self._clock.now(), cause, "service_request_failed", f"It failed: {cause}.")

    async def changed(self) -> None:
        await self._changed.wait()

    def seen(self, ask: Ask) -> Seen:
        now = self._clock.now()
        start = ask.cursor.event_line_offset if ask.cursor is not None and not ask.from_start else 0
        artifacts = Artifacts()
        if self.alive:
            at = self.names[0].timestamp
            run = ActiveRun(repo="/sprite", pid=7, pgid=7, loop_id=self._loop_id, iteration=1, updated_at=at)
            state = RuntimeState(active=True, iteration=1, current_loop_id=self._loop_id, updated_at=at)
            artifacts = Artifacts(state=Artifact(Presence.PRESENT, state), active_run=Artifact(Presence.PRESENT, run))
        if self.approval is not None:
            artifacts = replace(artifacts, approval=Artifact(Presence.PRESENT, self.approval))
        return Seen(
            at=now,
            events=tuple(self.names[start:]),
            lines=tuple(range(start + 1, len(self.names) + 1)),
            last_raw=b"{}",
            line_offset=len(self.names),
            stream=Stream(1, 1, 0, len(self.names), "f", 1, 1),
            artifacts=artifacts,
            process=ProcessSighting.ALIVE if self.alive else ProcessSighting.NONE,
        )


class StandInServices(Desks):
    """`opsd.ports.Services` over sprites; `asked` is every look that reached one, `features` what all of them have.

    Intents go to the desks inside (`desk(loop_id)`), over a way that `faults` disturbs.
    """

    def __init__(self, clock: VirtualClock, *, features: Sequence[str] = FEATURES) -> None:
        super().__init__(clock)
        self.asked: list[Asked] = []
        self.announced = frozenset(features)
        self.forgotten: list[LoopId] = []
        self._sprites: dict[str, Sprite] = {}

    def sprite(self, loop_id: str) -> Sprite:
        return self._sprites.setdefault(loop_id, Sprite(self._clock, loop_id))

    def requests(self) -> Counter[str]:
        return Counter(asked.loop_id for asked in self.asked)

    async def observe(self, ask: Ask, *, known: str | None, wait_s: float) -> ServiceAnswer:
        loop_id = ask.ref.loop_id
        sprite = self.sprite(loop_id)
        self.asked.append(Asked(self._clock.now(), loop_id, wait_s))
        if sprite.trouble is None and wait_s and known == str(sprite.version):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until, self._clock.monotonic() + wait_s, tasks.cancel_scope)
                await sprite.changed()
                tasks.cancel_scope.cancel()
        now = self._clock.now()
        if sprite.trouble is not None:
            return ServiceAnswer(now, _at(sprite.trouble, now), retry_after_s=sprite.retry_after_s)
        digest = str(sprite.version)
        observation = None if known == digest else sprite.seen(ask)
        return ServiceAnswer(now, observation, digest, self.announced)

    async def page(self, ref: LoopRef, request: PageRequest, *, wait_s: float) -> PageAnswer:
        return PageAnswer(problem="nobody keeps files here")

    def features(self, ref: LoopRef) -> frozenset[str] | None:
        return self.announced if any(asked.loop_id == ref.loop_id for asked in self.asked) else None

    def forget(self, ref: LoopRef) -> None:
        self.forgotten.append(ref.loop_id)

    async def _until(self, monotonic_s: float, scope: anyio.CancelScope) -> None:
        await self._clock.sleep_until(monotonic_s)
        scope.cancel()


def _at(trouble: Unreachable | Malformed, now: datetime) -> Unreachable | Malformed:
    match trouble:
        case Unreachable(_, cause, code, problem):
            return Unreachable(now, cause, code, problem)
        case Malformed(_, code, problem, evidence):
            return Malformed(now, code, problem, evidence)
