"""For how long has telemetry advised another threshold profile than the one in force?

One step per sample. Advice never changes a profile: that takes an operator. What the samples advise is `tuning`; who
is told is `escalation`. Source: status-and-tuning 3.2 to 3.4.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from opsd.core.instants import whole
from opsd.model.oneshot import DriftOptions
from opsd.model.tuning import (
    DRIFT_CODE,
    UNSET,
    Confidence,
    DriftAction,
    DriftDocument,
    DriftMemory,
    DriftStatus,
    DriftTransition,
)

RANK: Final[Mapping[Confidence, int]] = {"low": 1, "medium": 2, "high": 3}

_ACTIONS: Final[Mapping[DriftStatus, DriftAction]] = {
    DriftStatus.INSUFFICIENT_CONFIDENCE: "collect_more_confident_telemetry",
    DriftStatus.DRIFT_ACTIVE: "review_threshold_profile",
    DriftStatus.MISMATCH_PENDING: "monitor_additional_windows",
}


class _Written(msgspec.Struct, rename="camel"):
    """What an evaluation left for the next, of any type: what is odd counts as absent."""

    mismatch_streak: Any = None
    drift_active: Any = None
    mismatch_since: Any = None


_written = msgspec.json.Decoder(_Written)


def remembered(data: bytes) -> DriftMemory:
    """What `profile-drift.json` says to the next evaluation; members that are missing or odd are 0 and false.

    Raises:
        msgspec.DecodeError: not a JSON object.
    """
    found = _written.decode(data)
    streak = found.mismatch_streak
    try:
        since = msgspec.convert(found.mismatch_since, datetime | None)
    except msgspec.ValidationError:
        since = None
    return DriftMemory(
        streak if isinstance(streak, int) and not isinstance(streak, bool) and streak > 0 else 0,
        found.drift_active is True,
        since if since is not None and since.tzinfo is not None else None,
    )


def memory_of(document: DriftDocument | None) -> DriftMemory:
    if document is None:
        return DriftMemory()
    since = document.mismatch_since
    return DriftMemory(max(0, document.mismatch_streak), document.drift_active, None if since is UNSET else since)


def evaluate(
    before: DriftMemory,
    *,
    applied: str | None,
    recommended: str | None,
    confidence: Confidence,
    options: DriftOptions,
    rationale: str,
    loop_id: str,
    now: datetime,
) -> DriftDocument:
    """One evaluation. Advice that the catalog does not know is none: a catalog may have its own names."""
    known = recommended if recommended in options.profiles else None
    confidence_ok = RANK[confidence] >= RANK[options.min_confidence]
    mismatch = bool(applied and known and applied != known)
    eligible = mismatch and confidence_ok
    streak = before.mismatch_streak + 1 if eligible else 0
    active = streak >= options.required_streak
    status = _status(known, mismatch=mismatch, confidence_ok=confidence_ok, active=active)
    since = (before.mismatch_since if before.mismatch_streak else None) or whole(now)
    return DriftDocument(
        updated_at=whole(now),
        loop_id=loop_id,
        status=status,
        recommendation_confidence=confidence,
        minimum_confidence=options.min_confidence,
        recommendation_rank=RANK[confidence],
        minimum_rank=RANK[options.min_confidence],
        required_streak=options.required_streak,
        summary_window=options.summary_window,
        mismatch=mismatch,
        confidence_ok=confidence_ok,
        eligible_mismatch=eligible,
        mismatch_streak=streak,
        drift_active=active,
        transitioned=DriftTransition(active and not before.drift_active, before.drift_active and not active),
        reason_code=DRIFT_CODE if status is DriftStatus.DRIFT_ACTIVE else UNSET,
        applied_profile=applied or UNSET,
        recommended_profile=known or UNSET,
        rationale=rationale or UNSET,
        action=_ACTIONS.get(status, UNSET),
        mismatch_since=since if eligible else UNSET,
    )


def _status(known: str | None, *, mismatch: bool, confidence_ok: bool, active: bool) -> DriftStatus:
    """The first that holds. Source: status-and-tuning 3.2."""
    if not known:
        return DriftStatus.NO_RECOMMENDATION
    if not mismatch:
        return DriftStatus.ALIGNED
    if not confidence_ok:
        return DriftStatus.INSUFFICIENT_CONFIDENCE
    return DriftStatus.DRIFT_ACTIVE if active else DriftStatus.MISMATCH_PENDING
