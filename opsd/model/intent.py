"""An operator's request to change a run, and what became of it: records, the words for both, the table of its life.

Whether a request may be carried out, what proves its effect and what is told of it is decided in `opsd.core.intents`.
The rows that outside programs read are `opsd.model.control`. Source: control-and-service 2, 4 and 6.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from opsd.model.ids import LoopId
from opsd.model.runtime import Aware


class IntentKind(StrEnum):
    """The first three are the contract's; `reject` is a decision like `approve`. Source: control-and-service 2."""

    CANCEL = "cancel"
    APPROVE = "approve"
    REJECT = "reject"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"


DECISIONS = frozenset({IntentKind.APPROVE, IntentKind.REJECT})


class IntentStatus(StrEnum):
    """How far an intent has come. `executing` is on the disk before anything is done; nothing is done twice.

    `refused` and `expired` were never carried out. `ambiguous`: it was, or may have been, and nothing proves the
    effect; it stays open until evidence or an operator settles it. `acknowledged` is that operator's word.
    """

    RECORDED = "recorded"
    EXECUTING = "executing"
    EXECUTED = "executed"
    CONFIRMED = "confirmed"
    EXECUTED_UNCONFIRMED = "executed_unconfirmed"
    AMBIGUOUS = "ambiguous"
    FAILED_COMMAND = "failed_command"
    REFUSED = "refused"
    EXPIRED = "expired"
    ACKNOWLEDGED = "acknowledged"


NEXT: Mapping[IntentStatus, frozenset[IntentStatus]] = {
    IntentStatus.RECORDED: frozenset({IntentStatus.EXECUTING, IntentStatus.REFUSED, IntentStatus.EXPIRED}),
    IntentStatus.EXECUTING: frozenset(
        {
            IntentStatus.EXECUTED,
            IntentStatus.FAILED_COMMAND,
            IntentStatus.REFUSED,  # the last look before the act found something else
            IntentStatus.EXPIRED,  # behind a service: there its turn did not come
            IntentStatus.CONFIRMED,  # these two after a crash: what the command said is lost
            IntentStatus.AMBIGUOUS,
        }
    ),
    IntentStatus.EXECUTED: frozenset(
        {
            IntentStatus.CONFIRMED,
            IntentStatus.EXECUTED_UNCONFIRMED,
            IntentStatus.AMBIGUOUS,
            IntentStatus.FAILED_COMMAND,  # a run that was started and ended before it began
        }
    ),
    IntentStatus.AMBIGUOUS: frozenset(
        {
            IntentStatus.CONFIRMED,
            IntentStatus.FAILED_COMMAND,
            IntentStatus.ACKNOWLEDGED,
            IntentStatus.EXECUTED_UNCONFIRMED,  # behind a service that tells late of what nobody wanted confirmed
        }
    ),
    IntentStatus.CONFIRMED: frozenset(),
    IntentStatus.EXECUTED_UNCONFIRMED: frozenset(),
    IntentStatus.FAILED_COMMAND: frozenset(),
    IntentStatus.REFUSED: frozenset(),
    IntentStatus.EXPIRED: frozenset(),
    IntentStatus.ACKNOWLEDGED: frozenset(),
}
"""What may follow what."""

IN_FLIGHT = frozenset({IntentStatus.RECORDED, IntentStatus.EXECUTING, IntentStatus.EXECUTED})
"""Somebody still works on it; a loop has at most one of these."""
OPEN = IN_FLIGHT | {IntentStatus.AMBIGUOUS}
NEVER_EXECUTED = frozenset({IntentStatus.REFUSED, IntentStatus.EXPIRED})


class Stage(StrEnum):
    """What became of a recorded decision: nothing runs by it until the loop's next run takes it up."""

    RECORDED = "recorded"
    CONSUMED = "consumed"
    COMPLETED = "completed"


class Fence(msgspec.Struct, frozen=True, rename="camel", gc=False, omit_defaults=True):
    """What the operator saw. A member that is None is not compared; `candidate` is the digest of what is approved."""

    run_id: str | None = None
    iteration: int | None = None
    candidate: str | None = None


class FenceDifference(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Where what is true now differs from what was expected. `where` is a member of `Fence`."""

    where: str
    expected: str
    found: str


class Refusal(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Why nothing was done: a code of `opsd.model.refusals`, one sentence about this very case."""

    code: str
    message: str
    differences: tuple[FenceDifference, ...] = ()


class Actor(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Who asked, by the kernel's word. `user` is the account's name, or the number where it has none."""

    uid: int
    user: str
    pid: int


class Options(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the intent is to be carried out.

    `confirm` off: executed is enough. `timeout_s` is the confirmation window. `override_divergence` acts although the
    runtime's files contradict each other, for the intent's recorded reason. `clear_stale` lets a start first clear a
    state left active by a run that is gone. `pause_until` is when a pause stops being expected.

    `as_contract`: the caller relies on the contract's command, which acts in every state of a loop and leaves it to the
    runtime's command what can be done; `interval_s` is its pause between two looks. Source: control-and-service 2, 3.
    """

    confirm: bool = True
    timeout_s: float = 30.0
    override_divergence: bool = False
    clear_stale: bool = False
    pause_until: Aware | None = None
    as_contract: bool = False
    interval_s: float = 2.0


class Watermark(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What was true just before the act: only what is found beyond it is evidence.

    `epoch` and `line` are the place in the event log. `pid`, `pgid` and `begun` name the process of the run that was
    on file, whichever loop's it is; `candidate` the approval that was on file.
    """

    at: Aware
    epoch: int
    line: int
    run_id: str | None = None
    iteration: int = 0
    pid: int | None = None
    pgid: int | None = None
    begun: str | None = None
    marked_active: bool = False
    candidate: str | None = None
    candidate_run_id: str | None = None
    candidate_iteration: int | None = None
    approval_status: str | None = None


class Execution(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What was done. `exit_code` is None where nobody knows it (killed at its time limit, or opsd was).

    `output` is the end of what the command printed, bounded and defused. `problem` is a code of
    `opsd.model.acts.ActProblem`. `replayed`: a service had the request already, under the same key.

    `attempts` and `codes` are of the requests that a service was sent: how many, and what each came to, an HTTP status
    or a word. Of what was done on this host both are empty.
    """

    command: str
    started_at: Aware
    ended_at: Aware | None = None
    exit_code: int | None = None
    output: str = ""
    problem: str | None = None
    detail: str | None = None
    replayed: bool = False
    attempts: int = 0
    codes: tuple[str, ...] = ()


class Evidence(msgspec.Struct, frozen=True, rename="camel", gc=False, omit_defaults=True):
    """One quoted fact: where it was found and what it says. `line` is the event's line in the log."""

    where: str
    says: str
    line: int | None = None


class Confirmation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the looks after the act showed. `reason` is the contract's or ours (`opsd.core.intents.evidence`).

    `observed_*` are the contract's words for what was seen last (control-and-service 3).
    """

    confirmed: bool
    reason: str
    attempts: int
    observed_at: Aware
    observed_status: str = "unknown"
    observed_last_event: str | None = None
    observed_approval_status: str | None = None
    observed_active: bool = False
    evidence: tuple[Evidence, ...] = ()
    missing: str | None = None
    """What was looked for and not found, in one sentence."""
    told: str = ""
    """The JSON object that the caller's own program printed where that was asked instead of us, verbatim."""
    exit_code: int | None = None
    """That program's."""


class Acknowledgement(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """An operator's word that settles an ambiguous intent."""

    by: str
    actor: Actor
    reason: str
    at: Aware


class Intent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One intent as it stands: a row of `intent-log.jsonl`; the last row of an `id` holds.

    `requested_by` is the name that was claimed, `actor` the one that the kernel gave. `fingerprint` is a digest of the
    request, to which its key is bound. `ordinal` counts the loop's intents from 1. `execution` and `watermark`
    are set from `executing` on, `settled_at` when it first left the flight, `resolved_at` when evidence came for one
    that had left it ambiguous. `retry_attempts` and `retry_backoff_s` are what is configured for the loop's service.
    """

    id: str
    loop_id: LoopId
    intent: IntentKind
    status: IntentStatus
    recorded_at: Aware
    updated_at: Aware
    expires_at: Aware
    requested_by: str
    actor: Actor
    trace_id: str
    idempotency_key: str
    fingerprint: str
    ordinal: int
    schema_version: str
    key_given: bool = False
    transport: str = "local"
    note: str = ""
    reason: str = ""
    expect: Fence = Fence()
    options: Options = Options()
    watermark: Watermark | None = None
    execution: Execution | None = None
    confirmation: Confirmation | None = None
    stage: Stage | None = None
    stage_evidence: tuple[Evidence, ...] = ()
    refusal: Refusal | None = None
    acknowledged: Acknowledgement | None = None
    settled_at: Aware | None = None
    resolved_at: Aware | None = None
    retry_attempts: int = 3
    retry_backoff_s: float = 1.0

    @property
    def is_in_flight(self) -> bool:
        return self.status in IN_FLIGHT

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


class PauseNote(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Who paused a run, why, since when, and until when that is expected (None: until somebody resumes it)."""

    intent_id: str
    by: str
    since: Aware
    reason: str = ""
    until: Aware | None = None
    pid: int | None = None


class OpenIntent(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """An intent that somebody should know of when he looks at the loop."""

    id: str
    intent: IntentKind
    status: IntentStatus
    requested_by: str
    since: Aware
    transport: str = "local"


class ControlState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the intents of a loop mean for its picture. Kept by the control desk, read by rules and views.

    `last_status` is that of the newest row of `intents.jsonl`, whoever wrote it; `last_is_ours` whether an intent of
    ours stands behind it, so that only the log says whether it is still open. `observe_until` with `observing`: until
    when no intent executes (None: until somebody says so).
    """

    last_status: str | None = None
    last_is_ours: bool = False
    in_flight: OpenIntent | None = None
    ambiguous: tuple[OpenIntent, ...] = ()
    pause: PauseNote | None = None
    observing: bool = False
    observe_until: Aware | None = None


QUIET = ControlState()
"""Of a loop that nobody ever asked anything of."""
