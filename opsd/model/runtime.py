"""What the runtime writes under a checkout's `.superloop/`, as typed records in the runtime's own snake_case.

Every member may be missing or null: these files belong to another program. Members that opsd does not use are not
listed and are ignored on reading; nothing here is ever written back. Source: runtime-artifacts 3.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

Aware = Annotated[datetime, msgspec.Meta(tz=True)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
"""Refused when empty on decoding, so that `""` takes the way of the odd types: to the contract this is null."""


class EventLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One line of `events.jsonl` whose members have the expected types. Source: runtime-artifacts 3.1.

    `type` stands in for `event` in older producers. `data` stays undecoded: few events' payloads are ever looked at.
    """

    timestamp: Text
    event: Text | None = None
    type: Text | None = None
    run_id: Text | None = None
    iteration: int = 0
    role: Text | None = None
    status: Text | None = None
    message: Text | None = None
    data: msgspec.Raw = msgspec.Raw()

    @property
    def name(self) -> str:
        """`event`, else `type`; ingest quarantines lines that have neither, so this is never empty downstream."""
        return self.event or self.type or ""


class RuntimeState(msgspec.Struct, frozen=True, gc=False):
    """`state.json`: one per checkout; proves something only about the loop it names. Source: runtime-artifacts 3.2."""

    active: bool | None = None
    loop_index: int | None = None
    iteration: int | None = None
    current_loop_id: str | None = None
    updated_at: str | None = None


class ActiveRun(msgspec.Struct, frozen=True, gc=False):
    """`active-run.json`: who runs, since when; never updated afterwards. Source: runtime-artifacts 3.3."""

    repo: str | None = None
    pid: int | None = None
    pgid: int | None = None
    loop_id: str | None = None
    iteration: int | None = None
    stage: str | None = None
    updated_at: str | None = None


class Promise(msgspec.Struct, frozen=True, gc=False):
    expected: str | None = None
    text: str | None = None
    matched: bool | None = None


class Stuck(msgspec.Struct, frozen=True, gc=False):
    streak: int | None = None
    threshold: int | None = None


class SummaryEntry(msgspec.Struct, frozen=True):
    """The newest entry of `run-summary.json`: one finished iteration. Source: runtime-artifacts 3.4."""

    run_id: str | None = None
    iteration: int | None = None
    started_at: str | None = None
    ended_at: str | None = None
    promise: Promise | None = None
    gates: dict[str, str] | None = None
    stuck: Stuck | None = None
    completion_ok: bool | None = None


class RunSummary(msgspec.Struct, frozen=True):
    """`run-summary.json`, cut down to what is judged: when it was written and its newest entry."""

    updated_at: str | None = None
    latest: SummaryEntry | None = None
    entry_count: int = 0


class Candidate(msgspec.Struct, frozen=True):
    promise: Promise | None = None
    gates: dict[str, str] | None = None


class ApprovalDecision(msgspec.Struct, frozen=True, gc=False):
    status: str | None = None
    by: str | None = None
    note: str | None = None
    at: str | None = None


class Approval(msgspec.Struct, frozen=True):
    """`approval.json`: a completion candidate and, once made, the decision. Source: runtime-artifacts 3.5."""

    status: str | None = None
    run_id: str | None = None
    iteration: int | None = None
    requested_at: str | None = None
    candidate: Candidate | None = None
    decision: ApprovalDecision | None = None
    files: dict[str, str] | None = None
    digest: str | None = None
    """Of what is asked, however it was decided: `opsd.core.intents.identity.candidate_digest`. Not in the file."""


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """`heartbeat.v1.json`, written by who launches the runtime, never by it. Source: runtime-artifacts 3.6.

    `verbatim` is the whole object as found: the contract carries it through.
    """

    timestamp: str | None = None
    updatedAt: str | None = None  # noqa: N815  the file's own spelling
    status: str | None = None
    stage: str | None = None
    pid: int | None = None
    run_id: str | None = None
    last_output_at: str | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    launch_id: str | None = None
    """Which launch this is about: the id of the intent that asked for it."""
    verbatim: msgspec.Raw = msgspec.Raw()


class RateLimitInfo(msgspec.Struct, frozen=True, gc=False):
    message: str | None = None
    type: str | None = None
    resets_at: int | None = None
    resets_in: int | None = None


class RateLimit(msgspec.Struct, frozen=True):
    """`rate-limit.json`, equal to the data of `rate_limit_stop`. Source: runtime-artifacts 4.2."""

    run_id: str | None = None
    iteration: int | None = None
    role: str | None = None
    occurred_at: str | None = None
    info: RateLimitInfo | None = None


class RecoveryRequest(msgspec.Struct, frozen=True, gc=False):
    """The loop's `escalation.json`: a recovery proposal that waits for a human; nothing ever clears it."""

    timestamp: str | None = None
    iteration: int | None = None
    status: str | None = None
    reason: str | None = None


class Timeouts(msgspec.Struct, frozen=True, gc=False):
    """Seconds a role may be silent by configuration; 0 means no limit. Source: runtime-artifacts 3.8."""

    enabled: bool = False
    default: int = 0
    planner: int = 0
    implementer: int = 0
    tester: int = 0
    reviewer: int = 0
    inactivity: int = 0

    def limit_s(self, role: str | None) -> int:
        """How long `role` may take; roles without a limit of their own have the default's. 0 is no limit."""
        if not self.enabled:
            return 0
        own = {
            "planner": self.planner,
            "implementer": self.implementer,
            "tester": self.tester,
            "reviewer": self.reviewer,
        }
        return own.get(role or "", 0) or self.default


class UsageCheck(msgspec.Struct, frozen=True, gc=False):
    enabled: bool = True
    wait_on_limit: bool = False
    max_wait_seconds: int = 7200


class LoopConfig(msgspec.Struct, frozen=True):
    """The entry of `config.json` for one loop, as far as it bounds what is normal. Source: runtime-artifacts 3.8."""

    max_iterations: int | None = None
    completion_promise: str | None = None
    timeouts: Timeouts = Timeouts()
    usage_check: UsageCheck = UsageCheck()


class Presence(StrEnum):
    """What a look at a file found. `settling` is a file caught while its writer rewrites it in place."""

    ABSENT = "absent"
    PRESENT = "present"
    SETTLING = "settling"
    UNREADABLE = "unreadable"
