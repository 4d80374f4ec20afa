"""Who hears of what, and when it ends: dialogues of what the manager sees and what it writes into the journal."""

import re
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from opsd.core import escalation
from opsd.core.findings import judge
from opsd.core.health import document
from opsd.model.escalation import EscalationRow
from opsd.model.ids import LoopId
from opsd.model.intent import ControlState, PauseNote
from opsd.model.lifecycle import DivergenceFlags, Ending, Phase, RunFacts
from opsd.model.observation import Artifacts, UnreachableCause
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.run import Ingest, LoopRef, Run
from opsd.model.runtime import RecoveryRequest
from opsd.model.thresholds import Thresholds
from tests.core.builders import LOOP, RUN_ID, a_run, an_approval, moment, on_file, stamp
from tests.core.judging import LIMITS, SEEN, a_mark, a_projection, a_story, drifted, failing, projected
from tests.core.managers import read_back

NEXT_RUN = "2026-11-21T03:00:00Z"
REFUSED = Ingest(False, "snapshot_unavailable", UnreachableCause.ARTIFACTS_MISSING, "gone.")


class Dialogue:
    """What one loop's manager sees, pass by pass, and what it answers with rows of the journal.

    The journal is kept as bytes, as a disk would; `restarts` forgets everything that only memory knew.
    """

    def __init__(self, *, baselined: bool = True) -> None:
        self.journal: list[bytes] = []
        self.rows: list[EscalationRow] = []
        self._answer: list[EscalationRow] = []
        self._memory = a_run(baselined=baselined)
        self._seen: tuple[Run, float, Ingest, Thresholds] | None = None

    def sees(self, run: Run, after_s: float = 0, ingest: Ingest = SEEN, limits: Thresholds = LIMITS) -> "Dialogue":
        self._seen = run, after_s, ingest, limits
        memory, now = self._memory, moment(after_s)
        run = replace(
            run,
            open_escalations=memory.open_escalations,
            escalation_counts=memory.escalation_counts,
            baselined=memory.baselined,
            baseline=memory.baseline,
        )
        health = document(run, judge(run, ingest, limits, now), ingest, limits, trace_id="t", now=now)
        run = replace(run, health=health)
        escalated = escalation.escalate(run, health, home="/srv/home", trace_id="t", now=now)
        self._answer = list(escalated.rows)
        self.rows += escalated.rows
        self.journal += [msgspec.json.encode(row) for row in escalated.rows]
        self._memory = replace(
            memory,
            open_escalations=escalated.open,
            escalation_counts=escalated.counts,
            baseline=escalated.baseline,
            baselined=memory.baselined or ingest.ok,
        )
        return self

    def answers(self, *categories: str) -> "Dialogue":
        assert [row.category for row in self._answer] == list(categories)
        return self

    def restarts(self) -> "Dialogue":
        """Only the journal and the state document's memory of the baseline survive."""
        opened, counts = read_back(self.journal)
        self._memory = a_run(
            open_escalations=opened,
            escalation_counts=counts,
            baselined=self._memory.baselined,
            baseline=self._memory.baseline,
        )
        return self

    @property
    def row(self) -> EscalationRow:
        assert len(self._answer) == 1
        return self._answer[0]

    @property
    def open(self) -> list[str]:
        return [str(one.category) for one in self._memory.open_escalations]


def crashed(run_id: str = RUN_ID) -> Run:
    gone = ProcessMemory(pid=1, begun=run_id, seen_alive=True, liveness=Liveness.GONE)
    return projected(projection=a_projection(Phase.CRASHED, run_id=run_id), process=gone)


def ended(ending: Ending, phase: Phase, run_id: str = RUN_ID) -> Run:
    facts = RunFacts(run_id, 1, moment(0), ending=ending, ended=a_mark(0))
    return projected(projection=a_projection(phase, run_id=run_id), fold=a_story(run=facts))


def awaiting(after_s: float = 0) -> Run:
    projection = a_projection(Phase.AWAITING_APPROVAL, has_pending_approval=True)
    return projected(projection=projection, artifacts=Artifacts(approval=an_approval(after_s)))


def recovering(phase: Phase = Phase.RUNNING) -> Run:
    return projected(phase, artifacts=Artifacts(recovery=on_file(RecoveryRequest(stamp(1), 1, "pending", "why"))))


PAUSED_UNTIL_DAWN = ControlState(pause=PauseNote("i-1", "riya", moment(-60), until=moment(0)))
RUNNING = projected()
STUCK = ended(Ending.STUCK, Phase.STUCK)
DIVERGED = projected(flags=DivergenceFlags(active_mismatch=True))


class TestHealth:
    def test_a_run_that_falls_silent_and_speaks_again(self) -> None:
        d = Dialogue()
        d.sees(RUNNING, 299).answers()
        d.sees(RUNNING, 300).answers("health_degraded")
        d.sees(RUNNING, 600).answers()
        d.sees(RUNNING, 900).answers("health_critical")
        d.sees(projected(fold=a_story(901)), 902).answers("health_critical_resolved")
        degraded, critical, resolved = d.rows

        assert critical.resolves == degraded.id, "a change of health ends the former one in the same row"
        assert resolved.resolves == critical.id
        assert d.open == []

    def test_a_change_of_codes_is_a_change_of_health(self) -> None:
        """Loop-core 9: escalated when status or codes differ from the last document, severity or metric alone no."""
        d = Dialogue()
        d.sees(DIVERGED).answers("divergence_detected", "health_degraded")
        both = projected(flags=DivergenceFlags(active_mismatch=True), control=ControlState(last_status="ambiguous"))
        d.sees(both).answers("health_degraded")
        assert d.row.reason_codes == ("control_ambiguous", "divergence_detected")
        d.sees(DIVERGED).answers("health_degraded")
        d.sees(RUNNING).answers("divergence_detected_resolved", "health_degraded_resolved")

    def test_many_reasons_at_once_are_one_row(self) -> None:
        noisy = projected(control=ControlState(last_status="ambiguous"), sequence=drifted(), fold=a_story(-900))

        d = Dialogue().sees(noisy).answers("ordering_drift_detected", "health_critical")

        assert d.rows[-1].reason_codes == ("control_ambiguous", "ingest_stale", "ordering_drift_detected")

    def test_the_same_trouble_again_is_a_new_row_with_an_id_of_its_own(self) -> None:
        d = Dialogue()
        for _ in range(3):
            d.sees(projected(control=ControlState(last_status="ambiguous"))).answers("health_degraded")
            d.sees(RUNNING).answers("health_degraded_resolved")

        assert len({row.id for row in d.rows}) == 6

    def test_a_failed_look_says_so_and_ends_nothing_else(self) -> None:
        """What cannot be seen has not ended."""
        d = Dialogue().sees(STUCK).answers("run_stuck")
        d.sees(replace(RUNNING, transport_health=failing(1)), 10, REFUSED).answers("health_degraded")
        d.sees(replace(RUNNING, transport_health=failing(4)), 40, REFUSED).answers("health_critical")
        assert d.open == ["run_stuck", "health_critical"]
        d.sees(STUCK, 50).answers("health_critical_resolved")
        d.sees(RUNNING, 60).answers("run_stuck_resolved")

    def test_a_crash_that_lasts_is_told_once(self) -> None:
        """That its log is silent follows from it; a silence that came first, and its end, is told."""
        d = Dialogue().sees(crashed(), 5).answers("run_crashed")
        d.sees(crashed(), 5_000).answers()

        late = Dialogue().sees(RUNNING, 400).answers("health_degraded")
        late.sees(crashed(), 500).answers("run_crashed")
        assert late.open == ["health_degraded", "run_crashed"]

    def test_a_one_shot_pass_tells_the_silence_of_a_crashed_run(self) -> None:
        """Whoever asked knows the contract's categories, perhaps alone."""
        run = crashed()
        now = moment(5_000)
        health = document(run, judge(run, SEEN, LIMITS, now), SEEN, LIMITS, trace_id="t", now=now)

        told = escalation.escalate(run, health, home="/srv/home", trace_id="t", now=now, one_shot=True)

        assert [row.category for row in told.rows] == ["run_crashed", "health_critical"]


class TestOurOwn:
    @pytest.mark.parametrize(
        ("run", "category"),
        [
            (crashed(), "run_crashed"),
            (STUCK, "run_stuck"),
            (ended(Ending.NO_PROGRESS, Phase.STUCK), "run_stuck"),
            (ended(Ending.MAX_ITERATIONS, Phase.STOPPED), "run_stopped"),
            (ended(Ending.LIFECYCLE_GATE_FAILED, Phase.STOPPED), "run_stopped"),
            (ended(Ending.STOPPED, Phase.STOPPED), "run_stopped"),
            (ended(Ending.ROLE_TIMEOUT, Phase.FAILED), "run_failed"),
            (ended(Ending.FAILED, Phase.FAILED), "run_failed"),
            (ended(Ending.USAGE_LIMITED, Phase.FAILED), "run_failed"),
            (ended(Ending.RATE_LIMITED, Phase.RATE_LIMITED), "run_rate_limited"),
            (awaiting(), "approval_pending"),
            (recovering(), "recovery_waiting"),
            (projected(Phase.PAUSED, control=PAUSED_UNTIL_DAWN), "pause_expired"),
        ],
    )
    def test_each_is_told_once_and_so_is_its_end(self, run: Run, category: str) -> None:
        """None of these has a category in the contract, and all of them leave a loop standing until somebody comes."""
        d = Dialogue().sees(RUNNING).answers()
        d.sees(run, 1).answers(category)
        begun = d.row
        d.sees(run, 2).answers()
        d.sees(RUNNING, 3).answers(f"{category}_resolved")

        assert (d.row.resolves, d.row.severity) == (begun.id, "info")
        assert (d.row.condition, d.row.onset) == (begun.condition, begun.onset)

    def test_a_cancel_is_somebodys_own_act_and_told_to_nobody(self) -> None:
        Dialogue().sees(ended(Ending.CANCELLED, Phase.CANCELLED)).answers()

    def test_waiting_for_a_usage_limit_is_no_failure(self) -> None:
        Dialogue().sees(projected(Phase.LIMITED)).answers()

    def test_a_second_request_is_a_second_condition(self) -> None:
        d = Dialogue().sees(awaiting(0)).answers("approval_pending")
        d.sees(awaiting(60)).answers("approval_pending_resolved", "approval_pending")

    def test_the_next_runs_end_is_told_again(self) -> None:
        d = Dialogue().sees(STUCK).answers("run_stuck")
        d.sees(ended(Ending.STUCK, Phase.STUCK, NEXT_RUN)).answers("run_stuck_resolved", "run_stuck")

    def test_ends_come_first_then_divergence_drift_ours_and_health(self) -> None:
        """Loop-core 9 orders its own, and existing readers look for health in the last line."""
        everything = replace(crashed(), sequence=drifted(), control=ControlState(last_status="ambiguous"))
        everything = replace(
            everything, projection=a_projection(Phase.CRASHED, divergence=DivergenceFlags(active_mismatch=True))
        )

        d = Dialogue().sees(STUCK).answers("run_stuck").sees(everything)

        d.answers(
            "run_stuck_resolved", "divergence_detected", "ordering_drift_detected", "run_crashed", "health_degraded"
        )


class TestFirstSight:
    @pytest.mark.parametrize(
        "run",
        [
            STUCK,
            ended(Ending.MAX_ITERATIONS, Phase.STOPPED),
            ended(Ending.ROLE_TIMEOUT, Phase.FAILED),
            ended(Ending.RATE_LIMITED, Phase.RATE_LIMITED),
            ended(Ending.CANCELLED, Phase.CANCELLED),
            recovering(Phase.STUCK),
            projected(control=ControlState(last_status="ambiguous")),
            DIVERGED,
        ],
    )
    def test_what_was_there_before_us_is_not_told_today_nor_after_a_restart(self, run: Run) -> None:
        """Starting on a repository with years of finished loops raises no storm."""
        d = Dialogue(baselined=False)
        d.sees(run, 0).answers()
        d.sees(run, 60).answers()
        d.restarts().sees(run, 120).answers()
        d.sees(RUNNING, 121).answers()

    @pytest.mark.parametrize(
        ("run", "category"),
        [
            (awaiting(), "approval_pending"),
            (crashed(), "run_crashed"),
            (recovering(), "recovery_waiting"),
            (projected(fold=a_story(-900)), "health_critical"),
        ],
    )
    def test_what_needs_someone_now_is_told_once_and_marked(self, run: Run, category: str) -> None:
        d = Dialogue(baselined=False).sees(run).answers(category)
        assert d.row.baseline is True
        d.sees(run, 1).answers()
        d.restarts().sees(run, 2).answers()

    def test_what_comes_back_after_it_was_over_is_news(self) -> None:
        d = Dialogue(baselined=False).sees(STUCK).answers()
        d.sees(RUNNING).answers()
        d.sees(STUCK).answers("run_stuck")
        assert d.row.baseline is msgspec.UNSET

    def test_a_loop_never_reached_is_told_once_it_fails_as_often_as_the_profile_allows(self) -> None:
        d = Dialogue(baselined=False)
        d.sees(a_run(transport_health=failing(1)), 0, REFUSED).answers()
        d.sees(a_run(transport_health=failing(2)), 30, REFUSED).answers("health_degraded")
        d.sees(a_run(transport_health=failing(4)), 90, REFUSED).answers("health_critical")
        d.sees(STUCK, 120).answers("health_critical_resolved")

    def test_a_run_that_ended_while_nobody_looked_is_told(self) -> None:
        """Its loop was known before, so this is not a first sight."""
        Dialogue().sees(RUNNING).answers().restarts().sees(STUCK, 3600).answers("run_stuck")


class TestRestart:
    @pytest.mark.parametrize(
        "run", [crashed(), STUCK, awaiting(), recovering(), DIVERGED, projected(fold=a_story(-900))]
    )
    def test_what_the_journal_has_open_is_not_told_again(self, run: Run) -> None:
        d = Dialogue().sees(run)
        opened = d.open
        d.restarts().sees(run, 1).answers()
        assert d.open == opened

    def test_an_end_that_nobody_saw_is_told_after_the_restart(self) -> None:
        d = Dialogue().sees(STUCK).answers("run_stuck").restarts()
        d.sees(RUNNING, 120).answers("run_stuck_resolved")

    def test_a_pass_repeated_after_a_crash_names_the_same_rows(self) -> None:
        """The journal was written, nothing else: whoever deduplicates by id sees one row."""
        crashes = replace(crashed(), control=ControlState(last_status="ambiguous"))

        first, second = (Dialogue().sees(crashes, after_s).rows for after_s in (5, 50))

        assert [row.id for row in first] == [row.id for row in second]
        assert all(re.fullmatch("[0-9a-f]{32}", row.id) for row in first)

    def test_the_same_end_of_another_loop_is_another_row(self) -> None:
        """Ids are compared over the whole fleet, and loops that were cloned have the same lines and run ids."""
        clone = replace(STUCK, ref=LoopRef(LoopId("clone"), "/srv/clone"))

        assert Dialogue().sees(STUCK).row.id != Dialogue().sees(clone).row.id

    def test_half_a_log_tells_neither_beginnings_nor_ends(self) -> None:
        """After a long absence the log is read in pieces; yesterday's end is not today's."""
        d = Dialogue().sees(STUCK).answers("run_stuck")
        d.sees(replace(RUNNING, backlog_bytes=9, backlog_since=moment(0)), 1).answers()
        d.sees(replace(crashed(), backlog_bytes=9, backlog_since=moment(0)), 2).answers()
        d.sees(STUCK, 3).answers()

    def test_a_log_that_went_backwards_is_told_although_more_is_unread(self) -> None:
        """Only this pass sees it."""
        d = Dialogue().sees(replace(RUNNING, sequence=drifted(), backlog_bytes=9, backlog_since=moment(0)))
        d.answers("ordering_drift_detected")


def shown(row: EscalationRow) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(row))
    return decoded


OURS = {"id", "onset", "summary", "runId", "since", "condition", "severity", "resolves", "baseline"}
COMMON = {"timestamp", "loopId", "traceId", "category", "transport"}


class TestRows:
    @pytest.mark.parametrize(
        ("run", "category", "members"),
        [
            (DIVERGED, "divergence_detected", {"stateFile", "cursorFile", "divergenceFlags", "state"}),
            (
                projected(sequence=drifted()),
                "ordering_drift_detected",
                {"reasonCode", "stateFile", "sequenceStateFile", "sequenceTelemetryFile", "sequence"},
            ),
            (
                projected(control=ControlState(last_status="ambiguous")),
                "health_degraded",
                {"ingestStatus", "stateFile", "cursorFile", "healthFile", "healthStatus", "reasonCodes", "reasons"},
            ),
            (
                projected(fold=a_story(-900)),
                "health_critical",
                {"ingestStatus", "stateFile", "cursorFile", "healthFile", "healthStatus", "reasonCodes", "reasons"},
            ),
        ],
    )
    def test_each_contract_category_has_its_members(self, run: Run, category: str, members: set[str]) -> None:
        """Loop-core 9; ours stand beside them and no severity does, so that a catalog's own mapping goes on to hold."""
        d = Dialogue().sees(run)
        row = next(shown(row) for row in d.rows if row.category == category)

        assert set(row) - OURS == COMMON | members
        assert "severity" not in row
        assert row["stateFile"] == f"/srv/home/.superloop/ops-manager/{LOOP}/state.json"

    def test_a_failed_look_is_quoted(self) -> None:
        row = shown(Dialogue().sees(replace(RUNNING, transport_health=failing(1)), 0, REFUSED).row)

        assert (row["ingestStatus"], row["failureCode"]) == ("failed", "snapshot_unavailable")

    def test_a_divergence_carries_the_state_that_diverged(self) -> None:
        row = shown(Dialogue().sees(DIVERGED).rows[0])

        assert row["divergenceFlags"] == {
            "activeMismatch": True,
            "approvalCompletionConflict": False,
            "cursorRegression": False,
        }
        assert set(row["state"]) == {"transition", "projection", "cursor"}

    def test_drift_carries_what_the_log_showed(self) -> None:
        row = shown(Dialogue().sees(projected(sequence=drifted())).rows[0])

        assert set(row["sequence"]) == {"status", "driftActive", "violations", "snapshot", "events"}
        assert row["sequenceStateFile"].endswith("/sequence-state.json")
        assert row["sequenceTelemetryFile"].endswith("/telemetry/sequence.jsonl")

    @pytest.mark.parametrize("run", [crashed(), STUCK, awaiting(), recovering()])
    def test_ours_name_a_severity_that_alert_catalogs_compare(self, run: Run) -> None:
        """Any other word makes existing dispatchers refuse the row, and `info` would be dropped by the default."""
        row = shown(Dialogue().sees(run).row)

        assert row["severity"] in ("warning", "critical")
        assert row["summary"].endswith(".")

    def test_times_are_cut_to_seconds(self) -> None:
        assert shown(Dialogue().sees(STUCK, 1.75).row)["timestamp"] == stamp(1)
