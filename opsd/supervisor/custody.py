"""Operators touch our files: the runbook has them remove a cursor so that a log is read anew. That is noticed here.

What a missing cursor or state document asks for is a replay from the log's start, which writes them all again; what a
replay may change is decided in `opsd.core.reconcile`.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from functools import partial

from opsd.logs import Log
from opsd.model.effects import Document
from opsd.model.ids import LoopId
from opsd.ports import Clock, Files, Offload
from opsd.store.layout import Layout
from opsd.supervisor.intake import Intake
from opsd.supervisor.roster import Roster
from opsd.supervisor.turns import Turns

EVERY_S = 5.0
AT_ONCE_MAX = 1_000
"""Of a thousand loops each is asked about every five seconds, of ten thousand every fifty; it costs two stats."""
# What was decided a moment ago is on its way to the disk.
_WRITTEN_BY = timedelta(seconds=5)
_KEPT = (Document.CURSOR, Document.STATE)


class Custody:
    """`refused` names the loops whose last write failed: of those nothing can be expected to be there."""

    def __init__(
        self,
        files: Files,
        layout: Layout,
        *,
        roster: Roster,
        intake: Intake,
        refused: Callable[[], Collection[LoopId]],
        offload: Offload,
        clock: Clock,
        log: Log,
    ) -> None:
        self._files = files
        self._layout = layout
        self._roster = roster
        self._intake = intake
        self._refused = refused
        self._offload = offload
        self._clock = clock
        self._log = log
        self._turns = Turns(AT_ONCE_MAX)

    async def serve(self, beat: Callable[[], None]) -> None:
        """For ever."""
        while True:
            due_s = self._clock.monotonic() + EVERY_S
            chosen = self._chosen()
            if chosen:
                missing = await self._offload.run(partial(_missing, self._files, self._layout, chosen))
                self._replay(missing)
            beat()
            await self._clock.sleep_until(due_s)

    def _chosen(self) -> Sequence[LoopId]:
        now, refused = self._clock.now(), self._refused()
        return self._turns.share(
            [
                member.loop_id
                for member in self._roster
                if member.is_managed
                and not member.requests
                and (at := member.run.written.cursor_at) is not None
                and not -_WRITTEN_BY < now - at < _WRITTEN_BY
                and member.loop_id not in refused
            ]
        )

    def _replay(self, missing: Sequence[tuple[LoopId, Document]]) -> None:
        for loop_id, document in missing:
            member = self._roster.get(loop_id)
            if member is not None and not member.requests:
                self._log.info("store.removed", loop_id=loop_id, file=document.value)
                member.ask(from_start=True)
        self._intake.trigger([loop_id for loop_id, _ in missing], asked=True)


def _missing(files: Files, layout: Layout, loop_ids: Sequence[LoopId]) -> list[tuple[LoopId, Document]]:
    """The first missing document of each loop that lacks one. Runs in a worker thread."""
    found = []
    for loop_id in loop_ids:
        for document in _KEPT:
            if files.stat(layout.document(loop_id, document)) is None:
                found.append((loop_id, document))
                break
    return found
