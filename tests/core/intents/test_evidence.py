"""What proves that an intent had its effect, and what only looks like it."""

from typing import Any

import pytest
from msgspec.structs import replace

from opsd.core.intents import life
from opsd.core.intents.evidence import Outcome, Verdict, confirmation, judge, run_status, stage, unseen
from opsd.model.acts import ActProblem, ActResult, Scene
from opsd.model.health import Finding, Severity
from opsd.model.intent import Intent, IntentKind, Stage
from opsd.model.lifecycle import Fold, Phase
from opsd.model.observation import Artifact
from opsd.model.run import Run
from opsd.model.runtime import Approval, Presence, RuntimeState
from tests.core.builders import (
    RUN_ID,
    a_fold,
    a_run,
    a_state,
    a_summary,
    an_active_run,
    an_event,
    moment,
    on_file,
    stamp,
)
from tests.core.intents.asking import (
    ABSENT,
    ALIVE,
    ASKED,
    AT_S,
    BEGUN,
    NONE,
    PID,
    STOPPED,
    UNKNOWN,
    a_beat,
    a_candidate,
    a_confirmation,
    a_run_at_rest,
    a_run_at_work,
    a_run_that_asks,
    a_scene,
    an_intent,
    at_work,
    carried_out,
)
from tests.core.judging import failing, health_of

CONFIRMED, NOT_YET, CONTRARY = Outcome
AGAIN = stamp(62)
"""The id of a run that begins after the act."""


def judged(intent: Intent, run: Run, scene: Scene) -> Verdict:
    return judge(intent, run, scene, moment(AT_S + 3))


def later(*events: Any, onto: Fold | None = None) -> Fold:
    return a_fold(*events, onto=onto or a_fold(*BEGUN))


def said(verdict: Verdict) -> str:
    return " ".join(one.says for one in verdict.evidence)


def test_what_was_never_carried_out_is_not_judged() -> None:
    with pytest.raises(ValueError, match="has no watermark"):
        judged(an_intent(), a_run_at_rest(), a_scene())


class TestCancel:
    INTENT = carried_out(an_intent(IntentKind.CANCEL), a_run_at_work(), at_work())
    GONE = a_scene(state=Artifact(), watched=ABSENT)

    def outcome(self, scene: Scene, run: Run | None = None, intent: Intent | None = None) -> Outcome:
        return judged(intent or self.INTENT, run or a_run_at_work(Phase.CANCELLED), scene).outcome

    def test_it_is_done_when_process_and_state_are_gone(self) -> None:
        verdict = judged(self.INTENT, a_run_at_work(), self.GONE)

        assert (verdict.outcome, verdict.reason, verdict.missing) == (CONFIRMED, "inactive_not_running", None)
        assert said(verdict) == f"Process {PID}, begun {stamp(0)}, is gone. There is none."

    @pytest.mark.parametrize(
        "state",
        [a_state(61, active=False), a_state(61, loop_id="other"), on_file(RuntimeState())],
        ids=["inactive", "another's", "empty"],
    )
    def test_a_state_that_does_not_call_it_active_is_as_good_as_none(self, state: Artifact[RuntimeState]) -> None:
        assert self.outcome(replace(self.GONE, state=state)) is CONFIRMED

    @pytest.mark.parametrize("sighting", [ALIVE, STOPPED, UNKNOWN, NONE])
    def test_a_process_that_is_not_surely_gone_confirms_nothing(self, sighting: Any) -> None:
        verdict = judged(self.INTENT, a_run_at_work(), replace(self.GONE, watched=sighting))

        assert verdict.outcome is NOT_YET
        assert verdict.missing is not None
        assert str(PID) in verdict.missing

    def test_a_state_that_still_calls_it_active_confirms_nothing(self) -> None:
        assert self.outcome(replace(self.GONE, state=a_state())) is NOT_YET

    @pytest.mark.parametrize("presence", [Presence.SETTLING, Presence.UNREADABLE])
    @pytest.mark.parametrize("file", ["state", "active_run"])
    def test_a_file_that_cannot_be_read_confirms_nothing(self, file: str, presence: Presence) -> None:
        garbled: Artifact[Any] = Artifact(presence)

        assert self.outcome(replace(self.GONE, **{file: garbled})) is NOT_YET

    def test_its_own_active_run_must_be_gone(self) -> None:
        """The runtime's cancel removes it last; where only that file was left, it is all that shows the effect."""
        assert self.outcome(replace(self.GONE, active_run=an_active_run())) is NOT_YET
        left = carried_out(an_intent(), a_run_at_work(), at_work(ABSENT, state=a_state(active=False)))
        assert self.outcome(replace(self.GONE, active_run=an_active_run()), intent=left) is NOT_YET
        assert self.outcome(self.GONE, intent=left) is CONFIRMED

    @pytest.mark.parametrize("active_run", [an_active_run(62), an_active_run(0, pid=PID + 1)], ids=["begun", "pid"])
    def test_a_loop_that_somebody_started_again_is_quoted_and_not_confirmed(self, active_run: Artifact[Any]) -> None:
        verdict = judged(self.INTENT, a_run_at_work(), replace(self.GONE, active_run=active_run))

        assert verdict.outcome is NOT_YET
        assert "began a run at" in said(verdict)

    def test_a_neighbours_run_is_no_run_of_this_loop(self) -> None:
        theirs = replace(self.GONE, active_run=an_active_run(62, loop_id="other"), state=a_state(62, loop_id="other"))

        assert self.outcome(theirs) is CONFIRMED

    def test_a_run_that_began_and_ended_since_is_quoted(self) -> None:
        run = a_run_at_rest(fold=later(an_event("loop_start", 62, run_id=AGAIN), an_event("loop_complete", 63)))

        verdict = judged(self.INTENT, run, replace(self.GONE, state=a_state(63, active=False)))

        assert verdict.outcome is CONFIRMED
        assert f"Run {AGAIN} began." in said(verdict)

    def test_without_a_process_on_file_the_log_must_stand_still(self) -> None:
        """A run whose active-run.json was taken away lives on unseen; the cancel did not reach it."""
        intent = carried_out(an_intent(IntentKind.CANCEL), a_run_at_work(), a_scene(state=a_state()))
        after = a_scene(state=Artifact())

        assert self.outcome(after, intent=intent) is CONFIRMED
        goes_on = a_run_at_work(fold=later(an_event("role_start", 62)))
        assert self.outcome(after, goes_on, intent) is NOT_YET
        before = a_run_at_work(fold=later(an_event("role_start", 61)))
        assert self.outcome(after, before, intent) is CONFIRMED, "it was spoken before the command had ended"
        decided = a_run_at_work(fold=later(an_event("approval_decision", 62, status="approved")))
        assert self.outcome(after, decided, intent) is CONFIRMED, "no run says that"

    def test_an_exit_code_proves_nothing(self) -> None:
        for result in (ActResult(exit_code=0), ActResult(problem=ActProblem.COMMAND_TIMED_OUT)):
            intent = carried_out(an_intent(), a_run_at_work(), at_work(), result)

            assert self.outcome(at_work(watched=ALIVE), intent=intent) is NOT_YET
            assert self.outcome(self.GONE, intent=intent) is CONFIRMED


class TestDecision:
    APPROVING = carried_out(an_intent(IntentKind.APPROVE), a_run_that_asks(), a_scene(approval=a_candidate()))
    REJECTING = carried_out(an_intent(IntentKind.REJECT), a_run_that_asks(), a_scene(approval=a_candidate()))
    DECIDED = later(an_event("approval_decision", 60, role="human", status="approved"), onto=a_fold(*ASKED))

    def on_file(self, approval: Artifact[Approval], fold: Fold | None = None, intent: Intent = APPROVING) -> Verdict:
        return judged(intent, a_run_that_asks(fold), a_scene(approval=approval))

    def outcome(self, approval: Artifact[Approval], fold: Fold | None = None, intent: Intent = APPROVING) -> Outcome:
        return self.on_file(approval, fold, intent).outcome

    @pytest.mark.parametrize(("intent", "status"), [(APPROVING, "approved"), (REJECTING, "rejected")])
    def test_it_is_done_when_it_stands_on_the_candidate(self, intent: Intent, status: str) -> None:
        verdict = self.on_file(a_candidate(status), intent=intent)

        assert (verdict.outcome, verdict.reason) == (CONFIRMED, "decision_recorded")
        assert said(verdict) == f"Run {RUN_ID}, iteration 1: {status} by riya at {stamp(60)}."

    def test_one_still_pending_is_not(self) -> None:
        assert self.outcome(a_candidate()) is NOT_YET
        assert self.outcome(a_candidate(), self.DECIDED) is NOT_YET, "the file is what the next run goes by"

    @pytest.mark.parametrize(("intent", "status"), [(APPROVING, "rejected"), (REJECTING, "approved")])
    def test_one_that_went_the_other_way_is_contrary(self, intent: Intent, status: str) -> None:
        verdict = self.on_file(a_candidate(status, by="noor"), intent=intent)

        assert (verdict.outcome, verdict.reason) == (CONTRARY, "decided_otherwise")
        assert "noor" in said(verdict)

    @pytest.mark.parametrize("intent", [APPROVING, REJECTING])
    def test_one_on_another_candidate_is_contrary(self, intent: Intent) -> None:
        """The runtime's command names no candidate: it decides on whatever is pending by then."""
        verdict = self.on_file(a_candidate("approved", asked_s=10), intent=intent)

        assert (verdict.outcome, verdict.reason) == (CONTRARY, "other_candidate")

    def test_another_candidate_that_is_pending_leaves_it_open(self) -> None:
        assert self.outcome(a_candidate(asked_s=10)) is NOT_YET

    @pytest.mark.parametrize(("decided_s", "expected"), [(59, NOT_YET), (60, CONFIRMED), (61, CONFIRMED)])
    def test_a_decision_from_before_the_act_confirms_nothing(self, decided_s: float, expected: Outcome) -> None:
        assert self.outcome(a_candidate("approved", decided_s=decided_s)) is expected

    def test_one_that_was_decided_already_can_never_be_confirmed(self) -> None:
        """The gate refuses that; whoever comes here all the same learns nothing from it."""
        decided = a_candidate("approved")
        for before in (decided, Artifact()):
            intent = carried_out(an_intent(IntentKind.APPROVE), a_run_that_asks(), a_scene(approval=before))

            assert self.outcome(decided, self.DECIDED, intent) is NOT_YET

    @pytest.mark.parametrize("presence", [Presence.SETTLING, Presence.UNREADABLE])
    def test_a_file_that_cannot_be_read_confirms_nothing(self, presence: Presence) -> None:
        value = a_candidate("approved").value

        assert self.outcome(Artifact(presence, value), self.DECIDED) is NOT_YET

    def test_a_decision_without_a_time_is_believed_where_it_was_pending_before(self) -> None:
        approval = a_candidate("approved").value
        assert approval is not None

        assert self.outcome(on_file(replace(approval, decision=None))) is CONFIRMED


class TestDecisionByTheLog:
    """A next run has taken the decision up, and removed the file."""

    APPROVING, REJECTING = TestDecision.APPROVING, TestDecision.REJECTING

    def outcome(
        self, *events: Any, intent: Intent = TestDecision.APPROVING, approval: Artifact[Approval] | None = None
    ) -> Outcome:
        run = a_run_that_asks(later(*events, onto=a_fold(*ASKED)))
        return judged(intent, run, a_scene(approval=approval or Artifact())).outcome

    def test_it_is_believed_on_run_and_iteration(self) -> None:
        assert self.outcome(an_event("approval_decision", 60, status="approved")) is CONFIRMED
        rejected = an_event("approval_decision", 60, status="rejected")
        assert self.outcome(rejected, intent=self.REJECTING) is CONFIRMED
        assert self.outcome(rejected) is CONTRARY
        assert self.outcome() is NOT_YET

    @pytest.mark.parametrize("about", [{"run_id": stamp(40)}, {"run_id": "unknown"}, {"iteration": 2}], ids=str)
    def test_a_word_on_another_candidate_is_none_on_this(self, about: dict[str, Any]) -> None:
        assert self.outcome(an_event("approval_decision", 60, status="approved", **about)) is NOT_YET

    def test_what_the_log_had_before_is_no_evidence(self) -> None:
        before = a_fold(*ASKED, an_event("approval_decision", 58, status="approved"))
        run, pending = a_run_that_asks(before), a_scene(approval=a_candidate())
        intent = carried_out(an_intent(IntentKind.APPROVE), run, pending)

        assert judged(intent, run, a_scene(approval=Artifact())).outcome is NOT_YET

    def test_what_had_not_been_read_by_then_is_none_either(self) -> None:
        assert self.outcome(an_event("approval_decision", 59, status="approved")) is NOT_YET

    def test_that_a_run_consumed_the_approval_says_that_it_was_given(self) -> None:
        consumed = an_event("approval_consumed", 63)
        again = an_event("approval_decision", 70, run_id=AGAIN, status="rejected")

        assert self.outcome(consumed, again) is CONFIRMED
        assert self.outcome(consumed, again, intent=self.REJECTING) is CONTRARY

    def test_a_later_candidate_does_not_hide_it(self) -> None:
        decided, next_one = an_event("approval_decision", 60, status="approved"), a_candidate(run_id=AGAIN, asked_s=70)

        assert self.outcome(decided, approval=next_one) is CONFIRMED
        assert self.outcome(approval=next_one) is NOT_YET

    def test_another_candidate_of_the_same_iteration_cannot_be_told_apart_by_the_log(self) -> None:
        decided = an_event("approval_decision", 60, status="approved")

        assert self.outcome(decided, approval=a_candidate("approved", asked_s=10)) is CONTRARY
        assert self.outcome(decided, approval=a_candidate(asked_s=10)) is NOT_YET

    @pytest.mark.parametrize(("spoken_s", "expected"), [(59, NOT_YET), (60, NOT_YET), (61, CONFIRMED)])
    def test_in_a_log_that_was_exchanged_since_only_the_time_tells(self, spoken_s: float, expected: Outcome) -> None:
        decided = an_event("approval_decision", spoken_s, status="approved")
        exchanged = replace(a_fold(*ASKED, decided), epoch=1)

        assert judged(self.APPROVING, a_run_that_asks(exchanged), a_scene()).outcome is expected


class TestStart:
    INTENT = carried_out(an_intent(IntentKind.START), a_run_at_rest(), a_scene())
    BEFORE = a_run_at_rest().fold
    RUNS = later(an_event("loop_start", 62, run_id=AGAIN), onto=BEFORE)

    def verdict(self, fold: Fold | None = None, scene: Scene | None = None, **members: Any) -> Verdict:
        run = a_run_at_work(fold=fold or self.BEFORE, **members)
        return judged(self.INTENT, run, scene or at_work(active_run=an_active_run(62), heartbeat=a_beat()))

    def test_it_is_done_when_a_run_began_beyond_the_watermark(self) -> None:
        verdict = self.verdict(self.RUNS)

        assert (verdict.outcome, verdict.reason) == (CONFIRMED, "run_started")
        assert said(verdict) == f"Run {AGAIN} began. Launch i-1 is process {PID}."
        assert verdict.evidence[0].line == 4

    def test_the_launchers_word_is_further_evidence_and_not_needed(self) -> None:
        assert self.verdict(self.RUNS, at_work(active_run=an_active_run(62))).outcome is CONFIRMED
        assert self.verdict(self.RUNS, at_work(heartbeat=a_beat(launch_id="i-0"))).outcome is CONFIRMED

    def test_a_process_alone_is_not_a_run_yet(self) -> None:
        assert self.verdict().outcome is NOT_YET

    def test_the_run_that_was_there_before_is_no_evidence(self) -> None:
        assert self.verdict(later(an_event("iteration_start", 62), onto=self.BEFORE)).outcome is NOT_YET
        unread = later(an_event("loop_start", 59, run_id=stamp(59)), onto=self.BEFORE)
        assert self.verdict(unread).outcome is NOT_YET, "it began before the act, and was read only now"

    @pytest.mark.parametrize(("begun_s", "expected"), [(60, NOT_YET), (61, CONFIRMED)])
    def test_in_a_log_that_was_exchanged_since_only_the_time_tells(self, begun_s: float, expected: Outcome) -> None:
        exchanged = replace(a_fold(an_event("loop_start", begun_s, run_id=AGAIN)), epoch=1)

        assert self.verdict(exchanged).outcome is expected

    def test_a_run_that_ended_at_once_began_all_the_same(self) -> None:
        ended = later(an_event("loop_stop", 63, run_id=AGAIN, data={"reason": "stuck"}), onto=self.RUNS)

        verdict = self.verdict(ended, a_scene(heartbeat=a_beat(63, status="exited", exit_code=1)))

        assert verdict.outcome is CONFIRMED
        assert "ended: exit code 1" in said(verdict)
        assert f"Run {AGAIN} has ended since, stuck: stuck." in said(verdict)

    @pytest.mark.parametrize(
        ("members", "code", "told"),
        [
            ({"exit_code": 1}, 1, "exit code 1"),
            ({"exit_code": 0}, 0, "exit code 0"),
            ({"exit_signal": 9}, 137, "signal 9"),
        ],
    )
    def test_one_that_ended_without_a_run_is_told_in_the_runtimes_words(
        self, members: dict[str, Any], code: int, told: str
    ) -> None:
        output = "".join(f"line {number}\n" for number in range(9)) + "\nerror: no such loop\n"
        scene = a_scene(heartbeat=a_beat(61, status="exited", **members), launch_output=output)

        verdict = self.verdict(scene=scene, last_contact_at=moment(62))

        assert (verdict.outcome, verdict.reason, verdict.exit_code) == (CONTRARY, "run_not_started", code)
        assert verdict.output == "line 5\nline 6\nline 7\nline 8\nerror: no such loop"
        assert verdict.missing is not None
        assert told in verdict.missing

    @pytest.mark.parametrize(
        ("members", "expected"),
        [
            ({"last_contact_at": moment(61.049)}, NOT_YET),
            ({"last_contact_at": moment(61.05)}, CONTRARY),
            ({"last_contact_at": moment(62), "backlog_bytes": 1}, NOT_YET),
            ({"last_contact_at": None}, NOT_YET),
        ],
    )
    def test_before_the_log_was_read_after_its_end_nothing_is_ruled_out(
        self, members: dict[str, Any], expected: Outcome
    ) -> None:
        """The run may have begun, ended and logged both since the last pass."""
        scene = a_scene(heartbeat=a_beat(61, status="exited", exit_code=0))

        assert self.verdict(scene=scene, **members).outcome is expected

    @pytest.mark.parametrize(("looked_s", "expected"), [(61, NOT_YET), (62, CONTRARY)])
    def test_of_a_loop_that_never_ran_a_look_that_finds_no_log_is_enough(
        self, looked_s: float, expected: Outcome
    ) -> None:
        missing = Finding("artifacts_missing", Severity.DEGRADED, None, "There is no log.", "o")
        run = a_run(transport_health=failing(1), failed_at=moment(looked_s))
        run = replace(run, health=replace(health_of(run), findings=(missing,)))
        scene = a_scene(state=Artifact(), heartbeat=a_beat(61, status="exited", exit_code=1))
        intent = carried_out(an_intent(IntentKind.START), run, a_scene(state=Artifact()))

        assert judged(intent, run, scene).outcome is expected

    def test_a_beat_without_a_time_of_writing_is_dated_by_its_own_word(self) -> None:
        beat = replace(a_beat(61, status="exited", exit_code=1), mtime=None)
        scene = a_scene(heartbeat=beat)

        assert self.verdict(scene=scene, last_contact_at=moment(62)).outcome is NOT_YET
        assert self.verdict(scene=scene, last_contact_at=moment(62.05)).outcome is CONTRARY

    @pytest.mark.parametrize(("failed_s", "expected"), [(61, NOT_YET), (61.05, CONTRARY)])
    def test_a_loop_that_never_ran_has_no_log_to_be_read(self, failed_s: float, expected: Outcome) -> None:
        """A look that finds neither folder nor log has read all there is."""
        missing = Finding("artifacts_missing", Severity.DEGRADED, None, "There is no log.", "o")
        never = a_run(failed_at=moment(failed_s))
        never = replace(never, health=replace(health_of(never), findings=(missing,)))
        scene = a_scene(heartbeat=a_beat(61, status="exited", exit_code=1))

        assert judged(self.INTENT, never, scene).outcome is expected

    def test_an_end_of_another_launch_rules_nothing_out(self) -> None:
        scene = a_scene(heartbeat=a_beat(61, launch_id="i-0", status="exited", exit_code=1))

        assert self.verdict(scene=scene, last_contact_at=moment(62)).outcome is NOT_YET

    def test_a_run_of_somebody_who_was_quicker_is_not_ours(self) -> None:
        theirs = at_work(active_run=an_active_run(62, pid=99), heartbeat=a_beat(63, status="exited", exit_code=1))
        going = at_work(active_run=an_active_run(62, pid=99), heartbeat=a_beat(63))

        assert self.verdict(self.RUNS, theirs, last_contact_at=moment(64)).outcome is CONTRARY
        assert self.verdict(self.RUNS, going).outcome is NOT_YET


class TestPauseAndResume:
    PAUSING = carried_out(an_intent(IntentKind.PAUSE), a_run_at_work(), at_work())
    RESUMING = carried_out(an_intent(IntentKind.RESUME), a_run_at_work(Phase.PAUSED), at_work(STOPPED))

    def outcome(self, intent: Intent, *family: Any, watched: Any = ALIVE, fold: Fold | None = None) -> Outcome:
        scene = at_work(ALIVE, family=family, watched=watched)
        return judged(intent, a_run_at_work(fold=fold), scene).outcome

    @pytest.mark.parametrize(
        ("family", "paused", "resumed"),
        [
            ((STOPPED, STOPPED), CONFIRMED, NOT_YET),
            ((STOPPED,), CONFIRMED, NOT_YET),
            ((STOPPED, ALIVE), NOT_YET, NOT_YET),
            ((ALIVE, ALIVE), NOT_YET, CONFIRMED),
            ((STOPPED, UNKNOWN), NOT_YET, NOT_YET),
            ((ALIVE, UNKNOWN), NOT_YET, NOT_YET),
            ((), NOT_YET, NOT_YET),
        ],
    )
    def test_every_process_of_the_run_counts(self, family: Any, paused: Outcome, resumed: Outcome) -> None:
        assert self.outcome(self.PAUSING, *family) is paused
        assert self.outcome(self.RESUMING, *family) is resumed

    def test_each_has_its_reason(self) -> None:
        stopped = judged(self.PAUSING, a_run_at_work(), at_work(STOPPED, watched=STOPPED))
        going = judged(self.RESUMING, a_run_at_work(), at_work(ALIVE, watched=ALIVE))

        assert (stopped.reason, said(stopped)) == ("processes_stopped", "All 2 processes of the run are stopped.")
        assert (going.reason, said(going)) == ("processes_running", "All 2 processes of the run are alive.")

    @pytest.mark.parametrize("intent", [PAUSING, RESUMING])
    def test_a_process_that_nobody_can_judge_confirms_nothing(self, intent: Intent) -> None:
        wanted = STOPPED if intent is self.PAUSING else ALIVE

        for watched in (UNKNOWN, NONE):
            assert self.outcome(intent, wanted, watched=watched) is NOT_YET

    @pytest.mark.parametrize("intent", [PAUSING, RESUMING])
    def test_another_run_on_file_confirms_nothing(self, intent: Intent) -> None:
        wanted = STOPPED if intent is self.PAUSING else ALIVE
        other = at_work(wanted, watched=wanted, active_run=an_active_run(pid=99))

        assert judged(intent, a_run_at_work(), other).outcome is NOT_YET

    @pytest.mark.parametrize("intent", [PAUSING, RESUMING])
    def test_a_process_that_is_gone_is_contrary(self, intent: Intent) -> None:
        verdict = judged(intent, a_run_at_work(), a_scene(watched=ABSENT))

        assert (verdict.outcome, verdict.reason) == (CONTRARY, "process_gone")

    def test_a_resumed_run_that_came_to_its_end_went_on(self) -> None:
        ended = later(an_event("loop_complete", 61))
        another = later(an_event("loop_start", 61, run_id=AGAIN))
        decided = later(an_event("approval_decision", 61, status="approved"))

        assert self.outcome(self.RESUMING, watched=ABSENT, fold=ended) is CONFIRMED
        assert self.outcome(self.RESUMING, watched=ABSENT, fold=another) is CONTRARY
        assert self.outcome(self.RESUMING, watched=ABSENT, fold=decided) is CONTRARY
        assert self.outcome(self.RESUMING, watched=UNKNOWN, fold=ended) is NOT_YET
        assert self.outcome(self.PAUSING, watched=ABSENT, fold=ended) is CONTRARY


class TestConfirmation:
    def test_it_quotes_the_verdict_and_what_was_seen(self) -> None:
        verdict = judged(TestDecision.APPROVING, a_run_that_asks(), a_scene(approval=a_candidate("approved")))

        seen = confirmation(
            TestDecision.APPROVING,
            verdict,
            a_run_that_asks(TestDecision.DECIDED, artifacts=a_run_at_rest().artifacts),
            a_scene(approval=a_candidate("approved")),
            3,
            moment(63),
        )

        assert (seen.confirmed, seen.reason, seen.attempts, seen.observed_at) == (
            True,
            "decision_recorded",
            3,
            moment(63),
        )
        assert seen.evidence == verdict.evidence
        assert (seen.observed_last_event, seen.observed_approval_status, seen.observed_active) == (
            "approval_decision",
            "approved",
            False,
        )

    def test_a_window_that_closed_says_what_was_missing(self) -> None:
        scene = at_work(watched=ALIVE)

        seen = confirmation(
            TestCancel.INTENT, judged(TestCancel.INTENT, a_run_at_work(), scene), a_run_at_work(), scene, 9, moment(90)
        )

        assert (seen.confirmed, seen.reason, seen.missing) == (False, "timeout", f"Process {PID} is alive.")
        assert (seen.observed_status, seen.observed_active) == ("running", True)

    def test_where_nobody_could_look_it_says_why(self) -> None:
        seen = unseen(2, "The loop is gone.", moment(90))

        assert (seen.confirmed, seen.reason, seen.attempts, seen.missing) == (False, "timeout", 2, "The loop is gone.")
        assert seen.observed_status == "unknown"

    def test_another_loops_activity_is_the_checkouts(self) -> None:
        """`observedActive` is the one flag of the checkout, whoever it names."""
        scene = a_scene(state=a_state(loop_id="other"))

        seen = confirmation(TestCancel.INTENT, Verdict(NOT_YET, "timeout"), a_run_at_rest(), scene, 1, moment(61))

        assert (seen.observed_active, seen.observed_status) == (True, "unknown")

    @pytest.mark.parametrize(
        ("scene", "events", "complete", "expected"),
        [
            (at_work(approval=a_candidate()), BEGUN, True, "awaiting_approval"),
            (at_work(), BEGUN, True, "complete"),
            (at_work(), (*BEGUN, an_event("loop_stop", 9)), False, "running"),
            (a_scene(state=a_state(loop_id="other")), (*BEGUN, an_event("loop_stop", 9)), False, "stopped"),
            (a_scene(), (*BEGUN, an_event("rate_limit_stop", 9, status="rate_limited")), False, "stopped"),
            (a_scene(), (*BEGUN, an_event("no_progress_stop", 9, status="blocked")), False, "stopped"),
            (a_scene(), (*BEGUN, an_event("role_timeout", 9, status="timeout")), False, "failed"),
            (a_scene(), (*BEGUN, an_event("approval_decision", 9, status="approved")), False, "idle"),
            (a_scene(), BEGUN, None, "unknown"),
            (a_scene(state=Artifact()), BEGUN, False, "unknown"),
            (a_scene(state=on_file(RuntimeState())), BEGUN, False, "unknown"),
        ],
    )
    def test_the_status_is_the_contracts_first_match(
        self, scene: Scene, events: Any, complete: bool | None, expected: str
    ) -> None:
        """Control-and-service 3: the table, row by row. `complete` None: no summary."""
        summary = a_summary(9, complete=complete) if complete is not None else Artifact()
        run = a_run_at_work(fold=a_fold(*events))

        assert run_status(replace(run, artifacts=replace(run.artifacts, summary=summary)), scene) == expected


class TestStage:
    def decided(self, kind: IntentKind) -> Intent:
        intent = carried_out(an_intent(kind), a_run_that_asks(), a_scene(approval=a_candidate()))
        return life.settled(intent, a_confirmation(), moment(AT_S + 2))

    def told(self, intent: Intent, *events: Any) -> Stage | None:
        found = stage(intent, a_run_that_asks(later(*events, onto=a_fold(*ASKED))))
        return found[0] if found is not None else None

    APPROVED = an_event("approval_decision", 60, status="approved")
    REJECTED = an_event("approval_decision", 60, status="rejected")
    RUNS = an_event("loop_start", 70, run_id=AGAIN)
    CONSUMED = an_event("approval_consumed", 71)
    TAKEN_UP = an_event("approval_rejected", 71, run_id=AGAIN)

    def test_an_approval_is_recorded_then_consumed_then_completed(self) -> None:
        intent = self.decided(IntentKind.APPROVE)

        assert intent.stage is Stage.RECORDED
        assert self.told(intent, self.APPROVED) is None
        assert self.told(intent, self.APPROVED, self.RUNS, self.CONSUMED) is Stage.CONSUMED
        whole = (self.APPROVED, self.RUNS, self.CONSUMED, an_event("loop_complete", 72))
        assert self.told(intent, *whole) is Stage.COMPLETED

    def test_a_rejection_completes_with_the_run_that_took_it_up(self) -> None:
        intent = self.decided(IntentKind.REJECT)
        taken_up = (self.REJECTED, self.RUNS, self.TAKEN_UP)

        assert self.told(intent, self.REJECTED, self.RUNS) is None
        assert self.told(intent, *taken_up) is Stage.CONSUMED
        assert self.told(intent, *taken_up, an_event("loop_stop", 80, run_id=AGAIN)) is Stage.CONSUMED
        assert self.told(intent, *taken_up, an_event("loop_complete", 80, run_id=AGAIN)) is Stage.COMPLETED

    def test_what_shows_it_is_quoted(self) -> None:
        run = a_run_that_asks(later(self.APPROVED, self.RUNS, self.CONSUMED, onto=a_fold(*ASKED)))

        found = stage(self.decided(IntentKind.APPROVE), run, a_scene())

        assert found is not None
        assert [(one.where, one.line) for one in found[1]] == [("events.jsonl", 6)]

    @pytest.mark.parametrize(
        "about", [{"run_id": stamp(40)}, {"iteration": 2}, {"run_id": AGAIN}], ids=["run", "iteration", "taker"]
    )
    def test_another_candidates_consumption_is_not_this_ones(self, about: dict[str, Any]) -> None:
        consumed = an_event("approval_consumed", 71, **about)

        assert self.told(self.decided(IntentKind.APPROVE), self.APPROVED, self.RUNS, consumed) is None

    def test_a_rejection_taken_up_after_a_later_decision_is_not_this_ones(self) -> None:
        later_ = an_event("approval_decision", 75, run_id=AGAIN, status="rejected")
        taken_up = an_event("approval_rejected", 80, run_id=stamp(79))

        intent = self.decided(IntentKind.REJECT)
        assert self.told(intent, self.REJECTED, self.RUNS, self.TAKEN_UP, later_, taken_up) is None
        approved = an_event("approval_decision", 61, status="approved")
        assert self.told(intent, approved, self.RUNS, self.TAKEN_UP) is None, "it was no rejection"

    def test_a_newer_run_does_not_complete_it(self) -> None:
        newer = an_event("loop_start", 90, run_id=stamp(90))
        events = (self.APPROVED, self.RUNS, self.CONSUMED, newer, an_event("loop_complete", 95, run_id=stamp(90)))

        assert self.told(self.decided(IntentKind.APPROVE), *events) is Stage.CONSUMED

    def test_it_never_goes_back(self) -> None:
        intent = replace(self.decided(IntentKind.APPROVE), stage=Stage.COMPLETED)

        assert self.told(intent, self.APPROVED, self.RUNS, self.CONSUMED) is None
        assert self.told(replace(intent, stage=Stage.CONSUMED), self.APPROVED, self.RUNS, self.CONSUMED) is None

    def test_what_was_taken_up_before_the_watermark_is_another_decision(self) -> None:
        earlier = a_fold(*ASKED, self.CONSUMED, an_event("approval_requested", 72))
        run = a_run_that_asks(earlier)
        intent = carried_out(an_intent(IntentKind.APPROVE), run, a_scene(approval=a_candidate()), at_s=80)
        settled = life.settled(intent, a_confirmation(), moment(82))

        assert stage(settled, run) is None

    def test_only_a_confirmed_decision_has_one(self) -> None:
        events = (self.APPROVED, self.RUNS, self.CONSUMED)
        executed = carried_out(an_intent(IntentKind.APPROVE), a_run_that_asks(), a_scene(approval=a_candidate()))

        assert self.told(executed, *events) is None
        assert self.told(life.settled(TestCancel.INTENT, a_confirmation(), moment(62)), *events) is None

    def test_one_whose_stage_was_never_noted_is_recorded_at_least(self) -> None:
        intent = replace(self.decided(IntentKind.APPROVE), stage=None)

        assert self.told(intent) is Stage.RECORDED
