"""A run as it stands after the observing half of a pass, ready to be judged; and what the judging half says of it."""

from datetime import datetime
from typing import Any

from opsd.core import findings, health
from opsd.core.lifecycle import LIFECYCLE
from opsd.core.sequence import diagnose
from opsd.model.health import Finding, HealthDocument
from opsd.model.heartbeat import Beat
from opsd.model.lifecycle import DivergenceFlags, EventMark, Fold, Phase, Projection, RunFacts, Transition
from opsd.model.observation import StreamChange
from opsd.model.run import Ingest, Run
from opsd.model.sequence import SequenceDocument
from opsd.model.thresholds import Thresholds
from opsd.model.transport import TransportHealth, TransportMode
from tests.core.builders import LOOP, RUN_ID, a_run, moment, stamp

SEEN = Ingest()
LIMITS = Thresholds()


def a_mark(after_s: float = 0, *, name: str = "role_start", line: int = 12) -> EventMark:
    return EventMark(line, name, stamp(after_s), moment(after_s), RUN_ID, 1)


def a_story(after_s: float = 0, *, line: int = 12, **members: Any) -> Fold:
    """A log whose last event was at `after_s`; further `members` are those of `Fold`."""
    members.setdefault("run", RunFacts(RUN_ID, 1, moment(after_s)))
    members.setdefault("last", a_mark(after_s, line=line))
    return Fold(line=line, event_count=line, **members)


def a_projection(phase: Phase, *, since: datetime | None = None, **members: Any) -> Projection:
    state = LIFECYCLE[phase]
    return Projection(
        transition=Transition(state, f"snapshot_status:{state}", state, "medium"),
        phase=phase,
        basis=f"it was made {phase}",
        since=since,
        run_id=members.pop("run_id", RUN_ID),
        iteration=1,
        **members,
    )


def projected(phase: Phase = Phase.RUNNING, *, flags: DivergenceFlags | None = None, **members: Any) -> Run:
    """A loop seen before, believed in `phase`; `members` are those of `Run`."""
    members.setdefault("fold", a_story())
    members.setdefault("projection", a_projection(phase, divergence=flags or DivergenceFlags()))
    members.setdefault("baselined", True)
    return a_run(**members)


def a_beat(after_s: float = 0, *, pid: int | None = None, exited: bool = False) -> Beat:
    return Beat(moment(after_s), stamp(after_s), "exited" if exited else "running", pid, exited)


def failing(streak: int, code: str = "snapshot_unavailable", *, since_s: float = 0) -> TransportHealth:
    return TransportHealth(
        updated_at=moment(since_s),
        trace_id="t",
        transport=TransportMode.LOCAL,
        last_result="failed",
        failure_streak=streak,
        last_failure_code=code,
        failing_since=moment(since_s),
    )


def judged(run: Run, after_s: float = 0, ingest: Ingest = SEEN, limits: Thresholds = LIMITS) -> dict[str, Finding]:
    """The findings by code."""
    return {finding.code: finding for finding in findings.judge(run, ingest, limits, moment(after_s))}


def health_of(run: Run, after_s: float = 0, ingest: Ingest = SEEN, limits: Thresholds = LIMITS) -> HealthDocument:
    found = findings.judge(run, ingest, limits, moment(after_s))
    return health.document(run, found, ingest, limits, trace_id="t", now=moment(after_s))


def drifted() -> SequenceDocument:
    """Diagnosed by a pass that knew ten lines of the log and found one."""
    document: SequenceDocument | None = None
    for lines, change in ((10, None), (1, StreamChange.TRUNCATED)):
        document = diagnose(
            document,
            loop_id=LOOP,
            trace_id="t",
            transport="local",
            first=1,
            last=lines,
            count=lines,
            log_lines=lines,
            replay_asked=False,
            new_epoch=change,
            now=moment(lines),
        )
    assert document is not None
    return document
