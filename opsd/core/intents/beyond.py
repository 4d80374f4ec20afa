"""What the log says beyond a watermark: the only part of it that is evidence of what was done then.

An event lies beyond it by its line; in another log than the watermark's (cut or exchanged since) by its time alone.
"""

from opsd.core.instants import whole
from opsd.model.intent import Evidence, Watermark
from opsd.model.lifecycle import EventMark, Fold
from opsd.model.run import Run

NOT_A_RUNS = "approval_decision"
"""The one event that no run logs: `approve` does."""


def is_beyond(event: EventMark, mark: Watermark, fold: Fold) -> bool:
    """Whether `event` of `fold` was logged after the watermark.

    What was on the disk then and had not been read yet lies beyond its line as well: its time tells, in whole seconds.
    """
    if fold.epoch == mark.epoch:
        return event.line > mark.line and (event.at is None or event.at >= whole(mark.at))
    return event.at is not None and event.at > mark.at


def has_never_run(run: Run) -> bool:
    """Whether the last look found neither folder nor log, of which nothing was ever read either."""
    missing = run.health is not None and any(finding.code == "artifacts_missing" for finding in run.health.findings)
    return missing and run.fold.line == 0 and run.rebuild is None


def begun_since(mark: Watermark, fold: Fold) -> tuple[Evidence, ...]:
    """The log's newest run, if it began beyond the watermark; else nothing."""
    facts = fold.run
    if facts is None:
        return ()
    start = EventMark(facts.first_line, "loop_start", facts.run_id, facts.started_at)
    if not is_beyond(start, mark, fold):
        return ()
    return (Evidence("events.jsonl", f"Run {facts.run_id} began.", facts.first_line),)


def is_on_candidate(event: EventMark, mark: Watermark) -> bool:
    """Whether the event is about the run and iteration whose approval was on file."""
    return (event.run_id, event.iteration) == (mark.candidate_run_id, mark.candidate_iteration)


def quoted(event: EventMark) -> Evidence:
    status = f" with status {event.status}" if event.status else ""
    whose = f" of run {event.run_id}, iteration {event.iteration}," if event.run_id else ""
    return Evidence("events.jsonl", f"{event.name}{status}{whose} at {event.timestamp}.", event.line)
