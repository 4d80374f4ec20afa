"""The fleet at a glance: what needs attention first, with a line about the daemon itself above it."""

from collections import Counter

import msgspec

from opsctl.output import Look
from opsctl.render.control import mode_words, why
from opsctl.render.table import Cell, painted, table
from opsctl.render.words import (
    STYLE_OF_HEALTH,
    duration,
    is_managed,
    moment,
    moment_in,
    next_step,
    since,
    state,
)
from opsd.model.health import HealthStatus
from opsd.model.lifecycle import Lifecycle
from opsd.protocol import FleetStatus, LoopSummary, Progress

HEADERS = ("LOOP", "STATE", "HEALTH", "WHY", "PROGRESS", "IN STATE", "LAST EVENT")

_RANK_OF_HEALTH = {HealthStatus.CRITICAL: 0, HealthStatus.DEGRADED: 2, HealthStatus.HEALTHY: 3}


def render(body: bytes, look: Look) -> str:
    return fleet(msgspec.json.decode(body, type=FleetStatus), look)


def fleet(status: FleetStatus, look: Look) -> str:
    """The whole view. Without headers only the rows, for programs that insist on reading tables."""
    ordered = sorted(status.loops, key=_attention)
    body = table(HEADERS, (_row(summary, status) for summary in ordered), look)
    if not look.headers:
        return body
    if not ordered:
        body = f"no loops; looked in {status.daemon.registry}, home {status.daemon.home}"
    return "\n".join([*_head(status, look), "", body])


def _attention(summary: LoopSummary) -> tuple[int, int, str]:
    """Critical, then what waits for a human, degraded, unmanaged, running, the rest; by name within each."""
    rank = _RANK_OF_HEALTH[summary.overall_status]
    if summary.fault:
        rank = 2
    elif not summary.enabled:
        rank = 4
    elif rank and summary.needs_human:
        rank = 1
    return rank, 0 if summary.lifecycle is Lifecycle.RUNNING else 1, summary.loop_id


def _row(summary: LoopSummary, status: FleetStatus) -> tuple[Cell | str, ...]:
    last = moment_in(summary.last_event_at)
    return (
        Cell(summary.loop_id, "strong"),
        state(summary),
        _health(summary),
        why(summary),
        progress(summary.progress, since(summary.progress.role_since, status.at)),
        since(summary.progress.phase_since, status.at),
        f"{summary.last_event_name} {since(last, status.at)} ago" if summary.last_event_name else "-",
    )


def _health(summary: LoopSummary) -> Cell:
    """A loop that nobody looks at is not healthy, and not ill either."""
    if not is_managed(summary):
        return Cell("-", "dim")
    return Cell(summary.overall_status.value, STYLE_OF_HEALTH[summary.overall_status])


def progress(of: Progress, in_role: str) -> str:
    """`3/20 implementer 4m`: iteration of its limit, role, and how long in it."""
    if of.iteration == 0 and of.role is None:
        return "-"
    counted = f"{of.iteration}/{of.max_iterations}" if of.max_iterations else str(of.iteration)
    if of.role is None:
        return counted
    return f"{counted} {of.role}" + (f" {in_role}" if in_role != "-" else "")


def _head(status: FleetStatus, look: Look) -> list[str]:
    daemon = status.daemon
    counts = Counter(summary.overall_status for summary in status.loops if is_managed(summary))
    said = [f"{counts[health]} {health.value}" for health in reversed(HealthStatus) if counts[health]]
    unmanaged = len(status.loops) - counts.total()
    if unmanaged:
        said.append(f"{unmanaged} not managed")
    waiting = sum(summary.needs_human for summary in status.loops)
    if waiting:
        said.append(f"{waiting} waiting for a human")
    up = duration((status.at - daemon.started_at).total_seconds())
    loops = f"{len(status.loops)} loop{'' if len(status.loops) == 1 else 's'}"
    lines = [f"{loops}: {', '.join(said) or 'nothing to watch'}; opsd {daemon.version} up {up}, at {moment(status.at)}"]
    if daemon.mode is not None:
        lines.append(painted(f"opsd: {mode_words(daemon.mode)}: no intent is carried out", "warn", look))
    for finding in daemon.findings:
        lines.append(painted(f"opsd: {finding.severity.value} {finding.code}: {finding.evidence}", "warn", look))
        step = next_step(finding.code, None)
        lines += [painted(f"      next: {step}", "", look)] if step else []
    late = [f"{part.name} ({duration(part.age_s)})" for part in daemon.subsystems if not part.ok]
    if late:
        lines.append(painted(f"opsd: late: {', '.join(late)}; see journalctl -u opsd -e", "bad", look))
    return lines
