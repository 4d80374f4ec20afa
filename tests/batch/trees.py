"""A checkout for each of the states that a snapshot can tell. Source: loop-core 2.4."""

import json
from collections.abc import Callable, Mapping

from tests.batch.checkout import RUN, Checkout, stamp


def approval(checkout: Checkout, status: str) -> Checkout:
    """`approval.json` of the run's only iteration."""
    told = {"status": status, "run_id": RUN, "iteration": 1, "requested_at": stamp(checkout.at), "candidate": {}}
    (checkout.loop / "approval.json").write_text(json.dumps(told), encoding="utf-8")
    return checkout


def _awaiting(checkout: Checkout) -> Checkout:
    checkout.state(active=False).summary().event("loop_start").event("approval_requested")
    return approval(checkout, "pending")


STATUSES: Mapping[str, Callable[[Checkout], Checkout]] = {
    "awaiting_approval": _awaiting,
    "complete": lambda tree: tree.state(active=False).summary(completion_ok=True).event("loop_complete"),
    "running": lambda tree: tree.running(),
    "stopped": lambda tree: tree.state(active=False).summary().event("loop_stop"),
    "failed": lambda tree: tree.state(active=False).summary().event("role_end", status="timeout"),
    "idle": lambda tree: tree.state(active=False).summary().event("iteration_end"),
    "unknown": lambda tree: tree.event("role_end"),
}
"""By the word that a snapshot has for them."""

RUNTIME_FILES = (
    "state.json",
    "active-run.json",
    "loops/{}/approval.json",
    "loops/{}/run-summary.json",
    "loops/{}/heartbeat.v1.json",
)
"""What a snapshot reads beside the log, below `.superloop`."""
