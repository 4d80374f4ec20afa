"""When is a service asked again? Rarely, because a request wakes a sleeping sprite; often only while its run changes.

Asking is `opsd.supervisor.polling`. All randomness is handed in: a fleet must not ask in step.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from opsd.model.lifecycle import Lifecycle
from opsd.model.run import Run
from opsd.model.thresholds import Thresholds

RETRY_FIRST_S = 2.0
RETRY_LONGEST_S = 300.0
RESTS_AFTER = 5
"""So many failures in a row, and the service is left alone for longer: its trouble is known by then."""
_SOONEST_S = 0.5
BUDGET_POLLS_MIN = 10
"""Fewer polls than these say nothing about a share of failures."""


class Pace(msgspec.Struct, frozen=True):
    """Seconds. `fast_s` between polls of a run that changes; one that was still for `quiet_after_s` is asked ever more
    rarely, up to `idle_s`, which holds at once for whatever does not run. `budget` is the share of polls that may fail
    within an hour."""

    fast_s: float = 2.0
    quiet_after_s: float = 60.0
    idle_s: float = 900.0
    budget: float = 0.1


class Next(msgspec.Struct, frozen=True, gc=False):
    """In how many seconds to ask again, and for how long that answer may be held back for news."""

    in_s: float
    wait_s: float = 0.0


def after_answer(
    run: Run, pace: Pace, thresholds: Thresholds, *, quiet_s: float, wait_s: float, jitter: float, now: datetime
) -> Next:
    """`quiet_s` is for how long no poll has brought news; `wait_s` how long the service can hold an answer back.

    A run that goes on is also asked when its silence would become worth a finding: nobody is called stale unasked. An
    answer is held back no longer than until then, or the verdict would come late by so much.
    """
    if not goes_on(run):
        return Next(pace.idle_s * (0.9 + 0.2 * jitter))
    turn_s = _next_turn_s(run, thresholds, now)
    if quiet_s < pace.quiet_after_s:
        if not wait_s:
            return Next(pace.fast_s * (0.75 + 0.5 * jitter))
        return Next(pace.fast_s * 0.1 * jitter, wait_s if turn_s is None else min(wait_s, turn_s))
    in_s = min(pace.idle_s, quiet_s * (0.75 + 0.5 * jitter))
    return Next(in_s if turn_s is None else min(in_s, turn_s))


def goes_on(run: Run) -> bool:
    """Whether the loop is in the middle of a run, as far as the newest answer tells."""
    return run.projection is not None and run.projection.transition.current_state is Lifecycle.RUNNING


def after_failure(failures: int, *, retry_after_s: float | None, jitter: float) -> Next:
    """Full jitter below a doubling ceiling; at least what the service asked for."""
    ceiling_s = min(RETRY_LONGEST_S, RETRY_FIRST_S * 2 ** min(failures - 1, 16))
    in_s = ceiling_s * (0.5 + 0.5 * jitter) if failures >= RESTS_AFTER else max(RETRY_FIRST_S / 2, ceiling_s * jitter)
    return Next(max(in_s, retry_after_s or 0.0))


def is_spent(asked: int, failed: int, pace: Pace) -> bool:
    """Whether more polls of the last hour failed than the budget allows; at exactly the budget it is not spent."""
    return asked >= BUDGET_POLLS_MIN and failed > pace.budget * asked


def _next_turn_s(run: Run, thresholds: Thresholds, now: datetime) -> float | None:
    """In how many seconds an answer would first turn a verdict by its time alone; None where none would."""
    known_at = run.last_contact_at or now
    left = [(turn - now).total_seconds() for turn in _turns(run, thresholds) if turn > known_at]
    return max(_SOONEST_S, min(left)) if left else None


def _turns(run: Run, thresholds: Thresholds) -> Iterator[datetime]:
    """When silence and missing beats begin to count, and when what is in the balance settles."""
    last, beat, projection = run.fold.last, run.beat, run.projection
    if last is not None and last.at is not None:
        yield last.at + timedelta(seconds=thresholds.degraded_ingest_lag_seconds + 1)
        yield last.at + timedelta(seconds=thresholds.critical_ingest_lag_seconds + 1)
    if beat is not None and not beat.exited:
        yield beat.at + timedelta(seconds=thresholds.degraded_heartbeat_lag_seconds + 1)
        yield beat.at + timedelta(seconds=thresholds.critical_heartbeat_lag_seconds + 1)
    if projection is not None and projection.holds_until is not None:
        yield projection.holds_until
    if run.process.settles_at is not None:
        yield run.process.settles_at
