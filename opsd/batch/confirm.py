"""Look at a loop until an intent shows its effect, or the time is up: exit code 0 if it does, 1 if not. Only reads.

Source: control-and-service 3.
"""

import argparse
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec

from opsd.app import envelopes
from opsd.batch.command import (
    Outcome,
    Outside,
    Parser,
    add_loop,
    add_pretty,
    loop_of,
    one_of,
    printed,
    repo_of,
    whole_number,
)
from opsd.core.contract_confirmation import INTENTS, TIMEOUT, Sight, proof
from opsd.core.envelopes import NULL
from opsd.core.instants import whole
from opsd.model.control import ConfirmDocument
from opsd.model.envelopes import LoopRunEvent
from opsd.model.ids import LoopId
from opsd.model.runtime import Approval, RuntimeState, SummaryEntry
from opsd.transports.lenient import decode_object

R = TypeVar("R", bound=msgspec.Struct)


class Watched(msgspec.Struct, frozen=True):
    """What came of it: the last good sight, why it is a proof if it is one, and how many looks it took."""

    sight: Sight
    reason: str | None
    attempts: int


def add_arguments(parser: Parser) -> None:
    add_loop(parser)
    parser.add_argument("--intent", required=True, metavar="INTENT", help=", ".join(INTENTS))
    parser.add_argument("--timeout-seconds", default="30", metavar="N", help="how long to look (30; 0 is one look)")
    parser.add_argument("--interval-seconds", default="2", metavar="N", help="the pause between looks (2)")
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    repo, loop_id = repo_of(given), loop_of(given)
    intent = one_of("--intent", given.intent, INTENTS)
    timeout_s = whole_number("--timeout-seconds", given.timeout_seconds)
    interval_s = whole_number("--interval-seconds", given.interval_seconds) or 1
    watched = watch(
        intent,
        lambda: look(repo, loop_id, outside),
        timeout_s=timeout_s,
        interval_s=interval_s,
        monotonic=outside.monotonic,
        wait=_wait,
    )
    sight = watched.sight
    document = ConfirmDocument(
        intent=intent,
        confirmed=watched.reason is not None,
        reason=watched.reason or TIMEOUT,
        attempts=watched.attempts,
        timeout_seconds=timeout_s,
        observed_status=sight.status,
        observed_last_event=sight.last_event,
        observed_approval_status=sight.approval_status,
        observed_active=sight.active,
        observed_at=whole(outside.now()),
    )
    return Outcome(printed(document, pretty=given.pretty), 0 if watched.reason else 1)


def watch(
    intent: str,
    look: Callable[[], Sight | None],
    *,
    timeout_s: float,
    interval_s: float,
    monotonic: Callable[[], float],
    wait: Callable[[float], None],
) -> Watched:
    """Look at least once, and a last time when the time is up. A look that brings nothing counts, and proves nothing.

    A `wait` that never lasts longer than it is asked to ends within `timeout_s` and one look.
    """
    deadline_s = monotonic() + timeout_s
    sight, attempts = Sight(), 0
    while True:
        last = monotonic() >= deadline_s
        seen, attempts = look(), attempts + 1
        sight = seen or sight
        reason = proof(intent, seen) if seen is not None else None
        if reason is not None or last:
            return Watched(sight, reason, attempts)
        wait(max(0.0, min(interval_s, deadline_s - monotonic())))


def look(repo: str, loop_id: LoopId, outside: Outside) -> Sight | None:
    """None where no snapshot can be taken: the loop may not have begun, or a file is being written."""
    try:
        found = envelopes.snapshot(outside.files, repo, loop_id, outside.now())
        decision = None
        if found.health.last_event_name == "approval_decision":
            decision = _status_of_line(repo, loop_id, found.cursor.event_line_count, outside)
    except (envelopes.EnvelopeError, OSError):
        return None
    state, approval = _read(found.runtime.superloop_state, RuntimeState), _read(found.runtime.approval, Approval)
    return Sight(
        status=found.run.status,
        active=state.active is True,
        completion_ok=_read(found.run.summary, SummaryEntry).completion_ok is True,
        last_event=found.health.last_event_name,
        approval_status=approval.status,
        decision=decision,
    )


def _status_of_line(repo: str, loop_id: LoopId, line: int, outside: Outside) -> str | None:
    page = envelopes.EventPage(outside.files, repo, loop_id, outside.now(), cursor=line - 1, events_max=1)
    data = b"".join(page.pieces())
    return msgspec.json.decode(data, type=LoopRunEvent).event.status if data else None


def _read(raw: msgspec.Raw, record: type[R]) -> R:
    """What a snapshot carries verbatim, which is an object or null."""
    return record() if raw == NULL else decode_object(bytes(raw), record)


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)
