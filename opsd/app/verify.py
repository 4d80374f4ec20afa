"""Can every verdict be recomputed from the files? A run is judged afresh from its log's first byte and compared.

What no file tells (a process seen alive, failed attempts in a row, which log was replaced when) is taken over from
memory; everything else is read again. Nothing is written.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec
from msgspec.structs import replace

from opsd.app.passes import Passes, PassRequest
from opsd.core.reconcile import Rules
from opsd.model.health import HealthDocument
from opsd.model.ids import TraceId
from opsd.model.run import Run
from opsd.model.state import StateDocument
from opsd.ports import Transport
from opsd.protocol import Difference, Verification

_NONE = "-"


def recompute(run: Run, transport: Transport, rules: Rules, now: datetime, monotonic: Callable[[], float]) -> Run:
    """`run` as its runtime's files alone make it, read from the first line by a `transport` that remembers nothing."""
    fresh = Run(
        ref=run.ref,
        process=run.process,
        beat=run.beat,
        transport_health=run.transport_health,
        stream_note=run.stream_note,
        quarantined_at=run.quarantined_at,
        control=run.control,
        open_escalations=run.open_escalations,
        escalation_counts=run.escalation_counts,
        baselined=run.baselined,
        baseline=run.baseline,
    )
    passes = Passes(transport, rules, monotonic)
    again = True
    while again:
        fresh, again = _looked(passes, fresh, now)
    # A crash or a cancel whose traces were overwritten since is known from the last verdict alone, and so is that a
    # cut log has been told: both show in a look that finds nothing new.
    return _looked(passes, replace(fresh, projection=run.projection), now)[0]


def _looked(passes: Passes, run: Run, now: datetime) -> tuple[Run, bool]:
    """The run after one more look, and whether there is more to read."""
    (result,) = passes.run([PassRequest(run, TraceId("verify"))], now)
    if result.decision is None:
        raise RuntimeError(f"loop {run.ref.loop_id} could not be judged: {result.error}")
    return result.decision.run, result.decision.again


def compare(run: Run, fresh: Run, state: StateDocument | None, health: HealthDocument | None) -> Verification:
    """Where memory (`run`) and disk (`state`, `health`) say something else than `fresh`, the run recomputed.

    What cannot be compared now is no difference: it is noted. That is a log that grew between the two looks, one that
    cannot be read, and one that the last look saw go backwards, of which the next look knows no more.
    """
    if run.ref.fault or not run.ref.enabled:
        return Verification(run.ref.loop_id, ok=True, events_read=0, differences=(), note="listed, not managed")
    if fresh.transport_health is not None and fresh.transport_health.failure_streak:
        return Verification(run.ref.loop_id, ok=True, events_read=0, differences=(), note="cannot be read now")
    if _went_back(run):
        why = "the log went backwards in the last look: verify again after the next one"
        return Verification(run.ref.loop_id, ok=True, events_read=fresh.fold.event_count, differences=(), note=why)
    differences: list[Difference] = []
    grown = fresh.fold.line != run.fold.line
    note: str | None = None
    if grown:
        note = f"the log grew from line {run.fold.line} to {fresh.fold.line} meanwhile: verify again for the rest"
    else:
        expected = dict(_verdict(fresh))
        differences.extend(_differing("memory", dict(_verdict(run)), expected))
        if state is not None and state.cursor.event_line_offset < run.fold.line:
            note = "the newest picture is on its way to the disk: verify again in a moment"
        elif state is not None:
            differences.extend(_differing("disk", dict(_on_disk(state, health)), expected))
        elif run.projection is not None:
            differences.append(Difference("disk", "state.json", "missing", "a state document"))
    return Verification(run.ref.loop_id, not differences, fresh.fold.event_count, tuple(differences), note)


def _went_back(run: Run) -> bool:
    drifts = run.sequence is not None and run.sequence.drift_active
    return drifts or (run.projection is not None and run.projection.divergence.cursor_regression)


def _differing(holder: str, said: dict[str, str], expected: dict[str, str]) -> Iterator[Difference]:
    for where, value in said.items():
        if value != expected.get(where, _NONE):
            yield Difference(holder, where, value, expected.get(where, _NONE))


def _verdict(run: Run) -> Iterator[tuple[str, str]]:
    yield "cursor.eventLineOffset", str(run.cursor_line)
    yield "eventCount", str(run.fold.event_count)
    last = run.fold.last
    yield "projection.lastEventName", last.name if last else _NONE
    if run.projection is not None:
        yield "transition.currentState", run.projection.transition.current_state
        yield "phase", run.projection.phase
        yield "run.runId", run.projection.run_id
        yield "run.iteration", str(run.projection.iteration)
        yield "projection.hasPendingApproval", str(run.projection.has_pending_approval)
        yield "projection.gates", _gates(run.projection.gates)
    if run.health is not None:
        yield from _health(run.health)


def _on_disk(state: StateDocument, health: HealthDocument | None) -> Iterator[tuple[str, str]]:
    yield "cursor.eventLineOffset", str(state.cursor.event_line_offset)
    if state.memory is not None:
        yield "eventCount", str(state.memory.fold.event_count)
    yield "projection.lastEventName", state.projection.last_event_name or _NONE
    yield "transition.currentState", state.transition.current_state
    yield "phase", state.phase
    yield "run.runId", state.run.run_id
    yield "run.iteration", str(state.run.iteration)
    yield "projection.hasPendingApproval", str(state.projection.has_pending_approval)
    yield "projection.gates", _gates(state.projection.gates)
    if health is not None:
        yield from _health(health)


def _health(health: HealthDocument) -> Iterator[tuple[str, str]]:
    yield "health.status", health.status
    yield "health.reasonCodes", " ".join(health.reason_codes) or _NONE
    yield "health.findings", " ".join(sorted({finding.code for finding in health.findings})) or _NONE


def _gates(gates: dict[str, str] | None) -> str:
    return msgspec.json.encode(gates, order="sorted").decode() if gates else _NONE
