"""What `approve` writes: the decision into the request, the logs and the event. Pure. Source: runtime-artifacts 7.3.

Nothing completes here: the next `run` of the loop takes the decision up (`opsd.sim.script`).
"""

from collections.abc import Iterator
from typing import Any

from opsd.sim import documents, events
from opsd.sim.part import Part
from opsd.sim.pen import Pen
from opsd.sim.steps import Append, Document, Replace, Step
from opsd.sim.tree import pretty


def decision_script(
    part: Part, request: dict[str, Any], *, loop_id: str, by: str, note: str | None, reject: bool, start_s: float
) -> Iterator[Step]:
    """The steps of `approve` on a pending `request`, begun at wall time `start_s`."""
    pen = Pen(part, start_s, salt=loop_id)
    verdict, at = "rejected" if reject else "approved", pen.stamp()
    folder = documents.folder(loop_id)
    decision: Document = {"status": verdict, "by": by, "note": note, "at": at}
    decided: Document = {
        **request,
        "status": verdict,
        "decision": decision,
        "decided_at": at,
        "decided_by": by,
        "decided_note": note,
    }
    yield pen.step(Replace(f"{folder}/approval.json", pretty(decided)))
    run_id, iteration = request.get("run_id", "unknown"), request.get("iteration", 1)
    logged: Document = {
        "timestamp": at,
        "loop_id": loop_id,
        "run_id": run_id,
        "iteration": iteration,
        "decision": verdict,
        "by": by,
        **({"note": note} if note else {}),
        "approval_file": f"{folder}/approval.json",
    }
    yield from pen.log(f"{folder}/decisions.jsonl", logged)
    text = f"## {at}: {verdict} by {by}\n\n{note or ''}\n\n"
    yield pen.step(Append(f"{folder}/decisions.md", text))
    pen.wait(0.1)
    line = events.line(
        at=pen.stamp(),
        event="approval_decision",
        loop_id=loop_id,
        run_id=run_id,
        iteration=iteration,
        data=decision,
        role="human",
        status=verdict,
    )
    yield from pen.log(f"{folder}/events.jsonl", line)


def another_request(part: Part, request: dict[str, Any], *, loop_id: str, start_s: float) -> Iterator[Step]:
    """What replaces a pending `request` when the loop has run again meanwhile: a later run asks in its stead."""
    pen = Pen(part, start_s, salt=loop_id)
    at, iteration = pen.stamp(), int(request.get("iteration", 1)) + 1
    window: Document = {"iteration_started_at": at, "iteration_ended_at": at}
    asked: Document = {**request, "run_id": at, "iteration": iteration, "requested_at": at, **window}
    folder = documents.folder(loop_id)
    yield from pen.put(f"{folder}/approval.json", asked)
    line = events.line(
        at=at,
        event="approval_requested",
        loop_id=loop_id,
        run_id=at,
        iteration=iteration,
        data=events.approval_requested(loop_id, request["candidate"]["gates"]),
    )
    yield from pen.log(f"{folder}/events.jsonl", line)
