"""What telemetry says of a loop's thresholds: a summary with its advice, and how long that advice was not followed.

Advice only: nothing here changes a profile, a verdict or an exit code. Rules: `opsd.core.tuning` and
`opsd.core.drift`. Source: status-and-tuning, Parts 2 and 3; loop-core 12.4, 12.5.
"""

from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Final, Literal

import msgspec

from opsd.model.runtime import Aware

Confidence = Literal["low", "medium", "high"]
Unset = msgspec.UnsetType
UNSET = msgspec.UNSET


class Advice(StrEnum):
    """The profiles that a summary can recommend, whatever the catalog calls its own."""

    STRICT = "strict"
    BALANCED = "balanced"
    RELAXED = "relaxed"


class Sample(msgspec.Struct, frozen=True, gc=False):
    """As much of one telemetry row as the summary counts. A member of an odd type counts as absent.

    `duration_s` is None where the row names no number.
    """

    status: str = ""
    health_status: str = ""
    reason_codes: tuple[str, ...] = ()
    duration_s: int | float | None = None


class Gap(Enum):
    """A place in the window that holds no sample."""

    BLANK = auto()
    UNREADABLE = auto()


class ControlWindow(msgspec.Struct, frozen=True, gc=False):
    """The newest rows about acts. `stamp` is that of the files they were read from: (device, inode, size, time)."""

    stamp: tuple[int, ...] = ()
    ambiguous_count: int = 0
    unreadable_count: int = 0


class Window(msgspec.Struct, frozen=True):
    """The newest telemetry of a loop, oldest first, as far as a summary counts it. `size` places were asked for."""

    size: int
    places: tuple[Sample | Gap, ...]
    controls: ControlWindow


class CodeCount(msgspec.Struct, frozen=True, rename="camel", gc=False):
    code: str
    count: int


class HealthObserved(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Rates are of all attempts, 0 to 1, not rounded; whole ones are integers, as other tools print them.

    Most frequent code first, equal ones in reverse order.
    """

    degraded_count: int
    critical_count: int
    degraded_rate: int | float
    critical_rate: int | float
    reason_code_frequency: tuple[CodeCount, ...]


class ControlObserved(msgspec.Struct, frozen=True, rename="camel", gc=False):
    ambiguous_count: int


class DurationsObserved(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """In seconds; null where no row names a duration."""

    p50: int | float | None
    p95: int | float | None
    max: int | float | None


class Observed(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Samples of a window. `unreadable_rows` is ours: lines within the window that make no sense, passed over."""

    reconcile_attempts: int
    reconcile_success_count: int
    reconcile_failed_count: int
    health: HealthObserved
    control: ControlObserved
    duration_seconds: DurationsObserved
    unreadable_rows: int = 0


class SummarySource(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`window` is how many rows are taken from the end of each file, however old they are."""

    repo_path: str
    loop_id: str
    reconcile_telemetry_file: str
    control_telemetry_file: str
    window: int


class Summary(msgspec.Struct, frozen=True, gc=False):
    """What the newest telemetry comes to, and what it advises."""

    observed: Observed
    recommended: Advice
    confidence: Confidence
    rationale: str


class SummaryDocument(msgspec.Struct, frozen=True, rename="camel"):
    """What `telemetry-summary` prints. Source: status-and-tuning 2.2."""

    generated_at: Aware
    source: SummarySource
    observed: Observed
    recommended_profile: Advice
    confidence: Confidence
    rationale: str
    schema_version: str = "v1"


class TelemetrySummary(msgspec.Struct, frozen=True, rename="camel"):
    observed: Observed
    source: SummarySource


class TuningBlock(msgspec.Struct, frozen=True, rename="camel"):
    """`state.tuning`. `applied_profile` is null where thresholds of no profile are in force. Source: loop-core 12.5."""

    applied_profile: str | None
    recommended_profile: str
    confidence: Confidence
    rationale: str
    summary_window: int
    telemetry_summary: TelemetrySummary


class DriftStatus(StrEnum):
    NO_RECOMMENDATION = "no_recommendation"
    ALIGNED = "aligned"
    INSUFFICIENT_CONFIDENCE = "insufficient_confidence"
    MISMATCH_PENDING = "mismatch_pending"
    DRIFT_ACTIVE = "drift_active"


DRIFT_CODE: Final = "profile_drift_detected"
"""The reason code of active drift, and the category under which it escalates."""

DriftAction = Literal["collect_more_confident_telemetry", "review_threshold_profile", "monitor_additional_windows"]


class DriftTransition(msgspec.Struct, frozen=True, rename="camel", gc=False):
    to_active: bool
    to_resolved: bool


class DriftDocument(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """`profile-drift.json`, and `state.drift`, which alone has a `trace_id`. Members without a value are absent.

    `mismatch_streak` counts evaluations in a row. `mismatch_since` is ours: when the first of them was made.
    Source: status-and-tuning 3.4.
    """

    updated_at: Aware
    loop_id: str
    status: DriftStatus
    recommendation_confidence: Confidence
    minimum_confidence: Confidence
    recommendation_rank: int
    minimum_rank: int
    required_streak: int
    summary_window: int
    mismatch: bool
    confidence_ok: bool
    eligible_mismatch: bool
    mismatch_streak: int
    drift_active: bool
    transitioned: DriftTransition
    reason_code: str | Unset = UNSET
    applied_profile: str | Unset = UNSET
    recommended_profile: str | Unset = UNSET
    rationale: str | Unset = UNSET
    action: DriftAction | Unset = UNSET
    mismatch_since: Aware | Unset = UNSET
    trace_id: str | Unset = UNSET
    schema_version: str = "v1"


class DriftMemory(msgspec.Struct, frozen=True, gc=False):
    """What one evaluation leaves for the next."""

    mismatch_streak: int = 0
    drift_active: bool = False
    mismatch_since: datetime | None = None


class DriftRow(msgspec.Struct, frozen=True, rename="camel"):
    """A line of `telemetry/profile-drift.jsonl`: one per evaluation, whatever came of it. Source: the same, 3.5."""

    timestamp: Aware
    loop_id: str
    drift: DriftDocument
    category: Literal["profile_drift_evaluation"] = "profile_drift_evaluation"


class EscalatedDrift(msgspec.Struct, frozen=True, rename="camel"):
    """`drift` of an escalation row `profile_drift_detected`. Source: loop-core 9."""

    status: DriftStatus
    applied_profile: str | Unset
    recommended_profile: str | Unset
    recommendation_confidence: Confidence
    mismatch_streak: int
    required_streak: int
    action: DriftAction | Unset
    rationale: str | Unset
