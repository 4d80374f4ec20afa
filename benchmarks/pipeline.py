"""The daemon's way from an event log to its own files, in this process: look, decide, commit, as often as it takes.

The parts are the product's own, put together as the daemon does; only its threads and its waiting are left out, so that
a pass can be timed alone.
"""

import time
from datetime import UTC, datetime

import msgspec

from opsd.app.passes import Passes, PassRequest
from opsd.app.restore import restore
from opsd.core.reconcile import Decision, Rules
from opsd.disk import Disk
from opsd.model.effects import Journal
from opsd.model.ids import LoopId, TraceId
from opsd.model.lifecycle import RunRow
from opsd.model.run import LoopRef
from opsd.ports import Transport
from opsd.processes import ProcFs
from opsd.store.commit import LoopCommit
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.transports.local import LocalTransport


class Pipeline:
    """One loop, taken up where our own files in `home` left it. Its checkout is `repo`, by default its home as well.

    With `ref` and `transport` it is reached that way, and not on this disk.
    """

    def __init__(
        self,
        home: str,
        loop_id: str,
        *,
        repo: str | None = None,
        ref: LoopRef | None = None,
        transport: Transport | None = None,
    ) -> None:
        disk = Disk()
        self.layout = Layout(home)
        self.loop_id = LoopId(loop_id)
        self._store = Store(self.layout, disk)
        self._passes = Passes(transport or LocalTransport(disk, ProcFs()), Rules(home=home), time.monotonic)
        (restored,), _ = restore(self._store, [ref or LoopRef(self.loop_id, repo or home)], datetime.now(UTC))
        self.run = restored.run

    def catch_up(self) -> int:
        """Passes until nothing of the log is left unread; the number of events taken."""
        events = 0
        while True:
            decision = self.one_pass()
            events += decision.events_ingested
            if not decision.again:
                return events

    def one_pass(self) -> Decision:
        """One pass, committed.

        Raises:
            RuntimeError: it broke, the loop could not be looked at, or its files not be written.
        """
        now = datetime.now(UTC)
        (result,) = self._passes.run([PassRequest(self.run, TraceId("benchmark"))], now)
        decision = result.decision
        if decision is None or decision.failed:
            raise RuntimeError(f"the pass over {self.loop_id} failed: {result.error or result.run.health}")
        committed = self._store.commit([LoopCommit(self.loop_id, decision.effects)], now)
        if committed.failures or committed.faults:
            raise RuntimeError(f"the commit of {self.loop_id} failed: {committed}")
        self.run = decision.run
        return decision

    def ended_runs(self) -> tuple[tuple[str, str], ...]:
        """(run id, ending) of each row of the journal of runs, oldest first."""
        try:
            with open(self.layout.journal(self.loop_id, Journal.RUNS), "rb") as file:
                rows = [msgspec.json.decode(row, type=RunRow) for row in file]
        except FileNotFoundError:
            return ()
        return tuple((row.run_id, row.ending.value) for row in rows)
