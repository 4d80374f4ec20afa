"""The advice of telemetry for one loop: what is in force, what is advised and why, and for how long that is ignored."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from opsctl.output import Look
from opsctl.render.profile import WHENCE, choice_lines
from opsctl.render.table import painted
from opsctl.render.words import moment, since
from opsd.model.tuning import UNSET, DriftDocument, DriftStatus, Observed, TuningBlock
from opsd.protocol import TuningReply

_STYLES = {DriftStatus.DRIFT_ACTIVE: "warn", DriftStatus.ALIGNED: "good"}


def render(body: bytes, look: Look) -> str:
    reply = msgspec.json.decode(body, type=TuningReply)
    profile, tuning = reply.profile, reply.tuning
    name = painted(reply.loop_id, "strong", look)
    lines = [f"{name}  {painted(profile.thresholds.profile or '-', '', look)}, {WHENCE[profile.source]}"]
    lines += choice_lines(profile, look)
    if tuning is None:
        lines.append("  no telemetry sample yet, and no advice")
    else:
        lines += _facts(_advice(tuning), look)
    if reply.drift is not None:
        lines += _drift(reply.drift, reply.at, look)
    if tuning is not None:
        lines += _facts(_observed(tuning.telemetry_summary.observed), look)
    if reply.next is not None:
        lines.append(f"  {painted(f'next: {reply.next}', '', look)}")
    return "\n".join(lines)


def _facts(facts: Iterable[tuple[str, str]], look: Look) -> list[str]:
    return [f"  {name:<11} {painted(text, '', look)}" for name, text in facts]


def _advice(tuning: TuningBlock) -> list[tuple[str, str]]:
    count = tuning.telemetry_summary.observed.reconcile_attempts
    samples = f"{count} sample{'' if count == 1 else 's'} among the newest {tuning.summary_window} rows"
    return [
        ("advised", f"{tuning.recommended_profile}, with {tuning.confidence} confidence from {samples}"),
        ("because", tuning.rationale),
    ]


def _drift(drift: DriftDocument, at: datetime, look: Look) -> list[str]:
    """How often in a row the advice was another one than what was in force, and since when."""
    streak = ""
    if drift.eligible_mismatch:
        begun = drift.mismatch_since
        for_how_long = f", for {since(begun, at)}" if begun is not UNSET else ""
        streak = f", {drift.mismatch_streak} in a row of {drift.required_streak} needed{for_how_long}"
    elif drift.status is DriftStatus.INSUFFICIENT_CONFIDENCE:
        streak = f", {drift.minimum_confidence} is needed"
    status = painted(drift.status, _STYLES.get(drift.status, ""), look)
    return [f"  {'drift':<11} {status}{painted(streak, '', look)}", f"  {'sampled':<11} {moment(drift.updated_at)}"]


def _observed(observed: Observed) -> Iterator[tuple[str, str]]:
    health, took = observed.health, observed.duration_seconds
    yield "looks", f"{observed.reconcile_success_count} succeeded, {observed.reconcile_failed_count} failed"
    yield "health", f"{health.degraded_rate:.1%} degraded, {health.critical_rate:.1%} critical"
    if health.reason_code_frequency:
        yield "reasons", ", ".join(f"{each.code} {each.count}" for each in health.reason_code_frequency)
    if took.max is not None:
        yield "took", f"half within {took.p50:g} s, 95% within {took.p95:g} s, at most {took.max:g} s"
    yield "acts", f"{observed.control.ambiguous_count} ambiguous"
    if observed.unreadable_rows:
        yield "unreadable", f"{observed.unreadable_rows} rows, passed over"
