"""One seed, one history: what happens next is drawn by lot, and after everything that happens the checks are made.

The watched side is `checkouts`, the watching side `watcher`, the disk `machine`; what must hold is in `checks`.
"""

import errno
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from random import Random

from opsd.core.reconcile import Rules
from opsd.model.effects import Document, Journal
from opsd.model.ids import LoopId
from opsd.model.run import LoopRef
from opsd.sim import documents
from opsd.store.journal import RETENTION, Retention
from opsd.transports.tail import STANDARD_LIMITS, Limits
from tests.doubles.clock import VirtualClock
from tests.doubles.files import MemoryFiles
from tests.simulation import checks, reference
from tests.simulation.accidents import Accidents
from tests.simulation.checkouts import Checkout
from tests.simulation.machine import ClockedFiles, Killed, Machine
from tests.simulation.story import open_after, rows_of
from tests.simulation.watcher import Look, Setting, Watcher
from tests.transports.trees import Table

HOME = "/srv/home"
REMEMBERED_S = 6.0
SMALL = Limits(bytes_per_pass=4_000, lines_per_pass=9, line_bytes=1_500)
ROTATING: Mapping[Journal, Retention] = {journal: Retention(12_000, kept=40) for journal in Journal}


class World:
    """Everything there is. `counts` says what happened how often; a kind that could not happen is not counted."""

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.dice = Random(f"world/{seed}")
        self.accidents = Accidents(turn=7 * seed)
        self.clock = VirtualClock()
        self.table = Table()
        runtime = ClockedFiles(self.clock)
        cast = {HOME: ("home-loop",), "/srv/b": ("billing",), "/srv/pair": ("pair", "pair-docs")}
        self.checkouts = [
            Checkout(runtime, self.clock, self.table, repo, loop_ids, Random(f"{seed}/{repo}"))
            for repo, loop_ids in cast.items()
        ]
        refs = tuple(LoopRef(loop_id, each.repo) for each in self.checkouts for loop_id in each.loop_ids)
        self.loop_ids = [ref.loop_id for ref in refs]
        self.machine = Machine(MemoryFiles(HOME), runtime, f"{HOME}/.superloop/ops-manager")
        self.setting = Setting(
            home=HOME,
            refs=refs,
            limits=self.dice.choice((STANDARD_LIMITS, SMALL)),
            retention=self.dice.choice((RETENTION, ROTATING)),
            rules=Rules(home=HOME),
        )
        self._refused_writes = cycle(("append", "sync", "replace", "sync"))
        self._refused_looks = cycle(("read", "stat"))
        self._boots = 0
        self.promised: dict[LoopId, set[str]] = {loop_id: set() for loop_id in self.loop_ids}
        self.cut: dict[LoopId, bool] = dict.fromkeys(self.loop_ids, True)
        """Whether a loop's log did other than grow since the last look that took note of it."""
        self.cut_since_rest: set[LoopId] = set(self.loop_ids)
        self.uneven: set[LoopId] = set()
        """Loops whose documents do not fit together since the power went, or since somebody laid hands on them."""
        self.watcher = self._watcher()

    def step(self) -> None:
        """One thing happens."""
        name = self.dice.choices(_NAMES, _WEIGHTS)[0]
        if _DEEDS[name](self):
            self.counts[name] += 1
        self._note_cuts()

    # The watched side

    def play(self) -> bool:
        for _ in range(self.dice.randint(1, 12)):
            self._until(min(checkout.due_s for checkout in self.checkouts))
        return True

    def let_time_pass(self) -> bool:
        self._until(self.clock.monotonic() + self.dice.choice((0.01, 1.0, 3.0, 60.0, 600.0, 5_000.0)))
        return True

    def step_clock_back(self) -> bool:
        self.clock.step(-self.dice.choice((0.5, 30.0, 3_600.0, 40_000.0)))
        return True

    def step_clock_forward(self) -> bool:
        self.clock.step(self.dice.choice((0.5, 30.0, 3_600.0, 40_000.0)))
        return True

    def kill_run(self) -> bool:
        return self.dice.choice(self.checkouts).interrupt("kill")

    def cancel_run(self) -> bool:
        return self.dice.choice(self.checkouts).interrupt("cancel")

    def hold_run(self) -> bool:
        return self.dice.choice(self.checkouts).hold(self.dice.choice((5.0, 2_000.0)))

    def spoil(self) -> bool:
        kind = self.accidents.happen(self.dice.choice(self.checkouts), self.dice)
        if kind is not None:
            self.counts[kind] += 1
        return kind is not None

    # The watching side

    def look(self) -> bool:
        self._look(self._some_loops())
        return True

    def replay(self) -> bool:
        self._look([self.dice.choice(self.loop_ids)], from_start=True)
        return True

    def commit(self) -> bool:
        if not self.watcher.pending.loop_count:
            return False
        self._commit()
        return True

    def rest(self) -> bool:
        """All is well for a moment: everything is read, written, and held against everything else."""
        self.machine.heal()
        self._settle()
        # What one look alone saw, the next one ends; what is remembered for some seconds is looked for again.
        self.clock.pass_by(REMEMBERED_S)
        unseen: set[LoopId] = set()
        for look in self._settle():
            if look.decision.failed:
                unseen.add(look.run.ref.loop_id)
            checks.nothing_changes_between_wakes(look, self.watcher, self.clock.now())
            checks.recomputed(self.watcher, look.run, self.machine, self.table, self.clock)
        self._check_journals()
        restarted = self._watcher()
        # Of a loop that cannot be read nothing is written anew, so what a power cut left of it stays.
        faults = [fault for fault in restarted.faults if fault.loop_id not in unseen]
        assert not faults, f"faults in files that nobody touched: {faults}"
        checks.unchanged_by_a_restart(self.watcher, restarted, self.loop_ids)
        self.watcher = restarted
        self.cut_since_rest = {loop_id for loop_id in self.loop_ids if self.cut[loop_id]}
        self.uneven &= unseen
        return True

    def kill(self) -> bool:
        self._restart()
        return True

    def kill_in_commit(self) -> bool:
        return self._killed_in_commit(torn=False)

    def kill_in_write(self) -> bool:
        return self._killed_in_commit(torn=True)

    def power_cut(self) -> bool:
        """What was not flushed is gone, or parts of it; what was promised is there."""
        self._killed_in_commit(torn=False, restart=False)
        self.machine.lose_power(self.dice.choice((None, self.dice)))
        self._boots += 1
        self.uneven |= set(self.loop_ids)
        self._restart(power_lost=True)
        return True

    def flush(self) -> bool:
        """The kernel writes back what it held, as it does every half minute."""
        self.machine.own.flush()
        return True

    def fill_disk(self) -> bool:
        self.machine.refuse("append", errno.ENOSPC)
        self.machine.refuse("replace", errno.ENOSPC)
        return True

    def break_disk(self) -> bool:
        self.machine.refuse(next(self._refused_writes), errno.EIO, self.dice.choice(("", *self.loop_ids)))
        return True

    def break_reading(self) -> bool:
        path = f"{self.dice.choice(self.checkouts).repo}/.superloop/{self.dice.choice(('', 'state.json', 'loops'))}"
        self.machine.refuse(next(self._refused_looks), errno.EIO, path)
        return True

    def heal(self) -> bool:
        self.machine.heal()
        self.watcher.pending.retry_now()
        return True

    def remove_cursor(self) -> bool:
        """What the runbook tells operators to do, with opsd stopped."""
        loop_id = self.dice.choice(self.loop_ids)
        path = self.watcher.layout.document(loop_id, Document.CURSOR)
        self.machine.heal()
        self._settle()
        if self.machine.own.stat(path) is None:
            return False
        self.machine.own.remove(path)
        self._restart()
        return True

    def spoil_document(self) -> bool:
        loop_id = self.dice.choice(self.loop_ids)
        path = self.watcher.layout.document(loop_id, self.dice.choice(list(Document)))
        if self.machine.own.stat(path) is None:
            return False
        self.machine.own.replace(path, self.dice.choice((b"", b"{", b"[]", b'{"schemaVersion":"v9"}')), sync=True)
        self.uneven.add(loop_id)
        self._restart(spoiled=True)
        return True

    # How it is done

    def _until(self, end_s: float) -> None:
        while True:
            checkout = min(self.checkouts, key=lambda each: each.due_s)
            if checkout.due_s > end_s:
                break
            self.clock.pass_by(max(0.0, checkout.due_s - self.clock.monotonic()))
            checkout.go_on()
            self.counts["steps"] += 1
        self.clock.pass_by(max(0.0, end_s - self.clock.monotonic()))

    def _some_loops(self) -> Sequence[LoopId]:
        return self.dice.sample(self.loop_ids, self.dice.randint(1, len(self.loop_ids)))

    def _watcher(self) -> Watcher:
        return Watcher(self.setting, self.machine, self.table, self.clock, self.dice, f"boot-{self._boots}")

    def _look(self, loop_ids: Sequence[LoopId], *, from_start: bool = False) -> None:
        self._note_cuts()
        for look in self.watcher.look(loop_ids, from_start=from_start):
            self._check(look, from_start=from_start)

    def _settle(self) -> list[Look]:
        self._note_cuts()
        looks = self.watcher.settle(self.loop_ids, self._check)
        self._promise()
        return looks

    def _check(self, look: Look, *, from_start: bool = False) -> None:
        loop_id, decision = look.run.ref.loop_id, look.decision
        self.counts["steps"] += 1
        if decision.failed:
            return
        checks.no_false_alarm(look, cut=self.cut[loop_id])
        checks.no_step_back(look, from_start=from_start)
        checkout = next(each for each in self.checkouts if loop_id in each.loop_ids)
        # Of a run killed before it had written its first state, nobody can tell that it was not cancelled.
        state_gone = documents.STATE in checkout.tree.deleted or documents.STATE not in checkout.tree.written
        checks.cancelled_by_somebody(look, state_gone=state_gone)
        if decision.again:
            return
        log = checkout.tree.bytes_of(checkout.log(loop_id))
        if log is not None and look.run.cursor is not None:
            self.cut[loop_id] = False
            checks.folded_as_written(look.run, reference.read(log, self.setting.limits.line_bytes))

    def _note_cuts(self) -> None:
        for checkout in self.checkouts:
            for loop_id in checkout.tree.cut:
                self.cut[LoopId(loop_id)] = True
                self.cut_since_rest.add(LoopId(loop_id))
            checkout.tree.cut.clear()

    def _commit(self) -> None:
        self.watcher.commit(self.dice.choice((1, 2, 1 << 30)))
        self._promise()

    def _promise(self) -> None:
        for loop_id, ids in self.watcher.promised.items():
            self.promised[loop_id] |= ids
        self.watcher.promised.clear()

    def _killed_in_commit(self, *, torn: bool, restart: bool = True) -> bool:
        self._look(self._some_loops())
        self.machine.kill_at(self.dice.randint(1, 25), torn=torn)
        try:
            self._commit()
        except Killed:
            if restart:
                self._restart()
            return True
        self.machine.heal()
        return False

    def _restart(self, *, power_lost: bool = False, spoiled: bool = False) -> None:
        self.machine.heal()
        if not (power_lost or spoiled):
            self._check_disk()
        self.watcher = self._watcher()
        if not (power_lost or spoiled):
            assert not any("unreadable" in str(fault.set_aside) for fault in self.watcher.faults), self.watcher.faults
        self._check_journals(opened=False)
        for loop_id in self.cut_since_rest:
            self.cut[loop_id] = True

    def _check_disk(self) -> None:
        """Killed at any moment, what lies on the disk fits together."""
        for stored in self.watcher.store.load(self.loop_ids, self.clock.now(), mend=False):
            memory = stored.state.memory if stored.state else None
            # A fold without a place in the log stands for nothing: the log is to be read from its start.
            if memory is not None and memory.stream is not None and stored.loop_id not in self.uneven:
                checks.not_ahead(memory.fold, stored.cursor)

    def _check_journals(self, *, opened: bool = True) -> None:
        """Everything promised is told, once, and (unless something is still to be written) nothing else is open."""
        for loop_id in self.loop_ids:
            path = self.watcher.layout.journal(loop_id, Journal.ESCALATIONS)
            retention = self.setting.retention[Journal.ESCALATIONS]
            rows = rows_of(self.machine.own, path, retention)
            lost = self.promised[loop_id] - {row["id"] for row in rows}
            assert not lost, f"{loop_id}: promised and gone: {lost}"
            open_now = open_after(rows, rotated=self.setting.retention is ROTATING)
            held = {one.id: f"{one.category}|{one.condition}" for one in self.watcher.runs[loop_id].open_escalations}
            if opened:
                assert open_now == held, f"{loop_id}: open in the journal {open_now}, in memory {held}"


_DEEDS: Mapping[str, Callable[[World], bool]] = {
    name: getattr(World, name)
    for name in (
        "play", "look", "commit", "let_time_pass", "rest", "kill", "kill_in_commit", "kill_in_write", "power_cut",
        "flush", "fill_disk", "break_disk", "break_reading", "heal", "spoil", "kill_run", "cancel_run", "hold_run",
        "replay", "remove_cursor", "spoil_document", "step_clock_back", "step_clock_forward",
    )
}  # fmt: skip
_OFTEN: Mapping[str, int] = {
    "play": 40,
    "look": 30,
    "commit": 12,
    "let_time_pass": 6,
    "rest": 3,
    "spoil": 6,
    "heal": 5,
    "break_disk": 2,
}
DEEDS = frozenset(_DEEDS)
_NAMES = list(_DEEDS)
_WEIGHTS = [_OFTEN.get(name, 1) for name in _NAMES]
