"""Callers of the contract's command: what may be done for them, what proves it, and how it is told.

Source: control-and-service 2.1, 3, 4.1, 12.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from opsd.core.intents import life
from opsd.core.intents.evidence import Outcome, Verdict, judge
from opsd.core.intents.gate import refuse
from opsd.core.intents.identity import fingerprint
from opsd.core.intents.rows import exit_code, rows
from opsd.core.latency import BUCKETS, latency_bucket
from opsd.model.acts import Scene
from opsd.model.control import ControlRow, IntentRow
from opsd.model.intent import ControlState, Fence, Intent, IntentKind, IntentStatus, OpenIntent, Options, Refusal
from opsd.model.observation import Artifact
from opsd.model.run import Run
from opsd.model.runtime import Presence
from tests.core.builders import LOOP, a_fold, a_state, an_active_run, an_event, moment
from tests.core.intents.asking import (
    ABSENT,
    ALIVE,
    ASKED,
    AT_S,
    STOPPED,
    UNKNOWN,
    a_candidate,
    a_run_at_rest,
    a_run_at_work,
    a_run_that_asks,
    a_scene,
    an_intent,
    at_work,
    carried_out,
    options,
)

CANCEL, APPROVE, REJECT = IntentKind.CANCEL, IntentKind.APPROVE, IntentKind.REJECT
CONTRACT = options(as_contract=True)


def asked(kind: IntentKind, **members: Any) -> Intent:
    return an_intent(kind, options=CONTRACT, **members)


def refused(kind: IntentKind, run: Run, scene: Scene) -> str | None:
    refusal = refuse(asked(kind), run, scene, moment(AT_S))
    return refusal.code if refusal is not None else None


class TestWhatMayBeDone:
    @pytest.mark.parametrize("kind", [CANCEL, APPROVE, REJECT])
    def test_the_commands_own_business_is_left_to_it(self, kind: IntentKind) -> None:
        run = a_run_at_rest(last_contact_at=None, projection=None, backlog_bytes=7)
        assert refused(kind, run, a_scene(command=None)) is None

    @pytest.mark.parametrize("sighting", [ALIVE, STOPPED, UNKNOWN])
    def test_a_neighbour_is_never_stopped(self, sighting: Any) -> None:
        assert refused(CANCEL, a_run_at_rest(), at_work(sighting, loop_id="other")) == "neighbour_active"
        assert refused(APPROVE, a_run_at_rest(), at_work(sighting, loop_id="other")) is None

    @pytest.mark.parametrize("presence", [Presence.UNREADABLE, Presence.SETTLING])
    def test_nor_where_nobody_can_say_who_runs(self, presence: Presence) -> None:
        scene = a_scene(state=Artifact(presence, since=moment(0)))
        assert refused(CANCEL, a_run_at_rest(), scene) == "picture_incomplete"

    def test_observe_mode_and_another_intent_hold(self) -> None:
        observing = a_run_at_rest(control=ControlState(observing=True))
        assert refused(CANCEL, observing, a_scene()) == "observe_mode"
        other = OpenIntent("i-2", APPROVE, IntentStatus.EXECUTED, "sam", moment(0))
        busy = a_run_at_rest(control=ControlState(in_flight=other))
        assert refused(CANCEL, busy, a_scene()) == "intent_in_flight"

    def test_one_that_a_service_was_asked_for_is_that_services(self) -> None:
        other = OpenIntent("i-2", APPROVE, IntentStatus.EXECUTING, "sam", moment(0), "sprite_service")
        run = a_run_at_rest(control=ControlState(in_flight=other))
        assert refused(CANCEL, run, a_scene()) is None
        assert refuse(an_intent(CANCEL), a_run_at_work(control=run.control), at_work(), moment(AT_S)) is None


class TestWhatProvesIt:
    def judged(self, kind: IntentKind, before: Scene, after: Scene, *, told: tuple[Any, ...] = ()) -> Verdict:
        run = a_run_that_asks()
        intent = carried_out(asked(kind), run, before)
        after_run = replace(run, fold=a_fold(*ASKED, *told))
        return judge(intent, after_run, after, moment(AT_S + 2))

    @given(
        st.sampled_from([ALIVE, STOPPED, UNKNOWN, ABSENT]),
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, an_active_run(), an_active_run(pid=999)]),
    )
    def test_a_cancel_is_never_proven_while_its_process_may_live(
        self, watched: Any, active: bool, own: bool, file: Any
    ) -> None:
        state = a_state(70, active=active, loop_id=LOOP if own else "other")
        after = a_scene(AT_S + 2, state=state, watched=watched, **({"active_run": file} if file is not None else {}))

        verdict = self.judged(CANCEL, at_work(), after)

        if verdict.outcome is Outcome.CONFIRMED:
            assert watched is ABSENT
            assert not (active and own)
            assert file is None or file == an_active_run(), "nobody began a run since"
        elif watched is ABSENT and not active and file in (None, an_active_run()):
            pytest.fail(f"the contract calls this cancelled: {verdict.missing}")

    @pytest.mark.parametrize("dated_s", [AT_S - 1e8, AT_S - 5, AT_S + 1])
    def test_a_completion_that_is_logged_since_proves_an_approval_whatever_its_date(self, dated_s: float) -> None:
        before = a_scene(approval=a_candidate())

        verdict = self.judged(APPROVE, before, a_scene(), told=(an_event("loop_complete", dated_s),))

        assert (verdict.outcome, verdict.reason) == (Outcome.CONFIRMED, "completion_observed")

    def test_what_was_logged_before_proves_nothing(self) -> None:
        complete = replace(a_run_that_asks(), fold=a_fold(*ASKED, an_event("loop_complete", AT_S - 5)))
        intent = carried_out(asked(APPROVE), complete, a_scene(approval=a_candidate()))

        assert judge(intent, complete, a_scene(), moment(AT_S + 2)).outcome is Outcome.NOT_YET

    def test_a_rejection_is_proven_by_what_was_not_rejected_before(self) -> None:
        rejected = a_scene(approval=a_candidate("rejected", iteration=2))
        without = a_scene(approval=Artifact())

        assert self.judged(REJECT, without, rejected).reason == "rejection_observed"
        assert self.judged(REJECT, rejected, rejected).outcome is Outcome.NOT_YET
        assert self.judged(APPROVE, without, rejected).outcome is Outcome.NOT_YET

    def test_others_are_judged_by_evidence_alone(self) -> None:
        run, before = a_run_that_asks(), a_scene(approval=a_candidate())
        intent = carried_out(an_intent(APPROVE), run, before)
        after = replace(run, fold=a_fold(*ASKED, an_event("loop_complete", AT_S + 1)))
        assert judge(intent, after, before, moment(AT_S + 2)).outcome is Outcome.NOT_YET


class TestHowItIsTold:
    def test_what_was_not_executed_is_a_failed_command_in_all_three_files(self) -> None:
        intent = life.refused(asked(CANCEL), Refusal("neighbour_active", "Another runs."), moment(AT_S + 1))

        told = [append.row for append in rows(intent)]

        assert len(told) == 3
        assert isinstance(told[0], IntentRow)
        assert isinstance(told[1], ControlRow)
        assert (told[0].status, told[0].exit_code, told[0].confirmed) == ("failed_command", 1, False)
        assert told[0].command_output == "nothing was executed: neighbour_active: Another runs."
        assert (told[1].reason_code, told[1].transport_attempts) == ("control_failed_command", None)
        assert len(rows(replace(intent, options=Options()))) == 1

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (IntentStatus.CONFIRMED, 0),
            (IntentStatus.EXECUTED_UNCONFIRMED, 0),
            (IntentStatus.AMBIGUOUS, 2),
            (IntentStatus.FAILED_COMMAND, 1),
            (IntentStatus.REFUSED, 1),
            (IntentStatus.EXECUTING, 2),
        ],
    )
    def test_the_exit_code_is_the_contracts(self, status: IntentStatus, code: int) -> None:
        assert exit_code(an_intent(CANCEL, status=status)) == code

    def test_patience_does_not_make_it_another_request(self) -> None:
        def print_of(**members: Any) -> str:
            return fingerprint(LOOP, APPROVE, "riya", "", "", Fence(), options(**members))

        assert print_of(as_contract=True, timeout_s=5.0) == print_of(as_contract=True, interval_s=9.0)
        assert print_of(as_contract=True) != print_of(as_contract=True, confirm=False)

    @given(st.floats(allow_nan=False))
    def test_a_bucket_is_named_by_what_it_lies_below(self, took_s: float) -> None:
        bounds = (0.1, 0.5, 2.0, 10.0)
        assert latency_bucket(took_s) == BUCKETS[sum(took_s >= bound for bound in bounds)]
