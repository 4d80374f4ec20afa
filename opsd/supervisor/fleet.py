"""The fleet as the API sees it: pictures of the loops and of the daemon, counters, and the one act there is.

Everything here runs on the event loop's thread and touches no file. What the pictures show is decided further in.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

from opsd.app import view
from opsd.model.ids import LoopId
from opsd.model.run import Run
from opsd.model.thresholds import Thresholds
from opsd.ports import Clock
from opsd.protocol import DaemonStatus, FleetStatus, LoopSummary, ReconcileReply
from opsd.supervisor.commits import Commits
from opsd.supervisor.feed import Feed
from opsd.supervisor.intake import Intake
from opsd.supervisor.roster import Member, Roster

Metrics = Mapping[str, float | Mapping[tuple[str, ...], float]]
"""Labels are names and values in turn."""


class FleetError(Exception):
    """The fleet cannot do what was asked.

    FleetError
    ├── UnknownLoop   no loop of this id is in the fleet
    ├── NotManaged    the loop is listed and not looked at: faulty or disabled
    └── PassBroke     the pass broke off by a fault of ours, or its loop left the fleet meanwhile
    """


class UnknownLoop(FleetError, LookupError):  # noqa: N818  it says what the loop is
    pass


class NotManaged(FleetError):  # noqa: N818
    pass


class PassBroke(FleetError):  # noqa: N818
    pass


def managed(roster: Roster, loop_id: LoopId) -> Member:
    """
    Raises:
        UnknownLoop, NotManaged: see there.
    """
    member = roster.get(loop_id)
    if member is None:
        raise UnknownLoop(f"no loop {loop_id!r} is in the fleet")
    if not member.is_managed:
        why = member.run.ref.fault_detail or member.run.ref.fault or "it is disabled in the registry"
        raise NotManaged(f"loop {loop_id!r} is listed and not looked at: {why}")
    return member


class Fleet:
    """`daemon` and `meters` are how the other parts are asked how they are."""

    def __init__(
        self,
        *,
        roster: Roster,
        feed: Feed,
        intake: Intake,
        commits: Commits,
        clock: Clock,
        thresholds: Callable[[], Thresholds],
        daemon: Callable[[datetime], DaemonStatus],
        meters: Callable[[], Metrics],
    ) -> None:
        self.feed = feed
        self.thresholds = thresholds
        self._roster = roster
        self._intake = intake
        self._commits = commits
        self._clock = clock
        self._daemon = daemon
        self._meters = meters

    @property
    def start_id(self) -> str:
        return self.feed.start_id

    def run(self, loop_id: LoopId) -> Run | None:
        member = self._roster.get(loop_id)
        return None if member is None else member.run

    def summaries(self, now: datetime) -> tuple[LoopSummary, ...]:
        """In the order of the registry."""
        return self._roster.summaries(now)

    def status(self, now: datetime) -> FleetStatus:
        return FleetStatus(now, self._daemon(now), self._roster.summaries(now), self.feed.seq)

    def daemon_status(self, now: datetime) -> DaemonStatus:
        return self._daemon(now)

    async def reconcile(self, loop_id: LoopId, *, from_start: bool) -> ReconcileReply:
        """Look at the loop now, and answer once what was found is on the disk. The caller bounds the wait.

        A backlog is read to its end before the answer. The request goes on if the caller stops waiting.

        Raises:
            FleetError: see there.
        """
        member = managed(self._roster, loop_id)
        answer = await self._intake.asked_for(member, from_start=from_start)
        if answer.error is not None:
            raise PassBroke(f"the pass over {loop_id!r} broke off: {answer.error.strip().rpartition(chr(10))[2]}")
        await self._commits.on_disk(loop_id)
        now = self._clock.now()
        return ReconcileReply(now, answer.trace_id, answer.events_ingested, view.status(self._run_of(loop_id), now))

    def metrics(self) -> Metrics:
        lifecycles: Counter[tuple[str, ...]] = Counter()
        healths: Counter[tuple[str, ...]] = Counter()
        findings: Counter[tuple[str, ...]] = Counter()
        for member in self._roster:
            projection, health = member.run.projection, member.run.health
            if not member.is_managed:
                lifecycles["lifecycle", "unmanaged"] += 1
                continue
            lifecycles["lifecycle", projection.transition.current_state.value if projection else "unknown"] += 1
            if health is not None:
                healths["status", health.overall_status.value] += 1
                for code in {finding.code for finding in health.findings}:
                    findings["code", code] += 1
        return {
            "opsd_loops": lifecycles,
            "opsd_loops_by_health": healths,
            "opsd_loops_with_finding": findings,
            "opsd_feed_readers": self.feed.readers,
            "opsd_feed_changes_total": self.feed.seq,
            "opsd_feed_changes_lost_total": self.feed.lost_changes,
            **self._meters(),
        }

    def _run_of(self, loop_id: LoopId) -> Run:
        member = self._roster.get(loop_id)
        if member is None:
            raise UnknownLoop(f"loop {loop_id!r} left the fleet while it was looked at")
        return member.run
