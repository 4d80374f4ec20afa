"""Which phase a run is in: the situations that a recorded run does not show, and the exact edges."""

from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from opsd.core.clues import Clues, clues_of
from opsd.core.phase import RULES, Believed, believe
from opsd.model.lifecycle import Fold, Phase
from opsd.model.observation import Artifact, Artifacts
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.runtime import (
    Approval,
    ApprovalDecision,
    LoopConfig,
    Presence,
    RunSummary,
    SummaryEntry,
    Timeouts,
    UsageCheck,
)
from opsd.model.thresholds import Thresholds
from tests.core.builders import (
    LOOP,
    RUN_ID,
    a_fold,
    a_state,
    a_summary,
    an_active_run,
    an_approval,
    an_event,
    moment,
    on_file,
    stamp,
)
from tests.core.judging import a_projection

BEGUN = (an_event("loop_start"), an_event("iteration_start", 1))
AT_WORK = Artifacts(state=a_state(), active_run=an_active_run())
AT_REST = Artifacts(state=a_state(30, active=False))
LATER_ID = stamp(100)


def clues(
    fold: Fold, artifacts: Artifacts, liveness: Liveness = Liveness.NONE, after_s: float = 60, **members: Any
) -> Clues:
    active_run = artifacts.active_run.value
    process = ProcessMemory(
        pid=active_run.pid if active_run else None,
        begun=active_run.updated_at if active_run else None,
        liveness=liveness,
        missing_since=moment(after_s) if liveness is Liveness.GONE else None,
    )
    given: dict[str, Any] = {
        "previous": None,
        "batch_last": None,
        "last_output_at": None,
        "thresholds": Thresholds(),
        "now": moment(after_s),
    }
    return clues_of(LOOP, fold, artifacts, process, **{**given, **members})


def believed(*args: Any, **members: Any) -> Believed:
    return believe(clues(*args, **members))


def phase(*args: Any, **members: Any) -> Phase:
    return believed(*args, **members).phase


class TestGoing:
    def test_a_live_process_starts_until_its_run_logs(self) -> None:
        ended = a_fold(*BEGUN, an_event("loop_complete", 9))
        again = Artifacts(
            state=a_state(9, active=False), active_run=an_active_run(40), summary=a_summary(9, complete=True)
        )

        verdict = believed(ended, again, Liveness.ALIVE)
        assert (verdict.phase, verdict.since) == (Phase.STARTING, moment(40))

        logged = a_fold(an_event("loop_start", 43, run_id=stamp(43)), onto=ended)
        assert phase(logged, again, Liveness.ALIVE) is Phase.RUNNING

    @pytest.mark.parametrize(("written_s", "expected"), [(39, Phase.STARTING), (40, Phase.RUNNING)])
    def test_a_run_whose_log_was_rotated_away_does_not_start_again(self, written_s: int, expected: Phase) -> None:
        """The state on file has spoken for it since; one left by an earlier run has not."""
        artifacts = Artifacts(state=a_state(written_s), active_run=an_active_run(40))

        assert phase(Fold(), artifacts, Liveness.ALIVE) is expected

    def test_an_old_completion_does_not_mask_a_new_run(self) -> None:
        """The reference calls such a run complete until it finishes an iteration."""
        fold = a_fold(*BEGUN, an_event("loop_complete", 9), an_event("loop_start", 100, run_id=LATER_ID))
        artifacts = Artifacts(state=a_state(100), active_run=an_active_run(98), summary=a_summary(9, complete=True))

        assert phase(fold, artifacts, Liveness.ALIVE, 110) is Phase.RUNNING
        stopped = a_fold(an_event("loop_stop", 120, run_id=LATER_ID, data={"reason": "stuck"}), onto=fold)
        rest = replace(artifacts, state=a_state(120, active=False), active_run=Artifact())
        assert phase(stopped, rest, Liveness.NONE, 130) is Phase.STUCK

    def test_a_process_that_nobody_can_judge_runs_as_its_files_say(self) -> None:
        for liveness in (Liveness.UNKNOWN, Liveness.FOREIGN):
            assert phase(a_fold(*BEGUN), AT_WORK, liveness) is Phase.RUNNING
        assert phase(a_fold(*BEGUN), AT_REST, Liveness.UNKNOWN) is Phase.UNKNOWN

    def test_a_process_on_its_way_out_does_not_run(self) -> None:
        """The log told the end; the process needs a moment to leave."""
        assert phase(a_fold(*BEGUN, an_event("loop_complete", 9)), AT_WORK, Liveness.ALIVE) is Phase.COMPLETE

    def test_a_stopped_process_is_paused(self) -> None:
        assert phase(a_fold(*BEGUN), AT_WORK, Liveness.PAUSED) is Phase.PAUSED

    def test_a_run_that_reports_a_completion_runs_until_it_says_so(self) -> None:
        """The summary is written a moment before `loop_complete`, and with approval it is not the end."""
        artifacts = replace(AT_WORK, summary=a_summary(50, complete=True))

        assert phase(a_fold(*BEGUN), artifacts, Liveness.ALIVE) is Phase.RUNNING


class TestSilence:
    ROLE = (*BEGUN, an_event("role_start", 2, role="tester"))
    LIMITS = on_file(LoopConfig(timeouts=Timeouts(enabled=True, default=900, tester=600)))

    @pytest.mark.parametrize(
        ("after_s", "expected"),
        [(301, Phase.RUNNING), (302, Phase.BUSY), (661, Phase.BUSY), (662, Phase.RUNNING)],
    )
    def test_a_role_within_its_time_is_busy(self, after_s: float, expected: Phase) -> None:
        """From the degraded ingest lag on, until its limit plus the grace in which the runtime ends it."""
        artifacts = replace(AT_WORK, config=self.LIMITS)

        assert phase(a_fold(*self.ROLE), artifacts, Liveness.ALIVE, after_s) is expected

    def test_each_verdict_says_until_when_it_holds(self) -> None:
        artifacts = replace(AT_WORK, config=self.LIMITS)

        assert believed(a_fold(*self.ROLE), artifacts, Liveness.ALIVE, 60).holds_until == moment(302)
        assert believed(a_fold(*self.ROLE), artifacts, Liveness.ALIVE, 302).holds_until == moment(662)

    def test_a_role_without_a_limit_is_busy_only_while_it_writes(self) -> None:
        fold = a_fold(*self.ROLE)

        assert phase(fold, AT_WORK, Liveness.ALIVE, 400) is Phase.RUNNING
        verdict = believed(fold, AT_WORK, Liveness.ALIVE, 400, last_output_at=moment(390))
        assert (verdict.phase, verdict.holds_until) == (Phase.BUSY, moment(690))
        assert phase(fold, AT_WORK, Liveness.ALIVE, 690, last_output_at=moment(390)) is Phase.RUNNING

    def test_disabled_timeouts_bound_nothing(self) -> None:
        artifacts = replace(AT_WORK, config=on_file(LoopConfig(timeouts=Timeouts(enabled=False, tester=600))))

        assert phase(a_fold(*self.ROLE), artifacts, Liveness.ALIVE, 400) is Phase.RUNNING

    @pytest.mark.parametrize("gate", ["tests", "validation", "prerequisites", "tests_rerun"])
    def test_a_gates_commands_have_no_limit_while_their_process_lives(self, gate: str) -> None:
        fold = a_fold(*BEGUN, an_event(f"{gate}_start", 2))

        assert phase(fold, AT_WORK, Liveness.ALIVE, 90_000) is Phase.BUSY
        assert phase(fold, AT_WORK, Liveness.UNKNOWN, 90_000) is Phase.RUNNING

    def test_the_degraded_threshold_is_the_operators(self) -> None:
        artifacts = replace(AT_WORK, config=self.LIMITS)
        strict = Thresholds(degraded_ingest_lag_seconds=10)

        assert phase(a_fold(*self.ROLE), artifacts, Liveness.ALIVE, 12, thresholds=strict) is Phase.BUSY


class TestLimits:
    BLOCKED = (*BEGUN, an_event("usage_limit_blocked", 5, role="planner", status="error"))

    def test_a_usage_limit_is_waited_for_as_long_as_the_settings_allow(self) -> None:
        waits = replace(
            AT_WORK, config=on_file(LoopConfig(usage_check=UsageCheck(wait_on_limit=True, max_wait_seconds=600)))
        )
        fold = a_fold(*self.BLOCKED)

        verdict = believed(fold, waits, Liveness.ALIVE, 60)
        assert (verdict.phase, verdict.since, verdict.holds_until) == (Phase.LIMITED, moment(5), moment(665))
        assert phase(fold, waits, Liveness.ALIVE, 664.9) is Phase.LIMITED
        assert phase(fold, waits, Liveness.ALIVE, 665) is not Phase.LIMITED

    def test_a_configuration_of_a_million_years_breaks_no_pass(self) -> None:
        """Files of another program: a span that no calendar holds must not hide the loop."""
        patient = UsageCheck(wait_on_limit=True, max_wait_seconds=10**15)
        limits = Timeouts(enabled=True, default=10**15)
        waits = replace(AT_WORK, config=on_file(LoopConfig(usage_check=patient, timeouts=limits)))
        role = (*BEGUN, an_event("role_start", 2, role="tester"))

        assert phase(a_fold(*self.BLOCKED), waits, Liveness.ALIVE, 60) is Phase.LIMITED
        assert phase(a_fold(*role), waits, Liveness.ALIVE, 90_000) is Phase.BUSY

    def test_who_may_not_wait_is_not_limited(self) -> None:
        ends = replace(AT_WORK, config=on_file(LoopConfig(usage_check=UsageCheck(wait_on_limit=False))))

        assert phase(a_fold(*self.BLOCKED), ends, Liveness.ALIVE, 6) is Phase.RUNNING
        assert phase(a_fold(*self.BLOCKED), AT_REST) is Phase.FAILED

    def test_a_process_killed_while_it_waits_has_crashed(self) -> None:
        assert phase(a_fold(*self.BLOCKED), AT_WORK, Liveness.GONE) is Phase.CRASHED

    def test_a_rate_limit_ends_the_run_though_the_state_stays_active(self) -> None:
        limited = an_event(
            "rate_limit_stop", 9, role="planner", status="rate_limited", data={"info": {"resets_in": 60}}
        )
        stale = Artifacts(state=a_state(9))

        verdict = believed(a_fold(*BEGUN, limited), stale)
        assert (verdict.phase, verdict.since) == (Phase.RATE_LIMITED, moment(9))


class TestApproval:
    ASKED = (*BEGUN, an_event("approval_requested", 30))

    def test_a_pending_approval_outweighs_everything(self) -> None:
        pending = an_approval(29)

        for artifacts, liveness in ((AT_REST, Liveness.NONE), (AT_WORK, Liveness.ALIVE), (AT_WORK, Liveness.GONE)):
            verdict = believed(a_fold(*self.ASKED), replace(artifacts, approval=pending), liveness)
            assert (verdict.phase, verdict.since) == (Phase.AWAITING_APPROVAL, moment(29))

    def test_an_approval_that_a_newer_run_got_beyond_is_stale(self) -> None:
        """Somebody put an old file back; the run at work is not waiting for it."""
        old = replace(AT_WORK, approval=an_approval(29), active_run=an_active_run(98))
        waits = a_fold(*self.ASKED, an_event("loop_start", 100, run_id=LATER_ID))
        works = a_fold(an_event("iteration_start", 101, run_id=LATER_ID), onto=waits)

        assert phase(waits, old, Liveness.ALIVE, 110) is Phase.AWAITING_APPROVAL
        assert phase(works, old, Liveness.ALIVE, 110) is Phase.RUNNING

    @pytest.mark.parametrize(("status", "expected"), [("approved", Phase.APPROVED), ("rejected", Phase.REJECTED)])
    def test_a_decision_is_not_yet_its_execution(self, status: str, expected: Phase) -> None:
        decision = ApprovalDecision(status=status, by="alex", at=stamp(50))
        decided = on_file(Approval(status=status, run_id=RUN_ID, iteration=1, decision=decision))
        fold = a_fold(*self.ASKED, an_event("approval_decision", 50, role="human", status=status))

        verdict = believed(fold, replace(AT_REST, approval=decided))
        assert (verdict.phase, verdict.since) == (expected, moment(50))

        starting = replace(AT_REST, approval=decided, active_run=an_active_run(55))
        assert phase(fold, starting, Liveness.ALIVE) is Phase.STARTING

    def test_a_decision_taken_up_is_history_even_if_its_file_is_still_there(self) -> None:
        fold = a_fold(
            *self.ASKED,
            an_event("loop_start", 100, run_id=LATER_ID),
            an_event("approval_consumed", 101),
            an_event("loop_complete", 104),
        )
        artifacts = replace(AT_REST, approval=an_approval(29, status="approved"))

        assert phase(fold, artifacts, after_s=110) is Phase.COMPLETE

    def test_a_run_killed_before_it_took_the_decision_up_leaves_it_standing(self) -> None:
        fold = a_fold(*self.ASKED, an_event("loop_start", 100, run_id=LATER_ID))
        artifacts = replace(AT_REST, approval=an_approval(29, status="approved"), active_run=an_active_run(98))

        assert phase(fold, artifacts, Liveness.GONE, 110) is Phase.APPROVED

    def test_a_request_whose_file_was_looked_for_too_early_is_believed_for_a_moment(self) -> None:
        fold = a_fold(*self.ASKED)

        verdict = believed(fold, AT_REST, after_s=31)
        assert (verdict.phase, verdict.holds_until) == (Phase.AWAITING_APPROVAL, moment(33))
        assert phase(fold, AT_REST, after_s=33) is Phase.IDLE

    def test_a_request_whose_file_was_removed_is_over(self) -> None:
        artifacts = replace(AT_REST, summary=a_summary(29))

        assert phase(a_fold(*self.ASKED), artifacts, after_s=3600) is Phase.IDLE

    def test_a_request_whose_file_cannot_be_read_stands_by_the_log(self) -> None:
        hidden = replace(AT_REST, approval=Artifact(Presence.UNREADABLE, problem="no permission"))

        assert phase(a_fold(*self.ASKED), hidden, after_s=3600) is Phase.AWAITING_APPROVAL


class TestEnds:
    def test_a_process_gone_in_mid_run_has_crashed(self) -> None:
        verdict = believed(a_fold(*BEGUN), AT_WORK, Liveness.GONE)

        assert (verdict.phase, verdict.since) == (Phase.CRASHED, moment(60))

    def test_a_run_that_died_before_its_first_word_has_crashed_too(self) -> None:
        """Whatever became of the run before it."""
        fold = a_fold(*BEGUN, an_event("loop_complete", 9))
        artifacts = replace(AT_REST, active_run=an_active_run(40), summary=a_summary(9, complete=True))

        assert phase(fold, artifacts, Liveness.GONE) is Phase.CRASHED
        assert phase(Fold(), Artifacts(active_run=an_active_run(40)), Liveness.GONE) is Phase.CRASHED

    def test_a_process_gone_after_a_logged_end_has_not(self) -> None:
        assert phase(a_fold(*BEGUN, an_event("loop_complete", 9)), AT_WORK, Liveness.GONE) is Phase.COMPLETE

    def test_a_deleted_state_is_a_cancel_and_not_a_crash(self) -> None:
        """Cancel deletes the state before it kills, and the active run after."""
        killed = Artifacts(active_run=an_active_run())

        assert phase(a_fold(*BEGUN), killed, Liveness.ALIVE) is Phase.RUNNING
        assert phase(a_fold(*BEGUN), killed, Liveness.GONE) is Phase.CANCELLED
        assert phase(a_fold(*BEGUN), Artifacts(), Liveness.NONE) is Phase.CANCELLED

    def test_clearing_up_after_an_end_does_not_rewrite_it(self) -> None:
        fold = a_fold(*BEGUN, an_event("rate_limit_stop", 9, data={"info": {}}))

        assert phase(fold, Artifacts(), Liveness.NONE) is Phase.RATE_LIMITED

    def test_an_unreadable_state_is_not_a_deleted_one(self) -> None:
        hidden = Artifacts(state=Artifact(Presence.UNREADABLE, problem="no permission"))

        assert phase(a_fold(*BEGUN), hidden, Liveness.NONE) is Phase.UNKNOWN

    @pytest.mark.parametrize("remembered", [Phase.CRASHED, Phase.CANCELLED])
    def test_a_crash_or_cancel_stays_one_when_another_loop_overwrites_its_traces(self, remembered: Phase) -> None:
        """The checkout has one state file for all its loops."""
        fold = a_fold(*BEGUN)
        before = a_projection(remembered, since=moment(50))

        others = Artifacts(state=a_state(100, loop_id="other"), active_run=an_active_run(99, loop_id="other"))
        verdict = believed(fold, others, Liveness.NONE, 110, previous=before)
        assert (verdict.phase, verdict.since) == (remembered, moment(50))
        assert phase(fold, others, Liveness.NONE, 110) is Phase.UNKNOWN

        news = a_fold(an_event("role_end", 105, role="tester"), onto=fold)
        assert phase(news, others, Liveness.NONE, 110, previous=before, batch_last=news.last) is Phase.UNKNOWN

    def test_a_newer_run_does_not_inherit_a_crash(self) -> None:
        fold = a_fold(*BEGUN, an_event("loop_start", 100, run_id=LATER_ID))
        before = a_projection(Phase.CRASHED, since=moment(50))

        assert phase(fold, AT_REST, after_s=110, previous=before) is Phase.UNKNOWN

    def test_a_summary_completes_a_run_whose_last_word_was_lost(self) -> None:
        artifacts = replace(AT_REST, summary=a_summary(29, complete=True))

        verdict = believed(a_fold(*BEGUN), artifacts)
        assert (verdict.phase, verdict.since) == (Phase.COMPLETE, moment(29))

    def test_a_summary_without_a_log_is_believed(self) -> None:
        artifacts = replace(AT_REST, summary=a_summary(29, complete=True))

        assert phase(Fold(), artifacts) is Phase.COMPLETE

    @pytest.mark.parametrize(("entry_id", "run_id"), [("run-9", "run-10"), (RUN_ID, "run-10")])
    def test_where_run_ids_are_no_times_the_moment_of_the_word_decides(self, entry_id: str, run_id: str) -> None:
        fold = a_fold(an_event("loop_start", 100, run_id=run_id))

        def summary(ended_after_s: float) -> Artifacts:
            entry = SummaryEntry(run_id=entry_id, ended_at=stamp(ended_after_s), completion_ok=True)
            return replace(AT_REST, summary=on_file(RunSummary(None, entry, 1)))

        assert phase(fold, summary(99), after_s=200) is Phase.IDLE
        assert phase(fold, summary(101), after_s=200) is Phase.COMPLETE

    @pytest.mark.parametrize("status", ["error", "timeout", "blocked", "rate_limited"])
    def test_a_last_word_of_failure_fails_a_run_that_nothing_else_explains(self, status: str) -> None:
        fold = a_fold(*BEGUN, an_event("delegation_recon_violation", 9, role="planner", status=status))

        verdict = believed(fold, AT_REST)
        assert (verdict.phase, verdict.since) == (Phase.FAILED, moment(9))
        assert phase(fold, AT_WORK, Liveness.ALIVE) is Phase.RUNNING

    def test_idle_needs_an_inactive_state_and_a_history(self) -> None:
        fold, history = a_fold(*BEGUN), a_summary(29)

        assert phase(fold, replace(AT_REST, summary=history)) is Phase.IDLE
        assert phase(fold, AT_REST) is Phase.UNKNOWN
        others = Artifacts(state=a_state(30, loop_id="other"), summary=history)
        assert phase(fold, others) is Phase.UNKNOWN

    def test_a_loop_without_a_trace_never_ran(self) -> None:
        assert phase(Fold(), Artifacts()) is Phase.NEVER_RUN
        assert phase(Fold(), Artifacts(state=a_state(loop_id="other"))) is Phase.NEVER_RUN


def test_every_rule_says_what_it_asks() -> None:
    """Explanations quote these sentences."""
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.when for rule in RULES)


def test_a_basis_never_ages() -> None:
    """Two looks that believe the same say the same: otherwise every pass would be news."""
    role = a_fold(*BEGUN, an_event("role_start", 2, role="tester"))
    artifacts = replace(AT_WORK, config=TestSilence.LIMITS)

    def said(after_s: float) -> tuple[Phase, str, datetime | None]:
        verdict = believed(role, artifacts, Liveness.ALIVE, after_s)
        return verdict.phase, verdict.basis, verdict.since

    assert said(60) == said(61)
    assert said(400) == said(401)
