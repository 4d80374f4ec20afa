"""The state document as its own command makes it, and what of a snapshot and a batch of events it is made of.

What a pass makes of a loop, health and all, is `opsd.model.state`, whose readers understand this one. Source: loop-core
4.3, the members by P.
"""

import msgspec

from opsd.model.ids import UNKNOWN_RUN
from opsd.model.lifecycle import Lifecycle, Transition
from opsd.model.runtime import Aware
from opsd.model.state import CursorPosition, Divergence, RunIdentity, SnapshotGist, Source


def _null() -> msgspec.Raw:
    """Made anew each time: no schema can be drawn up of a record that has bytes among its defaults."""
    return msgspec.Raw(b"null")


class SnapshotSays(msgspec.Struct, frozen=True, rename="camel"):
    """Of a snapshot what is projected; members that it lacks have these defaults. `gates` and `stuck` are verbatim."""

    status: Lifecycle = Lifecycle.UNKNOWN
    run_id: str = UNKNOWN_RUN
    iteration: int = 0
    completion_ok: bool = False
    active: bool = False
    has_pending_approval: bool = False
    last_event_name: str | None = None
    last_event_at: str | None = None
    event_line_offset: int = 0
    event_line_count: int = 0
    gates: msgspec.Raw = msgspec.field(default_factory=_null)
    stuck: msgspec.Raw = msgspec.field(default_factory=_null)


class BatchSays(msgspec.Struct, frozen=True, rename="camel"):
    """The last envelope of a batch: its event's name, and all of it. Both are null for an empty batch."""

    last_name: str | None = None
    last: msgspec.Raw = msgspec.field(default_factory=_null)


class ProjectedRun(msgspec.Struct, frozen=True, rename="camel"):
    """`gates` and `stuck` are the snapshot's, verbatim; `active` is true or null, never false."""

    status: Lifecycle
    has_pending_approval: bool
    completion_ok: bool
    gates: msgspec.Raw
    stuck: msgspec.Raw
    active: bool | None
    last_event_name: str | None
    last_event_at: str | None


class ProjectedEvidence(msgspec.Struct, frozen=True, rename="camel"):
    """Which files it was made of, null for what was never a file; the last envelope of the batch, verbatim."""

    snapshot_file: str | None
    events_file: str | None
    snapshot_envelope: SnapshotGist
    last_event_envelope: msgspec.Raw


class ProjectedState(msgspec.Struct, frozen=True, rename="camel"):
    """`memory` is ours: what a pass left in the document for the next one is handed on as it was."""

    schema_version: str
    generated_at: Aware
    source: Source
    run: RunIdentity
    transition: Transition
    projection: ProjectedRun
    cursor: CursorPosition
    divergence: Divergence
    evidence: ProjectedEvidence
    memory: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
