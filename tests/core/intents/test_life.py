"""How an intent gets from one status to the next, and that no other way leads there."""

from collections.abc import Callable, Mapping

import pytest
from msgspec.structs import replace

from opsd.core.intents import life
from opsd.core.intents.evidence import Outcome, Verdict
from opsd.model.acts import ActProblem, ActResult
from opsd.model.intent import (
    IN_FLIGHT,
    NEXT,
    Acknowledgement,
    Evidence,
    Execution,
    Intent,
    IntentKind,
    IntentStatus,
    Refusal,
    Stage,
    Watermark,
)
from opsd.model.refusals import REFUSALS
from tests.core.builders import moment
from tests.core.intents.asking import (
    AT_S,
    COMMAND,
    RIYA,
    STOPPED,
    a_candidate,
    a_confirmation,
    a_run_at_work,
    a_run_that_asks,
    a_scene,
    an_intent,
    at_work,
    carried_out,
)

LATE = moment(AT_S + 9)
MARK = Watermark(at=moment(AT_S), epoch=0, line=1)
REFUSAL = Refusal("run_active", "It runs.")
SEEN, UNSEEN = a_confirmation(), a_confirmation(False)
STATUSES = tuple(IntentStatus)

STEPS: Mapping[str, tuple[Callable[[Intent], Intent], IntentStatus]] = {
    "refused": (lambda one: life.refused(one, REFUSAL, LATE), IntentStatus.REFUSED),
    "expired": (lambda one: life.expired(one, "waited_too_long", LATE), IntentStatus.EXPIRED),
    "executing": (lambda one: life.executing(one, MARK, (), LATE), IntentStatus.EXECUTING),
    "executed": (lambda one: life.executed(one, [ActResult(exit_code=0)], LATE), IntentStatus.EXECUTED),
    "failed": (lambda one: life.executed(one, [ActResult(exit_code=1)], LATE), IntentStatus.FAILED_COMMAND),
    "settled": (lambda one: life.settled(one, SEEN, LATE), IntentStatus.CONFIRMED),
    "settled as failed": (lambda one: life.settled(one, UNSEEN, LATE), IntentStatus.FAILED_COMMAND),
    "unconfirmed": (lambda one: life.unconfirmed(one, LATE), IntentStatus.EXECUTED_UNCONFIRMED),
    "ambiguous": (lambda one: life.ambiguous(one, UNSEEN, LATE), IntentStatus.AMBIGUOUS),
    "acknowledged": (lambda one: life.acknowledged(one, "noor", RIYA, "seen", LATE), IntentStatus.ACKNOWLEDGED),
}


def standing(status: IntentStatus, kind: IntentKind = IntentKind.CANCEL) -> Intent:
    """An intent of that status, by whatever way."""
    begun = status is not IntentStatus.RECORDED
    return an_intent(kind, status=status, execution=Execution("do it", moment(AT_S)) if begun else None)


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("step", STEPS)
def test_every_step_asks_the_table(step: str, before: IntentStatus) -> None:
    take, after = STEPS[step]

    if after in NEXT[before]:
        assert take(standing(before)).status is after
    else:
        with pytest.raises(ValueError, match="i-1 is"):
            take(standing(before))


def test_every_way_of_the_table_can_be_gone() -> None:
    gone = {(before, after) for before in STATUSES for _, after in STEPS.values() if after in NEXT[before]}

    assert gone == {(before, after) for before, following in NEXT.items() for after in following}


def test_no_way_leads_back_to_executing() -> None:
    """What was begun once is never begun again."""
    assert [before for before, following in NEXT.items() if IntentStatus.EXECUTING in following] == [
        IntentStatus.RECORDED
    ]


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("step", STEPS)
def test_the_moment_of_leaving_the_flight_is_kept(step: str, before: IntentStatus) -> None:
    take, after = STEPS[step]
    if after not in NEXT[before]:
        return
    settled_before = None if before in IN_FLIGHT else moment(AT_S + 1)

    intent = take(replace(standing(before), settled_at=settled_before))

    assert intent.updated_at == LATE
    if after in IN_FLIGHT:
        assert intent.settled_at is None
    else:
        assert intent.settled_at == (settled_before or LATE)
    later = before is IntentStatus.AMBIGUOUS and after is not IntentStatus.ACKNOWLEDGED
    assert intent.resolved_at == (LATE if later else None)


class TestRefusedAndExpired:
    def test_a_refusal_takes_back_what_was_about_to_be_done(self) -> None:
        begun = life.executing(an_intent(), MARK, (), LATE)

        refused = life.refused(begun, REFUSAL, LATE)

        assert (refused.refusal, refused.execution) == (REFUSAL, None)

    @pytest.mark.parametrize("code", ["opsd_restarted", "waited_too_long"])
    def test_what_expired_says_why(self, code: str) -> None:
        refusal = life.expired(an_intent(), code, LATE).refusal

        assert refusal == Refusal(code, REFUSALS[code].says)

    def test_an_unknown_code_is_not_made_up(self) -> None:
        with pytest.raises(KeyError):
            life.expired(an_intent(), "no_such_code", LATE)


class TestExecution:
    def test_the_command_is_on_the_record_before_it_is_carried_out(self) -> None:
        run, scene = a_run_at_work(), at_work(STOPPED)
        done = carried_out(an_intent(), run, scene)

        assert done.execution is not None
        assert done.execution.command == f"signal CONTINUE to process group 4711; {COMMAND} cancel --repo /srv/repo"
        assert done.watermark is not None
        assert (done.execution.started_at, done.execution.ended_at) == (moment(AT_S), moment(AT_S + 1))

    @pytest.mark.parametrize(
        ("result", "status", "exit_code"),
        [
            (ActResult(exit_code=0), IntentStatus.EXECUTED, 0),
            (ActResult(), IntentStatus.EXECUTED, None),
            (ActResult(exit_code=1, problem=ActProblem.COMMAND_FAILED), IntentStatus.FAILED_COMMAND, 1),
            (ActResult(exit_code=1), IntentStatus.FAILED_COMMAND, 1),
            (ActResult(exit_code=-9, problem=ActProblem.COMMAND_FAILED), IntentStatus.FAILED_COMMAND, -9),
            (ActResult(exit_code=127, problem=ActProblem.COMMAND_MISSING), IntentStatus.FAILED_COMMAND, 127),
            (ActResult(problem=ActProblem.COMMAND_NOT_EXECUTABLE), IntentStatus.FAILED_COMMAND, None),
            (ActResult(problem=ActProblem.PROCESS_CHANGED), IntentStatus.FAILED_COMMAND, None),
            (ActResult(problem=ActProblem.NOT_PERMITTED), IntentStatus.FAILED_COMMAND, None),
            (ActResult(problem=ActProblem.START_UNAVAILABLE), IntentStatus.FAILED_COMMAND, None),
            (ActResult(problem=ActProblem.COMMAND_TIMED_OUT), IntentStatus.EXECUTED, None),
            (ActResult(problem=ActProblem.COMMAND_FAILED), IntentStatus.EXECUTED, None),
        ],
        ids=str,
    )
    def test_what_surely_did_nothing_has_failed_and_what_nobody_knows_is_executed(
        self, result: ActResult, status: IntentStatus, exit_code: int | None
    ) -> None:
        done = carried_out(an_intent(), a_run_at_work(), at_work(), result)

        assert done.status is status
        assert done.execution is not None
        assert (done.execution.exit_code, done.execution.problem) == (exit_code, result.problem)

    def test_the_act_that_failed_is_the_one_that_is_told(self) -> None:
        cleared = ActResult(exit_code=0, output="cleared\n")
        denied = ActResult(output="denied", problem=ActProblem.START_UNAVAILABLE, detail="no rule")

        done = carried_out(an_intent(), a_run_at_work(), at_work(), cleared, denied)

        assert done.execution is not None
        assert (done.status, done.execution.exit_code) == (IntentStatus.FAILED_COMMAND, None)
        assert (done.execution.problem, done.execution.detail) == ("start_unavailable", "no rule")
        assert done.execution.output == "cleared\ndenied"

    def test_a_signal_before_a_command_leaves_it_its_exit_code(self) -> None:
        done = carried_out(an_intent(), a_run_at_work(), at_work(), ActResult(), ActResult(exit_code=0))

        assert done.execution is not None
        assert done.execution.exit_code == 0

    def test_what_several_commands_print_is_bounded_like_one(self) -> None:
        wordy = ActResult(exit_code=0, output="\n".join(f"{number} {'x' * 900}" for number in range(40)))

        done = carried_out(an_intent(), a_run_at_work(), at_work(), wordy, wordy)

        assert done.execution is not None
        assert len(done.execution.output) <= life.OUTPUT_LENGTH_MAX
        assert len(done.execution.output.splitlines()) <= life.OUTPUT_LINES_MAX
        assert done.execution.output.endswith("x")


class TestLookedBack:
    def test_a_failed_command_stays_one_whatever_is_seen(self) -> None:
        failed = carried_out(an_intent(), a_run_at_work(), at_work(), ActResult(exit_code=1))

        looked = life.looked_back(failed, SEEN, LATE)

        assert (looked.status, looked.confirmation, looked.settled_at) == (
            IntentStatus.FAILED_COMMAND,
            SEEN,
            failed.settled_at,
        )

    def test_nothing_else_is_looked_back_at(self) -> None:
        with pytest.raises(ValueError, match="only a failed command"):
            life.looked_back(carried_out(an_intent(), a_run_at_work(), at_work()), SEEN, LATE)


class TestUnconfirmed:
    def test_executed_is_enough_where_nobody_wants_more(self) -> None:
        done = carried_out(an_intent(), a_run_at_work(), at_work())

        assert life.unconfirmed(done, LATE).status is IntentStatus.EXECUTED_UNCONFIRMED

    def test_a_command_whose_end_nobody_knows_is_not_called_executed(self) -> None:
        killed = ActResult(problem=ActProblem.COMMAND_TIMED_OUT)

        done = carried_out(an_intent(), a_run_at_work(), at_work(), killed)

        assert life.unconfirmed(done, LATE).status is IntentStatus.AMBIGUOUS


class TestJudged:
    CONTRARY = Verdict(Outcome.CONTRARY, "run_not_started", missing="It ended.", exit_code=3, output="no such loop")

    def done(self, kind: IntentKind, status: IntentStatus = IntentStatus.EXECUTED) -> Intent:
        return replace(standing(status, kind), settled_at=None if status in IN_FLIGHT else moment(AT_S + 1))

    @pytest.mark.parametrize("before", [IntentStatus.EXECUTING, IntentStatus.EXECUTED, IntentStatus.AMBIGUOUS])
    @pytest.mark.parametrize("kind", IntentKind)
    def test_evidence_confirms_whenever_it_comes(self, kind: IntentKind, before: IntentStatus) -> None:
        confirmed = Verdict(Outcome.CONFIRMED, "so")

        assert life.judged(self.done(kind, before), confirmed, SEEN, LATE).status is IntentStatus.CONFIRMED

    @pytest.mark.parametrize("before", [IntentStatus.EXECUTING, IntentStatus.EXECUTED, IntentStatus.AMBIGUOUS])
    @pytest.mark.parametrize("kind", [IntentKind.START, IntentKind.PAUSE, IntentKind.RESUME])
    def test_what_has_lost_its_object_has_failed(self, kind: IntentKind, before: IntentStatus) -> None:
        judged = life.judged(self.done(kind, before), self.CONTRARY, UNSEEN, LATE)

        assert (judged.status, judged.confirmation) == (IntentStatus.FAILED_COMMAND, UNSEEN)
        assert judged.execution is not None
        assert (judged.execution.exit_code, judged.execution.output) == (3, "no such loop")

    @pytest.mark.parametrize("before", [IntentStatus.EXECUTING, IntentStatus.EXECUTED])
    @pytest.mark.parametrize("kind", [IntentKind.CANCEL, IntentKind.APPROVE, IntentKind.REJECT])
    def test_what_went_astray_is_for_somebody_to_look_at(self, kind: IntentKind, before: IntentStatus) -> None:
        astray = Verdict(Outcome.CONTRARY, "other_candidate", missing="It is another.")

        judged = life.judged(self.done(kind, before), astray, UNSEEN, LATE)

        assert judged.status is IntentStatus.AMBIGUOUS
        assert life.judged(judged, astray, UNSEEN, moment(99)) is judged, "and stays so until somebody has"

    def test_what_is_not_known_yet_is_not_judged(self) -> None:
        with pytest.raises(ValueError, match="not judged yet: no trace"):
            life.judged(
                self.done(IntentKind.START), Verdict(Outcome.NOT_YET, "timeout", missing="no trace"), SEEN, LATE
            )

    def test_only_an_ambiguous_one_settles_later(self) -> None:
        ambiguous = self.done(IntentKind.CANCEL, IntentStatus.AMBIGUOUS)

        assert life.settled_later(ambiguous, SEEN, LATE).resolved_at == LATE
        with pytest.raises(ValueError, match="does not settle later"):
            life.settled_later(self.done(IntentKind.CANCEL), SEEN, LATE)


class TestAcknowledged:
    def test_it_keeps_whose_word_it_was(self) -> None:
        intent = life.acknowledged(standing(IntentStatus.AMBIGUOUS), "noor", RIYA, "I looked", LATE)

        assert intent.acknowledged == Acknowledgement("noor", RIYA, "I looked", LATE)


class TestStaged:
    FOUND = (Evidence("events.jsonl", "so", 4),)

    def decided(self) -> Intent:
        done = carried_out(an_intent(IntentKind.APPROVE), a_run_that_asks(), a_scene(approval=a_candidate()))
        return life.settled(done, SEEN, moment(AT_S + 2))

    def test_a_confirmed_decision_is_recorded_and_goes_on(self) -> None:
        decided = self.decided()
        assert decided.stage is Stage.RECORDED

        consumed = life.staged(decided, Stage.CONSUMED, self.FOUND, LATE)

        assert (consumed.status, consumed.stage, consumed.stage_evidence) == (
            IntentStatus.CONFIRMED,
            Stage.CONSUMED,
            self.FOUND,
        )
        assert life.staged(decided, Stage.COMPLETED, self.FOUND, LATE).stage is Stage.COMPLETED
        assert (consumed.settled_at, consumed.updated_at) == (decided.settled_at, LATE)

    @pytest.mark.parametrize("stage", [Stage.RECORDED, Stage.CONSUMED])
    def test_it_never_goes_back(self, stage: Stage) -> None:
        consumed = life.staged(self.decided(), Stage.CONSUMED, self.FOUND, LATE)

        with pytest.raises(ValueError, match="cannot go from stage consumed"):
            life.staged(consumed, stage, self.FOUND, LATE)

    @pytest.mark.parametrize(
        "intent",
        [standing(IntentStatus.CONFIRMED), standing(IntentStatus.AMBIGUOUS, IntentKind.APPROVE)],
        ids=["a cancel", "not confirmed"],
    )
    def test_nothing_else_has_stages(self, intent: Intent) -> None:
        with pytest.raises(ValueError, match="is no confirmed decision"):
            life.staged(intent, Stage.CONSUMED, self.FOUND, LATE)


class TestRecovered:
    def test_what_was_only_recorded_was_surely_not_done(self) -> None:
        recovered = life.recovered(standing(IntentStatus.RECORDED), LATE)

        assert recovered.status is IntentStatus.EXPIRED
        assert recovered.refusal is not None
        assert recovered.refusal.code == "opsd_restarted"

    @pytest.mark.parametrize("status", [status for status in STATUSES if status is not IntentStatus.RECORDED])
    def test_everything_else_stays_as_it_is(self, status: IntentStatus) -> None:
        intent = standing(status)

        assert life.recovered(intent, LATE) is intent
