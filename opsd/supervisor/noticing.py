"""From changed files to triggers: the watcher's hints at once, the sweep's findings always.

How changes are heard and found is `opsd.transports.watch` and `opsd.transports.sweep`; here they meet the roster, and a
watcher that misses too much is told so.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Set
from functools import partial
from typing import Protocol

from opsd.logs import Log
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Lifecycle
from opsd.ports import Clock, Offload
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.intake import Intake
from opsd.supervisor.roster import Member, Roster
from opsd.transports.notices import Notice
from opsd.transports.sweep import Sweep
from opsd.transports.watch import WatchStatus

MISSED_MAX = 20
"""More changes than that found by the sweep alone within a minute: the watcher is taken for blind, and armed anew."""
_MISSED_WITHIN_S = 60.0
# Arming takes a moment, and one that fails for longer is worth saying.
_UNARMED_MAX_S = 5.0
_LIVELY = frozenset({Lifecycle.RUNNING, Lifecycle.AWAITING_APPROVAL})
NEIGHBOURS_MAX = 16
"""In a checkout of more loops a change of its own files wakes those that the files speak of, not all."""


class ChangeNotice(Protocol):
    """What is needed of `opsd.transports.watch.Watch`."""

    @property
    def status(self) -> WatchStatus: ...

    def set_roots(self, repo_paths: Iterable[str]) -> None: ...

    def rearm(self) -> None: ...

    async def run(self, heard: Callable[[Set[Notice]], None]) -> None: ...


class Noticing:
    """`watch` is None where the kernel is not to be asked. `loops_changed` is called when loop folders came or went."""

    def __init__(
        self,
        *,
        watch: ChangeNotice | None,
        sweep: Sweep,
        roster: Roster,
        intake: Intake,
        loops_changed: Callable[[], None],
        offload: Offload,
        clock: Clock,
        findings: DaemonFindings,
        log: Log,
        interval_s: float,
    ) -> None:
        self.notice_count = 0
        self._watch = watch
        self._sweep = sweep
        self._roster = roster
        self._intake = intake
        self._loops_changed = loops_changed
        self._offload = offload
        self._clock = clock
        self._findings = findings
        self._log = log
        self._interval_s = interval_s
        self._missed: deque[tuple[float, int]] = deque()
        # What the watcher told of since the last sweep, and what that sweep then saw, when.
        self._told: set[Notice] = set()
        self._to_confirm: dict[Notice, float] = {}
        self._armed_count = 0
        self._unarmed_since_s: float | None = None

    @property
    def missed_count(self) -> int:
        return self._sweep.missed_count

    @property
    def _is_deaf(self) -> bool:
        return self.watching is not None or bool(self._missed)

    @property
    def watching(self) -> str | None:
        """None while changes are heard at once, else why not."""
        if self._watch is None:
            return "switched off by a setting: the sweep alone finds changes"
        return None if self._watch.status.armed else self._watch.status.reason

    def members_changed(self) -> None:
        """Look at the checkouts and loops that the roster has now."""
        loops: dict[str, list[LoopId]] = {}
        for member in self._roster:
            if member.is_managed and not member.run.ref.is_remote:
                loops.setdefault(member.run.ref.repo_path, []).append(member.loop_id)
        self._sweep.set_loops(loops)
        if self._watch is not None:
            self._watch.set_roots(loops)

    async def hear(self, beat: Callable[[], None]) -> None:
        """The watcher's side. It waits for the kernel, so `beat` means only that it began."""
        beat()
        assert self._watch is not None
        await self._watch.run(self._heard)

    async def sweep(self, beat: Callable[[], None]) -> None:
        """The sweep's side, for ever."""
        next_s = self._clock.monotonic()
        while True:
            # While changes are heard, a run that is silent is no livelier than one that has ended: asking every second
            # about thousands of them was most of what an idle fleet cost.
            lively = frozenset(self._lively()) if self._is_deaf else frozenset()
            now_s, before = self._clock.monotonic(), self._sweep.missed_count
            swept = await self._offload.run(partial(self._sweep.look, now_s, lively))
            self._trigger_unread(swept.changed, now_s)
            if swept.appeared or swept.vanished:
                self._loops_changed()
            if self._watch is not None:
                if swept.moved:
                    self._watch.rearm()
                self._judge_watch(self._watch, self._sweep.missed_count - before)
            beat()
            # A sweep that takes longer than its interval is followed by a pause of that length, not by the next sweep.
            next_s = max(next_s, now_s) + self._interval_s
            if next_s <= self._clock.monotonic():
                next_s = self._clock.monotonic() + self._interval_s
            await self._clock.sleep_until(next_s)

    def _trigger_unread(self, changed: Set[Notice], now_s: float) -> None:
        """What the sweep saw at `now_s` and nobody told of is triggered at once.

        The rest has been triggered by its notice already: looking again would double the work of a busy fleet. Only
        if no look began since the sweep saw it, because a later notice was lost, is it triggered by the next sweep.
        """
        late = [member for notice, seen_s in self._to_confirm.items() for member in self._unread(notice, seen_s)]
        told, self._told = self._told, set()
        self._to_confirm = dict.fromkeys(changed & told, now_s)
        self._trigger(changed - told)
        self._intake.trigger([member.loop_id for member in late])

    def _unread(self, notice: Notice, seen_s: float) -> Iterable[Member]:
        if notice.loop_id is None:
            members = self._concerned(notice.repo_path)
        else:
            member = self._roster.get(LoopId(notice.loop_id))
            members = () if member is None else (member,)
        return [member for member in members if member.looked_s < seen_s]

    def _heard(self, notices: Set[Notice]) -> None:
        self.notice_count += len(notices)
        self._told |= notices
        self._sweep.announced(notices)
        self._trigger(notices)

    def _trigger(self, notices: Iterable[Notice]) -> None:
        names: list[LoopId] = []
        # In one order: that of a set goes by addresses in memory where a notice names no loop.
        for repo_path, loop_id in sorted(notices, key=lambda each: (each.repo_path, each.loop_id or "")):
            if loop_id is None:
                names += [member.loop_id for member in self._concerned(repo_path)]
                continue
            member = self._roster.get(LoopId(loop_id))
            if member is None or member.run.ref.repo_path != repo_path:
                self._loops_changed()
            else:
                names.append(member.loop_id)
        self._intake.trigger(names)

    def _concerned(self, repo_path: str) -> Collection[Member]:
        """Whom a change of `state.json` and its like may concern: those it spoke of before, and whoever looks first
        will see of whom it speaks now (`perform`)."""
        members = list(self._roster.in_checkout(repo_path))
        if len(members) <= NEIGHBOURS_MAX:
            return members
        return [member for index, member in enumerate(members) if index == 0 or names_itself(member)]

    def _lively(self) -> Iterable[Notice]:
        for member in self._roster:
            projection = member.run.projection
            if member.run.ref.is_remote or projection is None:
                continue
            if projection.transition.current_state in _LIVELY:
                yield Notice(member.run.ref.repo_path, member.loop_id)

    def _judge_watch(self, watch: ChangeNotice, missed: int) -> None:
        now_s, now = self._clock.monotonic(), self._clock.now()
        status = watch.status
        if status.armed_count > self._armed_count:
            self._log.info("watch.armed", folders=status.folder_count, times=status.armed_count)
            self._armed_count = status.armed_count
        self._unarmed_since_s = None if status.armed else self._unarmed_since_s or now_s
        if missed:
            self._missed.append((now_s, missed))
        while self._missed and now_s - self._missed[0][0] > _MISSED_WITHIN_S:
            self._missed.popleft()
        missed_lately = sum(count for _, count in self._missed)
        blind = None
        if self._unarmed_since_s is not None and now_s - self._unarmed_since_s > _UNARMED_MAX_S:
            blind = status.reason or "no watcher runs"
        elif missed_lately > MISSED_MAX:
            blind = f"{missed_lately} changes within a minute came without a notice"
            if missed:
                watch.rearm()
        if blind is not None:
            if self._findings.add("watch_blind", blind, now):
                self._log.warning("watch.blind", reason=blind)
        elif self._findings.clear("watch_blind"):
            self._log.info("watch.sees", folders=status.folder_count)


def names_itself(member: Member) -> bool:
    """Whether its checkout's own files spoke of this loop when it was last looked at."""
    artifacts = member.run.artifacts
    state, active_run = artifacts.state.value, artifacts.active_run.value
    return (state is not None and state.current_loop_id == member.loop_id) or (
        active_run is not None and active_run.loop_id == member.loop_id
    )
