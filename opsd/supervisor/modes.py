"""Keeps the modes in force: set by operators, on the disk before they hold, over by themselves.

What a mode means is `opsd.core.modes`; who heeds it is `desk` and the rules of `opsd.core.intents.gate`.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

from opsd.app.desk import CannotRecord
from opsd.core import modes as rules
from opsd.logs import Log
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.mode import Mode, ModeRow, Modes
from opsd.ports import Clock
from opsd.protocol import ModePage, ModeRequest, ModeStatus
from opsd.store.faults import StoreError
from opsd.store.store import Store
from opsd.supervisor.commits import Commits
from opsd.supervisor.findings import DaemonFindings


class ModeKeeper:
    """`changed` is called whenever another mode holds for some loop."""

    def __init__(
        self,
        store: Store,
        *,
        commits: Commits,
        findings: DaemonFindings,
        clock: Clock,
        log: Log,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._commits = commits
        self._findings = findings
        self._clock = clock
        self._log = log
        self._changed = changed
        self._modes = Modes()
        self._rows: tuple[ModeRow, ...] = ()
        self._next: datetime | None = None

    async def load(self) -> None:
        """What was set before this start. A file that cannot be read means that nothing is carried out."""
        self._rows, problem = await self._commits.apart(self._store.load_modes)
        self._become(problem)
        if problem is not None:
            self._findings.add("modes_unreadable", problem, self._clock.now())
            self._log.error("mode.unreadable", problem=problem)

    def in_force(self, loop_id: LoopId, now: datetime) -> ModeRow | None:
        """The row that keeps the loop's intents from executing, if one does."""
        return rules.in_force(self._modes, loop_id, now)

    def of_fleet(self, now: datetime) -> ModeStatus | None:
        return next((status for status in self.listed(now).modes if status.loop_id is None), None)

    def listed(self, now: datetime) -> ModePage:
        return ModePage(now, tuple(_status(row) for row in rules.listed(self._modes, now)))

    async def set(self, request: ModeRequest, actor: Actor) -> ModePage:
        """
        Raises:
            CannotRecord: the disk refuses it, so the mode is what it was.
        """
        now = self._clock.now()
        row = ModeRow(
            timestamp=now,
            mode=request.mode,
            by=request.by or actor.user,
            actor=actor,
            schema_version="v1",
            loop_id=request.loop_id,
            reason=request.reason,
            until=now + timedelta(seconds=request.for_s) if request.for_s is not None else None,
        )
        rows = (*self._lost(row, now), row)
        try:
            # Read again, because what could not be read at the start may be readable by now, and holds as well.
            self._rows, problem = await self._commits.apart(partial(self._written, rows))
        except StoreError as error:
            raise CannotRecord(str(error)) from None
        self._log.warning(
            "mode.set",
            mode=row.mode,
            loop_id=row.loop_id,
            by=row.by,
            user=actor.user,
            reason=row.reason,
            until=row.until,
        )
        if problem is None:
            self._findings.clear("modes_unreadable")
        self._become(problem)
        return self.listed(now)

    def _written(self, rows: Iterable[ModeRow]) -> tuple[tuple[ModeRow, ...], str | None]:
        for row in rows:
            self._store.append_mode(row)
        return self._store.load_modes()

    def _lost(self, row: ModeRow, now: datetime) -> tuple[ModeRow, ...]:
        """What cannot be read may have held the fleet, and the file begins anew: a word about a loop lifts nothing."""
        if self._modes.unreadable is None or row.loop_id is None:
            return ()
        return rules.listed(self._modes, now)[:1]

    def look_up(self, now: datetime) -> None:
        """To be called about once a second: a mode whose time is over no longer holds."""
        if self._next is not None and now >= self._next:
            self._log.warning(
                "mode.expired", modes=[row.loop_id or "fleet" for row in self._rows if row.until == self._next]
            )
            self._next = rules.next_change(self._modes, now)
            self._changed()

    def _become(self, problem: str | None) -> None:
        self._modes = rules.modes_of(self._rows, problem)
        self._next = rules.next_change(self._modes, self._clock.now())
        self._changed()


def _status(row: ModeRow) -> ModeStatus:
    return ModeStatus(Mode(row.mode), row.by, row.timestamp, row.loop_id, row.reason, row.until)
