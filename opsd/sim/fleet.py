"""Many checkouts with a loop each, a home with their registry, and playing them all until done or interrupted.

One checkout is `opsd.sim.checkout`; one run is `opsd.sim.player`; many runs in one process are `opsd.sim.host`.
"""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

from opsd.sim.checkout import decision_on_file, set_up
from opsd.sim.documents import folder
from opsd.sim.host import casting
from opsd.sim.names import loop_ids
from opsd.sim.part import Part, read_part, write_part
from opsd.sim.player import KEEPER
from opsd.sim.runtime import write_command
from opsd.sim.scenarios import behaviour_of
from opsd.sim.tree import DiskTree

REGISTRY = ".superloop/ops-manager/fleet/registry.v1.json"
PROCESSES_MAX = 150
"""Above this many checkouts `play_fleet` hosts them in one process: each process costs about 10 MB."""
POLL_S = 0.2
STOP_S = 10.0

MIX = (
    "complete", "steady", "approval", "stuck", "steady", "tests-failing", "silent-stall", "rate-limited",
    "complete", "killed", "steady", "recovery", "role-error", "torn-lines", "role-timeout", "cancelled",
    "steady", "no-progress", "rotated", "max-iterations", "approval", "lifecycle-failed", "usage-limited",
)  # fmt: skip
"""What a fleet plays by default, loop by loop and round again: every kind of end, and always someone at work."""


class Checkout(NamedTuple):
    """One checkout of a fleet; `loops` has two ids only in the scenario `two-loops`."""

    repo: str
    loops: tuple[str, ...]
    scenario: str


class Fleet(NamedTuple):
    """Where everything of a fleet is. `home` is what opsd is started on, `command` the simulated `superloop.sh`."""

    root: str
    home: str
    command: str
    seed: int
    checkouts: tuple[Checkout, ...]


def make_fleet(
    root: str | os.PathLike[str],
    loops: int,
    seed: int = 1,
    speed: float = 1.0,
    mix: Sequence[str] | None = None,
    *,
    part: Part | None = None,
) -> Fleet:
    """Make `loops` checkouts under `<root>/checkouts/`, a home under `<root>/home/`, and `<root>/superloop.sh`.

    The same arguments make the same fleet. `mix` names the scenarios, dealt round; default `MIX`. `part` carries
    anything else that all loops share (role times, faults, gap); its scenario, seed and speed are overridden.
    Nothing runs yet.

    Raises:
        ValueError: fewer than one loop, or an unknown scenario in `mix`.
    """
    if loops < 1:
        raise ValueError(f"a fleet needs at least one loop, got {loops}")
    base, top = part or Part(), os.path.abspath(root)
    dealt = [(mix or MIX)[number % len(mix or MIX)] for number in range(loops)]
    checkouts = []
    for number, (loop_id, scenario) in enumerate(zip(loop_ids(loops, seed), dealt, strict=True)):
        dice = random.Random(f"fleet/{seed}/{number}")
        promise_in = behaviour_of(scenario).promise_in
        cast = base._replace(
            scenario=scenario,
            seed=dice.randrange(2**31),
            speed=speed,
            iterations=base.iterations or (dice.randint(2, 4) if promise_in == 2 else 0),
        )
        repo = os.path.join(top, "checkouts", loop_id)
        checkouts.append(Checkout(repo, set_up(repo, loop_id, cast), scenario))
    home = os.path.join(top, "home")
    _write(os.path.join(home, REGISTRY), json.dumps(_registry(checkouts), indent=2) + "\n")
    return Fleet(top, home, write_command(top), seed, tuple(checkouts))


def _registry(checkouts: Sequence[Checkout]) -> dict[str, object]:
    entries = [
        {
            "loopId": loop_id,
            "transport": "local",
            "repoPath": checkout.repo,
            "metadata": {"simulates": checkout.scenario},
        }
        for checkout in checkouts
        for loop_id in checkout.loops
    ]
    return {"schemaVersion": "v1", "fleetId": "simulated", "loops": entries}


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class FleetPlay:
    """A fleet at play: a context manager that starts its runs and, on the way out, leaves no process behind.

    Starts are spread over `stagger_s` seconds (by default up to 2, by size), so that loops do not move in step.
    `poll` must be called every now and then (a few times a second): it does the operators' errands, which are to cancel
    what plays `cancelled` and, unless `rerun` is off, to run again what was approved or rejected. With `hosted`, one
    process plays all.
    """

    def __init__(
        self, fleet: Fleet, *, hosted: bool = False, stagger_s: float | None = None, rerun: bool = True
    ) -> None:
        self.fleet = fleet
        self._hosted = hosted
        self._rerun = rerun
        self._stagger_s = min(2.0, 0.05 * len(fleet.checkouts)) if stagger_s is None else stagger_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._cancelled: set[str] = set()

    def __enter__(self) -> Self:
        if self._hosted:
            self._start_host()
            return self
        try:
            for checkout in self.fleet.checkouts:
                self._start_run(checkout)
                time.sleep(self._stagger_s / len(self.fleet.checkouts))
        except BaseException:  # an interrupt half-way must not leave the first half running
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def poll(self) -> bool:
        """Do the errands that are due; False once every run has ended and none waits for a decision."""
        busy = any(process.poll() is None for process in self._processes.values())
        if self._hosted:
            return busy
        for checkout in self.fleet.checkouts:
            if checkout.scenario == "cancelled" and checkout.repo not in self._cancelled and _at_work(checkout):
                self._cancelled.add(checkout.repo)
                self._call(checkout, "cancel")
            elif self._rerun and behaviour_of(checkout.scenario).approval and not self._running(checkout):
                decision = decision_on_file(DiskTree(checkout.repo), checkout.loops)
                busy = busy or decision is not None
                if decision in ("approved", "rejected"):
                    self._start_run(checkout)
        return busy

    def stop(self) -> None:
        """End every process that is left: TERM, and after STOP_S seconds KILL."""
        left = [process for process in self._processes.values() if process.poll() is None]
        for process in left:
            _signal(process, signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        for process in left:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()

    def _running(self, checkout: Checkout) -> bool:
        process = self._processes.get(checkout.repo)
        return process is not None and process.poll() is None

    def _start_run(self, checkout: Checkout) -> None:
        one = ["--loop", checkout.loops[0]] if len(checkout.loops) == 1 else []
        words = [self.fleet.command, "run", "--repo", checkout.repo, *one]
        self._processes[checkout.repo] = self._spawn(words, os.path.join(checkout.repo, ".sim-run.log"))

    def _start_host(self) -> None:
        for checkout in self.fleet.checkouts:
            _mark_hosted(checkout.repo)
        cast = os.path.join(self.fleet.root, "cast.json")
        repos = (checkout.repo for checkout in self.fleet.checkouts)
        _write(cast, casting(repos, stagger_s=self._stagger_s, seed=self.fleet.seed, rerun=self._rerun))
        words = [self.fleet.command, "run", "--hosted", cast]
        self._processes[""] = self._spawn(words, os.path.join(self.fleet.root, "host.log"))

    def _call(self, checkout: Checkout, command: str) -> None:
        words = [self.fleet.command, command, "--repo", checkout.repo]
        log = os.path.join(checkout.repo, ".sim-run.log")
        self._processes[f"{checkout.repo} {command}"] = self._spawn(words, log)

    def _spawn(self, words: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        with open(log, "ab") as output:
            # A session of its own, as a terminal or a service manager would give it: then pid and pgid are equal,
            # and a `cancel` reaches this run alone.
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, KEEPER: str(os.getpid())},
            )


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def _mark_hosted(repo: str) -> None:
    write_part(repo, read_part(repo)._replace(hosted=True))


def _at_work(checkout: Checkout) -> bool:
    text = DiskTree(checkout.repo).read(f"{folder(checkout.loops[0])}/events.jsonl")
    return '"role":"implementer"' in (text or "")


def play_fleet(
    fleet: Fleet,
    *,
    duration_s: float | None = None,
    hosted: bool | None = None,
    rerun: bool = True,
    stagger_s: float | None = None,
    ready: Callable[[], None] = lambda: None,
) -> bool:
    """Play a fleet in the foreground; returns True when every run came to its end, False when time or a signal did.

    Ends on SIGINT and SIGTERM (in the main thread) and after `duration_s` seconds, with no process left behind.
    Loops that wait for an approval (unless `rerun` is off) and endless scenarios keep it going. `ready` is called once
    all have begun; `hosted` is by default what the fleet's size asks for.
    """
    hosts = len(fleet.checkouts) > PROCESSES_MAX if hosted is None else hosted
    deadline_s = time.monotonic() + duration_s if duration_s is not None else float("inf")
    with _interrupts() as interrupted, FleetPlay(fleet, hosted=hosts, rerun=rerun, stagger_s=stagger_s) as play:

        def due() -> bool:
            return interrupted.is_set() or time.monotonic() >= deadline_s

        ready()
        while not due():
            if not play.poll():
                return True
            interrupted.wait(POLL_S)
    return False


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, while the block lasts."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came  # only the main thread may take signals; elsewhere the caller ends the play by its duration
        return
    before = {number: signal.signal(number, lambda *_: came.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
