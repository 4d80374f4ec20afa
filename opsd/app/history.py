"""What our journals tell of a loop's past: its runs and how each ended, its escalations. Reading only."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from opsd.model.lifecycle import Phase, RunRow
from opsd.model.run import Run
from opsd.protocol import EscalationPage, RunHistory, RunItem

_rows = msgspec.json.Decoder(RunRow)


def run_history(run: Run, rows: Iterable[bytes], now: datetime) -> RunHistory:
    """The runs of a loop, oldest first, the present one last. `rows` are lines of `runs.jsonl`, oldest first.

    The last row of a run id holds: a replay, or a later finding out, may have added another.
    """
    runs: dict[str, RunItem] = {}
    for line in rows:
        try:
            row = _rows.decode(line)
        except msgspec.DecodeError:
            continue  # the store reports unreadable rows; here the others still count
        runs.pop(row.run_id, None)
        runs[row.run_id] = RunItem(
            run_id=row.run_id,
            ending=row.ending,
            started_at=row.started_at,
            ended_at=row.ended_at,
            iterations=row.iterations,
            max_iterations=row.max_iterations,
            detail=row.detail,
            first_line=row.first_line,
        )
    facts = run.fold.run
    if facts is not None:
        present = RunItem(
            run_id=facts.run_id,
            ending=facts.ending or _unended(run),
            started_at=facts.started_at,
            ended_at=facts.ended.at if facts.ended and facts.ending else None,
            iterations=facts.iteration,
            max_iterations=facts.max_iterations,
            detail=facts.detail,
            first_line=facts.first_line,
        )
        runs.pop(facts.run_id, None)
        runs[facts.run_id] = present
    return RunHistory(now, run.ref.loop_id, tuple(runs.values()))


def _unended(run: Run) -> str:
    """A run whose log knows no end may still have one: its process is gone, or its state was deleted."""
    phase = run.projection.phase if run.projection else Phase.UNKNOWN
    return phase if phase in (Phase.CRASHED, Phase.CANCELLED) else "running"


def escalation_page(runs: Sequence[Run], rows: Iterable[bytes], now: datetime) -> EscalationPage:
    """`rows` are lines of `escalations.jsonl` of these loops, in the order in which they are to be shown."""
    still_open = tuple(opened.id for run in runs for opened in run.open_escalations)
    return EscalationPage(now, tuple(msgspec.Raw(row) for row in rows), still_open)
