"""Durations, ages and moments in words, and the next step of a finding: the small change of every view."""

import shlex
from datetime import datetime

from opsd.model.health import Finding, HealthStatus, Severity
from opsd.model.reasons import REASONS
from opsd.protocol import LoopSummary

STYLE_OF_SEVERITY = {Severity.INFO: "", Severity.DEGRADED: "warn", Severity.CRITICAL: "bad"}
STYLE_OF_HEALTH = {HealthStatus.HEALTHY: "good", HealthStatus.DEGRADED: "warn", HealthStatus.CRITICAL: "bad"}


def duration(seconds: float | None) -> str:
    """`4s`, `3m`, `2h05m`, `3d04h`; `-` where it is not known. What is negative by a clock's step counts as nothing."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 24:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h"


def since(then: datetime | None, at: datetime) -> str:
    return duration((at - then).total_seconds() if then else None)


def moment(then: datetime | None) -> str:
    """`2026-01-31 12:03:04Z`, to the second."""
    return f"{then:%Y-%m-%d %H:%M:%S}Z" if then else "-"


def moment_in(text: str | None) -> datetime | None:
    """A time as a run wrote it; None where it is none, or has no zone."""
    try:
        parsed = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return parsed if parsed.tzinfo else None


def is_managed(summary: LoopSummary) -> bool:
    """Whether the loop is looked at, not only listed."""
    return summary.enabled and summary.fault is None


def state(summary: LoopSummary) -> str:
    """`running`, or `running (busy)` where the phase says more than the contract's word."""
    lifecycle, phase = summary.lifecycle.value, summary.phase.value
    return lifecycle if phase == lifecycle else f"{lifecycle} ({phase})"


def reasons(summary: LoopSummary, most: int = 3) -> str:
    """The codes of what is wrong, worst first; `-` where nothing is."""
    codes = [finding.code for finding in summary.findings]
    if summary.fault:
        codes.insert(0, summary.fault)
    if not summary.enabled:
        codes.insert(0, "loop_disabled")
    codes = list(dict.fromkeys(codes))
    more = f" +{len(codes) - most}" if len(codes) > most else ""
    return ", ".join(codes[:most]) + more if codes else "-"


def next_step(code: str, summary: LoopSummary | None) -> str:
    """What the registry says to do about `code`, with the loop's own name filled in; empty for an unknown code."""
    entry = REASONS.get(code)
    if entry is None:
        return ""
    if summary is None:
        return entry.next_step
    step = entry.next_step.replace("LOOP", shlex.quote(summary.loop_id))
    return step.replace("REPO", shlex.quote(summary.repo_path))


def finding_lines(finding: Finding, summary: LoopSummary) -> list[str]:
    """What it rests on and what to do, one sentence a line, for below the finding itself."""
    step = next_step(finding.code, summary)
    where = f" (event log, line {finding.line})" if finding.line is not None else ""
    return [f"{finding.evidence}{where}", *([f"next: {step}"] if step else [])]
