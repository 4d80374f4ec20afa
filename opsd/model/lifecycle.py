"""What we believe about a run: the contract's seven words, our finer phase, and the facts folded from its events.

The rules that produce these are `opsd.core.fold` and `opsd.core.lifecycle`. Source: loop-core 4.
"""

from datetime import datetime
from enum import StrEnum

import msgspec


class Lifecycle(StrEnum):
    """`transition.currentState`. `none` is only ever a previous state. Source: loop-core 4.2."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"
    IDLE = "idle"
    NONE = "none"


class Phase(StrEnum):
    """The finer word beside the lifecycle. Additive: no outside program depends on the set being closed."""

    NEVER_RUN = "never_run"
    STARTING = "starting"
    RUNNING = "running"
    BUSY = "busy"
    """Silent, and positively known to be at work: a role within its time limit, tests, validation."""
    LIMITED = "limited"
    """Alive, and waiting for a usage or rate limit with a known end."""
    PAUSED = "paused"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved_not_taken_up"
    REJECTED = "rejected_not_taken_up"
    COMPLETE = "complete"
    STOPPED = "stopped"
    STUCK = "stuck"
    RATE_LIMITED = "rate_limited"
    """Ended by a rate limit: nothing runs until somebody starts it again."""
    FAILED = "failed"
    CRASHED = "crashed"
    """Says it runs, and its process is gone."""
    CANCELLED = "cancelled"
    IDLE = "idle"
    UNKNOWN = "unknown"


class Ending(StrEnum):
    """How a run ended. `lost` is a run that a newer one replaced without any sign of its end."""

    COMPLETE = "complete"
    AWAITING_APPROVAL = "awaiting_approval"
    MAX_ITERATIONS = "max_iterations"
    STUCK = "stuck"
    NO_PROGRESS = "no_progress"
    LIFECYCLE_GATE_FAILED = "lifecycle_gate_failed"
    STOPPED = "stopped"
    ROLE_TIMEOUT = "role_timeout"
    RATE_LIMITED = "rate_limited"
    USAGE_LIMITED = "usage_limited"
    FAILED = "failed"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    LOST = "lost"


class EventMark(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Where in the log something was said. `at` is None where the event's timestamp is not the contract's form."""

    line: int
    name: str
    timestamp: str
    at: datetime | None = None
    run_id: str | None = None
    iteration: int = 0
    role: str | None = None
    status: str | None = None


class Limit(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A usage or rate limit that an event or `rate-limit.json` reported. `ends_at` is None where nobody knows."""

    kind: str
    since: datetime | None
    ends_at: datetime | None
    role: str | None = None
    message: str | None = None


class RunFacts(msgspec.Struct, frozen=True, rename="camel"):
    """One run attempt, folded from its events. Times are the events' own.

    A run begins with its `loop_start`; an approval consumed by a later run carries the asking run's id, and still ends
    the run that consumed it: `took_up` is that asking run's id. `activity` is the name of the event that began the
    newest gate or role step not ended yet (`role_start`, `tests_start`, ...), `activity_since` its moment; `role` is
    set while that step is a role's. `iteration` is the newest event's; `max_iterations` is None where there is no
    limit. `ended` marks the event that ended it, for a `lost` run the last one seen of it.
    """

    run_id: str
    first_line: int
    started_at: datetime | None = None
    iteration: int = 0
    max_iterations: int | None = None
    iteration_started_at: datetime | None = None
    role: str | None = None
    activity: str | None = None
    activity_since: datetime | None = None
    gates: dict[str, str] | None = None
    tests_failed_streak: int = 0
    iterations_ended: int = 0
    took_up: str | None = None
    ending: Ending | None = None
    ended: EventMark | None = None
    detail: str | None = None
    """The runtime's own words on the end, defused: a stop reason, a timeout's seconds, a limit's message."""


class Fold(msgspec.Struct, frozen=True, rename="camel"):
    """What is remembered of the events up to `line` of stream epoch `epoch`; folding a line twice changes nothing."""

    epoch: int = 0
    line: int = 0
    event_count: int = 0
    quarantined_count: int = 0
    last: EventMark | None = None
    run: RunFacts | None = None
    runs_begun: int = 0
    limit: Limit | None = None
    approval_requested: EventMark | None = None
    decided: EventMark | None = None
    """The newest decision on an approval that the log has; its status says which."""
    taken_up: EventMark | None = None
    """The newest event with which a run took a decision up (`approval_consumed`, `approval_rejected`)."""
    recovery: EventMark | None = None
    """The newest recovery event that waits for a human, until a later one or a new run settles it."""


class DivergenceFlags(msgspec.Struct, frozen=True, rename="camel", gc=False):
    active_mismatch: bool = False
    approval_completion_conflict: bool = False
    cursor_regression: bool = False

    @property
    def any(self) -> bool:
        return self.active_mismatch or self.approval_completion_conflict or self.cursor_regression


class Transition(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`state.transition`. `confidence` is `low` on divergence, `medium` without new events, else `high`."""

    previous_state: Lifecycle
    triggering_signal: str
    current_state: Lifecycle
    confidence: str


class Projection(msgspec.Struct, frozen=True, rename="camel"):
    """What we believe at one moment. `basis` says in one plain sentence which evidence decided the phase.

    `holds_until` is when this would read differently though nothing new is seen: a limit's end, the moment a silent
    role counts as busy, files written apart that should agree by then. None where only new evidence can change it.
    """

    transition: Transition
    phase: Phase
    basis: str
    since: datetime | None
    run_id: str
    iteration: int
    has_pending_approval: bool = False
    completion_ok: bool = False
    gates: dict[str, str] | None = None
    stuck_streak: int | None = None
    stuck_threshold: int | None = None
    divergence: DivergenceFlags = DivergenceFlags()
    holds_until: datetime | None = None
    mismatch_at: datetime | None = None
    """When a contradiction between log and state would be believed that may still pass: a run's last writes are not
    one act. None where there is none, and where it is believed."""


class RunRow(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A line of `runs.jsonl`: a run and how it ended. The last row of a run id holds."""

    timestamp: datetime
    loop_id: str
    run_id: str
    first_line: int
    ending: Ending
    schema_version: str = "v1"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    iterations: int = 0
    max_iterations: int | None = None
    detail: str | None = None
