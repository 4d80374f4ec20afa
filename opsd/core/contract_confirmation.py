"""What the contract takes for a proof that an intent had its effect, from one snapshot alone. The `confirm-intent`
command asks this.

No snapshot of before is compared, so that the proof may be older than the intent. What proves an intent that our own
manager carried out is `opsd.core.intents.evidence`. Source: control-and-service 3.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

COMPLETION: Final = "completion_observed"
DECISION: Final = "decision_recorded"
REJECTION: Final = "rejection_observed"
INACTIVE: Final = "inactive_not_running"
TIMEOUT: Final = "timeout"
_DECIDED: Final = "approval_decision"


class Sight(msgspec.Struct, frozen=True):
    """What a snapshot shows. `active` is of the whole repository; `decision` is the status of a last event that is an
    `approval_decision`."""

    status: str = "unknown"
    active: bool = False
    completion_ok: bool = False
    last_event: str | None = None
    approval_status: str | None = None
    decision: str | None = None


def proof(intent: str, sight: Sight) -> str | None:
    """The reason why `intent` counts as confirmed, or None."""
    return _PROOFS[intent](sight)


def _cancel(sight: Sight) -> str | None:
    return INACTIVE if not sight.active and sight.status != "running" else None


def _approve(sight: Sight) -> str | None:
    """The runtime records the decision at once, and completes only when somebody runs the loop again."""
    if sight.completion_ok or sight.status == "complete" or sight.last_event == "loop_complete":
        return COMPLETION
    return DECISION if _decision(sight) == "approved" else None


def _reject(sight: Sight) -> str | None:
    """A decision event that does not say what was decided is taken for the rejection, as the contract has it."""
    if sight.approval_status == "rejected" or sight.last_event == "approval_rejected":
        return REJECTION
    return REJECTION if sight.last_event == _DECIDED and _decision(sight) != "approved" else None


def _decision(sight: Sight) -> str | None:
    """The last event's if that is one, else the approval file's."""
    decided = sight.decision if sight.last_event == _DECIDED else None
    return decided or sight.approval_status


_PROOFS: Final[Mapping[str, Callable[[Sight], str | None]]] = {
    "cancel": _cancel,
    "approve": _approve,
    "reject": _reject,
}
INTENTS: Final = tuple(_PROOFS)
