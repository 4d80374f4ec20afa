"""Those around opsd: operators who ask things of it, outsiders who act without it, and whatever befalls its disk.

Each draws by its own lot, so that a history stays what it is when another one of them changes.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, TypeVar

import anyio
import msgspec
from msgspec.structs import replace

from opsd.app.desk import CannotRecord, IdempotencyConflict, NotAmbiguous, UnknownIntent
from opsd.model.acts import RunCommand
from opsd.model.ids import LoopId
from opsd.model.intent import Actor, Fence, Intent, IntentKind, IntentStatus
from opsd.model.lifecycle import Phase
from opsd.model.mode import Mode
from opsd.model.run import Run
from opsd.protocol import AckRequest, IntentRequest, ModeRequest, Submitted, WaitFor
from opsd.sim import documents
from opsd.sim.decisions import another_request
from opsd.sim.steps import FileOp, Replace
from opsd.sim.tree import pretty, read_document
from opsd.supervisor.desk import Desk
from tests.simulation.checkouts import Checkout

if TYPE_CHECKING:
    from tests.simulation.intents.world import World

R = TypeVar("R")
FIRST = "operator 1"
PRESSES = 4
_SENSIBLE = {
    Phase.AWAITING_APPROVAL: (IntentKind.APPROVE, IntentKind.REJECT, IntentKind.APPROVE),
    Phase.STARTING: (IntentKind.CANCEL, IntentKind.PAUSE),
    Phase.RUNNING: (IntentKind.CANCEL, IntentKind.PAUSE),
    Phase.BUSY: (IntentKind.CANCEL, IntentKind.PAUSE),
    Phase.LIMITED: (IntentKind.CANCEL, IntentKind.PAUSE),
    Phase.PAUSED: (IntentKind.RESUME, IntentKind.CANCEL),
    Phase.CRASHED: (IntentKind.START, IntentKind.CANCEL),
    Phase.RATE_LIMITED: (IntentKind.START, IntentKind.CANCEL),
    Phase.FAILED: (IntentKind.START, IntentKind.CANCEL),
}


class ConnectionLost(Exception):  # noqa: N818  what an operator is told
    """opsd is not there, or went away before it had answered: nobody knows whether it has heard."""


class Asked(msgspec.Struct, frozen=True):
    """A request that opsd took in: it said so, so that it must never forget it."""

    intent: Intent
    request: IntentRequest


async def operator(world: "World", name: str, dice: Random) -> None:
    person = _Operator(world, name, dice)
    if name == FIRST:
        for loop_id, kind in world.plan.script:
            await person.ask_for(LoopId(loop_id), kind)
    for _ in range(PRESSES):
        await world.sleep(dice.uniform(0, world.plan.tempo))
        await person.do_something()
    world.people_left -= 1


class _Operator:
    def __init__(self, world: "World", name: str, dice: Random) -> None:
        self._world, self._name, self._dice = world, name, dice
        self._actor = Actor(1_000 + int(name[-1]), name, 77)
        self._last: tuple[LoopId, IntentRequest] | None = None

    async def do_something(self) -> None:
        dice = self._dice
        if dice.random() < self._world.plan.modes_often:
            await self._set_mode()
        elif self._last is not None and dice.random() < 0.15:
            await self._press(*self._repeated(*self._last))
        else:
            await self.ask_for(LoopId(dice.choice(list(self._world.loops))))

    async def ask_for(self, loop_id: LoopId, kind: IntentKind | None = None) -> None:
        """What seems sensible, where no kind is said."""
        run = await self._look(loop_id)
        if run is not None:
            request = self._request(run, kind)
            # Between the look and the click much can happen.
            await self._world.sleep(self._dice.uniform(0, self._world.plan.tempo) if kind is None else 0.0)
            await self._press(loop_id, request, patiently=kind is not None)

    async def _look(self, loop_id: LoopId) -> Run | None:
        """Once opsd answers. None where it does not know the loop."""
        for _ in range(40):
            boot = self._world.boot
            if boot is not None and boot.answers:
                return boot.supervisor.fleet.run(loop_id)
            await self._world.sleep(0.5)
        return None

    def _request(self, run: Run, wanted: IntentKind | None) -> IntentRequest:
        dice, projection = self._dice, run.projection
        phase = projection.phase if projection is not None else None
        sensible = _SENSIBLE.get(phase, (IntentKind.START,)) if phase is not None else tuple(IntentKind)
        kind = wanted or dice.choice(sensible if dice.random() < 0.8 else tuple(IntentKind))
        approval = run.artifacts.approval.value
        expect = Fence()
        if dice.random() < 0.6 and projection is not None:
            expect = Fence(
                run_id=projection.run_id if dice.random() < 0.7 else None,
                iteration=projection.iteration if dice.random() < 0.3 else None,
                candidate=approval.digest if approval is not None and dice.random() < 0.7 else None,
            )
        overriding = dice.random() < 0.3
        return IntentRequest(
            kind,
            by=self._name,
            note=dice.choice(("", "ship it")),
            reason="we looked at it" if overriding else "",
            idempotency_key=f"{self._name}-{dice.randrange(1 << 30)}" if dice.random() < 0.5 else None,
            expect=expect,
            timeout_s=dice.choice((0.5, 2.0, 5.0)),
            confirm=dice.random() < 0.9,
            override_divergence=overriding,
            clear_stale=kind is IntentKind.START and (wanted is not None or dice.random() < 0.7),
            pause_for_s=dice.choice((None, 2.0, 600.0)) if kind is IntentKind.PAUSE else None,
            trace_id="trace",
        )

    def _repeated(self, loop_id: LoopId, request: IntentRequest) -> tuple[LoopId, IntentRequest]:
        """The same once more, or another wish under the same key, or under none."""
        match self._dice.randrange(3):
            case 0:
                request = replace(request, note=f"{request.note} now")
            case 1:
                other = self._dice.choice(tuple(IntentKind))
                request = replace(request, intent=other, clear_stale=False, pause_for_s=None)
        return loop_id, request

    async def _press(self, loop_id: LoopId, request: IntentRequest, *, patiently: bool = False) -> None:
        """Until it is answered; with a key, a request whose answer was lost is made again."""
        dice, world = self._dice, self._world
        self._last = loop_id, request
        if dice.random() < 0.05:
            await self._ask(lambda desk: desk.submit(loop_id, replace(request, dry_run=True), self._actor))
            world.count("dry run")
        patience_s = dice.uniform(0, 0.5) if dice.random() < 0.08 else float("inf")
        submitted = None
        for _ in range(3):
            submitted = await self._ask(lambda desk: desk.submit(loop_id, request, self._actor), patience_s=patience_s)
            if submitted is None and request.idempotency_key is not None and dice.random() < 0.8:
                world.count("asked again under the same key")
                continue
            break
        if submitted is not None:
            self._heed(request, submitted)
            await self._follow(submitted.intent, patiently)

    def _heed(self, request: IntentRequest, submitted: Submitted) -> None:
        world, intent = self._world, submitted.intent
        code = f" {intent.refusal.code}" if intent.refusal is not None else ""
        what = f"{intent.intent} {intent.status}{code}{' replayed' if submitted.replayed else ''}"
        world.tell(f"{self._name} asks {request.intent} of {intent.loop_id} ({intent.id}): {what}")
        if submitted.replayed:
            world.count("replayed")
            if request.idempotency_key is not None:
                _check_same(request, intent)
        if intent.status is IntentStatus.REFUSED:
            world.count(f"refused:{code}")
            if code.endswith("runtime_command_missing"):
                world.count("command: any missing")
            return
        world.asked.append(Asked(intent, request))

    async def _follow(self, intent: Intent, patiently: bool) -> None:
        """Wait for its end, and settle by one's word what stays open."""
        dice = self._dice
        until, wait_s = dice.choice(tuple(WaitFor)), 10.0 if patiently else dice.choice((0.0, 0.5, 10.0))
        settled = await self._ask(lambda desk: desk.wait(intent.id, until, wait_s))
        if settled is not None and settled.status is IntentStatus.AMBIGUOUS and (patiently or dice.random() < 0.6):
            await self._world.sleep(dice.choice((0.0, 0.0, 2.0)))
            async with anyio.create_task_group() as tasks:
                for _ in range(dice.choice((1, 2))):  # a colleague looks on
                    tasks.start_soon(self._acknowledge, intent.id)

    async def _acknowledge(self, intent_id: str) -> None:
        if await self._ask(lambda desk: desk.acknowledge(intent_id, AckRequest("I looked"), self._actor)):
            self._world.count("acknowledged")

    async def _set_mode(self) -> None:
        dice, world = self._dice, self._world
        loop_id = dice.choice((None, *world.loops))
        observing = dice.random() < 0.5
        request = ModeRequest(
            Mode.OBSERVE if observing else Mode.NORMAL,
            loop_id=loop_id,
            reason="quiet, please",
            for_s=dice.choice((None, 3.0)) if observing else None,
        )
        if await self._is_set(request) and observing and dice.random() < 0.8:
            await world.sleep(dice.uniform(0, 2 * world.plan.tempo))
            await self._is_set(ModeRequest(Mode.NORMAL, loop_id=loop_id))

    async def _is_set(self, request: ModeRequest) -> bool:
        world = self._world
        if await self._ask(lambda desk: desk.set_mode(request, self._actor)) is None:
            return False
        world.count(f"mode {request.mode}")
        # Another operator's may be on the disk by now, and not in force yet.
        rows = world.logs().modes()
        mine = max(place for place, row in enumerate(rows) if row["by"] == self._name)
        world.modes_told = rows[: mine + 1]
        return True

    async def _ask(self, call: Callable[[Desk], Awaitable[R]], *, patience_s: float = float("inf")) -> R | None:
        """What opsd answers; None where it does not (in time), or takes no such thing."""
        world = self._world
        if await self._look(LoopId(next(iter(world.loops)))) is None or world.boot is None:
            return None
        with anyio.move_on_after(patience_s):
            try:
                return await world.boot.ask(call)
            except ConnectionLost:
                world.count("connection lost")
            except (IdempotencyConflict, NotAmbiguous, UnknownIntent, CannotRecord) as error:
                world.count(type(error).__name__)
            return None
        world.count("hung up")
        return None


def _check_same(request: IntentRequest, intent: Intent) -> None:
    """A key answers for its own request alone. Raises AssertionError."""
    options = intent.options
    asked = (request.intent, request.note, request.reason, request.expect, request.timeout_s, request.confirm)
    known = (intent.intent, intent.note, intent.reason, intent.expect, options.timeout_s, options.confirm)
    assert asked == known, f"the key of {intent.id} ({known}) answers for {asked}"


async def outsider(world: "World", dice: Random) -> None:
    """Runs are started, cancelled, decided on, killed, stopped and continued by people who never heard of opsd."""
    for _ in range(dice.randint(0, 5)):
        await world.sleep(dice.uniform(0, 4 * world.plan.tempo))
        checkout = dice.choice(world.checkouts)
        deed = dice.choice(_DEEDS)
        if deed(world, checkout, dice):
            world.count(f"outside: {deed.__name__.strip('_')}")


def _start(world: "World", checkout: Checkout, dice: Random) -> bool:
    if checkout.running:
        return False
    if dice.random() < 0.3:
        checkout.reuse_pid()
    checkout.start()
    return True


def _kill(world: "World", checkout: Checkout, dice: Random) -> bool:
    if not checkout.running:
        return False
    checkout.end(dice.choice(("kill", "term")))
    return True


def _cancel(world: "World", checkout: Checkout, dice: Random) -> bool:
    _call(world, checkout, "cancel")
    return True


def decide(world: "World", checkout: Checkout, dice: Random) -> bool:
    loop_id = dice.choice(checkout.loop_ids)
    verdict = ("--reject",) if dice.random() < 0.4 else ()
    return _call(world, checkout, "approve", "--loop", loop_id, "--by", "alex", *verdict)


def _ask_for_another(world: "World", checkout: Checkout, dice: Random) -> bool:
    """The request that somebody is looking at is replaced by a later one."""
    loop_id = dice.choice(checkout.loop_ids)
    request = read_document(checkout.tree, f"{documents.folder(loop_id)}/approval.json")
    if request is None or checkout.running:
        return False
    asked = {**request, "status": "pending"}
    for member in ("decision", "decided_at", "decided_by", "decided_note"):
        asked.pop(member, None)
    for step in another_request(checkout.part, asked, loop_id=loop_id, start_s=world.clock.now().timestamp()):
        if isinstance(step.op, FileOp):
            checkout.tree.perform(step.op)
    return True


def _stop(world: "World", checkout: Checkout, dice: Random) -> bool:
    return checkout.hold(float("inf"))


def _continue(world: "World", checkout: Checkout, dice: Random) -> bool:
    return checkout.release()


def give_its_number_away(world: "World", checkout: Checkout, dice: Random) -> bool:
    """A run that died left its number on file, and another program gets it."""
    active_run = read_document(checkout.tree, documents.ACTIVE_RUN)
    return active_run is not None and not checkout.running and world.kernel.give_away(active_run["pid"])


def _contradict(world: "World", checkout: Checkout, dice: Random) -> bool:
    """The run dies in the midst of an iteration, and its state is made to say that it is at rest."""
    state = read_document(checkout.tree, documents.STATE)
    if not checkout.running or state is None:
        return False
    checkout.end("kill")
    at = f"{world.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    checkout.tree.perform(Replace(documents.STATE, pretty({**state, "active": False, "updated_at": at})))
    return True


_DEEDS = (
    _start, _kill, _cancel, decide, decide, _ask_for_another, _ask_for_another, _stop, _continue,
    give_its_number_away, give_its_number_away, _contradict,
)  # fmt: skip


def _call(world: "World", checkout: Checkout, *words: str) -> bool:
    """The runtime's command, called by hand."""
    argv = (f"{checkout.repo}/superloop.sh", words[0], "--repo", checkout.repo, *words[1:])
    return world.by_hand.carry_out(RunCommand(argv, checkout.repo, 30.0)).exit_code == 0


async def saboteur(world: "World", dice: Random) -> None:
    """The disk refuses for a while; the runtime's command is not to be found for a while."""
    if world.plan.trouble is not None:
        if world.plan.trouble_at_start:
            await world.second_start.wait()
        else:
            await world.sleep(dice.uniform(0, 0.5))
        world.refuse(world.plan.trouble)
        await world.sleep(dice.choice((3.0, 8.0, 15.0)))
        world.machine.heal()
    if world.plan.fault == ("any", "missing"):
        repo = dice.choice(world.checkouts).repo
        world.controls.missing.add(repo)
        await world.sleep(dice.choice((1.0, 4.0, 15.0)))
        world.controls.missing.discard(repo)
