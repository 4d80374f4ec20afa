"""Operators at the control desk of a whole supervisor, over simulated checkouts that it really acts on.

All on one virtual clock. What was done to a run is asked of the checkouts' side (`controls`), what was written down of
it is read from the disk; `Office.reopened` is opsd after a crash, on what is left there.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import anyio

from opsd.app import view
from opsd.app.desk import DeskError
from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.model.intent import Actor, Intent, IntentKind, IntentStatus
from opsd.model.mode import Mode
from opsd.ports import Controls, Offload
from opsd.protocol import AckRequest, IntentRequest, LoopStatus, LoopSummary, ModePage, ModeRequest, Submitted, WaitFor
from opsd.sim import documents
from opsd.sim.faults import Fault
from opsd.sim.steps import Document
from opsd.sim.tree import read_document
from opsd.supervisor.fleet import FleetError
from tests.doubles.clock import VirtualClock, settle
from tests.doubles.controls import VirtualControls
from tests.simulation.checkouts import Checkout
from tests.simulation.launches import Launch
from tests.simulation.machine import ClockedFiles
from tests.supervisor.world import HOME, World, supervised
from tests.transports.trees import Table

T = TypeVar("T")

RIYA, SAM = Actor(1000, "riya", 501), Actor(1001, "sam", 502)
AT_WORK_S, A_DAY_S = 300.0, 86_400.0
_BEFORE = {"asking": "approval", "neighbour running": "complete"}
_NOW = {"running": "silent-stall", "killed": "silent-stall", "neighbour running": "silent-stall"}
"""What a checkout has played since yesterday, and what since a few minutes ago. Of `idle` loops, nothing.

`running` is silent for days, `killed` has left its state marked active. Where the neighbour runs, loop `x` of a
checkout has completed and its loop `x-docs` is at work. Whatever is started later plays the same again.
"""
SETTLED = (Journal.INTENTS, Journal.CONTROL, Journal.INVOCATIONS)


class Office:
    """A checkout for each loop that is named, in the situation that is said of it."""

    def __init__(
        self,
        *,
        commits: Offload | None = None,
        acts: Offload | None = None,
        acts_at_once: int = 8,
        **situations: str,
    ) -> None:
        clock, table = VirtualClock(), Table()
        disk = ClockedFiles(clock, f"{HOME}/.superloop/ops-manager/fleet")
        self.checkouts: dict[str, Checkout] = {}
        for number, (loop_id, situation) in enumerate(situations.items()):
            loops = (loop_id, f"{loop_id}-docs") if situation == "neighbour running" else (loop_id,)
            # A checkout's process numbers follow from the length of its path.
            repo = f"/srv/{loop_id.ljust(8 + number, '_')}"
            self.checkouts[loop_id] = Checkout(
                disk, clock, table, repo, loops, Random(loop_id), scenarios=("complete",), attended=False
            )
        self.controls = VirtualControls(list(self.checkouts.values()), clock, disk)
        self.world = World(
            disk=disk,
            clock=clock,
            processes=table,
            reads=True,
            controls=self.controls,
            commits=commits,
            acts=acts,
            acts_at_once=acts_at_once,
        )
        for loop_id, situation in situations.items():
            if situation in _BEFORE:
                self._play(loop_id, _BEFORE[situation])
        self._pass_by(A_DAY_S)
        for loop_id, situation in situations.items():
            if situation in _NOW:
                self._play(loop_id, _NOW[situation])
        self._pass_by(AT_WORK_S)
        for loop_id, situation in situations.items():
            if situation == "killed":
                self.checkouts[loop_id].end("kill")
        self.register(*situations)

    def register(self, *names: str) -> None:
        """Only the loops of these checkouts are in the fleet."""
        places = [self.checkouts[name] for name in names]
        self.world.registry(
            *({"loopId": loop_id, "repoPath": place.repo} for place in places for loop_id in place.loop_ids)
        )

    def reopened(self, *, controls: Controls | None = None) -> World:
        """opsd's next start: the same disk, the same checkouts, the same clock, and nothing remembered."""
        self.world = World(
            disk=self.world.disk,
            clock=self.world.clock,
            processes=self.world.processes,
            reads=True,
            controls=controls or self.controls,
        )
        return self.world

    # Operators

    async def ask(
        self, loop_id: str, kind: str, *, actor: Actor = RIYA, by: str | None = None, **members: Any
    ) -> Submitted:
        """What the desk answers. As the API does, the account's name is the claimed one unless another is claimed."""
        request = IntentRequest(IntentKind(kind), by=by or actor.user, **members)
        return await self.meanwhile(lambda: self.world.desk.submit(LoopId(loop_id), request, actor))

    async def settled(self, loop_id: str, kind: str, *, actor: Actor = RIYA, **members: Any) -> Intent:
        """The same, once nobody works on it any more."""
        answer = await self.ask(loop_id, kind, actor=actor, **members)
        return await self.end_of(answer.intent)

    async def end_of(self, intent: Intent) -> Intent:
        if intent.status in (IntentStatus.REFUSED, IntentStatus.EXPIRED):
            return intent
        found = await self.meanwhile(lambda: self.world.desk.wait(intent.id, WaitFor.SETTLED, 1e9))
        assert found is not None
        return found

    async def acknowledge(self, intent_id: str, *, actor: Actor = SAM, reason: str = "seen on the host") -> Intent:
        request = AckRequest(reason, by=actor.user)
        return await self.meanwhile(lambda: self.world.desk.acknowledge(intent_id, request, actor))

    async def set_mode(self, mode: Mode, loop_id: str | None = None, **members: Any) -> ModePage:
        request = ModeRequest(mode, loop_id, by=RIYA.user, **members)
        return await self.meanwhile(lambda: self.world.desk.set_mode(request, RIYA))

    async def meanwhile(self, work: Callable[[], Awaitable[T]], *, limit_s: float = 600.0) -> T:
        """What `work` comes to, while time goes on. Raises what the desk raises."""
        results: list[T] = []
        errors: list[DeskError | FleetError] = []

        async def run() -> None:
            try:
                results.append(await work())
            except (DeskError, FleetError) as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await settle()
            end_s = self.world.clock.monotonic() + limit_s
            while not results and not errors and self.world.clock.monotonic() < end_s:
                await self.pass_by(0.1)
            tasks.cancel_scope.cancel()
        for error in errors:
            raise error
        assert results, f"nothing came of it within {limit_s:g} s"
        return results[0]

    # The runs

    def misbehave(self, kind: str, seconds: float = 0.0, *, code: int = 1) -> None:
        """The next execution does (`opsd.sim.faults`)."""
        nth = len(self.controls.done) + 1
        self.controls.fault_of = lambda *_: Fault(kind, seconds, code) if len(self.controls.done) == nth else Fault()

    def executed(self, word: str = "") -> int:
        """How often that, or anything at all, was really done."""
        return self.controls.executions(word) if word else len(self.controls.done)

    def approval(self, loop_id: str) -> Document:
        return read_document(self.checkouts[loop_id].tree, f"{documents.folder(loop_id)}/approval.json") or {}

    def put_approval(self, loop_id: str, **members: object) -> None:
        """The request that is on file says something else in these members."""
        path = f"{documents.folder(loop_id)}/approval.json"
        self.checkouts[loop_id].tree.put(path, json.dumps({**self.approval(loop_id), **members}).encode())

    def _play(self, loop_id: str, scenario: str) -> None:
        """The checkout's last loop begins to, or its first where it has played nothing yet."""
        place = self.checkouts[loop_id]
        place.scenarios = (scenario,)
        place.start(Launch("", place.loop_ids[-1 if place.runs else 0]))

    async def pass_by(self, seconds: float) -> None:
        """Time passes for runs and for opsd."""
        end_s = self.world.clock.monotonic() + seconds
        while (due_s := min(place.due_s for place in self.checkouts.values())) <= end_s:
            await self.world.clock.advance(max(0.0, due_s - self.world.clock.monotonic()))
            self._go_on(due_s)
        await self.world.clock.advance(max(0.0, end_s - self.world.clock.monotonic()))

    def _pass_by(self, seconds: float) -> None:
        """The same before opsd runs."""
        clock = self.world.clock
        end_s = clock.monotonic() + seconds
        while (due_s := min(place.due_s for place in self.checkouts.values())) <= end_s:
            clock.pass_by(max(0.0, due_s - clock.monotonic()))
            self._go_on(due_s)
        clock.pass_by(max(0.0, end_s - clock.monotonic()))

    def _go_on(self, due_s: float) -> None:
        for place in self.checkouts.values():
            if place.due_s <= due_s:
                place.go_on()

    # What is written down, and what is shown

    def rows(self, loop_id: str, journal: Journal) -> list[dict[str, Any]]:
        path = self.world.layout.journal(LoopId(loop_id), journal)
        if self.world.disk.stat(path) is None:
            return []
        return [json.loads(line) for line in self.world.disk.read(path, 0, 1 << 30)[1].splitlines()]

    def steps(self, loop_id: str) -> list[str]:
        """The statuses in the loop's intent log, in their order."""
        return [row["status"] for row in self.rows(loop_id, Journal.INTENT_LOG)]

    def told(self, loop_id: str) -> tuple[list[str], ...]:
        """What each of the three files for outside programs says of outcomes."""
        intents, control, invocations = (self.rows(loop_id, journal) for journal in SETTLED)
        return (
            [row["status"] for row in intents],
            [row["status"] for row in control],
            [row["outcome"]["status"] for row in invocations],
        )

    def picture(self, loop_id: str) -> LoopSummary:
        return next(one for one in self.world.fleet.summaries(self.world.clock.now()) if one.loop_id == loop_id)

    def status(self, loop_id: str) -> LoopStatus:
        run = self.world.fleet.run(LoopId(loop_id))
        assert run is not None
        return view.status(run, self.world.clock.now())

    def findings(self, loop_id: str) -> list[str]:
        return [finding.code for finding in self.picture(loop_id).findings]


@asynccontextmanager
async def open_for(
    *, commits: Offload | None = None, acts: Offload | None = None, acts_at_once: int = 8, **situations: str
) -> AsyncIterator[Office]:
    """An office whose opsd runs while the block lasts."""
    office = Office(commits=commits, acts=acts, acts_at_once=acts_at_once, **situations)
    async with supervised(office.world):
        yield office
