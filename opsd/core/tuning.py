"""What do the newest telemetry samples come to, and which threshold profile do they speak for?

How long such advice was not followed is `drift`; where the rows lie is the shell's business. Source:
status-and-tuning, Part 2.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from opsd.core.instants import whole
from opsd.model.telemetry import ReconcileRow
from opsd.model.tuning import (
    Advice,
    CodeCount,
    Confidence,
    ControlObserved,
    DurationsObserved,
    Gap,
    HealthObserved,
    Observed,
    Sample,
    Summary,
    SummaryDocument,
    SummarySource,
    TelemetrySummary,
    TuningBlock,
)

MEDIUM_FROM: Final = 30
HIGH_FROM: Final = 100
"""So many samples make the advice of medium and of high confidence."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,15}", re.ASCII)

_NO_DATA = "There are no samples yet."
_NOISY = "Many samples are critical or failed: wider thresholds would keep the noise down."
_CALM = "The samples are steadily healthy: tighter thresholds would tell of trouble earlier."
_MIXED = "The samples are mixed, and speak for no change in either direction."


class _Row(msgspec.Struct, rename="camel", gc=False):
    """Members of any type: one that is odd counts as absent, and costs its row nothing else."""

    status: Any = None
    health_status: Any = None
    health_reason_codes: Any = None
    duration_seconds: Any = None
    sample: Any = True


class _ControlRow(msgspec.Struct, rename="camel", gc=False):
    status: Any = None
    reason_code: Any = None


_rows = msgspec.json.Decoder(_Row)
_control_rows = msgspec.json.Decoder(_ControlRow)


def sample_in(line: bytes) -> Sample | None:
    """What one line of `reconcile.jsonl` adds to a summary; None of a row that was written because of a change.

    Rows of other managers do not say what they are, and are samples.

    Raises:
        msgspec.DecodeError: not JSON; as msgspec.ValidationError: JSON, and no object.
    """
    row = _rows.decode(line)
    if row.sample is False:
        return None
    codes = row.health_reason_codes if isinstance(row.health_reason_codes, list) else ()
    return Sample(
        _text(row.status),
        _text(row.health_status),
        tuple(code for code in codes if isinstance(code, str)),
        _number(row.duration_seconds),
    )


def sample_of(row: ReconcileRow) -> Sample:
    """The same of a row that was not written yet."""
    return Sample(row.status, row.health_status.value, row.health_reason_codes, row.duration_seconds)


def is_ambiguous(line: bytes) -> bool:
    """Whether a line of `control.jsonl` tells of an act of which nobody knows what became.

    Raises:
        msgspec.DecodeError: as `sample_in`.
    """
    row = _control_rows.decode(line)
    return bool(row.status == "ambiguous" or row.reason_code == "control_ambiguous")


def summarize(places: Iterable[Sample | Gap], ambiguous_count: int, unreadable_controls: int = 0) -> Summary:
    """The window as `places`, in any order. Nothing is counted of a gap but that it could not be read."""
    gaps, samples = 0, []
    for place in places:
        if isinstance(place, Sample):
            samples.append(place)
        elif place is Gap.UNREADABLE:
            gaps += 1
    attempts = len(samples)
    status = Counter(sample.status for sample in samples)
    health = Counter(sample.health_status for sample in samples)
    codes = Counter(code for sample in samples for code in sample.reason_codes)
    observed = Observed(
        reconcile_attempts=attempts,
        reconcile_success_count=status["success"],
        reconcile_failed_count=status["failed"],
        health=HealthObserved(
            degraded_count=health["degraded"],
            critical_count=health["critical"],
            degraded_rate=_rate(health["degraded"], attempts),
            critical_rate=_rate(health["critical"], attempts),
            reason_code_frequency=tuple(
                CodeCount(code, count) for count, code in sorted(((n, code) for code, n in codes.items()), reverse=True)
            ),
        ),
        control=ControlObserved(ambiguous_count),
        duration_seconds=_durations(samples),
        unreadable_rows=gaps + unreadable_controls,
    )
    advice, rationale = _advice(observed)
    return Summary(observed, advice, _confidence(attempts), rationale)


def document(summary: Summary, source: SummarySource, now: datetime) -> SummaryDocument:
    return SummaryDocument(
        whole(now), source, summary.observed, summary.recommended, summary.confidence, summary.rationale
    )


def block(summary: Summary, source: SummarySource, applied: str | None) -> TuningBlock:
    """`state.tuning`."""
    return TuningBlock(
        applied_profile=applied,
        recommended_profile=summary.recommended,
        confidence=summary.confidence,
        rationale=summary.rationale,
        summary_window=source.window,
        telemetry_summary=TelemetrySummary(summary.observed, source),
    )


def _advice(observed: Observed) -> tuple[Advice, str]:
    """The first rule that holds. Source: status-and-tuning 2.3."""
    health, attempts = observed.health, observed.reconcile_attempts
    failed_rate = _rate(observed.reconcile_failed_count, attempts)
    if attempts == 0:
        return Advice.BALANCED, _NO_DATA
    if health.critical_rate >= 0.20 or failed_rate >= 0.25:
        return Advice.RELAXED, _NOISY
    calm = health.critical_count == 0 and health.degraded_rate <= 0.05 and failed_rate <= 0.02
    if calm and observed.control.ambiguous_count == 0:
        return Advice.STRICT, _CALM
    return Advice.BALANCED, _MIXED


def _confidence(attempts: int) -> Confidence:
    if attempts >= HIGH_FROM:
        return "high"
    return "medium" if attempts >= MEDIUM_FROM else "low"


def _rate(count: int, attempts: int) -> int | float:
    if not attempts or count in (0, attempts):
        return int(count > 0)
    return count / attempts


def _durations(samples: Sequence[Sample]) -> DurationsObserved:
    known = sorted(sample.duration_s for sample in samples if sample.duration_s is not None)
    if not known:
        return DurationsObserved(None, None, None)
    last = len(known) - 1
    return DurationsObserved(known[last * 50 // 100], known[last * 95 // 100], known[last])


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | float | None:
    """A number, or a text that is one; nothing else, and nothing that JSON cannot say."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value) if _WHOLE.fullmatch(value) else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None
