"""What was: the runs of a loop, escalations and their ends, verdicts recomputed, and who answers."""

import shlex
from datetime import datetime

import msgspec

from opsctl.output import Look
from opsctl.render.table import Cell, painted, table
from opsctl.render.words import moment, since
from opsd.model.runtime import Aware
from opsd.protocol import EscalationPage, RunHistory, RunItem, VerificationReport

_STYLE_OF_SEVERITY = {"warning": "warn", "degraded": "warn", "critical": "bad"}
_GOOD_ENDINGS = frozenset({"complete", "running", "awaiting_approval"})


class EscalationGist(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What a line says of a row of `escalations.jsonl`; rows that other tools wrote have less."""

    timestamp: Aware
    loop_id: str
    category: str
    id: str = ""
    severity: str = ""
    summary: str = ""
    resolves: str | None = None
    reason_codes: tuple[str, ...] = ()


def render_runs(body: bytes, look: Look) -> str:
    history = msgspec.json.decode(body, type=RunHistory)
    if not history.runs:
        return "no run yet" if look.headers else ""
    headers = ("RUN", "ENDING", "STARTED", "TOOK", "ITERATIONS", "DETAIL")
    return table(headers, [_run(item, history.at) for item in history.runs], look)


def _run(item: RunItem, at: datetime) -> tuple[Cell | str, ...]:
    of = f"{item.iterations}/{item.max_iterations}" if item.max_iterations else str(item.iterations)
    style = "good" if item.ending == "complete" else "" if item.ending in _GOOD_ENDINGS else "warn"
    took = since(item.started_at, item.ended_at or at)
    return (item.run_id, Cell(item.ending, style), moment(item.started_at), took, of, item.detail or "-")


def render_escalations(body: bytes, look: Look) -> str:
    page = msgspec.json.decode(body, type=EscalationPage)
    rows = [msgspec.json.decode(row, type=EscalationGist) for row in page.rows]
    if not rows:
        return "no escalation yet" if look.headers else ""
    lasting = frozenset(page.open)
    shown = table(
        ("TIME", "LOOP", "CATEGORY", "SEVERITY", "OPEN", "SUMMARY"),
        [
            (
                moment(row.timestamp),
                Cell(row.loop_id, "strong"),
                row.category,
                Cell(row.severity or "-", _STYLE_OF_SEVERITY.get(row.severity, "")),
                "yes" if row.id in lasting else "-",
                _summary(row),
            )
            for row in rows
        ],
        look,
    )
    open_loops = sorted({row.loop_id for row in rows if row.id in lasting})
    if not open_loops or not look.headers:
        return shown
    steps = [f"next: opsctl status {shlex.quote(loop_id)}" for loop_id in open_loops[:5]]
    return "\n".join([shown, "", *(painted(step, "dim", look) for step in steps)])


def escalation_line(raw: bytes, look: Look) -> str:
    """One escalation of a follow, with what to type next unless it is an end."""
    row = msgspec.json.decode(raw, type=EscalationGist)
    style = "good" if row.resolves else _STYLE_OF_SEVERITY.get(row.severity, "")
    said = painted(f"{row.category} {_summary(row)}", style, look)
    step = "" if row.resolves else f"  (next: opsctl status {shlex.quote(row.loop_id)})"
    return f"{moment(row.timestamp)}  {painted(row.loop_id, 'strong', look)}  {said}{painted(step, 'dim', look)}"


def _summary(row: EscalationGist) -> str:
    return row.summary or ", ".join(row.reason_codes) or "-"


def render_verification(body: bytes, look: Look) -> str:
    """One line per loop; below those that differ, each difference: what it said, and what the files give."""
    report = msgspec.json.decode(body, type=VerificationReport)
    lines = []
    for each in report.loops:
        verdict = painted("same", "good", look) if each.ok else painted("differs", "bad", look)
        note = f" ({each.note})" if each.note else ""
        lines.append(f"{painted(each.loop_id, 'strong', look)}  {verdict}{painted(note, '', look)}")
        lines[-1] += f"  from {each.events_read} events"
        lines += [
            f"  {painted(f'{one.where}: {one.holder} has {one.said}, the files give {one.recomputed}', '', look)}"
            for one in each.differences
        ]
        if not each.ok:
            lines.append(painted(f"  next: opsctl reconcile {shlex.quote(each.loop_id)} --from-start", "", look))
    return "\n".join(lines) or "no loop to verify"
