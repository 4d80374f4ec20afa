"""What became of what people asked of the run: requests whose outcome nobody knows, a pause and its end.

Whether an intent had its effect is judged in `opsd.core.intents`; here only what stands open is told.
"""

from datetime import datetime

from opsd.core.rules.look import Answer, Look, Rule, Span
from opsd.model.health import Finding, Severity
from opsd.model.intent import PauseNote
from opsd.model.lifecycle import Phase

_NOT_PAUSED = "The run is not paused."


def control_ambiguous(look: Look) -> Answer:
    """Rule 2: intents whose effect nobody has seen, until evidence or an operator settles them.

    Of a request that another program wrote down, its last row is all there is to go by.
    """
    control = look.run.control
    if control.ambiguous:
        told = " ".join(
            f"Whether {one.intent} {one.id} took effect is not known; `opsctl intent ack {one.id}` settles it."
            for one in control.ambiguous
        )
        since = min(one.since for one in control.ambiguous)
        onset = " ".join(one.id for one in control.ambiguous)
        return Finding("control_ambiguous", Severity.DEGRADED, since, told, onset)
    if control.last_status == "ambiguous" and not control.last_is_ours:
        said = "Its outcome could not be confirmed."
        return Finding("control_ambiguous", Severity.DEGRADED, None, said, control.last_status)
    return "No control request is without an outcome."


def control_failed(look: Look) -> Answer:
    """Rule 3: how the last settled control request went."""
    status = look.run.control.last_status
    if status == "failed_command":
        return Finding("control_failed_command", Severity.DEGRADED, None, "Its command failed.", status)
    return "The last control request, if any, did not fail."


def _own_pause(look: Look) -> PauseNote | None:
    """The pause behind a stopped run, if it is one of ours: of this very process."""
    pause, process = look.run.control.pause, look.run.process
    return pause if pause is not None and pause.pid in (None, process.pid) else None


def run_paused(look: Look) -> Answer:
    """The run's process is stopped: by whom, why and until when, as far as that went through an intent."""
    if look.phase is not Phase.PAUSED:
        return _NOT_PAUSED
    pause, process = _own_pause(look), look.run.process
    if pause is None:
        told = f"Process {process.pid} is stopped by a signal, and no pause of it is recorded."
        return Finding("run_paused", Severity.INFO, None, told, f"process {process.pid} of {process.begun}")
    until = "until somebody resumes it" if pause.until is None else f"until {_instant(pause.until)}"
    why = f": {pause.reason}" if pause.reason else ""
    told = f"Paused by {pause.by} at {_instant(pause.since)} {until}{why}."
    return Finding("run_paused", Severity.INFO, pause.since, told, pause.intent_id)


def pause_span(look: Look) -> Span | str:
    """How long the run has been paused, and when that is longer than was meant."""
    pause = _own_pause(look)
    if look.phase is not Phase.PAUSED:
        return _NOT_PAUSED
    if pause is None or pause.until is None:
        return "The pause has no end."
    return Span(pause.since, (pause.until,))


def pause_expired(look: Look) -> Answer:
    """The run is still paused at the moment until which that was meant."""
    span, pause = pause_span(look), _own_pause(look)
    if isinstance(span, str) or pause is None:
        return span if isinstance(span, str) else _NOT_PAUSED
    (until,) = span.turns
    if look.now < until:
        return "The pause has not come to its end."
    told = f"{pause.by} paused it at {_instant(pause.since)} until {_instant(until)}, and nobody has resumed it."
    return Finding("pause_expired", Severity.DEGRADED, until, told, pause.intent_id)


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


RULES = (
    Rule(("control_ambiguous",), control_ambiguous),
    Rule(("control_failed_command",), control_failed),
    Rule(("run_paused",), run_paused),
    Rule(("pause_expired",), pause_expired, pause_span),
)
