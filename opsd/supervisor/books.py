"""The intents of every loop: in memory as they are, on the disk before anything is done by them.

What an intent may become is decided in `opsd.core.intents`; who carries it out is `carrying`. Rows of many loops that
come at once share one flush. What the disk refuses after the act is kept and tried again, in order: a later row of an
intent never stands before an earlier one.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

import anyio
from msgspec.structs import replace

from opsd.app.desk import CannotRecord
from opsd.app.restore import Restored, restore
from opsd.core.intents import book as rules
from opsd.core.intents import life
from opsd.core.intents.book import Book
from opsd.core.intents.rows import log_row, rows
from opsd.logs import Log
from opsd.model.control import IntentRow
from opsd.model.effects import Append, Journal
from opsd.model.ids import LoopId
from opsd.model.intent import IN_FLIGHT, Intent
from opsd.model.mode import ModeRow
from opsd.ports import Clock
from opsd.store.commit import CommitFailure, LoopCommit
from opsd.store.load import LastControl
from opsd.store.store import Store
from opsd.supervisor.commits import Commits
from opsd.supervisor.feed import Feed
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.intake import Intake
from opsd.supervisor.roster import Roster

_REFUSED_SHOWN = timedelta(minutes=1)
HELD_SETTLED = 1_000
"""So many settled intents of all loops can be asked for from memory; older ones are in the files."""


class _Ticket:
    """Rows of one loop on their way to the disk. `must`: they are there first, or what they say never happens."""

    def __init__(self, loop_id: LoopId, rows: tuple[Append, ...], *, must: bool) -> None:
        self.loop_id = loop_id
        self.rows = rows
        self.must = must
        self.written = False
        self.problem: str | None = None


class Books:
    """One book for each loop that was ever asked anything. Everything runs on the event loop's thread."""

    def __init__(
        self,
        store: Store,
        *,
        commits: Commits,
        roster: Roster,
        feed: Feed,
        intake: Intake,
        findings: DaemonFindings,
        clock: Clock,
        log: Log,
        mode_of: Callable[[LoopId, datetime], ModeRow | None],
    ) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self._store = store
        self._commits = commits
        self._roster = roster
        self._feed = feed
        self._intake = intake
        self._findings = findings
        self._clock = clock
        self._log = log
        self._mode_of = mode_of
        self._books: dict[LoopId, Book] = {}
        self._last: dict[LoopId, LastControl] = {}
        self._unread: dict[LoopId, str] = {}
        self._held: OrderedDict[str, Intent] = OrderedDict()
        self._queue: list[_Ticket] = []
        self._writing = anyio.Lock()
        self._unwritten: dict[LoopId, tuple[Append, ...]] = {}
        self._moved = anyio.Event()

    # Reading

    def of(self, loop_id: LoopId) -> Book:
        return self._books.get(loop_id, rules.EMPTY)

    def intent(self, intent_id: str) -> Intent | None:
        """As it is now; None where it is unknown, or settled so long ago that only the files have it."""
        return self._held.get(intent_id)

    def named(self, name: str) -> Intent | None:
        """By its id, or by the key that its caller gave it: the newest, where one was never carried out."""
        by_id = self._held.get(name)
        if by_id is not None:
            return by_id
        keyed = [each for each in self._held.values() if each.key_given and each.idempotency_key == name]
        return max(keyed, key=lambda each: each.ordinal, default=None)

    def open(self) -> Iterator[Intent]:
        """Every intent that is not settled, of all loops."""
        for book in list(self._books.values()):
            yield from book.open

    def in_flight(self, loop_ids: Sequence[LoopId], transport: str) -> Intent | None:
        """The intent that is being carried out on one of these loops that way.

        One that a service was asked for does nothing here, unless that service is this very process: then that is
        another intent.
        """
        open_ = (each for loop_id in loop_ids for each in self.of(loop_id).open)
        return next((each for each in open_ if each.is_in_flight and each.transport == transport), None)

    def unread(self, loop_ids: Sequence[LoopId]) -> str | None:
        """Why it is not known what was asked of one of these loops before this start, if it is not."""
        return next((self._unread[loop_id] for loop_id in loop_ids if loop_id in self._unread), None)

    def keyed(self, loop_id: LoopId, key: str) -> Intent | None:
        """The intent that a caller asked for under this key, if it is held; the files may know an older one."""
        known = self.of(loop_id).keys.get(key)
        return None if known is None else self._held.get(known.id)

    def is_followed(self, loop_id: LoopId) -> bool:
        """Whether a look at the loop may move one of its intents: one is ambiguous, or a decision is not taken up."""
        book = self._books.get(loop_id)
        return book is not None and bool(book.ambiguous or book.tracked)

    async def any_moved(self) -> None:
        """Returns when some intent has come a step further."""
        await self._moved.wait()

    @property
    def unwritten(self) -> int:
        """How many rows wait for the disk."""
        return sum(len(kept) for kept in self._unwritten.values())

    # Coming and going of loops

    def restore(self, loop: Restored) -> None:
        """What the files have of a loop that joins the fleet. What a restart makes of it is written soon.

        An intent that is held is of this very start, and memory knows it better: its loop left and came back.
        """
        loop_id = loop.run.ref.loop_id
        if loop.unread is not None:
            self._unread[loop_id] = loop.unread
            return
        self._unread.pop(loop_id, None)
        known = [self._held.get(intent.id, intent) for intent in loop.intents]
        self._last[loop_id] = loop.last_control
        if loop.untold:  # they come first
            self._unwritten[loop_id] = (*loop.untold, *self._unwritten.get(loop_id, ()))
        if known:
            self._books[loop_id] = rules.book_of(known)
        for intent in known:
            if intent.id in self._held:
                continue
            self._hold(intent)
            after = life.recovered(intent, self._clock.now())
            if after is not intent:
                self._unwritten[loop_id] = self._unwritten.get(loop_id, ()) + _rows_of(after, intent)
                self._note(after)
        self.show(loop_id)

    async def read_unread(self) -> None:
        """Try again what could not be read when its loop joined."""
        for loop_id in list(self._unread):
            member = self._roster.get(loop_id)
            if member is None:
                continue
            work = partial(restore, self._store, [member.run.ref], self._clock.now())
            (loop,), faults = await self._commits.apart(work)
            if loop.unread is None and self._roster.get(loop_id) is not None:
                self._commits.tell_faults(faults)
                self.restore(loop)

    def forget(self, loop_id: LoopId) -> None:
        """The loop left the fleet; its files stay."""
        self._books.pop(loop_id, None)
        self._last.pop(loop_id, None)
        self._unread.pop(loop_id, None)

    # Writing

    async def record(self, intent: Intent) -> None:
        """On the disk first, then in memory. Not undone by a caller who stops waiting.

        Raises:
            CannotRecord: its row is not on the disk, and nothing in memory has changed.
        """
        ticket = _Ticket(intent.loop_id, _rows_of(intent, self._held.get(intent.id)), must=True)
        with anyio.CancelScope(shield=True):
            await self._write(ticket)
            if ticket.problem is not None:
                raise CannotRecord(ticket.problem)
            self._note(intent)

    async def tell(self, intent: Intent) -> None:
        """What has happened already: on the disk if that is possible, else as soon as it is; in memory in any case.

        Nobody hears of it before the disk was tried: an outcome that was told should not be gone after a crash.
        """
        ticket = _Ticket(intent.loop_id, _rows_of(intent, self._held.get(intent.id)), must=False)
        with anyio.CancelScope(shield=True):
            await self._write(ticket)
            self._note(intent)

    async def write_rest(self) -> None:
        """Try again what the disk refused."""
        if self._unwritten:
            with anyio.CancelScope(shield=True):
                await self._write(_Ticket(next(iter(self._unwritten)), (), must=False))

    async def _write(self, ticket: _Ticket) -> None:
        """Whoever comes first writes for all who wait by then."""
        self._queue.append(ticket)
        async with self._writing:
            if not ticket.written:
                await self._write_queue()

    async def _write_queue(self) -> None:
        tickets, self._queue = self._queue, []
        kept, self._unwritten = self._unwritten, {}
        wanted = {loop_id: list(left) for loop_id, left in kept.items()}
        for ticket in tickets:
            wanted.setdefault(ticket.loop_id, []).extend(ticket.rows)
        batch = [LoopCommit(loop_id, tuple(effects)) for loop_id, effects in wanted.items()]
        now = self._clock.now()
        done = await self._commits.apart(lambda: self._store.commit(batch, now))
        self._commits.tell_faults(done.faults)
        failed = {failure.loop_id: failure for failure in done.failures}
        for ticket in tickets:
            ticket.written = True
            failure = failed.get(ticket.loop_id)
            if failure is not None and ticket.must and _is_left(_log_row_of(ticket), failure):
                ticket.problem = f"{failure.path}: {failure.problem}"
        given_up = {id(row) for ticket in tickets if ticket.problem is not None for row in ticket.rows}
        for loop_id, failure in failed.items():
            left = tuple(each for each in failure.rest if isinstance(each, Append) and id(each) not in given_up)
            if left:
                self._unwritten[loop_id] = (*left, *self._unwritten.get(loop_id, ()))
        self._tell_trouble(done.failures, now)

    def _tell_trouble(self, failures: Sequence[CommitFailure], now: datetime) -> None:
        if failures:
            first = failures[0]
            evidence = f"{first.path}: {first.problem}; intents are refused, {self.unwritten} of their rows wait"
            # Where no row waits nothing is tried again by itself, which would show that the disk takes them now.
            until = None if self._unwritten else now + _REFUSED_SHOWN
            if self._findings.add("store_unwritable", evidence, now, about="intents", until=until):
                self._log.error("intent.unwritable", path=first.path, problem=first.problem, loops=len(failures))
        elif self._findings.clear("store_unwritable", about="intents"):
            self._log.info("intent.writable")

    # In memory

    def _note(self, intent: Intent) -> None:
        before = self._held.get(intent.id)
        self._books[intent.loop_id] = rules.noted(self.of(intent.loop_id), intent)
        self._hold(intent)
        if (written := _told_status(intent, before)) is not None:
            self._last[intent.loop_id] = LastControl(written, ours=True)
        if before is None or before.status is not intent.status:
            self.counts["intent", intent.intent.value, "status", intent.status.value] += 1
        self._feed.intent(intent.loop_id, intent)
        self.show(intent.loop_id)
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    def _hold(self, intent: Intent) -> None:
        self._held[intent.id] = intent
        self._held.move_to_end(intent.id)
        if len(self._held) > HELD_SETTLED:
            for intent_id, held in list(self._held.items())[: len(self._held) - HELD_SETTLED]:
                if not held.is_open:
                    del self._held[intent_id]

    def show(self, loop_id: LoopId) -> None:
        """Let the loop's picture say what its intents and its mode mean for it by now."""
        member = self._roster.get(loop_id)
        if member is None:
            return
        now = self._clock.now()
        last = self._last.get(loop_id, LastControl())
        control = rules.control_state(self.of(loop_id), last.status, last.ours, self._mode_of(loop_id, now))
        if control != member.run.control:
            member.run = replace(member.run, control=control, revision=member.run.revision + 1)
            self._feed.changed(loop_id)
            self._intake.judge_anew([loop_id])


def _rows_of(intent: Intent, before: Intent | None) -> tuple[Append, ...]:
    """What is to be written of a step: its row in the log, and the contract's rows where it settles by it."""
    settles = intent.status not in IN_FLIGHT and (before is None or before.status is not intent.status)
    return (log_row(intent), *rows(intent)) if settles else (log_row(intent),)


def _told_status(intent: Intent, before: Intent | None) -> str | None:
    """The status that the newest row of `intents.jsonl` has by this step; None where the step writes none there."""
    for append in _rows_of(intent, before):
        if append.journal is Journal.INTENTS:
            return append.row.status if isinstance(append.row, IntentRow) else None
    return None


def _log_row_of(ticket: _Ticket) -> Append | None:
    return next((row for row in ticket.rows if row.journal is Journal.INTENT_LOG), None)


def _is_left(row: Append | None, failure: CommitFailure) -> bool:
    return row is not None and any(each is row for each in failure.rest)
