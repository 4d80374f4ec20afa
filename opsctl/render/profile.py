"""Thresholds: those of one loop with where they come from, and the catalog's profiles beside each other."""

import shlex

import msgspec

from opsctl.output import Look
from opsctl.render.table import Cell, painted, table
from opsctl.render.words import moment
from opsd.model.thresholds import Thresholds
from opsd.protocol import ProfileItem, ProfilePage, ProfileReply, ProfileSource

_KINDS = (
    ("silence of the log", "ingest_lag_seconds", " s"),
    ("missing heartbeat", "heartbeat_lag_seconds", " s"),
    ("failed looks in a row", "transport_failure_streak", ""),
)
WHENCE = {
    ProfileSource.CHOSEN: "chosen for this loop",
    ProfileSource.SETTINGS: "set for all loops",
    ProfileSource.CATALOG: "the catalog's default",
}


def render_one(body: bytes, look: Look) -> str:
    reply = msgspec.json.decode(body, type=ProfileReply)
    name = painted(reply.loop_id, "strong", look)
    lines = [f"{name}  {painted(reply.thresholds.profile or '-', '', look)}, {WHENCE[reply.source]}"]
    if reply.description:
        lines.append(f"  {painted(reply.description, 'dim', look)}")
    lines += choice_lines(reply, look)
    rows = [("", *row) for row in _values(reply.thresholds)]
    lines += table(("", "JUDGED BY", "DEGRADED", "CRITICAL"), rows, look).split("\n")
    if reply.overridden:
        lines.append(f"  set for all loops, whichever profile: {', '.join(reply.overridden)}")
    if reply.problem is not None:
        lines.append(f"  next: opsctl profile {shlex.quote(reply.loop_id)} --clear --reason ...")
    return "\n".join(lines)


def choice_lines(reply: ProfileReply, look: Look) -> list[str]:
    """Who chose for this loop, when and why, and what keeps it from holding."""
    lines = []
    if reply.since is not None and reply.chosen is not None:
        said = f"{reply.chosen} chosen by {reply.by} at {moment(reply.since)}: {reply.reason}"
        lines.append(f"  {painted(said, '', look)}")
    if reply.problem is not None:
        lines.append(f"  {painted(f'without effect: {reply.problem}', 'warn', look)}")
    return lines


def _values(thresholds: Thresholds) -> list[tuple[str, str, str]]:
    return [
        (says, f"{getattr(thresholds, f'degraded_{name}')}{unit}", f"{getattr(thresholds, f'critical_{name}')}{unit}")
        for says, name, unit in _KINDS
    ]


def render_page(body: bytes, look: Look) -> str:
    page = msgspec.json.decode(body, type=ProfilePage)
    headers = ("PROFILE", "SILENCE", "FAILED LOOKS", "", "WHAT FOR")
    return table(headers, [_row(item, page.of_all) for item in page.profiles], look)


def _row(item: ProfileItem, of_all: str | None) -> tuple[Cell | str, ...]:
    mark = "of all loops" if item.name == of_all else ""
    values = item.values
    if values is None:
        return Cell(item.name, "strong"), "-", "-", mark, Cell(item.problem or "-", "warn")
    return (
        Cell(item.name, "strong"),
        f"{values.degraded_ingest_lag_seconds}/{values.critical_ingest_lag_seconds} s",
        f"{values.degraded_transport_failure_streak}/{values.critical_transport_failure_streak}",
        mark,
        values.description or "-",
    )
