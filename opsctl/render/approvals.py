"""What waits for a human: the inbox over the fleet, and the facts of one approval."""

from datetime import datetime

import msgspec

from opsctl.output import Look
from opsctl.render.intents import SHORT
from opsctl.render.table import painted, table
from opsctl.render.words import duration, moment, since
from opsd.protocol import ApprovalItem, ApprovalPage, PendingApproval


def render(body: bytes, look: Look) -> str:
    """Each with its age, what it is, what to read and what to type. Without headers a row each."""
    page = msgspec.json.decode(body, type=ApprovalPage)
    if not look.headers:
        rows = [(duration(item.age_s), item.loop_id, item.kind, item.command) for item in page.items]
        return table((), rows, look)
    if not page.items:
        return f"nothing waits for a human, as of {moment(page.at)}"
    return "\n\n".join(_item(item, page.at, look) for item in page.items)


def _item(item: ApprovalItem, at: datetime, look: Look) -> str:
    facts = approval_facts(item.approval, item.repo_path, at) if item.approval else []
    return "\n".join(
        [
            f"{duration(item.age_s):>6}  {painted(item.loop_id, 'strong', look)}  {painted(item.kind, '', look)}",
            f"        {painted(item.says, '', look)}",
            *(f"        {name:<10} {painted(text, '', look)}" for name, text in facts if text),
            f"        {painted(f'next: {item.command}', 'strong', look)}",
        ]
    )


def approval_facts(approval: PendingApproval, repo_path: str, at: datetime) -> list[tuple[str, str]]:
    """What is asked, by which run, since when, and what to read before deciding."""
    matched = {True: "given", False: "not given", None: "unknown"}[approval.promise_matched]
    gates = ", ".join(f"{gate} {result}" for gate, result in (approval.gates or {}).items())
    iteration = "-" if approval.iteration is None else str(approval.iteration)
    age = f", {since(approval.since, at)} ago" if approval.since else ""
    return [
        ("asked by", f"run {approval.run_id or 'unknown'}, iteration {iteration}"),
        ("asked at", f"{approval.requested_at or 'an unknown time'}{age}"),
        ("promise", matched + (f": {approval.promise}" if approval.promise else "")),
        ("gates", gates or "none"),
        ("candidate", approval.candidate[:SHORT] if approval.candidate else ""),
        *(("read", f"{name}: {_where(repo_path, path)}") for name, path in sorted(approval.files.items())),
    ]


def _where(place: str, path: str) -> str:
    """Files of a loop behind a service are nowhere on this host."""
    return f"{place}/{path}" if place.startswith("/") else f"{path}, in the sprite"
