"""Is something late? Silence of the log, of the heartbeat, a role beyond its limit, and clocks that disagree.

Which phase is expected to be quiet was decided in `lifecycle`; here it only excuses. Source: loop-core 6, 8.2.
"""

from datetime import UTC, datetime

from opsd.core.instants import parse, seconds
from opsd.core.rules.look import Answer, Look, Rule, Span
from opsd.model.health import Finding, Severity
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.process import Liveness

STARTING_S = 600
"""A run's first words may take this long: prerequisites and a first checkout come before its first event."""
OVERDUE_GRACE_S = 60
"""The runtime ends a role at its limit by itself; only one that outlives the limit by this is worth a word."""
FUTURE_TOLERANCE_S = 5
"""Timestamps are cut to seconds and clocks differ a little; what lies further ahead is a clock that was set."""

# Where nothing is expected to move, silence is no news: complete, stopped, failed, idle, waiting for approval.
_MAY_RUN = frozenset({Lifecycle.RUNNING, Lifecycle.UNKNOWN})
_NOTHING_RUNS = "Nothing is expected to run now, so silence is normal."
_EXCUSED = {
    Phase.BUSY: "A role, tests or validation are known to be at work, so silence is normal.",
    Phase.LIMITED: "The run waits for a limit with a known end, so silence is normal.",
    Phase.PAUSED: "The run is paused, so silence is normal.",
}
_NEVER = datetime.max.replace(tzinfo=UTC)
_FRESH = "It is younger than the threshold."


def silence(look: Look) -> Span | str:
    """How long the log has been silent, and when that becomes too long.

    A run that is starting is silent since its process began, and has at least `STARTING_S`. Without an event whose time
    can be read there is nothing to measure (loop-core 8.2, "unknown lag").
    """
    # A run whose process is gone is not expected to be silent: who knows the contract's codes alone, hears of it so.
    if (look.lifecycle not in _MAY_RUN and look.phase is not Phase.CRASHED) or look.phase is Phase.NEVER_RUN:
        return _NOTHING_RUNS
    excuse = _EXCUSED.get(look.phase)
    if excuse is not None:
        return excuse
    if look.run.backlog_bytes:
        return "The log has not been read to its end, so its newest event is not known."
    settles_at = look.run.process.settles_at
    if settles_at is not None and look.known_at < settles_at:
        return "Whether its process is gone will be known in a moment, and would explain the silence."
    last = look.run.fold.last
    since = last.at if last is not None else None
    patience_s = 0
    if look.phase is Phase.STARTING:
        begun = parse(look.run.process.begun)
        if begun is not None and (since is None or since < begun):
            since, patience_s = begun, STARTING_S
    if since is None:
        return "The log has no event whose time can be read."
    limits = look.thresholds
    return _span(
        since,
        max(patience_s, limits.degraded_ingest_lag_seconds),
        max(patience_s, limits.critical_ingest_lag_seconds),
    )


def ingest_stale(look: Look) -> Answer:
    """Rules 4 and 5. `since` is when the silence became too long; the onset is the event after which it began."""
    span = silence(look)
    if isinstance(span, str):
        return span
    degraded_at, critical_at = span.turns
    if look.known_at < degraded_at:
        return _FRESH
    last, limits = look.run.fold.last, look.thresholds
    if last is not None and last.at == span.since:
        spoke, line = f"The last event is {last.name} of {last.timestamp}, line {last.line}", last.line
        onset = f"e{look.run.fold.epoch}:l{last.line}"
    else:
        spoke, line = f"No event since the process began at {_text(span.since)}", None
        onset = f"began:{_text(span.since)}"
    return Finding(
        "ingest_stale",
        Severity.CRITICAL if look.known_at >= critical_at else Severity.DEGRADED,
        degraded_at,
        f"{spoke}; the limits are {limits.degraded_ingest_lag_seconds} s (degraded) and "
        f"{limits.critical_ingest_lag_seconds} s (critical).",
        onset,
        line,
    )


def beat_age(look: Look) -> Span | str:
    """How long ago the active run's process last gave a sign of life, and when that is too long.

    A heartbeat that was never written says nothing; one that says `exited` is the last one by design.
    """
    beat = look.run.beat
    if beat is None:
        return "No usable heartbeat was ever written, so nothing can be late."
    if beat.exited:
        return "The last beat says that the process ended; none is to follow."
    if look.lifecycle not in _MAY_RUN or look.phase is Phase.NEVER_RUN:
        return _NOTHING_RUNS
    if look.phase is Phase.PAUSED:
        return _EXCUSED[Phase.PAUSED]  # a launcher of the same process group is stopped with its run
    if beat.pid is not None and look.run.process.pid not in (None, beat.pid):
        return "The last beat is another process's; the active run's has not beaten yet."
    limits = look.thresholds
    return _span(beat.at, limits.degraded_heartbeat_lag_seconds, limits.critical_heartbeat_lag_seconds)


def heartbeat_stale(look: Look) -> Answer:
    """Rules 6 and 7; the lag is against now, so it keeps growing when beats stop."""
    span = beat_age(look)
    if isinstance(span, str):
        return span
    degraded_at, critical_at = span.turns
    if look.known_at < degraded_at:
        return _FRESH
    beat, limits = look.run.beat, look.thresholds
    text = beat.text if beat is not None else _text(span.since)
    return Finding(
        "runtime_heartbeat_stale",
        Severity.CRITICAL if look.known_at >= critical_at else Severity.DEGRADED,
        degraded_at,
        f"The last beat is of {text}; the limits are {limits.degraded_heartbeat_lag_seconds} s (degraded) and "
        f"{limits.critical_heartbeat_lag_seconds} s (critical).",
        text,
    )


def overrun(look: Look) -> Span | str:
    """How long the present role has run, and when it has outlived its own limit by `OVERDUE_GRACE_S`."""
    facts = look.run.fold.run
    if look.run.process.liveness is not Liveness.ALIVE:
        return "No process is known to be alive."
    if facts is None or facts.ending is not None or facts.activity != "role_start" or facts.activity_since is None:
        return "No role is at work."
    config = look.run.artifacts.config.value
    limit_s = config.timeouts.limit_s(facts.role) if config is not None else 0
    if not limit_s:
        return "The role has no time limit."
    return _span(facts.activity_since, limit_s + OVERDUE_GRACE_S)


def role_overdue(look: Look) -> Answer:
    """A role that outlived its time limit while its process lives."""
    span = overrun(look)
    if isinstance(span, str):
        return span
    (overdue_at,) = span.turns
    if look.known_at < overdue_at:
        return "The role is within its time limit."
    facts = look.run.fold.run
    role = facts.role if facts is not None else None
    limit_s = int((overdue_at - span.since).total_seconds()) - OVERDUE_GRACE_S
    return Finding(
        "role_overdue",
        Severity.DEGRADED,
        overdue_at,
        f"The role {role} has run since {_text(span.since)}; its limit is {limit_s} s.",
        f"{role}:{_text(span.since)}",
    )


def future(look: Look) -> Span | str:
    """Until when the newest event or beat lies in the future."""
    last, beat = look.run.fold.last, look.run.beat
    newest = last.at if last is not None else None
    if beat is not None and (newest is None or newest < beat.at):
        newest = beat.at
    if newest is None:
        return "Neither an event nor a beat names a time."
    return _span(newest, -FUTURE_TOLERANCE_S)


def clock_stepped(look: Look) -> Answer:
    """An event or beat more than `FUTURE_TOLERANCE_S` ahead of now. Lags count from 0 then; nothing else follows."""
    span = future(look)
    if isinstance(span, str):
        return span
    if look.now >= span.turns[0]:
        return "No event or beat lies in the future."
    text = _text(span.since)
    return Finding("clock_stepped", Severity.INFO, None, f"The newest event or beat is of {text}, in the future.", text)


def _span(since: datetime, *turns_s: int) -> Span:
    try:
        return Span(since, tuple([since + seconds(turn_s) for turn_s in turns_s]))
    except OverflowError:  # beyond the calendar's end: a moment that never comes
        return Span(since, (_NEVER,) * len(turns_s))


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


RULES = (
    Rule(("ingest_stale",), ingest_stale, silence),
    Rule(("runtime_heartbeat_stale",), heartbeat_stale, beat_age),
    Rule(("role_overdue",), role_overdue, overrun),
    Rule(("clock_stepped",), clock_stepped, future),
)
