"""What intents and modes mean for a loop now: marks for a row of the fleet, a section of its own for one loop."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from opsctl.output import Look
from opsctl.render.table import Cell, painted, table
from opsctl.render.words import moment, reasons, since
from opsd.model.intent import OpenIntent, PauseNote
from opsd.protocol import LoopControl, LoopSummary, ModePage, ModeStatus

# Where a finding says the same, the mark is left out.
_PAUSED, _AMBIGUOUS = frozenset({"run_paused", "pause_expired"}), frozenset({"control_ambiguous"})


def why(summary: LoopSummary) -> str:
    """The codes of what is wrong, and what of intents one must know to understand the state; `-` where nothing is."""
    shown = reasons(summary)
    parts = [*([] if shown == "-" else [shown]), *_marks(summary)]
    return ", ".join(parts) or "-"


def _marks(summary: LoopSummary) -> Iterable[str]:
    control = summary.control
    if control is None:
        return
    codes = {finding.code for finding in summary.findings}
    if control.in_flight is not None:
        yield f"{control.in_flight.intent.value} in flight"
    if control.ambiguous and not codes & _AMBIGUOUS:
        yield f"{control.ambiguous[0].intent.value} ambiguous"
    if control.pause is not None and not codes & _PAUSED:
        yield f"paused by {control.pause.by}"


def control_section(control: LoopControl, at: datetime, look: Look) -> list[str]:
    """In flight, ambiguous and paused, each with its id; and what to type."""
    lines = []
    rows = [_open("in flight", control.in_flight, at)] if control.in_flight else []
    rows += [_open("ambiguous", each, at) for each in control.ambiguous]
    if rows:
        lines += table(("", "", "INTENT", "BY", "FOR", "ID"), rows, look._replace(headers=False)).split("\n")
    if control.pause is not None:
        lines.append(f"  paused  {painted(_paused(control.pause, at), '', look)}")
    if control.observing:
        lines.append(f"  {painted(_observing(control), '', look)}")
    if control.ambiguous:
        first = control.ambiguous[0].id
        step = f"next: opsctl intent show {first}, then opsctl intent ack {first} --reason ..."
        lines.append(f"  {painted(step, '', look)}")
    return lines


def mode_of(summary: LoopSummary) -> str:
    """What to know before asking anything of this loop; empty in normal mode."""
    control = summary.control
    return f"{_observing(control)}, so that this will be refused" if control is not None and control.observing else ""


def _observing(control: LoopControl) -> str:
    return f"observe mode until {moment(control.observe_until) if control.observe_until else 'somebody ends it'}"


def _open(how: str, intent: OpenIntent, at: datetime) -> tuple[Cell | str, ...]:
    return ("", Cell(how, "strong"), intent.intent.value, intent.requested_by, since(intent.since, at), intent.id)


def _paused(pause: PauseNote, at: datetime) -> str:
    said = f"by {pause.by} {since(pause.since, at)} ago"
    said += f", until {moment(pause.until)}" if pause.until else ", until somebody resumes it"
    return said + (f": {pause.reason}" if pause.reason else "")


def mode_words(mode: ModeStatus) -> str:
    """`observe mode for the fleet: by ana since ..., until ... (reason)`."""
    of = f"loop {mode.loop_id}" if mode.loop_id is not None else "the fleet"
    until = moment(mode.until) if mode.until else "somebody ends it"
    why_so = f" ({mode.reason})" if mode.reason else ""
    return f"{mode.mode.value} mode for {of}: by {mode.by} since {moment(mode.since)}, until {until}{why_so}"


def render_modes(body: bytes, look: Look) -> str:
    page = msgspec.json.decode(body, type=ModePage)
    if not page.modes:
        return "normal mode: intents are carried out" if look.headers else ""
    if not look.headers:
        rows = [
            (mode.mode.value, mode.loop_id or "-", mode.by, moment(mode.until), mode.reason or "-")
            for mode in page.modes
        ]
        return table((), rows, look)
    return "\n".join(painted(mode_words(mode), "warn", look) for mode in page.modes)
