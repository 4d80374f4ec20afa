"""The watched side: checkouts in which simulated runs, their operators and accidents happen on a virtual clock.

What a run writes is the simulator's script; here it is played without waiting. What opsd makes of it is `watcher`.
"""

from collections.abc import Generator, Iterator, Sequence
from datetime import datetime
from random import Random

from opsd.model.ids import LoopId
from opsd.model.observation import ProcessSighting
from opsd.ports import Files
from opsd.sim import documents
from opsd.sim.checkout import decision_on_file
from opsd.sim.decisions import decision_script
from opsd.sim.part import Part
from opsd.sim.scenarios import SCENARIOS
from opsd.sim.script import behaviour_for, look, run_script
from opsd.sim.steps import AddEntry, Append, Delete, Die, Exit, FileOp, Mark, Rename, Replace, Step, Touch, Truncate
from opsd.sim.tree import pretty, read_document, with_entry
from tests.doubles.clock import VirtualClock
from tests.simulation.launches import KILLED, TERMINATED, Heart, Launch
from tests.transports.trees import Table

PAUSES_S = (1.0, 20.0, 400.0, 4_000.0)
NEVER_S = 30 * 86_400.0
_ALL_BYTES = 1 << 40


class FilesTree:
    """A checkout on any `Files`, as the simulator's scripts see it.

    `cut` names the logs that did not only grow, `written` and `deleted` what ever was.
    """

    def __init__(self, files: Files, repo: str) -> None:
        self.cut: set[str] = set()
        self.written: set[str] = set()
        self.deleted: set[str] = set()
        self._files = files
        self._repo = repo

    def perform(self, op: FileOp) -> None:
        path = f"{self._repo}/{op.path}"
        self.written.add(op.path)
        match op:
            case Touch():
                self._append(path, b"")
            case Truncate():
                self._cut(op.path)
                if self._files.stat(path) is None:
                    self._append(path, b"")
                else:
                    self._files.truncate(path, 0)
            case Append(text=text):
                self._append(path, text.encode())
            case Replace(text=text):
                self.put(op.path, text.encode())
            case Rename(to=to):
                self._cut(op.path)
                self._files.rename(path, f"{self._repo}/{to}")
            case Delete():
                self._cut(op.path)
                self.deleted.add(op.path)
                if self._files.stat(path) is not None:
                    self._files.remove(path)
            case AddEntry():
                self.put(op.path, with_entry(self.read(op.path), op).encode())

    def read(self, path: str) -> str | None:
        data = self.bytes_of(path)
        return None if data is None else data.decode(errors="replace")

    def bytes_of(self, path: str) -> bytes | None:
        try:
            return self._files.read(f"{self._repo}/{path}", 0, _ALL_BYTES)[1]
        except FileNotFoundError:
            return None

    def put(self, path: str, data: bytes) -> None:
        """The file anew, under a new inode."""
        self._cut(path)
        whole = f"{self._repo}/{path}"
        self._files.make_dirs(whole.rpartition("/")[0])
        self._files.replace(whole, data, sync=False)

    def append(self, path: str, data: bytes) -> None:
        self._append(f"{self._repo}/{path}", data)

    def truncate(self, path: str, size_bytes: int) -> None:
        self._cut(path)
        self._files.truncate(f"{self._repo}/{path}", size_bytes)

    def _append(self, path: str, data: bytes) -> None:
        self._files.make_dirs(path.rpartition("/")[0])
        self._files.append(path, data, sync=False)

    def _cut(self, path: str) -> None:
        if path.endswith("/events.jsonl"):
            self.cut.add(path.split("/")[-2])


class Checkout:
    """One checkout and whoever works in it, one run after the other. `due_s` is when something happens.

    Attended, its operators start, decide and clear for ever. Unattended, nothing happens unless it is started. The runs
    play `scenarios`, by lot; what they rewrite in place stays empty for `gap_s`.
    """

    def __init__(
        self,
        files: Files,
        clock: VirtualClock,
        table: Table,
        repo: str,
        loop_ids: tuple[str, ...],
        dice: Random,
        *,
        scenarios: Sequence[str] = tuple(sorted(SCENARIOS)),
        attended: bool = True,
        gap_s: float = 0.02,
    ) -> None:
        self.repo = repo
        self.loop_ids = tuple(LoopId(loop_id) for loop_id in loop_ids)
        self.tree = FilesTree(files, repo)
        self.part = Part()
        self.scenarios = scenarios
        self.runs = 0
        self._clock, self._table, self._dice, self._attended, self._gap_s = clock, table, dice, attended, gap_s
        self._pid = 0
        self._begun = clock.now()
        self._wanted = ""
        self._held_since_s: float | None = None
        self._held_until_s = 0.0
        self._running = False
        self._life = self._live(None)
        self.due_s = next(self._life)

    @property
    def running(self) -> bool:
        return self._running

    @property
    def pid(self) -> int | None:
        """Of the run under way."""
        return self._pid if self._running else None

    @property
    def held(self) -> bool:
        """Whether a signal stopped the run's process."""
        return self._running and self._held_since_s is not None

    @property
    def begun(self) -> datetime:
        """When the newest run's process began."""
        return self._begun

    def reuse_pid(self) -> None:
        """The next run's process gets the number of the last one's, if that is free."""
        if self._table.sightings.get(self._pid) is ProcessSighting.ABSENT:
            self._pid -= 1

    def go_on(self) -> None:
        """Whatever is due next happens now."""
        self.due_s = next(self._life)

    def start(self, launch: Launch | None = None) -> None:
        """`run` is called: of the loop that is launched, else as operators call it. What it refuses, it refuses."""
        if self._running:
            if launch is not None:
                self._refuse(launch)
            return
        self._life.close()
        self._life = self._live(launch, begin=True)
        self.go_on()

    def interrupt(self, how: str) -> bool:
        """`kill` or `cancel` the run under way, when it is next asked to go on; False where nothing runs."""
        if not self._running:
            return False
        self._wanted, self.due_s = how, self._clock.monotonic()
        return True

    def end(self, how: str) -> None:
        """The run under way dies now, of `kill` or of `term`: only after the latter it cleans up behind itself."""
        if self.interrupt(how):
            self.go_on()

    def hold(self, seconds: float) -> bool:
        """The run's process is stopped by a signal for so long; nothing of it happens meanwhile."""
        if not self._running or self._table.sightings.get(self._pid) is not ProcessSighting.ALIVE:
            return False
        self._table.sightings[self._pid] = ProcessSighting.STOPPED
        self._held_since_s = self._clock.monotonic()
        self._held_until_s = self._held_since_s + seconds
        self.due_s = min(self.due_s, self._held_until_s)
        return True

    def release(self) -> bool:
        """A stopped process is continued now; False where none is stopped."""
        if not self.held:
            return False
        self._held_until_s = self._clock.monotonic()
        self.go_on()
        return True

    def log(self, loop_id: str) -> str:
        return f"{documents.folder(loop_id)}/events.jsonl"

    def _live(self, launch: Launch | None, *, begin: bool = False) -> Generator[float, None, None]:
        while True:
            if not begin:
                yield self._later(self._dice.uniform(0, 60)) if self._attended else float("inf")
            scenario = self._dice.choice(self.scenarios)
            seed, role_s = self._dice.randrange(1 << 30), self._dice.choice((20.0, 60.0, 900.0))
            self.part = part = Part(scenario, seed, role_s=role_s, gap_s=self._gap_s)
            self.tree.perform(Replace(documents.CONFIG, pretty(documents.config(self.loop_ids, behaviour_for(part)))))
            yield from self._run(part, launch)
            launch, begin = None, False
            if self._attended:
                yield self._later(self._dice.choice(PAUSES_S))
                yield from self._tidy_up(part)

    def _run(self, part: Part, launch: Launch | None) -> Iterator[float]:
        self.runs += 1
        self._pid = max(self._table.sightings, default=1_000) + 1
        begin_s, self._begun = self._clock.monotonic(), self._clock.now()
        only = launch.loop_id if launch else self.loop_ids[0] if len(self.loop_ids) == 1 else None
        steps = run_script(
            part,
            repo=self.repo,
            loop_ids=self.loop_ids,
            only=only,
            found=look(self.tree, self.loop_ids),
            pid=self._pid,
            pgid=self._pid,
            start_s=self._clock.now().timestamp(),
        )
        if launch is not None and launch.doom is not None:
            steps = iter([Step(0.0, Exit(1, launch.doom))])
        heart = Heart(launch, self.tree, self._pid) if launch else None
        self._running, self._wanted, self._held_since_s = True, "", None
        self._table.sightings[self._pid] = ProcessSighting.ALIVE
        ended = Exit(KILLED)
        try:
            if heart is not None:
                heart.beat(self._clock.now(), begin_s)
            ended = yield from self._play(steps, begin_s, heart)
        finally:
            self._running, self._held_since_s = False, None
            self._table.sightings[self._pid] = ProcessSighting.ABSENT
        if heart is not None:
            heart.launch.printed(f"{ended.says}\n" if ended.says else "")
            heart.beat(self._clock.now(), self._clock.monotonic(), ended=ended.code)

    def _play(self, steps: Iterator[Step], begin_s: float, heart: Heart | None) -> Generator[float, None, Exit]:
        """The run, until it ends by itself or is ended."""
        entered = False
        for step in steps:
            if isinstance(step.op, Mark):
                continue
            due_s, doom = begin_s + step.at_s, ""
            if self._attended and due_s > self._clock.monotonic() + NEVER_S:
                due_s, doom = self._later(self._dice.uniform(60, 7_200)), self._dice.choice(("kill", "cancel"))
            while self._clock.monotonic() < due_s or doom or self._wanted or self._held_since_s is not None:
                wait_s = self._held_until_s if self._held_since_s is not None else due_s
                yield min(wait_s, heart.due_s if heart else wait_s)
                now_s = self._clock.monotonic()
                if heart is not None and heart.due_s <= now_s:
                    heart.beat(self._clock.now(), now_s)
                if doom and due_s <= now_s:
                    self._wanted = doom
                match self._wanted:
                    case "kill":
                        return Exit(KILLED)
                    case "cancel":
                        yield from self._cancel()
                        return Exit(TERMINATED)
                    case "term":
                        if entered:
                            self.tree.perform(Delete(documents.ACTIVE_RUN))
                        return Exit(TERMINATED)
                if self._held_since_s is not None and self._held_until_s <= now_s:
                    self._table.sightings[self._pid] = ProcessSighting.ALIVE
                    begin_s += now_s - self._held_since_s
                    due_s = max(due_s, now_s)
                    self._held_since_s = None
            match step.op:
                case Exit() as ended:
                    return ended
                case Die():
                    return Exit(KILLED)
                case op:
                    entered = entered or op.path == documents.ACTIVE_RUN
                    self.tree.perform(op)
        return Exit(0)

    def _refuse(self, launch: Launch) -> None:
        """What a second run says and leaves; it is over before anyone could look at it."""
        heart = Heart(launch, self.tree, self._pid + 500)
        launch.printed(f"error: reentrant run blocked: loop '{launch.loop_id}' is already active\n")
        heart.beat(self._clock.now(), self._clock.monotonic(), ended=1)

    def _cancel(self) -> Iterator[float]:
        self.tree.perform(Delete(documents.STATE))
        yield self._later(1.0)
        self.tree.perform(Delete(documents.ACTIVE_RUN))

    def _tidy_up(self, part: Part) -> Iterator[float]:
        """What an operator does between two runs: decide what waits for a decision, clear what died."""
        if decision_on_file(self.tree, self.loop_ids) == "pending" and self._dice.random() < 0.7:
            yield from self._decide(part)
        state = read_document(self.tree, documents.STATE)
        if state is not None and state.get("active") is True and self._dice.random() < 0.9:
            yield from self._cancel()
            yield self._later(self._dice.choice(PAUSES_S))

    def _decide(self, part: Part) -> Iterator[float]:
        for loop_id in self.loop_ids:
            request = read_document(self.tree, f"{documents.folder(loop_id)}/approval.json")
            if request is None or request.get("status") != "pending":
                continue
            begin_s = self._clock.monotonic()
            for step in decision_script(
                part,
                request,
                loop_id=loop_id,
                by="alex",
                note=None,
                reject=self._dice.random() < 0.4,
                start_s=self._clock.now().timestamp(),
            ):
                yield begin_s + step.at_s
                if not isinstance(step.op, Mark | Exit | Die):
                    self.tree.perform(step.op)

    def _later(self, seconds: float) -> float:
        return self._clock.monotonic() + seconds
