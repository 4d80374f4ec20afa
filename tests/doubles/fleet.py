"""A fleet that only a test changes, with the real feed, and answers from files: for trying the API and opsctl."""

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from opsd.api.seams import Metrics
from opsd.app import view
from opsd.app.history import escalation_page, run_history
from opsd.app.operator_status import files_of, read_status
from opsd.core.explain import explain, last_ingest
from opsd.disk import Disk
from opsd.model.explain import Explanation
from opsd.model.health import (
    Finding,
    HealthDocument,
    HealthEvidence,
    HealthMetrics,
    HealthStatus,
    HealthThresholds,
    HealthTransport,
    Severity,
)
from opsd.model.ids import LoopId
from opsd.model.intent import Intent
from opsd.model.lifecycle import EventMark, Fold, Lifecycle, Phase, Projection, RunFacts, Transition
from opsd.model.operator_status import OperatorStatus
from opsd.model.run import LoopRef, Run
from opsd.model.thresholds import Thresholds
from opsd.ports import Clock
from opsd.protocol import (
    DaemonStatus,
    EscalationPage,
    EscalationsQuery,
    EventItem,
    EventPage,
    EventsQuery,
    FleetStatus,
    IntentPage,
    IntentsQuery,
    LogPage,
    LogsQuery,
    LoopSummary,
    ModeStatus,
    OperatorStatusQuery,
    ReconcileReply,
    RunHistory,
    Subsystem,
    Verification,
    VerificationReport,
)
from opsd.store.layout import Layout
from opsd.supervisor.feed import Feed
from opsd.supervisor.fleet import NotManaged
from opsd.transports.rolelogs import list_logs, read_log_end, read_log_on


class _AnyRow(msgspec.Struct, frozen=True, rename="camel"):
    timestamp: str
    loop_id: str
    category: str
    id: str


_WORST = {Severity.CRITICAL: HealthStatus.CRITICAL, Severity.DEGRADED: HealthStatus.DEGRADED}
_THRESHOLDS = HealthThresholds("balanced", 300, 900, 120, 300, 2, 4)


def a_finding(code: str, severity: Severity = Severity.DEGRADED, **members: Any) -> Finding:
    given = {"since": None, "evidence": f"evidence of {code}", "onset": f"{code}@1"} | members
    return Finding(code, severity, **given)


def a_supervised_run(
    loop_id: str,
    now: datetime,
    *,
    lifecycle: Lifecycle = Lifecycle.RUNNING,
    phase: Phase = Phase.RUNNING,
    findings: tuple[Finding, ...] = (),
    repo_path: str = "/srv/repo",
    iteration: int = 3,
    role: str | None = "implementer",
    event: str = "role_start",
    **members: Any,
) -> Run:
    """A loop that was looked at just now: in its phase for 90 s, in its role for 30 s."""
    severities = {finding.severity for finding in findings}
    worst = next((health for severity, health in _WORST.items() if severity in severities), HealthStatus.HEALTHY)
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    run_id = "2026-01-01T00:00:00Z"
    mark = EventMark(line=7, name=event, timestamp=at, at=now, run_id=run_id, iteration=iteration, role=role)
    facts = RunFacts(
        run_id,
        first_line=1,
        started_at=now - timedelta(minutes=10),
        iteration=iteration,
        max_iterations=20,
        role=role,
        activity="role_start" if role else None,
        activity_since=now - timedelta(seconds=30),
    )
    health = HealthDocument(
        updated_at=now,
        trace_id="trace-1",
        status=worst,
        reason_codes=tuple(finding.code for finding in findings),
        reasons=(),
        metrics=HealthMetrics(0, None, 0, None, None, lifecycle),
        thresholds=_THRESHOLDS,
        transport=HealthTransport("local", "success"),
        evidence=HealthEvidence(),
        overall_status=worst,
        findings=findings,
    )
    transition = Transition(Lifecycle.NONE, event, lifecycle, "high")
    run = Run(
        LoopRef(LoopId(loop_id), repo_path),
        fold=Fold(line=7, event_count=7, last=mark, run=facts),
        projection=Projection(transition, phase, "The process lives.", now, run_id, iteration),
        health=health,
        baselined=True,
        last_contact_at=now,
        phase_since=now - timedelta(seconds=90),
        revision=1,
    )
    return replace(run, **members)


class StandInFleet:
    """`opsd.api.seams.Fleet` over runs that `put` and `remove` change; `broken` is raised by the next reconcile."""

    def __init__(self, clock: Clock, start_id: str = "start-1", *runs: Run) -> None:
        self.start_id = start_id
        self.clock = clock
        self.feed = Feed(start_id, self, clock)
        self.started_at = clock.now()
        self.version = "0.1.0"
        self.subsystems: tuple[Subsystem, ...] = (Subsystem("passes", True, 0.2),)
        self.findings: tuple[Finding, ...] = ()
        self.asked: list[tuple[str, bool]] = []
        self.broken: Exception | None = None
        self.mode: ModeStatus | None = None
        self._runs = {run.ref.loop_id: run for run in runs}

    def put(self, run: Run) -> None:
        before = self._runs.get(run.ref.loop_id)
        self._runs[run.ref.loop_id] = replace(run, revision=before.revision + 1 if before else 1)
        self.feed.changed(run.ref.loop_id)

    def remove(self, loop_id: str) -> None:
        del self._runs[LoopId(loop_id)]
        self.feed.removed(LoopId(loop_id))

    def escalate(self, loop_id: str, row: bytes) -> None:
        self.feed.escalated(LoopId(loop_id), msgspec.json.decode(row, type=_AnyRow))

    def restarted(self, start_id: str) -> "StandInFleet":
        """What the next start of the daemon knows: the same loops, counted from one again."""
        return StandInFleet(self.clock, start_id, *(replace(run, revision=1) for run in self._runs.values()))

    def reopen(self) -> None:
        """As if only the connections had broken: the feed goes on where it was."""
        self.feed._closed = False

    def loop_ids(self) -> Sequence[LoopId]:
        return list(self._runs)

    def summary(self, loop_id: LoopId) -> LoopSummary | None:
        run = self._runs.get(loop_id)
        return view.summary(run, self.clock.now()) if run else None

    def run(self, loop_id: LoopId) -> Run | None:
        return self._runs.get(loop_id)

    def summaries(self, now: datetime) -> Sequence[LoopSummary]:
        return tuple(view.summary(run, now) for run in self._runs.values())

    def status(self, now: datetime) -> FleetStatus:
        return FleetStatus(now, self.daemon_status(now), tuple(self.summaries(now)), self.feed.seq)

    def daemon_status(self, now: datetime) -> DaemonStatus:
        return DaemonStatus(
            self.version,
            "v1",
            self.start_id,
            os.getpid(),
            self.started_at,
            "/srv/home",
            "discovery",
            self.findings,
            self.subsystems,
            self.mode,
        )

    def metrics(self) -> Metrics:
        return {"opsd_passes_total": 12.0, "opsd_loops": {("health", "healthy"): 1.0, ("health", "critical"): 2.5}}

    async def reconcile(self, loop_id: LoopId, *, from_start: bool) -> ReconcileReply:
        if self.broken is not None:
            raise self.broken
        ref = self._runs[loop_id].ref
        if ref.fault is not None:
            raise NotManaged(f"loop {loop_id!r} is listed and not looked at: {ref.fault_detail}")
        self.asked.append((loop_id, from_start))
        now = self.clock.now()
        return ReconcileReply(now, "trace-2", 3, view.status(self._runs[loop_id], now))


class StandInQueries:
    """`opsd.api.seams.Queries`: logs and events from real files, journals from `rows`, `journal` and `intent_log`."""

    def __init__(self) -> None:
        self.intent_log: Callable[[], Sequence[Intent]] = lambda: ()
        self.rows: list[bytes] = []
        self.journal: list[bytes] = []
        self.verifications: list[Verification] = []
        self.events_asked = 0

    def explain(self, run: Run, now: datetime) -> Explanation:
        return explain(run, last_ingest(run), Thresholds(), now)

    def events(self, run: Run, query: EventsQuery) -> EventPage:
        self.events_asked += 1
        path = f"{run.ref.repo_path}/.superloop/loops/{run.ref.loop_id}/events.jsonl"
        with open(path, "rb") as file:
            epoch, data = os.fstat(file.fileno()).st_ino, file.read()
        restarted = query.offset is not None and (query.epoch != epoch or query.offset > len(data))
        start = 0 if query.offset is None or restarted else query.offset
        line = 0 if query.offset is None or restarted else query.line or 0
        items: list[EventItem] = []
        for raw in data[start:].splitlines(keepends=True):
            if not raw.endswith(b"\n") or (query.offset is not None and len(items) == query.limit):
                break
            start, line = start + len(raw), line + 1
            name = msgspec.json.decode(raw)["event"]
            if not query.name or name in query.name:
                items.append(EventItem(line, start, msgspec.Raw(raw.rstrip())))
        chosen = items if query.offset is not None else items[-(query.tail or 200) :]
        more = b"\n" in data[start:]
        return EventPage(run.ref.loop_id, epoch, tuple(chosen), start, line, more, restarted)

    def logs(self, run: Run, query: LogsQuery) -> LogPage:
        disk = Disk()
        found = list_logs(disk, run.ref.repo_path, run.ref.loop_id)
        wanted = [log for log in found if query.role in (None, log.role) and query.iteration in (None, log.iteration)]
        available = tuple(f"iter-{log.iteration}/{log.role}" for log in found)
        if not wanted:
            raise LookupError(f"no such log; there are {', '.join(available) or 'none'}")
        log = wanted[0]
        if query.offset is not None:
            part = read_log_on(disk, log.path, offset=query.offset, inode=query.inode or 0, bytes_max=query.limit)
        else:
            part = read_log_end(disk, log.path, bytes_max=query.limit, lines_max=query.tail)
        return LogPage(
            run.ref.loop_id,
            log.role,
            log.iteration,
            log.path,
            part.data.decode("utf-8", "replace"),
            part.next_offset,
            part.size_bytes,
            available,
            part.inode,
            part.restarted,
        )

    def operator_status(self, run: Run, query: OperatorStatusQuery, now: datetime) -> OperatorStatus:
        layout, loop_id = Layout(run.ref.repo_path), run.ref.loop_id
        where = files_of(layout, loop_id)
        return read_status(Disk(), layout, loop_id, where, summary_window=query.summary_window, now=now)

    def runs(self, run: Run, now: datetime) -> RunHistory:
        return run_history(run, self.rows, now)

    def escalations(self, runs: Sequence[Run], query: EscalationsQuery, now: datetime) -> EscalationPage:
        return escalation_page(runs, self.journal[-query.tail :], now)

    def verify(self, runs: Sequence[Run], now: datetime) -> VerificationReport:
        wanted = {run.ref.loop_id for run in runs}
        return VerificationReport(now, tuple(each for each in self.verifications if each.loop_id in wanted))

    def intents(self, runs: Sequence[Run], query: IntentsQuery, now: datetime) -> IntentPage:
        wanted = {run.ref.loop_id for run in runs}
        chosen = [each for each in self.intent_log() if each.loop_id in wanted and (each.is_open or not query.open)]
        return IntentPage(now, tuple(chosen[-query.tail :]))

    def intent(self, intent_id: str, runs: Sequence[Run]) -> Intent | None:
        wanted = {run.ref.loop_id for run in runs}
        found = (each for each in self.intent_log() if each.loop_id in wanted and each.id == intent_id)
        return next(found, None)
