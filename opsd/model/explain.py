"""Why does it say that? One run's verdicts with the rules that made them. Made by `opsd.core.explain`.

Every rule is listed, also those that do not hold: what is not the case is half of an explanation.
"""

from datetime import datetime

import msgspec

from opsd.model.effects import WakeAt
from opsd.model.escalation import OpenEscalation
from opsd.model.health import Severity
from opsd.model.lifecycle import EventMark, Lifecycle, Phase
from opsd.model.process import ProcessMemory
from opsd.model.runtime import Presence


class PhaseStep(msgspec.Struct, frozen=True, rename="camel"):
    """A rule of the phase, in the order in which they are asked; the first that `holds` `decides`."""

    rule: str
    when: str
    holds: bool
    decides: bool
    phase: Phase | None = None
    basis: str | None = None


class FileSeen(msgspec.Struct, frozen=True, rename="camel"):
    """One of the runtime's small files as the last look found it."""

    name: str
    presence: Presence
    modified_at: datetime | None = None
    since: datetime | None = None
    problem: str | None = None


class LogSeen(msgspec.Struct, frozen=True, rename="camel"):
    """How far the event log was read, and the lines on which the newest run's story rests."""

    epoch: int
    line: int
    event_count: int
    quarantined_count: int
    backlog_bytes: int
    last: EventMark | None = None
    run_first_line: int | None = None
    run_ended: EventMark | None = None


class FindingStep(msgspec.Struct, frozen=True, rename="camel"):
    """A reason code: does it hold, and why or why not.

    Where the rule measures a time: `measured_since`, `observed_s` seconds ago at the explanation's moment, and the
    limits at which the verdict turns, in seconds and as moments. `next_turn` is the next of these, if one lies ahead.
    `escalation` is the id of the open escalation that tells of it, `not_escalated` why there is none.
    """

    code: str
    holds: bool
    why: str
    severity: Severity | None = None
    since: datetime | None = None
    onset: str | None = None
    line: int | None = None
    measured_since: datetime | None = None
    observed_s: float | None = None
    limits_s: tuple[float, ...] = ()
    next_turn: datetime | None = None
    escalation: str | None = None
    not_escalated: str | None = None


class Explanation(msgspec.Struct, frozen=True, rename="camel"):
    """One run, explained as of `at`."""

    loop_id: str
    at: datetime
    lifecycle: Lifecycle
    phase: Phase
    basis: str
    steps: tuple[PhaseStep, ...]
    process: ProcessMemory
    liveness_basis: str
    log: LogSeen
    files: tuple[FileSeen, ...]
    findings: tuple[FindingStep, ...]
    open_escalations: tuple[OpenEscalation, ...]
    next_look: WakeAt | None = None
