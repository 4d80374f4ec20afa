"""One pass as a one-shot command asks for it: looked, decided and written before anything else is done.

The command line runs it by itself, the daemon for a pass that was forwarded to it; both print what comes of it. A log
that is longer than one look is read to its end within the same pass. Source: loop-core 5.2.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from opsd.app.tuning import Telemetry
from opsd.core.reconcile import Decision, Pass, Rules, decide
from opsd.model.cursor import Cursor
from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.escalation import EscalationRow
from opsd.model.ids import TraceId
from opsd.model.oneshot import PassOptions
from opsd.model.run import Run
from opsd.model.telemetry import ReconcileRow
from opsd.ports import Ask, Transport
from opsd.store.commit import LoopCommit
from opsd.store.faults import StoreError
from opsd.store.store import Store

SETTLES_WITHIN: Final = timedelta(seconds=5)
"""Times that lie further ahead are a clock's fault, and not waited for."""


class Passed(msgspec.Struct, frozen=True):
    """`document` is what the command prints: the state, or the health of a loop that could not be looked at."""

    run: Run
    decision: Decision
    document: msgspec.Struct
    exit_code: int
    escalations: tuple[EscalationRow, ...]


def rules_for(
    options: PassOptions, *, home: str, boot_id: str, moved: Mapping[Document | Journal, str] | None = None
) -> Rules:
    return Rules(home, boot_id, options.thresholds, every_pass_samples=True, moved=moved or {}, drift=options.drift)


def one_pass(
    transport: Transport,
    run: Run,
    options: PassOptions,
    rules: Rules,
    telemetry: Telemetry,
    *,
    cursor_line: int,
    now: datetime,
    monotonic: Callable[[], float],
    later: Callable[[datetime], datetime] | None = None,
) -> Passed:
    """Look at the run and decide. Nothing is written; `passed.decision.effects` is what must be.

    `cursor_line` is where `cursor.json` stands, which may be behind what was read. `later` waits for a moment and says
    what time it is then: where log and state contradict each other, which a run's own last writes do as well, the look
    is taken again a moment later, because nobody else will.
    """
    passed = _look(transport, run, options, rules, telemetry, cursor_line, now, monotonic)
    projection = passed.run.projection
    if later is None or run.ref.is_remote or projection is None or projection.mismatch_at is None:
        return passed
    if projection.mismatch_at - now > SETTLES_WITHIN:
        return passed
    return _look(transport, run, options, rules, telemetry, cursor_line, later(projection.mismatch_at), monotonic)


def _look(
    transport: Transport,
    run: Run,
    options: PassOptions,
    rules: Rules,
    telemetry: Telemetry,
    cursor_line: int,
    now: datetime,
    monotonic: Callable[[], float],
) -> Passed:
    before_line = 0 if options.from_start else max(0, cursor_line)
    began_s = monotonic()
    effects: list[Append | Replace] = []
    escalations: list[EscalationRow] = []
    ingested, from_start = 0, options.from_start
    while True:
        observation = transport.observe([Ask(run.ref, run.cursor, from_start)], now)[0]
        this = Pass(
            TraceId(options.trace_id),
            from_start,
            monotonic() - began_s,
            options.max_events,
            options.retry_attempts,
            options.retry_backoff_seconds,
        )
        decision = decide(run, observation, rules, this, now)
        run, from_start = decision.run, False
        effects.extend(decision.effects)
        escalations.extend(decision.escalations)
        ingested += decision.events_ingested
        if not decision.again:
            break
    effects = [_told(each, options, before_line, ingested) for each in effects]
    decision = replace(decision, effects=tuple(effects), events_ingested=ingested, escalations=tuple(escalations))
    decision = telemetry.tuned(decision, rules, this.trace_id, now)
    return Passed(decision.run, decision, _document(decision), int(decision.failed), decision.escalations)


def written(store: Store, passed: Passed, now: datetime) -> None:
    """Put what came of the pass on the disk.

    Raises:
        StoreError: not all of it; the message names the file. What is missing, the next pass makes again.
    """
    done = store.commit([LoopCommit(passed.run.ref.loop_id, passed.decision.effects)], now)
    for failure in done.failures:
        raise StoreError(f"{failure.path} cannot be written: {failure.problem}")


def _told(effect: Append | Replace, options: PassOptions, before_line: int, ingested: int) -> Append | Replace:
    """The row and the cursor of a pass that may take so many events and no more.

    The verdict is always that of the whole log: half of one would tell yesterday's story. What moves more slowly is
    where the cursor says that the reader stands. Source: loop-core 3.2.
    """
    match effect:
        case Append(Journal.RECONCILE, ReconcileRow() as row):
            after = _capped(options, before_line, row.cursor_offset_after)
            count = after - before_line if options.max_events else ingested
            return replace(
                effect,
                row=replace(
                    row,
                    cursor_offset_before=before_line,
                    cursor_offset_after=after,
                    events_ingested=max(0, count),
                    from_start=options.from_start,
                ),
            )
        case Replace(Document.CURSOR, Cursor() as cursor):
            line = _capped(options, before_line, cursor.event_line_offset)
            return replace(effect, record=replace(cursor, event_line_offset=line))
        case _:
            return effect


def _capped(options: PassOptions, before_line: int, line: int) -> int:
    return min(line, before_line + options.max_events) if options.max_events else line


def _document(decision: Decision) -> msgspec.Struct:
    """The state where the look went well, else the health. Source: loop-core 5.2, stage 20."""
    wanted = Document.HEALTH if decision.failed else Document.STATE
    for effect in decision.effects:
        if isinstance(effect, Replace) and effect.document is wanted:
            return effect.record
    raise AssertionError(f"a pass that writes everything wrote no {wanted.value}")
