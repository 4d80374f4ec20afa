"""One loop in full: what it does, from what we know it, what is wrong with it and what to do next."""

import shlex

import msgspec

from opsctl.output import Look
from opsctl.render.approvals import approval_facts
from opsctl.render.control import control_section, why
from opsctl.render.fleet import progress
from opsctl.render.table import Cell, painted, table
from opsctl.render.words import (
    STYLE_OF_HEALTH,
    STYLE_OF_SEVERITY,
    duration,
    finding_lines,
    moment,
    since,
    state,
)
from opsd.model.health import Finding
from opsd.protocol import LoopStatus, LoopSummary, ReconcileReply


def render(body: bytes, look: Look) -> str:
    return loop(msgspec.json.decode(body, type=LoopStatus), look)


def render_reconciled(body: bytes, look: Look) -> str:
    """What a pass on request brought, in a line, and the loop after it."""
    reply = msgspec.json.decode(body, type=ReconcileReply)
    said = f"looked at {reply.status.summary.loop_id}: {reply.events_ingested} events taken in (trace {reply.trace_id})"
    return f"{painted(said, '', look)}\n\n{loop(reply.status, look)}"


def loop(status: LoopStatus, look: Look) -> str:
    sections = [_facts(status, look)]
    if status.summary.findings:
        sections.append("\n".join(["Findings", *_findings(status, look)]))
    if status.approval is not None:
        sections.append("\n".join(["Waiting for approval", *_approval(status, look)]))
    if status.summary.control is not None:
        sections.append("\n".join(["Control", *control_section(status.summary.control, status.at, look)]))
    if status.open_escalations:
        sections.append("\n".join(["Open escalations", _escalations(status, look)]))
    sections.append(painted(f"more: opsctl explain {shlex.quote(status.summary.loop_id)}", "dim", look))
    return "\n\n".join(sections)


def _facts(status: LoopStatus, look: Look) -> str:
    summary = status.summary
    health = summary.overall_status
    title = "  ".join(
        [
            painted(summary.loop_id, "strong", look),
            painted(state(summary), "", look),
            painted(health.value, STYLE_OF_HEALTH[health], look),
            painted(why(summary), "", look),
        ]
    )
    gates = ", ".join(f"{gate} {result}" for gate, result in (status.gates or {}).items())
    stuck = f"{status.stuck_streak or 0} of {status.stuck_threshold}" if status.stuck_threshold else ""
    facts = [
        ("because", summary.basis),
        ("in state", f"{since(summary.progress.phase_since, status.at)}, since {moment(summary.progress.phase_since)}"),
        ("run", f"{summary.progress.run_id}, started {moment(summary.progress.started_at)}"),
        ("progress", progress(summary.progress, since(summary.progress.role_since, status.at))),
        ("gates", gates),
        ("no change", f"in {stuck} iterations before it counts as stuck" if stuck else ""),
        ("process", status.liveness + (f", pid {status.pid}" if status.pid is not None else "")),
        ("last seen", _ages(summary)),
        ("service", _reach(status)),
        ("event log", _log(status)),
        ("checkout" if summary.repo_path.startswith("/") else "sprite", f"{summary.repo_path} ({summary.transport})"),
        ("fault", f"{summary.fault}: {summary.fault_detail or ''}" if summary.fault else ""),
        ("as of", moment(status.at)),
    ]
    return "\n".join([title, *(f"  {name:<10} {painted(text, '', look)}" for name, text in facts if text)])


def _reach(status: LoopStatus) -> str:
    """How asking goes, for a loop behind a service: each request may wake its sprite."""
    reach = status.reach
    if reach is None:
        return ""
    parts = [f"asked {since(reach.asked_at, status.at)} ago" if reach.asked_at is not None else "not asked yet"]
    if reach.resting_until is not None and reach.resting_until > status.at:
        parts.append(f"left alone for {since(status.at, reach.resting_until)} after {reach.failures} failures")
    elif reach.next_at is not None and reach.next_at > status.at:
        parts.append(f"next in {since(status.at, reach.next_at)}")
    parts.append(f"{reach.requests} requests since opsd started")
    if reach.budget_spent:
        parts.append("error budget spent")
    return ", ".join(parts)


def _ages(summary: LoopSummary) -> str:
    ages = summary.ages
    clocks = [("contact", ages.contact), ("event", ages.event), ("output", ages.output), ("heartbeat", ages.heartbeat)]
    return ", ".join(f"{name} {duration(age)} ago" if age is not None else f"{name} never" for name, age in clocks)


def _log(status: LoopStatus) -> str:
    name = status.summary.last_event_name
    parts = [f"{status.event_count} events"]
    parts += [f"the last {name}"] if name else []
    parts += [f"{status.quarantined_count} bad lines set aside"] if status.quarantined_count else []
    parts += [f"{status.backlog_bytes} bytes unread"] if status.backlog_bytes else []
    return ", ".join(parts)


def _findings(status: LoopStatus, look: Look) -> list[str]:
    lines = []
    for finding in status.summary.findings:
        lines.append(_title(finding, status, look))
        lines += [f"            {painted(line, '', look)}" for line in finding_lines(finding, status.summary)]
    return lines


def _title(finding: Finding, status: LoopStatus, look: Look) -> str:
    severity = painted(f"{finding.severity.value:<8}", STYLE_OF_SEVERITY[finding.severity], look)
    onset = f"since {moment(finding.since)}, {since(finding.since, status.at)}" if finding.since else ""
    return f"  {severity}  {painted(finding.code, 'strong', look)}  {onset}".rstrip()


def _approval(status: LoopStatus, look: Look) -> list[str]:
    assert status.approval is not None
    facts = approval_facts(status.approval, status.summary.repo_path, status.at)
    name = shlex.quote(status.summary.loop_id)
    step = f"             next: opsctl approve {name}, or opsctl reject {name}"
    return [*(f"  {name:<10} {painted(text, '', look)}" for name, text in facts if text), painted(step, "", look)]


def _escalations(status: LoopStatus, look: Look) -> str:
    rows = [
        ("", Cell(each.category.value, "strong"), each.condition, since(each.since, status.at), each.id[:12])
        for each in status.open_escalations
    ]
    return table(("", "CATEGORY", "ABOUT", "FOR", "ID"), rows, look)
