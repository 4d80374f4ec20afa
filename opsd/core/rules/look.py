"""What every rule looks at, what it answers, and the spans of time that turn a verdict.

Nothing is judged here; the rules are in the files beside this one.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec

from opsd.model.health import Finding
from opsd.model.ids import UNKNOWN_RUN
from opsd.model.lifecycle import Lifecycle, Phase, Projection, Transition
from opsd.model.run import Ingest, Run
from opsd.model.thresholds import Thresholds

Answer = Finding | str
"""A finding where the rule holds, else why not: always one of a few constant sentences, so that asking is cheap."""

_UNSEEN = Projection(
    transition=Transition(Lifecycle.NONE, "", Lifecycle.UNKNOWN, "low"),
    phase=Phase.UNKNOWN,
    basis="Never looked at successfully.",
    since=None,
    run_id=UNKNOWN_RUN,
    iteration=0,
)


class Look(msgspec.Struct, frozen=True, gc=False):
    """One run at one moment, as every rule sees it. A run never seen successfully is `unknown`, never missing.

    `known_at` is how far we know: of a run behind a service, which is asked rarely, that is its last answer. What it
    may have done since is neither silence nor a missing beat.
    """

    run: Run
    ingest: Ingest
    thresholds: Thresholds
    now: datetime
    known_at: datetime
    projection: Projection
    lifecycle: Lifecycle
    phase: Phase


def look_at(run: Run, ingest: Ingest, thresholds: Thresholds, now: datetime) -> Look:
    """Bundle a pass's inputs for the rules."""
    projection = run.projection or _UNSEEN
    known_at = run.last_contact_at or now if run.ref.is_remote else now
    state = projection.transition.current_state
    return Look(run, ingest, thresholds, now, known_at, projection, state, projection.phase)


class Span(msgspec.Struct, frozen=True, gc=False):
    """Something that has lasted since `since`, and the instants, in order, at which time alone turns its verdict.

    At exactly such an instant the verdict has turned: the contract compares `observed >= threshold`.
    """

    since: datetime
    turns: tuple[datetime, ...]


class Rule(msgspec.Struct, frozen=True):
    """The codes that a rule can find, how it judges, and the span that it measures where time alone can turn it."""

    codes: tuple[str, ...]
    find: Callable[[Look], Answer]
    span: Callable[[Look], Span | str] | None = None
