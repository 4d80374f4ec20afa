"""What follows from a pass: the picture in memory, the effects on their way to the disk, the news for those who watch.

The pass itself is `opsd.app.passes`; when and in which company it runs is `passing`.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from opsd.app.passes import PassResult
from opsd.core.reconcile import Decision
from opsd.logs import Log
from opsd.model.escalation import EscalationRow
from opsd.model.health import HealthStatus
from opsd.model.ids import LoopId
from opsd.model.run import Run
from opsd.ports import Clock
from opsd.supervisor.alarms import Alarms
from opsd.supervisor.commits import Commits
from opsd.supervisor.feed import Feed
from opsd.supervisor.findings import DaemonFindings
from opsd.supervisor.intake import Intake
from opsd.supervisor.roster import Member, Roster


class Performer:
    """Carries out decisions, on the event loop's thread. Memory is the truth for API and feed at once."""

    def __init__(
        self,
        *,
        commits: Commits,
        alarms: Alarms,
        intake: Intake,
        roster: Roster,
        feed: Feed,
        findings: DaemonFindings,
        clock: Clock,
        log: Log,
    ) -> None:
        self._commits = commits
        self._alarms = alarms
        self._intake = intake
        self._roster = roster
        self._feed = feed
        self._findings = findings
        self._clock = clock
        self._log = log
        self.counts: Counter[str] = Counter()
        self.escalations: Counter[str] = Counter()
        self._untold: dict[LoopId, tuple[EscalationRow, ...]] = {}
        self.looked: Callable[[Member, Decision | None], None] = lambda _member, _decision: None
        """Who else hears of every pass; None where it broke off."""

    def perform(self, member: Member, result: PassResult) -> Decision | None:
        """The decision, or None where the pass broke off and nothing changed."""
        self.counts["passes"] += 1
        decision = result.decision
        if decision is None:
            self._broke_off(member, result.error or "no word on why")
            self.looked(member, None)
            return None
        loop_id, before = member.loop_id, member.run
        if self._findings.clear("pass_failed", about=loop_id):
            self._log.info("pass.recovered", loop_id=loop_id)
        # What intents and polls say of the loop is not the passes' own, and may have changed while this one ran.
        member.run = decision.run
        if decision.run.control is not before.control or decision.run.reach is not before.reach:
            member.run = replace(decision.run, control=before.control, reach=before.reach)
        self.counts["events"] += decision.events_ingested
        self.counts["unanswered"] += decision.failed
        if decision.effects:
            self._commits.add(loop_id, decision.effects)
        self._alarms.put(loop_id, decision.wake.when if decision.wake else None)
        if decision.changed:
            self._feed.changed(loop_id)
            self._tell_change(before, decision.run)
        self._wake_neighbour(member)
        self.looked(member, decision)
        if decision.escalations:
            # Nobody may hear of what a crash could still take back: the journal has it first.
            self._untold[loop_id] = (*self._untold.get(loop_id, ()), *decision.escalations)
            self._commits.when_flushed(loop_id, partial(self._tell, loop_id, len(decision.escalations)))
        return decision

    def tell_unwritten(self) -> None:
        """At the stop: what the disk refused until now is told all the same, and may be told again after the start."""
        for loop_id, rows in list(self._untold.items()):
            self._log.error("escalation.unwritten", loop_id=loop_id, ids=[row.id for row in rows])
            self._tell(loop_id, len(rows))

    def _tell(self, loop_id: LoopId, count: int) -> None:
        """The oldest `count` escalations of the loop that nobody heard of yet."""
        rows = self._untold.pop(loop_id, ())
        if rows[count:]:
            self._untold[loop_id] = rows[count:]
        for row in rows[:count]:
            self._feed.escalated(loop_id, row)
            self.escalations[row.category] += 1
            self._log.info(
                "escalation.raised",
                loop_id=loop_id,
                category=row.category,
                severity=row.severity or None,  # rows of the contract's own categories carry none
                id=row.id,
                run_id=row.run_id,
                summary=row.summary,
            )

    def _wake_neighbour(self, member: Member) -> None:
        """The checkout's state file may speak of another loop by now, which was not woken if there are too many."""
        state = member.run.artifacts.state
        named = None if state.value is None else state.value.current_loop_id
        if not named or named == member.loop_id:
            return
        other = self._roster.get(LoopId(named))
        if (
            other is not None
            and other.run.ref.place == member.run.ref.place
            and other.run.artifacts.state.mtime != state.mtime
        ):
            self._intake.trigger([other.loop_id])

    def _broke_off(self, member: Member, error: str) -> None:
        self.counts["broken"] += 1
        last = error.strip().rpartition("\n")[2]
        if self._findings.add("pass_failed", f"{member.loop_id}: {last}", self._clock.now(), about=member.loop_id):
            self._log.error("pass.failed", loop_id=member.loop_id, exception=error)

    def _tell_change(self, before: Run, after: Run) -> None:
        """One line where an operator would look up: not for every event of a run that goes on as it did."""
        was, now = _posture(before), _posture(after)
        if was != now:
            said = {
                name: value if was.get(name) in (None, value) else f"{was[name]} -> {value}"
                for name, value in now.items()
            }
            self._log.info("run.changed", loop_id=after.ref.loop_id, **said)


def _posture(run: Run) -> dict[str, str]:
    projection, health = run.projection, run.health
    if projection is None:
        return {}
    return {
        "run_id": projection.run_id,
        "lifecycle": projection.transition.current_state.value,
        "phase": projection.phase.value,
        "health": (health.overall_status if health else HealthStatus.HEALTHY).value,
        "reasons": ",".join(finding.code for finding in health.findings) if health else "",
    }
