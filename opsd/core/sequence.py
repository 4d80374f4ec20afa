"""Can the log's order be trusted? The contract's sequence diagnostics of one pass. Source: loop-core 7.

The sequence of an event is its physical line, that of a look the log's line count. What drift means for the run's
health is judged in `findings`.
"""

from datetime import datetime

import msgspec

from opsd.core.instants import whole
from opsd.model.observation import StreamChange
from opsd.model.sequence import (
    DriftTransition,
    EventSequence,
    SequenceDocument,
    SequenceRow,
    SequenceStatus,
    SnapshotSequence,
)

SNAPSHOT_REGRESSION = "snapshot_sequence_regression"
EVENT_REGRESSION = "event_sequence_regression"


def diagnose(
    previous: SequenceDocument | None,
    *,
    loop_id: str,
    trace_id: str,
    transport: str,
    first: int | None,
    last: int | None,
    count: int,
    log_lines: int,
    replay_asked: bool,
    new_epoch: StreamChange | None,
    now: datetime,
) -> SequenceDocument:
    """Compare this pass's batch (lines `first` to `last`, None where empty) and the log's length with the last pass's.

    Regressions are what a real log shows when it was cut or replaced. Reading an unshrunken log again, because an
    operator asked or our cursor was removed, is none (the reference scripts report it as drift: oddity 1), and an
    empty batch does not forget where the last one ended (oddity 2). Equal lines and gaps are no violations.
    """
    replaced = new_epoch in (StreamChange.TRUNCATED, StreamChange.REPLACED)
    replay = not replaced and (replay_asked or new_epoch is StreamChange.CURSOR_RESET)
    known_lines = previous.snapshot.current if previous else None
    known_last = _last_known(previous)

    shrank = known_lines is not None and log_lines < known_lines
    went_back = first is not None and known_last is not None and first < known_last and (shrank or not replay)
    violations = ((EVENT_REGRESSION,) if went_back else ()) + ((SNAPSHOT_REGRESSION,) if shrank else ())
    drift, was_drift = bool(violations), previous is not None and previous.drift_active
    return SequenceDocument(
        updated_at=whole(now),
        loop_id=loop_id,
        trace_id=trace_id,
        transport=transport,
        status=SequenceStatus.DRIFT if drift else SequenceStatus.OK,
        drift_active=drift,
        violations=violations,
        snapshot=SnapshotSequence(
            previous=known_lines, current=log_lines, monotonic=not shrank, regressed=shrank, missing=False
        ),
        events=EventSequence(
            ingested_count=count,
            previous_last=known_last,
            first=first,
            last=last,
            monotonic_within_batch=True,
            monotonic_across_batches=not went_back,
            regressed=went_back,
            missing=False,
        ),
        transition=DriftTransition(
            previous_drift_active=was_drift,
            transitioned_to_drift=drift and not was_drift,
            recovered_from_drift=was_drift and not drift,
        ),
        reason_code=SequenceStatus.DRIFT.value if drift else msgspec.UNSET,
        # A log that starts over is not compared with its past twice.
        last_known_event=last if last is not None else None if replaced or shrank else known_last,
    )


def _last_known(previous: SequenceDocument | None) -> int | None:
    """Documents of the reference scripts know only their last batch."""
    if previous is None:
        return None
    return previous.events.last if previous.last_known_event is None else previous.last_known_event


def row(document: SequenceDocument) -> SequenceRow:
    """The telemetry row of a diagnosis."""
    return SequenceRow(
        timestamp=document.updated_at,
        loop_id=document.loop_id,
        trace_id=document.trace_id,
        transport=document.transport,
        status=document.status,
        drift_active=document.drift_active,
        violations=document.violations,
        snapshot=document.snapshot,
        events=document.events,
        transition=document.transition,
        reason_code=document.reason_code,
    )
