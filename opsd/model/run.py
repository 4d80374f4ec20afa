"""Everything held in memory about one loop, and where it is found. The fold of passes is `opsd.core.reconcile`."""

from datetime import datetime

import msgspec

from opsd.model.cursor import Cursor
from opsd.model.escalation import OpenEscalation
from opsd.model.health import HealthDocument
from opsd.model.heartbeat import Beat, HeartbeatDocument
from opsd.model.ids import LoopId
from opsd.model.intent import QUIET, ControlState
from opsd.model.lifecycle import Fold, Projection
from opsd.model.observation import Artifacts, StreamChange, StreamNote, UnreachableCause
from opsd.model.process import ProcessMemory
from opsd.model.sequence import SequenceDocument
from opsd.model.service import Reach
from opsd.model.transport import TransportHealth, TransportMode
from opsd.model.tuning import DriftDocument, Window


class ServiceRef(msgspec.Struct, frozen=True, gc=False):
    """The HTTP service inside a sprite. `base_url` has no slash at its end; `token_env` names a variable, no token.

    `retry_attempts` counts all attempts of one request, `retry_backoff_s` is the first pause between them. Without
    `events`, a service that can only be asked for snapshots and events separately is asked for snapshots alone.
    """

    base_url: str
    token_env: str | None = None
    retry_attempts: int = 3
    retry_backoff_s: float = 1.0
    events: bool = True


class LoopRef(msgspec.Struct, frozen=True):
    """Which loop, and how it is reached. `repo_path` is the absolute checkout whose `.superloop/` it writes."""

    loop_id: LoopId
    repo_path: str
    transport: TransportMode = TransportMode.LOCAL
    enabled: bool = True
    fault: str | None = None
    """The reason code for which this loop is listed but not managed (`loop_id_reserved`, ...)."""
    fault_detail: str | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    service: ServiceRef | None = None
    """Set for loops that are reached over a service, and for local ones that could be."""
    has_checkout: bool = True
    """Whether `repo_path` is said to be a checkout on this host, so that the loop could be reached locally."""

    @property
    def place(self) -> str:
        """What the runtime keeps one `state.json` for: the checkout, or the sprite behind a service."""
        return self.service.base_url if self.is_remote and self.service is not None else self.repo_path

    @property
    def is_remote(self) -> bool:
        """Whether this host's files and processes say nothing about the loop."""
        return self.transport is TransportMode.SPRITE_SERVICE


class Written(msgspec.Struct, frozen=True, gc=False):
    """What the documents on disk last said, as far as it decides whether to write them again."""

    state_digest: int = 0
    health_digest: int = 0
    sequence_digest: int = 0
    heartbeat_digest: int = 0
    transport_digest: int = 0
    verdict_digest: int = 0
    row_line: int = 0
    row_events: int = 0
    """Up to which line, and how many events, the telemetry rows have told."""
    cursor_line: int = -1
    cursor_at: datetime | None = None
    at: datetime | None = None
    """When a sample of telemetry and the documents were last written."""


class Ingest(msgspec.Struct, frozen=True, gc=False):
    """How this pass's look went. `failure_code` is the contract's, `cause` ours, `problem` one plain sentence."""

    ok: bool = True
    failure_code: str | None = None
    cause: UnreachableCause | None = None
    problem: str | None = None


class Run(msgspec.Struct, frozen=True):
    """One supervised loop at one moment. A loop never looked at has only its `ref`.

    `baselined` is false until the first successful look: what that look finds was there before us, and is recorded
    rather than reported, except for what needs someone now.
    """

    ref: LoopRef
    cursor: Cursor | None = None
    fold: Fold = Fold()
    artifacts: Artifacts = Artifacts()
    process: ProcessMemory = ProcessMemory()
    beat: Beat | None = None
    projection: Projection | None = None
    sequence: SequenceDocument | None = None
    heartbeat: HeartbeatDocument | None = None
    transport_health: TransportHealth | None = None
    health: HealthDocument | None = None
    open_escalations: tuple[OpenEscalation, ...] = ()
    escalation_counts: dict[str, int] = {}
    """How often each (category, condition, onset) stands in the journal: a later occurrence gets a new id."""
    baselined: bool = False
    baseline: tuple[str, ...] = ()
    """What that first look found and did not escalate, as `category|condition`, for as long as it lasts."""
    rebuild: Fold | None = None
    """A replay under way: the fold that replaces `fold` once it has caught up with the log."""
    rebuild_change: StreamChange | None = None
    """Why that replay is made; None for the first reading of a log never seen before."""
    backlog_bytes: int = 0
    backlog_since: datetime | None = None
    stream_note: StreamNote | None = None
    quarantined_at: datetime | None = None
    """When a bad line of the log was last set aside."""
    last_output_at: datetime | None = None
    last_contact_at: datetime | None = None
    failed_at: datetime | None = None
    """When the newest failed look was made: a failure that is seen again counts once."""
    last_raw: bytes = b""
    phase_since: datetime | None = None
    reach: Reach | None = None
    """Of loops behind a service, how asking it goes. Kept by the poller, like `control` by the control desk."""
    window: Window | None = None
    """The newest telemetry; None until a sample is due, when it is read back from the journal."""
    drift: DriftDocument | None = None
    """As `state.drift` has it, from the last sample; so `tuning`, in JSON, of which only readers outside make use."""
    tuning: msgspec.Raw | None = None
    control: ControlState = QUIET
    """Not the passes' own: the control desk keeps it, and a pass leaves it as it is."""
    written: Written = Written()
    revision: int = 0
    """Grows by one with every pass whose outcome an operator could tell apart from the one before."""

    @property
    def cursor_line(self) -> int:
        """The last line ingested; -1 where nothing ever was."""
        return self.cursor.event_line_offset if self.cursor else -1
