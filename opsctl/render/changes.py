"""A change of a loop as one line: what is different from the picture before. Pure; who compares is `opsctl.feed`."""

import shlex

from msgspec import UNSET

from opsctl.output import Look
from opsctl.render.fleet import progress
from opsctl.render.history import escalation_line
from opsctl.render.intents import intent_line
from opsctl.render.table import painted
from opsctl.render.words import STYLE_OF_HEALTH, moment, reasons, since, state
from opsd.protocol import FeedItem, LoopSummary


def change_line(item: FeedItem, before: LoopSummary | None, look: Look) -> str | None:
    """The line for an item of the feed, or None where there is nothing to tell people."""
    if item.loop is not None:
        said = _told(item.loop, before, item, look)
        return f"{moment(item.at)}  {painted(item.loop.loop_id, 'strong', look)}  {said}" if said else None
    if item.removed is not None:
        return f"{moment(item.at)}  {painted(item.removed, 'strong', look)}  is no longer in the fleet"
    if item.escalation is not UNSET:
        return escalation_line(item.escalation, look)
    return intent_line(item.intent, look) if item.intent is not None else None


def _told(loop: LoopSummary, before: LoopSummary | None, item: FeedItem, look: Look) -> str:
    parts = []
    if before is None or state(before) != state(loop):
        parts.append(painted(state(loop) if before is None else f"{state(before)} -> {state(loop)}", "", look))
    if before is None or before.overall_status is not loop.overall_status:
        parts.append(painted(loop.overall_status.value, STYLE_OF_HEALTH[loop.overall_status], look))
    news = _findings(loop, before)
    if news:
        parts.append(painted(news, "", look))
    where = progress(loop.progress, since(loop.progress.role_since, item.at))
    if before is None or _step(before) != _step(loop):
        parts.append(painted(where, "", look))
    if before is not None and before.last_event_at != loop.last_event_at and loop.last_event_name:
        parts.append(painted(loop.last_event_name, "dim", look))
    if _observing(loop) != (before is not None and _observing(before)):
        parts.append(painted("observe mode" if _observing(loop) else "normal mode", "warn", look))
    if before is not None and loop.needs_human and not before.needs_human:
        parts.append(painted(f"(next: opsctl status {shlex.quote(loop.loop_id)})", "dim", look))
    return "  ".join(part for part in parts if part)


def _observing(loop: LoopSummary) -> bool:
    return loop.control is not None and loop.control.observing


def _step(loop: LoopSummary) -> tuple[str, int, str | None]:
    return loop.progress.run_id, loop.progress.iteration, loop.progress.role


def _findings(loop: LoopSummary, before: LoopSummary | None) -> str:
    """`+code` for what has come, `-code` for what has gone; all of them at first sight."""
    if before is None:
        shown = reasons(loop)
        return "" if shown == "-" else shown
    was, now = [each.code for each in before.findings], [each.code for each in loop.findings]
    come, gone = [code for code in now if code not in was], [code for code in was if code not in now]
    return " ".join([*(f"+{code}" for code in come), *(f"-{code}" for code in gone)])
