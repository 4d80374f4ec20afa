"""Keeps how operators switched loops to another transport: on the disk before it holds, in force over restarts.

What a switch means for a loop is `opsd.core.switches`; that the loop then joins anew is `membership`.
"""

from collections.abc import Awaitable, Callable

from opsd.app.desk import CannotRecord, CannotSwitch
from opsd.core import switches as rules
from opsd.logs import Log
from opsd.model.intent import Actor
from opsd.model.run import LoopRef
from opsd.model.switch import SwitchRow
from opsd.model.transport import TransportMode
from opsd.ports import Clock
from opsd.protocol import TransportReply, TransportRequest
from opsd.store.faults import StoreError
from opsd.store.store import Store
from opsd.supervisor.commits import Commits
from opsd.supervisor.findings import DaemonFindings


class Switches:
    """`apply` has the fleet follow. The loops as the registry has them are remembered as they pass by here."""

    def __init__(self, store: Store, *, commits: Commits, findings: DaemonFindings, clock: Clock, log: Log) -> None:
        self.apply: Callable[[], Awaitable[None]] | None = None
        self._store = store
        self._commits = commits
        self._findings = findings
        self._clock = clock
        self._log = log
        self._rows: dict[str, SwitchRow] = {}
        self._declared: dict[str, LoopRef] = {}

    async def load(self) -> None:
        """What was switched before this start. What cannot be read is reached as the registry says."""
        rows, problem = await self._commits.apart(self._store.load_switches)
        self._rows = rules.newest(rows)
        if problem is not None:
            self._findings.add("transports_unreadable", problem, self._clock.now())
            self._log.error("transport.unreadable", problem=problem)

    def switched(self, ref: LoopRef) -> LoopRef:
        """The loop as operators want it reached, from the registry's `ref`."""
        self._declared[ref.loop_id] = ref
        return rules.switched(ref, self._rows)

    def told(self, ref: LoopRef) -> TransportReply:
        """How the loop is reached now, and why."""
        row, declared = self._rows.get(ref.loop_id), self._declared.get(ref.loop_id, ref)
        return TransportReply(
            at=self._clock.now(),
            loop_id=ref.loop_id,
            transport=ref.transport,
            declared=declared.transport,
            events=ref.service is None or ref.service.events,
            by=row.by if row is not None else None,
            since=row.timestamp if row is not None else None,
            reason=row.reason if row is not None else "",
        )

    async def set(self, ref: LoopRef, request: TransportRequest, actor: Actor) -> None:
        """
        Raises:
            CannotSwitch: the registry names no such way to the loop.
            CannotRecord: the disk refuses it, so the loop is reached as it was.
        """
        declared = self._declared.get(ref.loop_id, ref)
        wanted: TransportMode | None = request.transport
        problem = None if wanted is None else rules.why_not(declared, wanted)
        if problem is not None:
            raise CannotSwitch(problem)
        row = SwitchRow(
            timestamp=self._clock.now(),
            loop_id=ref.loop_id,
            by=request.by or actor.user,
            actor=actor,
            schema_version="v1",
            transport=wanted,
            events=request.events,
            reason=request.reason,
        )
        try:
            await self._commits.apart(lambda: self._store.append_switch(row))
        except StoreError as error:
            raise CannotRecord(str(error)) from None
        self._rows[ref.loop_id] = row
        self._findings.clear("transports_unreadable")
        self._log.warning(
            "transport.set",
            loop_id=ref.loop_id,
            transport=wanted,
            events=row.events,
            by=row.by,
            user=actor.user,
            reason=row.reason,
        )
        if self.apply is not None:
            await self.apply()
