"""The contract's projection of one snapshot and one batch of events: the snapshot's status as it is, and what
contradicts it. The `project-state` command prints this.

What our own manager believes of a run is `lifecycle`. Reading envelopes is `opsd.app.project`. Source: loop-core 4.2.
"""

from datetime import datetime

import msgspec

from opsd.core.instants import whole
from opsd.core.lifecycle import MID_ITERATION
from opsd.model.lifecycle import DivergenceFlags, Lifecycle, Transition
from opsd.model.projected import BatchSays, ProjectedEvidence, ProjectedRun, ProjectedState, SnapshotSays
from opsd.model.state import CursorPosition, Divergence, RunIdentity, SnapshotGist, Source


class PreviousSays(msgspec.Struct, frozen=True):
    """Of the document that is replaced; `memory` is what our manager keeps in it."""

    current_state: Lifecycle = Lifecycle.NONE
    event_line_offset: int = 0
    memory: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def project(
    source: Source,
    snapshot: SnapshotSays,
    batch: BatchSays,
    previous: PreviousSays,
    *,
    snapshot_file: str | None,
    events_file: str | None,
    now: datetime,
) -> ProjectedState:
    """The document, from these alone: nothing latches."""
    state, last = snapshot.status, batch.last_name
    flags = DivergenceFlags(
        active_mismatch=not snapshot.active and last in MID_ITERATION,
        approval_completion_conflict=snapshot.has_pending_approval and snapshot.completion_ok,
        cursor_regression=previous.event_line_offset > snapshot.event_line_offset,
    )
    return ProjectedState(
        schema_version="v1",
        generated_at=whole(now),
        source=source,
        run=RunIdentity(snapshot.run_id, snapshot.iteration),
        transition=Transition(
            previous_state=previous.current_state,
            triggering_signal=f"event:{last}" if last else f"snapshot_status:{state}",
            current_state=state,
            confidence="low" if flags.any else "high" if last else "medium",
        ),
        projection=ProjectedRun(
            status=state,
            has_pending_approval=snapshot.has_pending_approval,
            completion_ok=snapshot.completion_ok,
            gates=snapshot.gates,
            stuck=snapshot.stuck,
            active=snapshot.active or None,
            last_event_name=snapshot.last_event_name,
            last_event_at=snapshot.last_event_at,
        ),
        cursor=CursorPosition(snapshot.event_line_offset, snapshot.event_line_count),
        divergence=Divergence(flags.any, flags),
        evidence=ProjectedEvidence(
            snapshot_file=snapshot_file,
            events_file=events_file,
            snapshot_envelope=SnapshotGist(state, snapshot.last_event_name, snapshot.has_pending_approval),
            last_event_envelope=batch.last,
        ),
        memory=previous.memory,
    )
