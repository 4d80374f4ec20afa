"""One seed, one history: checkouts that live on, opsd started, killed and started again over them, and its operators.

opsd is the real supervisor with all its parts; clock, disk, process table and what acts come to are the test's. Who
asks for what is `people`, what must hold is `checks`, and at the moment of an act `hands`.
"""

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import TypeVar

import anyio
import anyio.lowlevel
import structlog
from structlog.typing import EventDict, WrappedLogger

from opsd.core.reconcile import Rules
from opsd.logs import Log
from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.mode import Mode
from opsd.protocol import ModeRequest
from opsd.sim.faults import Fault
from opsd.store.journal import RETENTION, Retention
from opsd.store.layout import Layout, rotated
from opsd.store.store import Store
from opsd.supervisor.desk import Desk
from opsd.supervisor.supervisor import Supervisor, Threads, Tuning
from opsd.transports.local import LocalTransport
from opsd.transports.sweep import STANDARD_PACE, Sweep
from tests.doubles.clock import VirtualClock
from tests.doubles.controls import VirtualControls
from tests.doubles.files import MemoryFiles
from tests.simulation.checkouts import Checkout
from tests.simulation.intents import checks
from tests.simulation.intents.chronicle import Chronicle
from tests.simulation.intents.disk import Crash, Front
from tests.simulation.intents.hands import Hands, Ledger
from tests.simulation.intents.kernel import Kernel
from tests.simulation.intents.logs import IN_FLIGHT, Logs, Row
from tests.simulation.intents.people import (
    Asked,
    ConnectionLost,
    decide,
    give_its_number_away,
    operator,
    outsider,
    saboteur,
)
from tests.simulation.intents.plan import Trouble, drawn
from tests.simulation.intents.turns import Dawdling, dawdles, run
from tests.simulation.launches import Launch
from tests.simulation.machine import ClockedFiles, Killed, Machine

HOME = "/srv/home"
OPERATORS = 2
LATER_RUNS = ("approval", "silent-stall", "silent-stall", "complete", "role-error")
"""What runs play that begin after opsd did."""
PAIR = "/srv/pair"
ROTATING: Mapping[Journal, Retention] = {**RETENTION} | {
    journal: Retention(6_000, kept=40)
    for journal in (Journal.INTENT_LOG, Journal.INTENTS, Journal.CONTROL, Journal.INVOCATIONS)
}
CONTROL_TIMEOUT_S = 4.0
SWEEP_S = 1.0
ALL_SWEPT_S = STANDARD_PACE.idle_s + 2 * SWEEP_S
"""After so long without any news, opsd has looked at whatever changed before, at what is idle too."""
BEATS_MAX = 200_000
"""So many turns no history takes; one that does goes round in circles."""
R = TypeVar("R")


class Boot:
    """One start of opsd, until it stops or is killed."""

    def __init__(self, world: "World", number: int, crash: Crash | None) -> None:
        self.number = number
        self.crash = crash
        self.struck = False
        self.is_new = True
        self.ended = anyio.Event()
        self.ready = False
        self.faults: list[str] = []
        self._refusals_before = world.machine.fired.total()
        # Not a set: they hear of its end in the order in which they came, whatever their addresses in memory are.
        self._callers: list[anyio.CancelScope] = []
        self._ids = 0
        self._world = world
        clock = world.clock
        self.front = Front(world.machine, crash, self._died)
        how = dawdles(world.dice)

        def thread(name: str) -> Dawdling:
            return Dawdling(clock, Random(f"{world.seed}/{number}/{name}"), how[name], self.front.check)

        hands = Hands(
            world.controls,
            world.checkouts,
            world.chronicle,
            self.front,
            world.ledger,
            boot=number,
            crash=crash,
            durable=world.durable_logs,
            modes=lambda: world.modes_told,
            now=clock.now,
        )
        self.supervisor = Supervisor(
            start_id=f"start-{number}",
            layout=world.layout,
            files=self.front,
            store=Store(world.layout, self.front, world.retention),
            transport=LocalTransport(self.front, world.kernel),
            processes=world.kernel,
            controls=hands,
            watch=None,
            sweep=Sweep(self.front, STANDARD_PACE),
            sweep_interval_s=SWEEP_S,
            threads=Threads(*(thread(name) for name in ("passes", "commits", "looks", "acts"))),
            clock=clock,
            log=_log(self.faults.append),
            tuning=Tuning(Rules(HOME, boot_id=f"boot-{world.power_cuts}"), control_timeout_s=CONTROL_TIMEOUT_S),
            pulse=lambda _: None,
            new_intent_id=self._new_id,
        )

    @property
    def desk(self) -> Desk:
        return self.supervisor.desk

    @property
    def answers(self) -> bool:
        return self.ready and self.front.alive and not self.ended.is_set()

    @property
    def was_refused_something(self) -> bool:
        """Whether the disk has refused it anything so far, be it well by now or not."""
        return self._world.machine.fired.total() > self._refusals_before

    async def ask(self, call: Callable[[Desk], Awaitable[R]]) -> R:
        """As over the socket. Raises ConnectionLost."""
        if not self.answers:
            raise ConnectionLost
        with anyio.CancelScope() as scope:
            self._callers.append(scope)
            try:
                answer = await call(self.desk)
            except Killed:
                raise ConnectionLost from None
            finally:
                self._callers.remove(scope)
            if self.front.alive:
                return answer
        raise ConnectionLost

    async def live(self) -> None:
        """From its start to its end."""
        try:
            async with anyio.create_task_group() as tasks:
                await self.supervisor.start()
                tasks.start_soon(self.supervisor.run)
                self.ready = True
                self._world.started(self)
                await self.ended.wait()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            _, rest = group.split(Killed)
            if rest is not None:
                raise rest from None
        except Killed:
            pass

    def kill(self) -> None:
        """As by SIGKILL, from outside."""
        try:
            self.front.die()
        except Killed:
            self.struck = False

    async def stop(self) -> None:
        """As by SIGTERM."""
        await self.supervisor.stop()
        for scope in self._callers:
            scope.cancel()
        self.ended.set()

    def _died(self) -> None:
        self.struck = True
        for scope in self._callers:
            scope.cancel()
        self.ended.set()

    def _new_id(self) -> str:
        self._ids += 1
        intent_id = f"intent-{self.number}-{self._ids}"
        self._world.ledger.taken_in[intent_id] = self.number
        return intent_id


class World:
    """Everything there is. `counts` says what happened how often, `story` what happened when."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.story: list[str] = []
        self.dice = Random(f"intents/{seed}")
        random.seed(f"opsd/{seed}")  # what opsd itself draws by lot
        self.plan = drawn(seed)
        self.clock = VirtualClock()
        self.kernel = Kernel(self.clock)
        runtime = ClockedFiles(self.clock)
        self.chronicle = Chronicle(runtime, self.clock)
        cast: dict[str, tuple[str, ...]] = {
            f"/srv/{name}": (name,) for name, _ in zip(("alpha", "beta"), self.plan.situations, strict=False)
        }
        if self.plan.pair is not None:
            cast[PAIR] = ("pair", "pair-docs")
        self.checkouts = [
            Checkout(
                self.chronicle,
                self.clock,
                self.kernel,
                repo,
                loop_ids,
                Random(f"{seed}/{repo}"),
                scenarios=("silent-stall",),
                attended=False,
                gap_s=self.plan.gap_s,
            )
            for repo, loop_ids in cast.items()
        ]
        self.loops: dict[LoopId, Checkout] = {loop_id: each for each in self.checkouts for loop_id in each.loop_ids}
        self.layout = Layout(HOME)
        self.machine = Machine(MemoryFiles(f"{self.layout.root}/fleet"), runtime, self.layout.root)
        self.retention = ROTATING if self.plan.rotating else RETENTION
        self._printed = Machine(self.machine.own, runtime, self.layout.root)
        self.controls = VirtualControls(self.checkouts, self.clock, self._printed, fault_of=self._fault_of)
        self.by_hand = VirtualControls(self.checkouts, self.clock, self._printed)
        self.ledger = Ledger()
        self.power_cuts = 0
        self.asked: list[Asked] = []
        self.modes_told: Sequence[Row] = ()
        self.boot: Boot | None = None
        self.people_left = OPERATORS
        self.second_start = anyio.Event()
        self._is_over = False
        self._turns = 0
        self._still = False
        self._write_registry()

    def tell(self, what: str) -> None:
        self.story.append(f"{self.clock.now():%M:%S.%f} {what}")

    def count(self, what: str) -> None:
        self.counts[what] += 1
        self.tell(what)

    def live(self) -> None:
        """The whole history. Raises AssertionError where something does not hold."""
        self._set_the_stage()
        run(self._live, self.clock, self.pass_time)
        assert self._is_over, "something broke it off"
        for row in self.logs().newest().values():
            self.counts[f"intent: {row['intent']} {row['status']} {row.get('stage', '')}".strip()] += 1
        self.counts["acts"] += len(self.ledger.executions)
        for loop_id in self.loops:
            if self.machine.own.stat(rotated(self.layout.journal(loop_id, Journal.INTENT_LOG), 1)) is not None:
                self.counts["rotated"] += 1
        if self.plan.trouble is not None and self.machine.fired:
            self.counts[str(self.plan.trouble)] += 1

    @property
    def leaves_leftovers(self) -> bool:
        """Whether rows that were refused stay in the log all the same: neither their flush nor taking them back works.

        The store says so, and promises no more of such a disk than that nothing is done twice or lost.
        """
        return self.plan.trouble is not None and "truncate" in self.plan.trouble.operations

    def refuse(self, trouble: Trouble) -> None:
        """From now on, until the machine is healed."""
        for operation in trouble.operations:
            self.machine.refuse(operation, trouble.error, trouble.path)
        self.tell(str(trouble))

    def durable_logs(self) -> Logs:
        """What would be left of the logs if the power went now."""
        return Logs(self.machine.own.after_power_cut(), self.layout, self.loops, self.retention)

    def logs(self) -> Logs:
        return Logs(self.machine.own, self.layout, self.loops, self.retention)

    def started(self, boot: Boot) -> None:
        self.counts["starts"] += 1
        self.modes_told = self.logs().modes()
        self.tell(f"start {boot.number}, to be killed at {boot.crash}")
        if not boot.was_refused_something:
            checks.nothing_lost(self)
            checks.known_as_logged(self.logs(), boot)
            if not self.leaves_leftovers:
                checks.told_once(self.logs())
        boot.is_new = False

    def pass_time(self, most_s: float | None) -> None:
        """Whatever is due next happens; or so much time passes."""
        self._turns += 1
        assert self._turns < BEATS_MAX, "time does not come to an end"
        now_s = self.clock.monotonic()
        checkout = None if self._still else min(self.checkouts, key=lambda each: each.due_s)
        run_s = checkout.due_s if checkout is not None else float("inf")
        woken_s = self.clock.next_s
        due_s = min(run_s, woken_s, now_s + most_s if most_s is not None else float("inf"))
        assert due_s < float("inf"), "everybody waits, and nothing will ever happen"
        self.clock.pass_by(max(0.0, due_s - now_s))
        if checkout is not None and run_s <= due_s:
            checkout.go_on()
        elif woken_s <= due_s:
            self.clock.wake_next()

    # From the first to the last start

    async def _live(self) -> None:
        async with anyio.create_task_group() as people:
            for number in range(1, OPERATORS + 1):
                people.start_soon(operator, self, f"operator {number}", Random(f"{self.seed}/operator/{number}"))
            in_motion = anyio.CancelScope()
            people.start_soon(self._others, in_motion)
            for number, crash in enumerate(self.plan.crashes):
                await self._boot(number, crash, self.plan.stops[number])
            await self._last_boots(in_motion)
        self._is_over = True

    async def _others(self, in_motion: anyio.CancelScope) -> None:
        with in_motion:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(outsider, self, Random(f"{self.seed}/outsider"))
                tasks.start_soon(saboteur, self, Random(f"{self.seed}/saboteur"))

    async def _boot(self, number: int, crash: Crash | None, how: str) -> None:
        if number == 1:
            self.second_start.set()
            await anyio.lowlevel.checkpoint()
        boot = self.boot = Boot(self, number, crash)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(boot.live)
            with anyio.move_on_after(self.dice.choice((2.0, 6.0, 15.0)) if crash is None else 15.0):
                while self.people_left:
                    if boot.ended.is_set():
                        break
                    await self.sleep(0.5)
            if not boot.ended.is_set():
                if how == "stop":
                    await boot.stop()
                else:
                    boot.kill()
        if boot.struck:
            self.count(str(crash))
        self._check_faults(boot)
        if how.startswith("power") and not boot.answers:
            self.machine.lose_power(self.dice if how.endswith("luck") else None)
            self._printed.own = self.machine.own
            self.power_cuts += 1
        self.count(f"ended by {how}")
        if self.dice.random() < 0.2:
            self.machine.heal()
        await self.sleep(self.dice.choice((0.1, 1.0, 5.0)))

    async def _last_boots(self, in_motion: anyio.CancelScope) -> None:
        """One until everybody is content and nothing happens any more, and one that finds it so."""
        boot = self.boot = Boot(self, len(self.plan.crashes), None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(boot.live)
            while self.people_left or not boot.answers:
                await self.sleep(0.5)
            self.machine.heal()
            self.controls.missing.clear()
            # From now on nothing happens but what opsd does, so that its picture before and after can be compared.
            in_motion.cancel()
            self._still = True
            await self._set_modes_anew(boot)
            await self.sleep(ALL_SWEPT_S)
            await self.settled(boot)
            checks.at_rest(self, boot)
            shown = checks.shown(self, boot)
            if self.dice.random() < 0.5:
                boot.kill()
            else:
                await boot.stop()
        self._check_faults(boot)
        boot = self.boot = Boot(self, boot.number + 1, None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(boot.live)
            await self.sleep(1.0)
            await self.settled(boot)
            checks.at_rest(self, boot)
            checks.same_picture(shown, checks.shown(self, boot))
            await boot.stop()
        self._check_faults(boot)

    async def _set_modes_anew(self, boot: Boot) -> None:
        """What could not be read at the start counts as observing until somebody sets a mode."""
        if self.plan.trouble is not None and "modes" in self.plan.trouble.path:
            actor = Actor(1_000, "riya", 1)
            await boot.ask(lambda desk: desk.set_mode(ModeRequest(Mode.NORMAL), actor))

    async def settled(self, boot: Boot) -> None:
        """Nothing is in flight any more, and all of it is on the disk."""
        with anyio.fail_after(200.0):
            quiet = 0
            while quiet < 3:
                await self.sleep(1.0)
                newest = self.logs().newest().values()
                in_flight = [row for row in newest if row["status"] in IN_FLIGHT and not self._was_refused(boot, row)]
                is_quiet = not in_flight and not boot.supervisor.fleet.metrics()["opsd_intent_rows_unwritten"]
                quiet = quiet + 1 if is_quiet else 0

    def _was_refused(self, boot: Boot, row: Row) -> bool:
        """Whether it was not taken in, because it could not be flushed, and could not be taken back either.

        The next start finds it, and lets it expire.
        """
        return self.leaves_leftovers and row["status"] == "recorded" and boot.desk.intent(row["id"]) is None

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.monotonic() + seconds)

    def _check_faults(self, boot: Boot) -> None:
        assert not boot.faults, "a fault of ours:\n" + "\n".join(boot.faults)

    # How things stand at first

    def _set_the_stage(self) -> None:
        for checkout, situation in zip(self.checkouts, self.plan.situations, strict=False):
            _bring_about(self, checkout, situation)
        if self.plan.pair is not None:
            _bring_about_pair(self, self.checkouts[-1], self.plan.pair)

    def play(self, seconds: float) -> None:
        end_s = self.clock.monotonic() + seconds
        while (due_s := min(each.due_s for each in self.checkouts)) <= end_s:
            self.pass_time(max(0.0, due_s - self.clock.monotonic()))
        self.pass_time(end_s - self.clock.monotonic())

    def _write_registry(self) -> None:
        loops = [{"loopId": loop_id, "repoPath": each.repo} for loop_id, each in self.loops.items()]
        document = {"schemaVersion": "v1", "fleetId": "simulation", "loops": loops}
        self.machine.own.replace(self.layout.registry, json.dumps(document).encode(), sync=True)

    def _fault_of(self, repo: str, word: str, nth: int) -> Fault:
        planned = self.plan.fault
        if planned is None or planned[0] != word:
            return Fault()
        if self.counts[f"command: {' '.join(planned)}"] and self.dice.random() < 0.5:
            return Fault()
        self.count(f"command: {' '.join(planned)}")
        return Fault(planned[1], seconds=self.dice.choice((1.0, 3.0, 10.0)))


def _bring_about(world: World, checkout: Checkout, situation: str) -> None:
    """The situation in this checkout; the others live on meanwhile."""
    match situation:
        case "awaiting" | "decided":
            checkout.scenarios = ("approval",)
            _run_to_its_end(world, checkout)
            if situation == "decided":
                decide(world, checkout, world.dice)
        case "running":
            checkout.start()
            world.play(world.dice.uniform(1, 100))
        case "paused":
            checkout.start()
            world.play(world.dice.uniform(5, 100))
            checkout.hold(float("inf"))
        case "killed" | "replaced":
            checkout.start()
            world.play(world.dice.uniform(5, 100))
            checkout.end("kill")
            if situation == "replaced":
                world.play(5.0)
                give_its_number_away(world, checkout, world.dice)
        case "just killed":
            checkout.start()
            world.play(3.12)
            checkout.end("kill")
        case "role-error" | "rate-limited":
            checkout.scenarios = (situation,)
            _run_to_its_end(world, checkout)
    checkout.scenarios = LATER_RUNS


def _bring_about_pair(world: World, checkout: Checkout, situation: str) -> None:
    """Both loops have run before; then one of them is in the situation."""
    checkout.scenarios = ("complete",)
    _run_to_its_end(world, checkout)
    if situation != "idle":
        which, _, what = situation.partition(" ")
        if what == "starting":
            _bring_about_pair(world, checkout, "second killed")
        loop_id = checkout.loop_ids[which == "second"]
        checkout.scenarios = ("approval" if what == "awaiting" else "silent-stall",)
        checkout.start(Launch("by hand", loop_id))
        world.play(0.5 if what == "starting" else world.dice.uniform(5, 100))
        if what == "awaiting":
            _run_to_its_end(world, checkout)
        elif what == "killed":
            checkout.end("kill")
    checkout.scenarios = LATER_RUNS


def _run_to_its_end(world: World, checkout: Checkout) -> None:
    if not checkout.running:
        checkout.start()
    while checkout.running:
        world.play(60.0)


def _log(fault: Callable[[str], None]) -> Log:
    """Says nothing, and passes on what would be a fault of ours."""

    def heed(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
        if "exc_info" in event or event["event"] in ("pass.failed", "service.gave_up"):
            fault(str(structlog.processors.format_exc_info(_, level, event)))
        raise structlog.DropEvent

    log: Log = structlog.wrap_logger(
        None, processors=[heed], wrapper_class=structlog.make_filtering_bound_logger(0), cache_logger_on_first_use=True
    )
    return log
