"""An explanation in full: the rules in the order in which they are asked, with what each of them saw."""

import shlex

import msgspec

from opsctl.output import Look
from opsctl.render.table import painted, table
from opsctl.render.words import STYLE_OF_SEVERITY, duration, moment, since
from opsd.model.explain import Explanation, FindingStep, LogSeen, PhaseStep


def render(body: bytes, look: Look) -> str:
    return explanation(msgspec.json.decode(body, type=Explanation), look)


def explanation(of: Explanation, look: Look) -> str:
    title = f"{painted(of.loop_id, 'strong', look)}  {of.lifecycle.value} ({of.phase.value}), as of {moment(of.at)}"
    held = [step for step in of.findings if step.holds]
    rest = [step for step in of.findings if not step.holds]
    sections = [
        "\n".join([title, f"  because  {painted(of.basis, '', look)}"]),
        "\n".join(["Phase: the first rule that holds decides", *_phase(of.steps, look)]),
        "\n".join(["Findings that hold", *(_held(held, of, look) or ["  none"])]),
        "\n".join(["Findings that do not", *_others(rest, of, look)]),
        "\n".join(["Evidence", *_evidence(of, look)]),
    ]
    return "\n\n".join(sections)


def _phase(steps: tuple[PhaseStep, ...], look: Look) -> list[str]:
    """Up to the deciding rule; what comes after it was not needed."""
    lines = []
    for step in steps:
        mark = "=>" if step.decides else "  "
        said = f"yes: {step.basis}" if step.holds else "no"
        text = f"{mark} {step.rule}: {step.when}? {said}"
        lines.append(painted(text, "strong" if step.decides else "dim", look))
        if step.decides:
            break
    return lines


def _held(steps: list[FindingStep], of: Explanation, look: Look) -> list[str]:
    lines = []
    for step in steps:
        severity = step.severity.value if step.severity else "-"
        style = STYLE_OF_SEVERITY[step.severity] if step.severity else ""
        onset = f", since {moment(step.since)} ({since(step.since, of.at)})" if step.since else ""
        where = f" (event log, line {step.line})" if step.line is not None else ""
        lines.append(f"  {painted(severity, style, look)}  {painted(step.code, 'strong', look)}{onset}")
        lines.append(f"      {painted(step.why, '', look)}{where}{_measure(step, of)}")
        if step.escalation:
            lines.append(f"      escalated as {painted(step.escalation, '', look)}")
        elif step.not_escalated:
            lines.append(f"      not escalated: {painted(step.not_escalated, '', look)}")
    return lines


def _others(steps: list[FindingStep], of: Explanation, look: Look) -> list[str]:
    rows = [("", step.code, step.why + _measure(step, of)) for step in steps]
    return table(("", "CODE", "WHY NOT"), rows, look._replace(headers=False)).split("\n")


def _measure(step: FindingStep, of: Explanation) -> str:
    """What was measured against which limits, and when the verdict turns next."""
    if step.observed_s is None:
        return ""
    limits = ", ".join(duration(limit) for limit in step.limits_s if limit > 0)
    said = f" [{duration(step.observed_s)} of {limits}" if limits else f" [{duration(step.observed_s)}"
    if step.next_turn is not None:
        said += f", turns in {duration((step.next_turn - of.at).total_seconds())}"
    return said + "]"


def _evidence(of: Explanation, look: Look) -> list[str]:
    process = of.process
    facts = [
        ("process", f"{process.liveness.value}: {of.liveness_basis}"),
        ("event log", _log(of.log)),
        *((file.name, _file(file.presence.value, file.problem)) for file in of.files),
        ("next look", f"{moment(of.next_look.when)}: {of.next_look.why}" if of.next_look else "when something changes"),
    ]
    facts += [
        ("escalated", f"{each.category} {each.condition}, since {moment(each.since)}") for each in of.open_escalations
    ]
    rows = [("", name, text) for name, text in facts]
    lines = table(("", "", ""), rows, look._replace(headers=False)).split("\n")
    events = f"opsctl events {shlex.quote(of.loop_id)} -n 20"
    return [*lines, painted(f"    next: {events}", "dim", look)]


def _log(log: LogSeen) -> str:
    last = f", the last {log.last.name} in line {log.last.line}" if log.last else ""
    run = f", the newest run from line {log.run_first_line}" if log.run_first_line is not None else ""
    bad = f", {log.quarantined_count} bad" if log.quarantined_count else ""
    unread = f", {log.backlog_bytes} bytes unread" if log.backlog_bytes else ""
    return f"read to line {log.line} ({log.event_count} events{bad}{unread}){last}{run}"


def _file(presence: str, problem: str | None) -> str:
    return f"{presence}: {problem}" if problem else presence
