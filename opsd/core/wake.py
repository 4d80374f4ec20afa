"""When would a verdict change although nothing new is seen? The next such moment, so that nobody has to poll.

Each rule names the instants at which time alone turns it; here only the earliest of them is picked.
"""

from datetime import datetime, timedelta

from opsd.core.findings import RULES
from opsd.core.rules.look import look_at
from opsd.core.rules.reaching import every_file
from opsd.model.effects import WakeAt
from opsd.model.run import Ingest, Run
from opsd.model.runtime import Presence
from opsd.model.thresholds import Thresholds

SETTLING_S = 2
"""A file caught half-written is looked at again after this; the runtime's rewrites take milliseconds."""
CLEAN_LOOK_S = 60
"""A log that went backwards is what one look saw of it; the next clean look ends the finding, and comes after this."""

_CLOCKED = tuple((rule.codes[0], rule.span) for rule in RULES if rule.span is not None)


def next_look(run: Run, thresholds: Thresholds, now: datetime) -> WakeAt | None:
    """The earliest moment after `now` at which any verdict on `run` could change without a new artifact, else None.

    Lags and thresholds, what the process and the lifecycle wait to see settled (`settles_at`, `holds_until`), and files
    caught while they are rewritten.
    """
    look = look_at(run, Ingest(), thresholds, now)
    when: datetime | None = None
    why = ""
    for code, span_of in _CLOCKED:
        span = span_of(look)
        if isinstance(span, str):
            continue
        for turn in span.turns:
            if turn > now:
                if when is None or turn < when:
                    when, why = turn, code
                break
    projection, settles_at = run.projection, run.process.settles_at
    if projection is not None:
        holds_until = projection.holds_until
        if holds_until is not None and holds_until > now and (when is None or holds_until < when):
            when, why = holds_until, f"phase {projection.phase}"
    if settles_at is not None and settles_at > now and (when is None or settles_at < when):
        when, why = settles_at, "process"
    if (run.sequence is not None and run.sequence.drift_active) or (
        projection is not None and projection.divergence.cursor_regression
    ):
        cleared_at = now + timedelta(seconds=CLEAN_LOOK_S)
        if when is None or cleared_at < when:
            when, why = cleared_at, "clean look at the log"
    for file in every_file(run.artifacts):
        if file.presence is Presence.SETTLING:
            settled = (file.since or now) + timedelta(seconds=SETTLING_S)
            if settled > now and (when is None or settled < when):
                when, why = settled, "settling file"
    return WakeAt(when, why) if when is not None else None
