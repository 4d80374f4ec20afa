"""A day in the life of sprites that nothing runs in: how often they are woken, counted at their doors."""

import anyio
import pytest
from msgspec.structs import replace

from opsd.core.pace import Pace
from opsd.core.reconcile import Pass, Rules, decide
from opsd.logs import logger
from opsd.model.ids import LoopId, TraceId
from opsd.model.run import LoopRef, Run, ServiceRef
from opsd.model.thresholds import Thresholds
from opsd.model.transport import TransportMode
from opsd.ports import Ask
from opsd.supervisor.backoff import Backoff
from opsd.supervisor.intake import Intake
from opsd.supervisor.polling import Polls
from opsd.supervisor.queue import WorkQueue
from opsd.supervisor.roster import Roster
from opsd.transports.service import ServiceTransport
from tests.doubles.clock import VirtualClock
from tests.doubles.services import COMPLETES, StandInServices

DAY_S = 86_400
ASKS_FOR_APPROVAL = (*COMPLETES[:-1], "approval_requested")
STOPS = (*COMPLETES[:-1], "loop_stop")


class Door:
    """The poller alone, with a pass made of every answer as soon as there is one."""

    def __init__(self, pace: Pace) -> None:
        self.clock = VirtualClock()
        self.services = StandInServices(self.clock)
        self.transport = ServiceTransport()
        self.roster = Roster(self.clock)
        self.queue = WorkQueue(retry=Backoff(), jitter=lambda: 0.5)
        self.intake = Intake(self.queue, self.roster, self.clock)
        self.polls = Polls(
            self.services,
            self.transport,
            roster=self.roster,
            intake=self.intake,
            thresholds=lambda _loop_id: Thresholds(),
            pace=lambda: pace,
            clock=self.clock,
            log=logger(),
        )
        self.intake.poll = self.polls.soon

    async def passes(self) -> None:
        while True:
            await self.intake.bell.wait()
            now = self.clock.now()
            for loop_id in self.queue.take(64, self.clock.monotonic()):
                member = self.roster.get(loop_id)
                assert member is not None
                (seen,) = self.transport.observe([Ask(member.run.ref, member.run.cursor)], now)
                decision = decide(member.run, seen, Rules("/home"), Pass(TraceId("t")), now)
                member.looked_s = self.clock.monotonic()
                member.run = replace(decision.run, reach=member.run.reach)
                self.queue.done(loop_id, self.clock.monotonic())
                self.polls.looked(member, decision)

    async def day(self, events: tuple[str, ...]) -> int:
        """How many requests a sprite with this log receives in 24 hours."""
        ref = LoopRef(LoopId("a"), "/home", TransportMode.SPRITE_SERVICE, service=ServiceRef("http://a:8787"))
        self.roster.put(Run(ref))
        self.services.sprite("a").log(*events)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.polls.serve, lambda: None)
            tasks.start_soon(self.passes)
            self.intake.trigger([LoopId("a")])
            await self.clock.advance(DAY_S)
            tasks.cancel_scope.cancel()
        return len(self.services.asked)


@pytest.mark.parametrize("events", [COMPLETES, STOPS, ASKS_FOR_APPROVAL], ids=["finished", "stopped", "awaiting"])
async def test_a_sprite_in_which_nothing_runs_is_woken_once_every_quarter_of_an_hour(events: tuple[str, ...]) -> None:
    requests = await Door(Pace()).day(events)

    assert DAY_S / 990 - 1 <= requests <= DAY_S / 810 + 1


async def test_how_often_is_a_setting() -> None:
    assert await Door(Pace(idle_s=7_200.0)).day(COMPLETES) <= DAY_S / 6_480 + 1
