"""What waits for a human's decision, over the whole fleet: the findings of which that is true, and ambiguous intents.

Which finding holds is decided in `opsd.core`; how a single loop is shown is `view`.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from opsd.app.view import pending_approval
from opsd.model.health import Finding
from opsd.model.reasons import REASONS
from opsd.model.run import Run
from opsd.protocol import ApprovalItem, ApprovalPage

AMBIGUOUS = "control_ambiguous"
_COMMANDS: Mapping[str, str] = {
    "approval_pending": "opsctl approve {loop}",
    "decision_not_taken_up": "opsctl start {loop}",
    "recovery_waiting": "opsctl explain {loop}",
    "pause_expired": "opsctl resume {loop}",
    AMBIGUOUS: "opsctl explain {loop}",
}
"""By finding. Nobody but a human may run a recovery, so opsctl only shows which it is; an ambiguous request of which
only its row in the journal is known has no intent to acknowledge."""
_LAST = datetime.max.replace(tzinfo=UTC)


def approvals(runs: Iterable[Run], now: datetime) -> ApprovalPage:
    """Every decision that is waited for, oldest first; what began nobody knows when comes last."""
    items = [item for run in runs for item in _items(run, now)]
    return ApprovalPage(now, tuple(sorted(items, key=lambda item: item.since or _LAST)))


def _items(run: Run, now: datetime) -> Iterator[ApprovalItem]:
    ambiguous = run.control.ambiguous
    for each in ambiguous:
        says = f"Nothing proves what became of {each.requested_by}'s {each.intent}."
        command = f"opsctl intent ack {each.id} --reason ..."
        yield _item(run, AMBIGUOUS, says, each.since, command, now)
    for finding in run.health.findings if run.health else ():
        if finding.code in _COMMANDS and not (finding.code == AMBIGUOUS and ambiguous):
            command = _COMMANDS[finding.code].format(loop=shlex.quote(run.ref.loop_id))
            yield _item(run, finding.code, _says(finding), finding.since, command, now)


def _says(finding: Finding) -> str:
    return f"{REASONS[finding.code].says} {finding.evidence}"


def _item(run: Run, kind: str, says: str, since: datetime | None, command: str, now: datetime) -> ApprovalItem:
    return ApprovalItem(
        loop_id=run.ref.loop_id,
        repo_path=run.ref.place,
        kind=kind,
        says=says,
        since=since,
        age_s=max(0.0, (now - since).total_seconds()) if since is not None else None,
        command=command,
        approval=pending_approval(run) if kind == "approval_pending" else None,
    )
