"""What a search for evidence comes to, and the words for it. The search is `evidence`."""

from enum import StrEnum
from typing import Final

import msgspec

from opsd.model.intent import Evidence

INACTIVE: Final = "inactive_not_running"
COMPLETION_OBSERVED: Final = "completion_observed"
REJECTION_OBSERVED: Final = "rejection_observed"
"""Source of these three: control-and-service 3, like `TIMEOUT`; the other reasons are ours."""
TIMEOUT: Final = "timeout"
"""Nothing was proven while somebody looked."""
DECISION_RECORDED: Final = "decision_recorded"
RUN_STARTED: Final = "run_started"
PROCESSES_STOPPED: Final = "processes_stopped"
PROCESSES_RUNNING: Final = "processes_running"
DECIDED_OTHERWISE: Final = "decided_otherwise"
OTHER_CANDIDATE: Final = "other_candidate"
RUN_NOT_STARTED: Final = "run_not_started"
PROCESS_GONE: Final = "process_gone"


class Outcome(StrEnum):
    """`contrary`: what was found rules the effect out, and looking longer does not help."""

    CONFIRMED = "confirmed"
    NOT_YET = "not_yet"
    CONTRARY = "contrary"


class Verdict(msgspec.Struct, frozen=True):
    """`missing` is what was looked for and not found, in one sentence; None where it is confirmed.

    `exit_code` and `output` are how a launched run ended that never began, in the runtime's own words.
    """

    outcome: Outcome
    reason: str
    evidence: tuple[Evidence, ...] = ()
    missing: str | None = None
    exit_code: int | None = None
    output: str = ""


def confirmed(reason: str, *evidence: Evidence) -> Verdict:
    return Verdict(Outcome.CONFIRMED, reason, evidence)


def not_yet(missing: str, *evidence: Evidence) -> Verdict:
    return Verdict(Outcome.NOT_YET, TIMEOUT, evidence, missing)


def contrary(reason: str, missing: str, *evidence: Evidence) -> Verdict:
    return Verdict(Outcome.CONTRARY, reason, evidence, missing)
