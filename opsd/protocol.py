"""What travels over the control socket: requests and replies, records only, camelCase on the wire.

The same records stand behind every output format of `opsctl`. How they are made is `opsd.app.view`; how they travel is
`opsd.api`. Documents of the contract are carried as they are on disk.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from opsd.model.cursor import Cursor
from opsd.model.escalation import OpenEscalation
from opsd.model.health import Ages, Finding, HealthDocument, HealthStatus
from opsd.model.intent import Fence, Intent, IntentKind, OpenIntent, PauseNote
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.mode import Mode
from opsd.model.runtime import Aware
from opsd.model.sequence import SequenceDocument
from opsd.model.service import Reach
from opsd.model.thresholds import Profile, Thresholds
from opsd.model.transport import TransportHealth, TransportMode
from opsd.model.tuning import DriftDocument, TuningBlock

API_VERSION = "v1"


class Progress(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Where a run stands. `role_since` and `phase_since` are when it entered the role and the phase."""

    run_id: str
    iteration: int = 0
    max_iterations: int | None = None
    role: str | None = None
    role_since: datetime | None = None
    activity: str | None = None
    phase_since: datetime | None = None
    started_at: datetime | None = None


class LoopControl(msgspec.Struct, frozen=True, rename="camel"):
    """What intents have to do with a loop now. `observing`: none executes, until `observe_until` (None: for good)."""

    in_flight: OpenIntent | None = None
    ambiguous: tuple[OpenIntent, ...] = ()
    pause: PauseNote | None = None
    observing: bool = False
    observe_until: datetime | None = None


class LoopSummary(msgspec.Struct, frozen=True, rename="camel"):
    """One row of the fleet. `observed_at` is the last contact; `ages` are relative to the reply's own `at`.

    `repo_path` is the checkout, or the base URL of the service in whose sprite it is.
    `fault` is why a listed loop is not managed. `health` is the contract's status, `overall_status` also counts our
    own findings. `needs_human` is true where somebody has to decide or act.
    """

    loop_id: str
    repo_path: str
    transport: str
    lifecycle: Lifecycle
    phase: Phase
    basis: str
    health: HealthStatus
    overall_status: HealthStatus
    reason_codes: tuple[str, ...]
    findings: tuple[Finding, ...]
    needs_human: bool
    progress: Progress
    ages: Ages
    revision: int
    enabled: bool = True
    fault: str | None = None
    fault_detail: str | None = None
    last_event_name: str | None = None
    last_event_at: str | None = None
    observed_at: datetime | None = None
    control: LoopControl | None = None
    """None where there is nothing to say: no open intent, no pause, normal mode."""


class PendingApproval(msgspec.Struct, frozen=True, rename="camel"):
    """What waits to be approved: the candidate as the runtime recorded it."""

    run_id: str | None
    iteration: int | None
    requested_at: str | None
    promise_matched: bool | None
    gates: dict[str, str] | None
    promise: str | None = None
    candidate: str | None = None
    """The digest of what is asked: an approval that carries it decides on nothing else."""
    since: datetime | None = None
    files: dict[str, str] = {}
    """What to read before deciding: name to path relative to the checkout."""


class LoopStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One loop in full."""

    at: datetime
    summary: LoopSummary
    health: HealthDocument | None
    sequence: SequenceDocument | None
    transport: TransportHealth | None
    cursor: Cursor | None
    gates: dict[str, str] | None
    stuck_streak: int | None
    stuck_threshold: int | None
    approval: PendingApproval | None
    open_escalations: tuple[OpenEscalation, ...]
    backlog_bytes: int
    event_count: int
    quarantined_count: int
    liveness: str
    pid: int | None
    reach: Reach | None = None
    """How asking the loop's service goes; None for loops on this host."""


class Subsystem(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`age_s` is how long ago this part last finished its work, by the monotonic clock; `ok`: that is in time."""

    name: str
    ok: bool
    age_s: float | None
    detail: str | None = None


class ModeStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A mode that somebody set: for the fleet, or for the loop that is named. `until` None is for good."""

    mode: Mode
    by: str
    since: datetime
    loop_id: str | None = None
    reason: str = ""
    until: datetime | None = None


class DaemonStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Who answers. `start_id` is new with each start; feeds are resumable within one start."""

    version: str
    api_version: str
    start_id: str
    pid: int
    started_at: datetime
    home: str
    registry: str
    """The registry file in force, or `discovery` where loops are found under the home's `.superloop/loops/`."""
    findings: tuple[Finding, ...]
    subsystems: tuple[Subsystem, ...]
    mode: ModeStatus | None = None
    """None in normal mode."""


class FleetStatus(msgspec.Struct, frozen=True, rename="camel"):
    at: datetime
    daemon: DaemonStatus
    loops: tuple[LoopSummary, ...]
    seq: int
    """Position in the feed that this picture corresponds to: watch from here to miss nothing."""


class FeedItem(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One line of `GET /v1/watch`. At most one of the optional members is set.

    `kind`: `hello` (first line), `loop` (a loop's new picture), `removed` (a loop left the fleet), `escalation`,
    `intent` (an intent was taken in or came a step further), `lost` (the reader was too slow or asked for a position no
    longer held: a full picture follows), `live` (the picture is complete, changes follow), `bye` (the daemon stops),
    `beat` (nothing happened lately).
    """

    kind: str
    start_id: str
    seq: int
    at: datetime
    loop: LoopSummary | None = None
    removed: str | None = None
    escalation: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # `Raw | None` could be encoded, but not decoded
    lost: int | None = None
    intent: Intent | None = None


class EventItem(msgspec.Struct, frozen=True, rename="camel"):
    """A line of the event log, as it stands, with its physical line number and the offset behind it.

    Lines that are not JSON in UTF-8 cannot be carried and are left out; the quarantine has them.
    """

    line: int
    next_offset: int
    raw: msgspec.Raw


class EventPage(msgspec.Struct, frozen=True, rename="camel"):
    """`epoch` and `next_offset` continue the reading; `restarted` is true where the log is another than at `epoch`."""

    loop_id: str
    epoch: int
    items: tuple[EventItem, ...]
    next_offset: int
    next_line: int
    more: bool
    restarted: bool = False


class LogPage(msgspec.Struct, frozen=True, rename="camel"):
    """A piece of a role's log. `text` is defused for a terminal; `available` lists what could have been asked for.

    `inode` and `next_offset` continue the reading; `restarted` is true where the log is another file than that one.
    """

    loop_id: str
    role: str
    iteration: int
    path: str
    text: str
    next_offset: int
    size_bytes: int
    available: tuple[str, ...]
    inode: int = 0
    restarted: bool = False


class RunItem(msgspec.Struct, frozen=True, rename="camel"):
    run_id: str
    ending: str
    """`running` for the present run, else how it ended (`opsd.model.lifecycle.Ending`)."""
    started_at: datetime | None
    ended_at: datetime | None
    iterations: int
    max_iterations: int | None
    detail: str | None
    first_line: int


class RunHistory(msgspec.Struct, frozen=True, rename="camel"):
    at: datetime
    loop_id: str
    runs: tuple[RunItem, ...]


class EscalationPage(msgspec.Struct, frozen=True, rename="camel"):
    """Rows of `escalations.jsonl` as they stand, oldest first; `open` are the ids of conditions that last."""

    at: datetime
    rows: tuple[msgspec.Raw, ...]
    open: tuple[str, ...]


class Difference(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`where` is a path such as `health.status`; `said` is what `holder` (memory or disk) has of it."""

    holder: str
    where: str
    said: str
    recomputed: str


class Verification(msgspec.Struct, frozen=True, rename="camel"):
    """A verdict recomputed from the runtime's files alone, and where memory or disk disagree with it."""

    loop_id: str
    ok: bool
    events_read: int
    differences: tuple[Difference, ...]
    note: str | None = None


class VerificationReport(msgspec.Struct, frozen=True, rename="camel"):
    at: datetime
    loops: tuple[Verification, ...]


class VersionReply(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Who answers: the daemon's version, and the API it speaks."""

    version: str
    api_version: str
    start_id: str
    pid: int
    started_at: datetime


class HealthReply(msgspec.Struct, frozen=True, rename="camel"):
    """`GET /healthz`: the daemon's own state. The status code is 503 where `ok` is false."""

    at: datetime
    ok: bool
    subsystems: tuple[Subsystem, ...]


Count = Annotated[int, msgspec.Meta(ge=0)]
Tail = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
WaitSeconds = Annotated[float, msgspec.Meta(ge=0, le=30)]


class NoQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The path takes no query parameters."""


class EventsQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which part of the event log.

    With `offset` (and the `epoch` and `line` of the page it came from) what follows there, else the newest `tail`
    events. `since` and `name` choose among them. `wait` is how long the answer may be held back, in seconds, while
    there is nothing to tell.
    """

    epoch: Count | None = None
    offset: Count | None = None
    line: Count | None = None
    tail: Tail | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 500
    since: Aware | None = None
    name: tuple[str, ...] = ()
    wait: WaitSeconds = 0.0


class LogsQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which role log. Without `role` or `iteration`, the one written last; `tail` counts lines, `offset` bytes.

    With `offset` (and the `inode` of the page it came from) what follows there, else the newest `tail` lines.
    """

    role: str | None = None
    iteration: Count | None = None
    inode: Count | None = None
    offset: Count | None = None
    tail: Tail | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_048_576)] = 262_144
    wait: WaitSeconds = 0.0


class EscalationsQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Of one loop or of all: the newest `tail` rows."""

    loop: str | None = None
    tail: Tail = 200


class OperatorStatusQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The advice on thresholds rests on the newest `summary_window` rows of telemetry."""

    summary_window: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200


class VerifyQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    loop: str | None = None


class WatchQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Where to go on: after position `after` of the feed of daemon start `start_id`. Without both, a full picture."""

    start_id: str | None = None
    after: Count | None = None
    loop: tuple[str, ...] = ()


class ReconcileRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    from_start: bool = False


class ReconcileReply(msgspec.Struct, frozen=True, rename="camel"):
    at: datetime
    trace_id: str
    events_ingested: int
    status: LoopStatus


# A command's argument cannot carry NUL.
_NO_NUL = r"^[^\x00]*$"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=_NO_NUL)]
Words = Annotated[str, msgspec.Meta(max_length=4_000, pattern=_NO_NUL)]


class IntentRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Asks for a change of a run. `by` is the claimed name; the kernel's word on who asks is recorded beside it.

    `expect` is what the operator saw; an act on anything else is refused. `wait_s` holds the answer back until the
    intent is settled, at most that long. `dry_run` answers what would be done, and records nothing. `timeout_s` is the
    confirmation window; without `confirm` executed is enough. `pause_for_s` bounds how long a pause is expected.
    `as_contract`: act in whatever state the loop is, as the contract's command does, but never on a neighbour.
    """

    intent: IntentKind
    by: Name | None = None
    note: Words = ""
    reason: Words = ""
    idempotency_key: Name | None = None
    expect: Fence = Fence()
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 30.0
    confirm: bool = True
    dry_run: bool = False
    override_divergence: bool = False
    clear_stale: bool = False
    pause_for_s: Annotated[float, msgspec.Meta(gt=0, le=2_592_000)] | None = None
    trace_id: Name | None = None
    wait_s: WaitSeconds = 0.0
    as_contract: bool = False


class SpriteIntentRequest(IntentRequest, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """`POST /ops/intents` of the service inside a sprite: the same request, naming its loop."""

    loop_id: str


class ContractRequest(IntentRequest, frozen=True, kw_only=True):
    """What the contract's command asks for; nothing that travels. Its `timeout_s` may be 0: one look.

    `made_key` is the key that the command made up, where its caller gave none: told on, and bound to nothing.
    """

    made_key: str = ""
    as_contract: bool = True
    interval_s: float = 2.0


class Submitted(msgspec.Struct, frozen=True):
    """What the control desk answers to a request; an `IntentReply` is made of it."""

    intent: Intent
    replayed: bool = False
    would: tuple[str, ...] = ()


class IntentReply(msgspec.Struct, frozen=True, rename="camel"):
    """An intent as it stands. `replayed`: it was asked for before under this key, and nothing new was done.

    `would`: with `dry_run`, what would be carried out, one line each. `next` is what to do now, in one sentence.
    A refused intent is an answer like any other: `intent.status` and `intent.refusal` say so.
    """

    at: datetime
    intent: Intent
    replayed: bool = False
    would: tuple[str, ...] = ()
    next: str | None = None


class IntentPage(msgspec.Struct, frozen=True, rename="camel"):
    """Intents, oldest first."""

    at: datetime
    intents: tuple[Intent, ...]


class IntentsQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Of one loop or of all: the newest `tail`; with `open`, only those that are not settled."""

    loop: str | None = None
    open: bool = False
    tail: Tail = 50


class WaitFor(StrEnum):
    """What to wait for: that it is settled, that a later run took the decision up, that this run completed."""

    SETTLED = "settled"
    CONSUMED = "consumed"
    COMPLETE = "complete"


class IntentQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`wait` holds the answer back until that has come true, or cannot any more; at most that many seconds."""

    wait: WaitSeconds = 0.0
    until: WaitFor = WaitFor.SETTLED


class AckRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Settles an ambiguous intent by an operator's word."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]
    by: Name | None = None


class ApprovalItem(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that waits for a human. `kind` is the finding's code; `approval` is set for a pending approval.

    `command` is what to type next.
    """

    loop_id: str
    repo_path: str
    kind: str
    says: str
    since: datetime | None
    age_s: float | None
    command: str
    approval: PendingApproval | None = None


class ApprovalPage(msgspec.Struct, frozen=True, rename="camel"):
    """What waits for a human's decision, oldest first."""

    at: datetime
    items: tuple[ApprovalItem, ...]


class ModeRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Sets a mode for the fleet, or for `loop_id`. Without `for_s` for good; only `observe` can have an end."""

    mode: Mode
    loop_id: str | None = None
    reason: Words = ""
    by: Name | None = None
    for_s: Annotated[float, msgspec.Meta(gt=0, le=2_592_000)] | None = None


class TransportRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`POST /v1/loops/{id}/transport`: how to reach a loop from now on. Without `transport` as the registry says.

    Without `events` a service is asked for snapshots only.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]
    transport: TransportMode | None = None
    events: bool = True
    by: Name | None = None


class TransportReply(msgspec.Struct, frozen=True, rename="camel"):
    """How a loop is reached now. `declared` is what the registry says; `since`, `by` and `reason` are of the switch."""

    at: datetime
    loop_id: str
    transport: TransportMode
    declared: TransportMode
    events: bool
    by: str | None = None
    since: datetime | None = None
    reason: str = ""


class ProfileRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`POST /v1/loops/{id}/profile`: which profile of thresholds a loop has from now on. None ends what was chosen."""

    profile: Name | None
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]
    by: Name | None = None


class ProfileSource(StrEnum):
    """Who says which profile a loop has: an operator for this loop, the settings for all, the catalog by default."""

    CHOSEN = "chosen"
    SETTINGS = "settings"
    CATALOG = "catalog"


class ProfileReply(msgspec.Struct, frozen=True, rename="camel"):
    """Which thresholds a loop has, and why. `overridden` are the values that were set whichever profile there is.

    `chosen`, `by`, `since` and `reason` are of the operator's choice; `problem` says why it is without effect.
    """

    at: datetime
    loop_id: str
    source: ProfileSource
    thresholds: Thresholds
    description: str | None = None
    overridden: tuple[str, ...] = ()
    chosen: str | None = None
    by: str | None = None
    since: datetime | None = None
    reason: str = ""
    problem: str | None = None


class ProfileItem(msgspec.Struct, frozen=True, rename="camel"):
    """`values` are the catalog's own; None where they make no sense, and `problem` says why."""

    name: str
    values: Profile | None = None
    problem: str | None = None


class ProfilePage(msgspec.Struct, frozen=True, rename="camel"):
    """The catalog's profiles by name. `of_all` is the one of loops for which nobody chose."""

    at: datetime
    of_all: str | None
    profiles: tuple[ProfileItem, ...]


class TuningReply(msgspec.Struct, frozen=True, rename="camel"):
    """What telemetry says of a loop's thresholds; nothing follows from it until an operator chooses.

    `tuning` and `drift` are of the last sample, and null before the first one; `drift.updatedAt` is when it was taken.
    `next` is the command that would follow the advice; null where there is nothing to follow.
    """

    at: datetime
    loop_id: str
    profile: ProfileReply
    tuning: TuningBlock | None = None
    drift: DriftDocument | None = None
    next: str | None = None


class ModePage(msgspec.Struct, frozen=True, rename="camel"):
    """Every mode in force that is not normal; none is the normal state of things."""

    at: datetime
    modes: tuple[ModeStatus, ...]


class ErrorBody(msgspec.Struct, frozen=True, rename="camel"):
    code: str
    message: str
    details: dict[str, str] = {}


class ErrorReply(msgspec.Struct, frozen=True, rename="camel"):
    """Every answer that is not 2xx. Codes are stable; messages name what was wrong and the remedy."""

    error: ErrorBody
