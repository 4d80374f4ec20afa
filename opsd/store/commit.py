"""One commit of many loops, in the order that makes a crash at any point harmless.

Durable rows of all loops first, flushed together, and of these the intent logs' before all others; then for each loop
its other rows, its documents, its cursor last.
What a loop's effects are was decided long before; how a row reaches a journal is `append`.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.ids import LoopId
from opsd.ports import Files
from opsd.store.append import Appended, Appender
from opsd.store.codec import encode
from opsd.store.faults import StoreCode, StoreFault, errno_name, in_words
from opsd.store.layout import Layout

_TELLING = frozenset({Journal.INTENTS, Journal.CONTROL, Journal.INVOCATIONS})
"""Where outside programs read what became of intents."""


class LoopCommit(msgspec.Struct, frozen=True):
    """What one loop wants written. The order of its rows within a journal is kept, but durable rows go first.

    Of two replacements of one document the later one counts, so what is left of a failed commit is retried by putting
    it in front: `LoopCommit(loop_id, failure.rest + effects)`.
    """

    loop_id: LoopId
    effects: tuple[Append | Replace, ...]


class CommitFailure(msgspec.Struct, frozen=True):
    """A loop whose writes stopped at `path`; every other loop's went on.

    `rest` is what was not carried out, and nothing of it can be found on the disk: doing it again repeats no row.
    (One exception: a disk that refuses both the flush and the taking back leaves the rows; they carry their ids.)
    """

    loop_id: LoopId
    path: str
    errno_name: str
    problem: str
    rest: tuple[Append | Replace, ...]
    code: StoreCode = StoreCode.UNWRITABLE


class Committed(msgspec.Struct, frozen=True):
    failures: tuple[CommitFailure, ...] = ()
    faults: tuple[StoreFault, ...] = ()


class _Rows(msgspec.Struct, frozen=True):
    journal: Journal
    effects: tuple[Append, ...]


class _Part:
    """One loop's part of a commit while it is carried out; what is done leaves the lists."""

    def __init__(self, commit: LoopCommit) -> None:
        self.loop_id = commit.loop_id
        self.failure: tuple[str, OSError] | None = None
        durable: dict[Journal, list[Append]] = {}
        other: dict[Journal, list[Append]] = {}
        documents: dict[Document, Replace] = {}
        for effect in commit.effects:
            match effect:
                case Append():
                    (durable if effect.durable else other).setdefault(effect.journal, []).append(effect)
                case Replace():
                    documents[effect.document] = effect
        self.durable = [_Rows(journal, tuple(rows)) for journal, rows in durable.items()]
        self.other = [_Rows(journal, tuple(rows)) for journal, rows in other.items()]
        self.documents = sorted(documents.values(), key=lambda replace: replace.document is Document.CURSOR)

    def rest(self) -> tuple[Append | Replace, ...]:
        return (*(row for rows in (*self.durable, *self.other) for row in rows.effects), *self.documents)


class _Pending(msgspec.Struct, frozen=True):
    """Durable rows that are written and not flushed yet."""

    part: _Part
    rows: _Rows
    appended: Appended


class Committer:
    """Belongs to the one writer of a home; not for two threads at once."""

    def __init__(self, layout: Layout, files: Files, appender: Appender) -> None:
        self._layout = layout
        self._files = files
        self._appender = appender
        # Journals whose names are known to be flushed: a process that was killed may have made files and not come to
        # flush the folders above them.
        self._lasting: set[str] = set()

    def commit(self, batch: Sequence[LoopCommit], now: datetime) -> Committed:
        """Each loop at most once per batch. Never raises OSError: a loop that cannot be written is in `failures`."""
        parts = [_Part(commit) for commit in batch]
        faults: list[StoreFault] = []
        # What outside programs read of an intent must not survive a power cut that its log does not.
        self._flush(self._append_durable(parts, faults, now, logs=True))
        self._make_logs_lasting(parts)
        self._flush(self._append_durable(parts, faults, now, logs=False))
        for part in parts:
            if part.failure is None:
                self._finish(part, faults, now)
        failures = []
        for part in parts:
            if part.failure is not None:
                path, error = part.failure
                self._appender.doubt(part.loop_id)
                failures.append(CommitFailure(part.loop_id, path, errno_name(error), in_words(error), part.rest()))
        return Committed(tuple(failures), tuple(faults))

    def _make_logs_lasting(self, parts: Sequence[_Part]) -> None:
        """Flush the logs of intents that are told of now, where an earlier process was killed before it came to that.

        A log that this process has written to is on the disk as a whole.
        """
        for part in parts:
            log = self._layout.journal(part.loop_id, Journal.INTENT_LOG)
            is_told_of = any(rows.journal in _TELLING for rows in part.durable)
            if part.failure is not None or log in self._lasting or not is_told_of:
                continue
            try:
                self._files.sync(log)
                for folder in self._layout.folders_above(log):
                    self._files.sync(folder)
            except FileNotFoundError:
                continue  # what is told has no log that it could outlast
            except OSError as error:
                part.failure = log, error
            else:
                self._lasting.add(log)

    def _append_durable(
        self, parts: Sequence[_Part], faults: list[StoreFault], now: datetime, *, logs: bool
    ) -> list[_Pending]:
        pending: list[_Pending] = []
        for part in parts:
            for rows in part.durable if part.failure is None else ():
                if (rows.journal is Journal.INTENT_LOG) is not logs:
                    continue
                try:
                    pending.append(_Pending(part, rows, self._append(part, rows, faults, now)))
                except OSError as error:
                    part.failure = self._layout.journal(part.loop_id, rows.journal), error
                    break
        return pending

    def _flush(self, pending: Sequence[_Pending]) -> None:
        """A new file lasts only if the folders above it do; many loops share most of those: each is flushed once."""
        flushed: set[str] = set()
        for each in pending:
            path = each.appended.path
            try:
                self._files.sync(path)
                if each.appended.size_before == 0 or path not in self._lasting:
                    for folder in self._layout.folders_above(path):
                        if folder not in flushed:
                            self._files.sync(folder)
                            flushed.add(folder)
                    self._lasting.add(path)
            except OSError as error:
                self._take_back(each.appended)
                each.part.failure = path, error
            else:
                each.part.durable.remove(each.rows)

    def _take_back(self, appended: Appended) -> None:
        """Rows whose flush failed: a second flush would succeed without writing what the first one lost."""
        try:
            self._files.truncate(appended.path, appended.size_before)
        except OSError:
            pass  # the flush's error is the one to report; `CommitFailure` says what remains

    def _finish(self, part: _Part, faults: list[StoreFault], now: datetime) -> None:
        while part.other:
            try:
                self._append(part, part.other[0], faults, now)
            except OSError as error:
                part.failure = self._layout.journal(part.loop_id, part.other[0].journal), error
                return
            del part.other[0]
        while part.documents:
            path = self._layout.document(part.loop_id, part.documents[0].document)
            try:
                self._replace(path, encode(part.documents[0].record))
            except OSError as error:
                part.failure = path, error
                return
            del part.documents[0]

    def _append(self, part: _Part, rows: _Rows, faults: list[StoreFault], now: datetime) -> Appended:
        faults.extend(self._appender.prepare(part.loop_id, rows.journal, now))
        return self._appender.append(part.loop_id, rows.journal, b"".join([encode(each.row) for each in rows.effects]))

    def _replace(self, path: str, data: bytes) -> None:
        try:
            self._files.replace(path, data, sync=False)
        except FileNotFoundError:
            self._files.make_dirs(path.rpartition("/")[0])
            self._files.replace(path, data, sync=False)
