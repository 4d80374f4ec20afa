"""The watching side: opsd's passes, commits, restarts and crashes, joined as the daemon joins them, without its tasks.

Everything here is the real thing; only clock, disk and process table are the test's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from random import Random

import msgspec

from opsd.app.passes import Passes, PassRequest
from opsd.app.restore import restore
from opsd.core.reconcile import Decision, Rules
from opsd.model.effects import Append, Journal, Replace
from opsd.model.escalation import EscalationRow
from opsd.model.ids import LoopId, TraceId
from opsd.model.run import LoopRef, Run
from opsd.ports import Files, Processes
from opsd.store.commit import LoopCommit
from opsd.store.faults import StoreFault
from opsd.store.journal import Retention
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.supervisor.backoff import Backoff
from opsd.supervisor.pending import Pending
from opsd.transports.local import LocalTransport
from opsd.transports.tail import Limits
from tests.doubles.clock import VirtualClock


class Setting(msgspec.Struct, frozen=True):
    """What stays the same over restarts. `limits` are of one pass; the boot in `rules` is replaced by the watcher's."""

    home: str
    refs: tuple[LoopRef, ...]
    limits: Limits
    retention: Mapping[Journal, Retention]
    rules: Rules


class Look(msgspec.Struct, frozen=True):
    """One loop's pass: the run before and what was decided."""

    before: Run
    decision: Decision

    @property
    def run(self) -> Run:
        return self.decision.run


class Watcher:
    """opsd from a start to its end. A new one on the same disk is a restart, of the host if `boot_id` is another."""

    def __init__(
        self, setting: Setting, files: Files, processes: Processes, clock: VirtualClock, dice: Random, boot_id: str
    ) -> None:
        self.setting = setting
        self.layout = Layout(setting.home)
        self.store = Store(self.layout, files, setting.retention)
        self.transport = LocalTransport(files, processes, limits=setting.limits)
        self.pending = Pending(retry=Backoff(), jitter=dice.random)
        self.rules = msgspec.structs.replace(setting.rules, boot_id=boot_id)
        self._passes = Passes(self.transport, self.rules, clock.monotonic)
        self._clock = clock
        self._trace = 0
        self.promised: dict[LoopId, set[str]] = {}
        """The ids of the escalations of which a commit said that they are on the disk."""
        restored, self.faults = restore(self.store, setting.refs, clock.now(), boot_id=boot_id)
        self.runs: dict[LoopId, Run] = {each.run.ref.loop_id: each.run for each in restored}

    def look(self, loop_ids: Sequence[LoopId], *, from_start: bool = False) -> list[Look]:
        """One batch of passes. Raises AssertionError when a pass broke."""
        requests = [self._request(self.runs[loop_id], from_start=from_start) for loop_id in loop_ids]
        looks = []
        for request, result in zip(requests, self._passes.run(requests, self._clock.now()), strict=True):
            assert result.decision is not None, f"the pass of {request.run.ref.loop_id} broke:\n{result.error}"
            self.runs[result.run.ref.loop_id] = result.run
            self.pending.add(result.run.ref.loop_id, result.decision.effects)
            looks.append(Look(request.run, result.decision))
        return looks

    def imagine(self, run: Run, now: datetime) -> Decision:
        """What a pass over `run` would decide at `now`; nothing comes of it."""
        (result,) = self._passes.run([self._request(run)], now)
        assert result.decision is not None, f"an imagined pass of {run.ref.loop_id} broke:\n{result.error}"
        return result.decision

    def commit(self, most: int = 1 << 30) -> list[StoreFault]:
        """Write what waits and may be tried; what the disk refuses goes on waiting."""
        batch: list[LoopCommit] = self.pending.take(most, self._clock.monotonic())
        done = self.store.commit(batch, self._clock.now())
        for commit in batch:
            self.promised.setdefault(commit.loop_id, set()).update(_escalations(commit.effects))
        for failure in done.failures:
            self.promised[failure.loop_id] -= _escalations(failure.rest)
        self.pending.settle(done.failures, self._clock.monotonic())
        return list(done.faults)

    def settle(self, loop_ids: Iterable[LoopId], check: Callable[[Look], None] = lambda look: None) -> list[Look]:
        """Look until every log is read to its end, and write it all; the last look at each loop."""
        last: list[Look] = []
        for loop_id in loop_ids:
            for _ in range(10_000):
                (look,) = self.look([loop_id])
                check(look)
                if not look.decision.again:
                    break
            else:
                raise AssertionError(f"{loop_id} is never read to its end")
            last.append(look)
        self.pending.retry_now()
        for _ in range(3):
            if not self.pending.loop_count:
                break
            self.commit()
        assert not self.pending.loop_count, "a healthy disk refused a commit"
        return last

    def _request(self, run: Run, *, from_start: bool = False) -> PassRequest:
        self._trace += 1
        return PassRequest(run, TraceId(f"trace-{self._trace}"), from_start=from_start, asked=from_start)


def _escalations(effects: Iterable[Append | Replace]) -> set[str]:
    return {each.row.id for each in effects if isinstance(each, Append) and isinstance(each.row, EscalationRow)}
