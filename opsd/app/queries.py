"""Questions that only files can answer: the event log, role logs, journals, and a recomputation from scratch.

Synchronous, for a worker thread, and reading only. What is held in memory is `opsd.app.view`.
"""

import heapq
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from opsd.app.history import escalation_page, run_history
from opsd.app.operator_status import NothingKnown, files_of, read_status
from opsd.app.verify import compare, recompute
from opsd.core.explain import explain, last_ingest
from opsd.core.reconcile import Rules
from opsd.model.cursor import Cursor
from opsd.model.defuse import defuse_lines
from opsd.model.effects import Journal
from opsd.model.explain import Explanation
from opsd.model.intent import Intent
from opsd.model.operator_status import OperatorStatus
from opsd.model.run import Run
from opsd.ports import Files, Transport
from opsd.protocol import (
    EscalationPage,
    EscalationsQuery,
    EventItem,
    EventPage,
    EventsQuery,
    IntentPage,
    IntentsQuery,
    LogPage,
    LogsQuery,
    OperatorStatusQuery,
    RunHistory,
    Verification,
    VerificationReport,
)
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.transports.artifacts import loop_folder
from opsd.transports.eventlog import START, Choice, LogSlice, Place, read_last, read_on
from opsd.transports.rolelogs import RoleLog, list_logs, read_log_end, read_log_on
from opsd.transports.stream import change_of, window_start

_RUNS_MAX = 500
_TAIL = 200


class _Stamped(msgspec.Struct):
    timestamp: str = ""


class FileQueries:
    """Answers from the runtime's files and ours. `rules` are those in force; `transport` makes one without memory."""

    def __init__(
        self,
        store: Store,
        files: Files,
        *,
        rules: Callable[[], Rules],
        transport: Callable[[], Transport],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._files = files
        self._rules = rules
        self._transport = transport
        self._monotonic = monotonic

    def explain(self, run: Run, now: datetime) -> Explanation:
        return explain(run, last_ingest(run), self._rules().of(run.ref.loop_id).thresholds, now)

    def events(self, run: Run, query: EventsQuery) -> EventPage:
        """
        Raises:
            LookupError: the loop has no event log.
        """
        path = f"{loop_folder(run.ref.repo_path, run.ref.loop_id)}/events.jsonl"
        known = _place(run.cursor)
        choice = Choice(query.since, frozenset(query.name))
        try:
            epoch = _epoch_now(self._files, path, run.cursor)
            restarted = query.offset is not None and query.epoch not in (None, epoch)
            if query.offset is None:
                found = read_last(self._files, path, count=query.tail or _TAIL, near=known, choice=choice)
            else:
                place = START if restarted else Place(query.offset, query.line or 0)
                found = read_on(self._files, path, place, limit=query.limit, choice=choice)
        except FileNotFoundError:
            raise LookupError(f"loop {run.ref.loop_id} has no event log at {path}") from None
        return _event_page(run, epoch, found, restarted=restarted or found.restarted)

    def logs(self, run: Run, query: LogsQuery) -> LogPage:
        """
        Raises:
            LookupError: no such role or iteration; the text names what there is.
        """
        found = list_logs(self._files, run.ref.repo_path, run.ref.loop_id)
        available = tuple(f"iter-{log.iteration}/{log.role}" for log in found)
        log = _chosen(found, query)
        if log is None:
            raise LookupError(f"no such role log; there are: {', '.join(available[:20]) or 'none'}")
        if query.offset is None:
            part = read_log_end(self._files, log.path, bytes_max=query.limit, lines_max=query.tail)
        else:
            part = read_log_on(
                self._files, log.path, offset=query.offset, inode=query.inode or 0, bytes_max=query.limit
            )
        return LogPage(
            loop_id=run.ref.loop_id,
            role=log.role,
            iteration=log.iteration,
            path=log.path,
            text=defuse_lines(part.data.decode("utf-8", "replace")),
            next_offset=part.next_offset,
            size_bytes=part.size_bytes,
            available=available,
            inode=part.inode,
            restarted=part.restarted,
        )

    def operator_status(self, run: Run, query: OperatorStatusQuery, now: datetime) -> OperatorStatus:
        """What `ops-manager status` prints, from the same files.

        Raises:
            LookupError: nothing was ever written of the loop.
            StatusError: one of the files makes no sense.
        """
        loop_id = run.ref.loop_id
        if run.ref.fault is not None:
            raise NothingKnown(f"loop '{loop_id}' is listed, not managed: {run.ref.fault_detail or run.ref.fault}")
        layout = Layout(self._rules().home)
        where = files_of(layout, loop_id)
        return read_status(self._files, layout, loop_id, where, summary_window=query.summary_window, now=now)

    def runs(self, run: Run, now: datetime) -> RunHistory:
        return run_history(run, self._store.rows(run.ref.loop_id, Journal.RUNS, limit=_RUNS_MAX).rows, now)

    def escalations(self, runs: Sequence[Run], query: EscalationsQuery, now: datetime) -> EscalationPage:
        """The newest rows over all these loops, in the order of their time."""
        newest = heapq.nlargest(
            query.tail,
            (
                (_timestamp(row), number, row)
                for run in runs
                if run.ref.fault is None
                for number, row in enumerate(
                    self._store.rows(run.ref.loop_id, Journal.ESCALATIONS, limit=query.tail).rows
                )
            ),
        )
        return escalation_page(runs, [row for _, _, row in reversed(newest)], now)

    def intents(self, runs: Sequence[Run], query: IntentsQuery, now: datetime) -> IntentPage:
        """The newest of all these loops', by the time at which they were recorded, oldest first."""
        settled_max = 0 if query.open else query.tail
        found = heapq.nlargest(
            query.tail,
            (
                intent
                for run in runs
                if run.ref.fault is None
                for intent in self._store.intents(run.ref.loop_id, settled_max=settled_max)
                if intent.is_open or not query.open
            ),
            key=lambda intent: (intent.recorded_at, intent.ordinal),
        )
        return IntentPage(now, tuple(reversed(found)))

    def intent(self, intent_id: str, runs: Sequence[Run]) -> Intent | None:
        """The newest row of this intent of one of these loops, however old; None where there is none."""
        found = (self._store.find_intent_by_id(run.ref.loop_id, intent_id) for run in runs if run.ref.fault is None)
        return next((intent for intent in found if intent is not None), None)

    def verify(self, runs: Sequence[Run], now: datetime) -> VerificationReport:
        return VerificationReport(now, tuple(self._verify(run, now) for run in runs))

    def _verify(self, run: Run, now: datetime) -> Verification:
        if run.ref.fault or not run.ref.enabled:
            return Verification(run.ref.loop_id, ok=True, events_read=0, differences=(), note="listed, not managed")
        fresh = recompute(run, self._transport(), self._rules(), now, self._monotonic)
        stored = self._store.load([run.ref.loop_id], now, mend=False)[0]
        return compare(run, fresh, stored.state, stored.health)


def _place(cursor: Cursor | None) -> Place:
    """A place that lies in the log, so that line numbers need not be counted from its start."""
    if cursor is None or cursor.stream is None:
        return START
    return Place(cursor.stream.byte_offset, cursor.event_line_offset)


def _epoch_now(files: Files, path: str, cursor: Cursor | None) -> int:
    """The epoch of the log as it stands, also where it was replaced and no pass has seen that yet.

    The pass will count it the same way; a page that named the old epoch would be read from its start once more.
    """
    stream = cursor.stream if cursor else None
    if stream is None:
        return 0
    start = window_start(stream.byte_offset)
    found, window = files.read(path, start, stream.byte_offset - start)
    return stream.epoch + (change_of(files, path, stream, found, window) is not None)


def _event_page(run: Run, epoch: int, found: LogSlice, *, restarted: bool) -> EventPage:
    return EventPage(
        loop_id=run.ref.loop_id,
        epoch=epoch,
        items=tuple(EventItem(line.line, line.next_offset, msgspec.Raw(line.raw)) for line in found.lines),
        next_offset=found.end.offset,
        next_line=found.end.line,
        more=found.more,
        restarted=restarted,
    )


def _chosen(found: Sequence[RoleLog], query: LogsQuery) -> RoleLog | None:
    """The log written last of those that were asked for."""
    return next(
        (log for log in found if query.role in (None, log.role) and query.iteration in (None, log.iteration)), None
    )


def _timestamp(row: bytes) -> str:
    try:
        return msgspec.json.decode(row, type=_Stamped).timestamp
    except msgspec.DecodeError:
        return ""
