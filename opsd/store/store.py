"""The store as its users see it: what was there, what is written now, and the rows of before.

Everything is synchronous and batch-shaped, for a worker thread. One process per home may write (`lock`); any may read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from opsd.model.effects import Append, Journal
from opsd.model.ids import LoopId
from opsd.model.intent import Intent
from opsd.model.mode import ModeRow
from opsd.model.profile import ProfileRow
from opsd.model.switch import SwitchRow
from opsd.ports import Files
from opsd.store.append import Appender
from opsd.store.commit import Committed, Committer, LoopCommit
from opsd.store.faults import StoreCode, StoreFault
from opsd.store.intents import find_by_id, find_by_key, read_intents
from opsd.store.journal import RETENTION, Retention, Tail, generations, read_tail
from opsd.store.layout import Layout
from opsd.store.load import Loader, StoredLoop
from opsd.store.mend import Mended, Unread, steps, untold, wanted_rows
from opsd.store.rowfile import RowFile


class Store:
    """Our own files of every loop of one home.

    Only what reads journals (`rows`, `intents`, `find_intent`, `find_intent_by_id`) may be called while another call is
    under way.
    """

    def __init__(self, layout: Layout, files: Files, retention: Mapping[Journal, Retention] = RETENTION) -> None:
        self._layout = layout
        self._files = files
        self._retention = retention
        self._loader = Loader(layout, files, retention)
        self._appender = Appender(layout, files, retention)
        self._committer = Committer(layout, files, self._appender)
        self._modes = RowFile(layout, files, layout.modes, ModeRow)
        self._profiles = RowFile(layout, files, layout.profiles, ProfileRow)
        self._switches = RowFile(layout, files, layout.switches, SwitchRow)

    def load(self, loop_ids: Sequence[LoopId], now: datetime, *, mend: bool = True) -> list[StoredLoop]:
        """What is on the disk of each loop, in order. A loop never seen before is an empty `StoredLoop`.

        Readers that do not hold the home's lock pass `mend=False`, and nothing is moved.
        """
        return [self._loader.load(loop_id, now, mend=mend) for loop_id in loop_ids]

    def commit(self, batch: Sequence[LoopCommit], now: datetime) -> Committed:
        """See `opsd.store.commit`: the cursor is never ahead of what it stands for, whatever happens in between."""
        return self._committer.commit(batch, now)

    def rows(self, loop_id: LoopId, journal: Journal, *, limit: int, since: datetime | None = None) -> Tail:
        """The newest rows, at most `limit` and none before `since`, across rotations, oldest first."""
        return read_tail(self._files, self._generations(loop_id, journal), rows_max=limit, since=since)

    def intents(self, loop_id: LoopId, *, settled_max: int) -> tuple[Intent, ...]:
        """Every open intent, the newest `settled_max` settled ones and older ones that still matter, oldest first.

        What is unreadable is left out.
        """
        log = self._generations(loop_id, Journal.INTENT_LOG)
        return read_intents(self._files, log, settled_max=settled_max).intents

    def find_intent(self, loop_id: LoopId, key: str, transport: str = "local") -> Intent | None:
        """What came of the intent that was asked for under `key`, however long ago; None where there is none.

        Where a manager and a sprite share a home, an intent that a service is asked for is there twice under one key:
        as the manager asked for it, and as it was carried out.

        Keys that opsd made up itself are not looked for. Of several the one that was carried out is found, else the
        newest.
        """
        return find_by_key(self._files, self._generations(loop_id, Journal.INTENT_LOG), key, transport)

    def find_intent_by_id(self, loop_id: LoopId, intent_id: str) -> Intent | None:
        """The newest row of this intent of the loop, however old."""
        return find_by_id(self._files, self._generations(loop_id, Journal.INTENT_LOG), intent_id)

    def mend_intents(self, loop_id: LoopId, now: datetime) -> Mended:
        """Write what a crash kept from being told of intents that have settled; each row once, in order.

        For the writer of the home, before anything else is written for the loop.
        """
        log = self._generations(loop_id, Journal.INTENT_LOG)
        settled = steps(self._files, log)
        try:
            rows = [
                append
                for journal in (Journal.INTENTS, Journal.CONTROL, Journal.INVOCATIONS)
                for append in untold(self._files, self._generations(loop_id, journal), wanted_rows(settled, journal))
            ]
        except Unread as error:
            return Mended(unread=str(error))
        if not rows:
            return Mended()
        done = self._committer.commit([LoopCommit(loop_id, tuple(rows))], now)
        left = tuple(each for failure in done.failures for each in failure.rest if isinstance(each, Append))
        written = tuple(each for each in rows if each not in left)
        faults = [StoreFault(loop_id, each.path, each.code, each.problem) for each in done.failures]
        for journal, count in Counter(each.journal for each in written).items():
            problem = f"{count} row(s) about intents, which a crash had kept from it, were written now"
            faults.append(StoreFault(loop_id, self._layout.journal(loop_id, journal), StoreCode.CORRUPT, problem))
        return Mended(written, left, (*done.faults, *faults))

    def load_modes(self) -> tuple[tuple[ModeRow, ...], str | None]:
        """The modes that were set, oldest first; why that may not be all of them, or None."""
        return self._modes.load()

    def append_mode(self, row: ModeRow) -> None:
        """On the disk when this returns.

        Raises:
            StoreError: the file is as it was; the message names it and what to do.
        """
        self._modes.append(row)

    def load_switches(self) -> tuple[tuple[SwitchRow, ...], str | None]:
        """How loops were switched, oldest first; why that may not be all of them, or None."""
        return self._switches.load()

    def append_switch(self, row: SwitchRow) -> None:
        """On the disk when this returns.

        Raises:
            StoreError: the file is as it was; the message names it and what to do.
        """
        self._switches.append(row)

    def load_profiles(self) -> tuple[tuple[ProfileRow, ...], str | None]:
        """Which profiles were chosen for loops, oldest first; why that may not be all of them, or None."""
        return self._profiles.load()

    def append_profile(self, row: ProfileRow) -> None:
        """On the disk when this returns.

        Raises:
            StoreError: the file is as it was; the message names it and what to do.
        """
        self._profiles.append(row)

    def forget(self, loop_id: LoopId) -> None:
        """The loop is no longer supervised; its files stay."""
        self._appender.doubt(loop_id)

    def _generations(self, loop_id: LoopId, journal: Journal) -> list[str]:
        return generations(self._layout.journal(loop_id, journal), self._retention[journal])
