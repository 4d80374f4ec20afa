"""What is shown before something is asked of a loop: what is there, what it would do, and what would come next."""

import shlex

from opsctl.output import Look
from opsctl.render.approvals import approval_facts
from opsctl.render.control import mode_of, why
from opsctl.render.fleet import progress
from opsctl.render.table import painted
from opsctl.render.words import moment, since, state
from opsd.model.intent import DECISIONS, IntentKind
from opsd.protocol import LoopStatus


def before(
    kind: IntentKind, status: LoopStatus, look: Look, *, then_start: bool = False, if_run: str | None = None
) -> str:
    """`if_run` is the run that the operator named; where it is not the loop's, that is said."""
    loop_id = status.summary.loop_id
    known = (state(status.summary), status.summary.overall_status.value, why(status.summary))
    facts = [
        ("is", ", ".join(part for part in known if part != "-")),
        *_there(kind, status),
        ("not the run", f"you named {if_run}" if if_run not in (None, status.summary.progress.run_id) else ""),
        ("mode", mode_of(status.summary)),
        ("then", _then(kind, loop_id, then_start=then_start)),
    ]
    head = painted(f"{kind.value} {loop_id}", "strong", look)
    return "\n".join([head, *(f"  {name:<11} {painted(text, '', look)}" for name, text in facts if text)])


def _there(kind: IntentKind, status: LoopStatus) -> list[tuple[str, str]]:
    if kind in DECISIONS:
        if status.approval is None:
            return [("asks for", "no approval")]
        return approval_facts(status.approval, status.summary.repo_path, status.at)
    of, control = status.summary.progress, status.summary.control
    pause = control.pause if control else None
    return [
        ("run", f"{of.run_id}, started {moment(of.started_at)}, {since(of.started_at, status.at)} ago"),
        ("progress", progress(of, since(of.role_since, status.at))),
        ("in state", f"{since(of.phase_since, status.at)}, since {moment(of.phase_since)}"),
        ("process", status.liveness + (f", pid {status.pid}" if status.pid is not None else "")),
        ("paused", f"by {pause.by} {since(pause.since, status.at)} ago" if pause else ""),
        ("waits", "for an approval" if status.approval is not None else ""),
        ("checkout", status.summary.repo_path),
    ]


def _then(kind: IntentKind, loop_id: str, *, then_start: bool) -> str:
    start = f"opsctl start {shlex.quote(loop_id)}"
    if kind in DECISIONS:
        if then_start:
            return "once it is confirmed, the loop is started"
        return f"nothing runs until the next start: {start}"
    return {
        IntentKind.CANCEL: f"the run ends, with every process of it; {start} begins another",
        IntentKind.START: "a new run begins in the checkout",
        IntentKind.PAUSE: f"its processes stand still until opsctl resume {shlex.quote(loop_id)}",
        IntentKind.RESUME: "its processes go on where they stood",
    }[kind]
