"""After a restart: runs as our own files remember them, so that only what is new in the logs is read.

Where the files do not suffice (another manager's, torn, lost) a run starts without them and its log is replayed; what
was escalated before is known from the journal in every case.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from opsd.core.documents import restored_marks
from opsd.core.intents.book import book_of, control_state
from opsd.model.control import IntentRow
from opsd.model.cursor import Cursor
from opsd.model.effects import Append
from opsd.model.intent import Intent
from opsd.model.lifecycle import Projection
from opsd.model.run import LoopRef, Run
from opsd.model.state import Memory, StateDocument
from opsd.model.tuning import DriftDocument
from opsd.store.faults import StoreFault
from opsd.store.load import LastControl, StoredLoop
from opsd.store.mend import Mended
from opsd.store.store import Store


class Restored(msgspec.Struct, frozen=True):
    """A loop as its files have it. `intents` and `last_control` are those of `opsd.store.load.StoredLoop`.

    `untold` are rows about its intents that a crash kept from the disk, and that the disk refuses still. `unread` is
    why nobody knows its intents, or what was told of them: until they are read, nothing may be asked of it.
    `cursor_line` is where `cursor.json` stands, 0 where there is none.
    """

    run: Run
    intents: tuple[Intent, ...] = ()
    last_control: LastControl = LastControl()
    untold: tuple[Append, ...] = ()
    unread: str | None = None
    cursor_line: int = 0


def restore(
    store: Store, refs: Sequence[LoopRef], now: datetime, *, boot_id: str = ""
) -> tuple[list[Restored], list[StoreFault]]:
    """One loop per ref, in order, and what was found wrong with our files (already set aside or mended).

    For the writer of the home. `boot_id` names the host's present boot: what an earlier one left unflushed is read
    again from the log.
    """
    faults: list[StoreFault] = []
    loops = []
    for ref, stored in zip(refs, store.load([ref.loop_id for ref in refs], now), strict=True):
        faults.extend(stored.faults)
        mended = store.mend_intents(ref.loop_id, now) if stored.intents else Mended()
        faults.extend(mended.faults)
        last_control = _last_told((*mended.rows, *mended.left)) or stored.last_control
        run = restored(ref, replace(stored, last_control=last_control), now, boot_id)
        unread, line = stored.unread or mended.unread, stored.cursor.event_line_offset if stored.cursor else 0
        loops.append(Restored(run, stored.intents, last_control, mended.left, unread, line))
    return loops, faults


def _last_told(rows: Sequence[Append]) -> LastControl | None:
    """What the newest of these rows in `intents.jsonl` says."""
    told = [append.row.status for append in rows if isinstance(append.row, IntentRow)]
    return LastControl(told[-1], ours=True) if told else None


def restored(ref: LoopRef, stored: StoredLoop, now: datetime, boot_id: str = "") -> Run:
    """The run of one loop as its files have it.

    A run that we know from before is no first sight: what happened while nobody looked is told. Artifacts of another
    manager are: it told its operators what it saw, in its own way.
    """
    run = Run(
        ref=ref,
        open_escalations=stored.open_escalations,
        escalation_counts=stored.escalation_counts,
        transport_health=stored.transport_health,
        drift=stored.drift,
        control=control_state(book_of(stored.intents), stored.last_control.status, stored.last_control.ours, None),
        baselined=bool(stored.escalation_counts),
    )
    state = stored.state
    if state is None or state.memory is None:
        return run
    memory = state.memory
    run = replace(
        run,
        process=memory.process,
        beat=memory.beat,
        phase_since=memory.phase_since,
        stream_note=memory.stream_note,
        quarantined_at=memory.quarantined_at,
        baseline=memory.baseline,
        heartbeat=stored.heartbeat,
        health=stored.health or (None if state.health is UNSET else state.health),
        projection=_projection(state),
        drift=_as_state_has_it(stored.drift, state),
        # A copy: it is part of the bytes of the whole document otherwise, and keeps all of them in memory.
        tuning=None if state.tuning is UNSET else state.tuning.copy(),
        baselined=True,
    )
    cursor = _cursor(stored.cursor, memory) if memory.boot_id == boot_id else None
    if cursor is not None:
        # Where the last sequence stood means something only to a reading that goes on from there. The state document's
        # own is of the fold's very pass; a crash may have left the other document one pass ahead.
        sequence = stored.sequence if state.sequence is UNSET else state.sequence
        run = replace(run, cursor=cursor, fold=memory.fold, sequence=sequence)
        if _is_complete(stored):
            run = replace(run, written=restored_marks(run, now))
    return run


class _Traced(msgspec.Struct, rename="camel"):
    updated_at: Any = None
    trace_id: Any = None


def _as_state_has_it(drift: DriftDocument | None, state: StateDocument) -> DriftDocument | None:
    """`drift` with the trace id of its pass, which the state document alone has."""
    if drift is None or state.drift is UNSET:
        return drift
    try:
        copy = msgspec.json.decode(state.drift, type=_Traced)
    except msgspec.ValidationError:
        return drift
    same = copy.updated_at == msgspec.to_builtins(drift.updated_at)
    return replace(drift, trace_id=copy.trace_id) if same and isinstance(copy.trace_id, str) else drift


def _cursor(on_file: Cursor | None, memory: Memory) -> Cursor | None:
    """Where to read on: where the fold stands, which `cursor.json` may lag behind. None is from the log's start.

    A cursor that an operator removed, or that another manager wrote, asks for a replay.
    """
    if on_file is None or on_file.stream is None or memory.stream is None:
        return None
    line = memory.fold.line
    return replace(on_file, event_line_offset=line, event_line_count=line, stream=memory.stream)


def _is_complete(stored: StoredLoop) -> bool:
    """Whether every document that a pass writes is there and was readable; otherwise the first pass writes them all."""
    return not stored.faults and None not in (stored.health, stored.sequence, stored.transport_health)


def _projection(state: StateDocument) -> Projection:
    stuck = state.projection.stuck
    return Projection(
        transition=state.transition,
        phase=state.phase,
        basis=state.basis,
        since=state.memory.phase_since if state.memory else None,
        run_id=state.run.run_id,
        iteration=state.run.iteration,
        has_pending_approval=state.projection.has_pending_approval,
        completion_ok=state.projection.completion_ok,
        gates=state.projection.gates,
        stuck_streak=stuck.streak if stuck else None,
        stuck_threshold=stuck.threshold if stuck else None,
        divergence=state.divergence.flags,
    )
