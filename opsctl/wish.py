"""What the command line asks for, as requests: one for each loop, bound to what was shown of it."""

import argparse
import uuid
from typing import NamedTuple

from msgspec.structs import replace

from opsctl.errors import UsageError
from opsd.model.intent import DECISIONS, Fence, IntentKind
from opsd.protocol import IntentRequest, LoopStatus, WaitFor

PATIENCE_S = 300.0
"""So long is waited, unless it is said how long."""
BESIDE_S = 60.0
"""Beside its confirmation an intent may have to wait for its turn, and its command takes time as well."""


class Wish(NamedTuple):
    """`until` is None where nobody waits. `request` is the same for every loop, but for what is expected of each."""

    loops: tuple[str, ...]
    until: WaitFor | None
    limit_s: float
    asks_back: bool
    then_start: bool
    if_run: str | None
    request: IntentRequest

    @property
    def kind(self) -> IntentKind:
        return self.request.intent


def wish_of(args: argparse.Namespace) -> Wish:
    """
    Raises:
        UsageError: options that do not go together, or lack what they need.
    """
    loops, until = tuple(dict.fromkeys(args.loops)), WaitFor(args.wait) if args.wait else None
    then_start = getattr(args, "then_start", False)
    if args.override_divergence and not args.reason.strip():
        raise UsageError("--override-divergence needs a reason, which is recorded", "add --reason '...'")
    if args.if_run is not None and len(loops) > 1:
        raise UsageError("--if-run names the run of one loop, and there are several", "ask for one loop at a time")
    if then_start and (until is None or args.no_confirm):
        raise UsageError("--then-start waits for the decision to be confirmed", "leave --no-wait and --no-confirm out")
    request = IntentRequest(
        IntentKind(args.command),
        by=args.by,
        note=args.note,
        reason=args.reason,
        idempotency_key=args.idempotency_key,
        timeout_s=args.confirm_within,
        confirm=not args.no_confirm,
        dry_run=args.dry_run,
        override_divergence=args.override_divergence,
        clear_stale=getattr(args, "clear_stale", False),
        pause_for_s=getattr(args, "pause_for", None),
    )
    limit_s = args.timeout or max(PATIENCE_S, args.confirm_within + BESIDE_S)
    return Wish(loops, until, limit_s, not (args.yes or args.dry_run), then_start, args.if_run, request)


def request_for(wish: Wish, status: LoopStatus) -> IntentRequest:
    """What is asked of this loop, to be done only if it is still as it was shown."""
    return replace(wish.request, expect=_expected(wish, status), trace_id=str(uuid.uuid4()))


def start_after(decision: IntentRequest) -> IntentRequest:
    """The start that takes a decision up; it has a key of its own where the decision was given one."""
    key = f"{decision.idempotency_key}-start" if decision.idempotency_key else None
    return replace(
        decision,
        intent=IntentKind.START,
        idempotency_key=key,
        expect=Fence(decision.expect.run_id),
        trace_id=str(uuid.uuid4()),
    )


def _expected(wish: Wish, status: LoopStatus) -> Fence:
    """A run that was named goes before the one that was shown; `unknown` is what a loop without a run is to have."""
    approval = status.approval
    run_id = wish.if_run or status.summary.progress.run_id
    if wish.kind not in DECISIONS or approval is None:
        return Fence(run_id)
    return Fence(run_id, approval.iteration, approval.candidate)
