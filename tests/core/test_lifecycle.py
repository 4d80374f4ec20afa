"""The contract's words for what is believed, and the divergence that outlasts the runtime's own disorder."""

from typing import Any

import pytest
from msgspec.structs import replace

from opsd.core.lifecycle import LIFECYCLE, project
from opsd.model.lifecycle import DivergenceFlags, Fold, Lifecycle, Phase, Projection
from opsd.model.observation import Artifact, Artifacts
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.runtime import Presence, RunSummary, RuntimeState, Stuck, SummaryEntry
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

LATER_ID = stamp(100)
MID_ITERATION = (an_event("loop_start"), an_event("iteration_start", 1), an_event("role_end", 20, role="tester"))


def projected(
    fold: Fold, artifacts: Artifacts, liveness: Liveness = Liveness.NONE, after_s: float = 60, **members: Any
) -> Projection:
    given: dict[str, Any] = {
        "previous": None,
        "batch_last": None,
        "log_shrank": False,
        "last_output_at": None,
        "thresholds": Thresholds(),
        "now": moment(after_s),
    }
    missing_since = moment(after_s) if liveness is Liveness.GONE else None
    process = ProcessMemory(pid=4711, liveness=liveness, missing_since=missing_since)
    return project(LOOP, fold, artifacts, process, **{**given, **members})


def test_every_phase_has_one_word_of_the_contract() -> None:
    assert set(LIFECYCLE) == set(Phase)
    assert set(LIFECYCLE.values()) == set(Lifecycle) - {Lifecycle.NONE}


class TestTransition:
    WORKING = Artifacts(state=a_state(), active_run=an_active_run())

    def test_a_first_look_comes_from_nowhere(self) -> None:
        fold = a_fold(*MID_ITERATION)

        transition = projected(fold, self.WORKING, Liveness.ALIVE, batch_last=fold.last).transition
        assert (transition.previous_state, transition.current_state) == (Lifecycle.NONE, Lifecycle.RUNNING)
        assert (transition.triggering_signal, transition.confidence) == ("event:role_end", "high")

    def test_a_look_without_news_is_less_sure(self) -> None:
        fold = a_fold(*MID_ITERATION)
        before = projected(fold, self.WORKING, Liveness.ALIVE)

        transition = projected(fold, self.WORKING, Liveness.ALIVE, previous=before).transition
        assert (transition.previous_state, transition.current_state) == (Lifecycle.RUNNING, Lifecycle.RUNNING)
        assert (transition.triggering_signal, transition.confidence) == ("snapshot_status:running", "medium")

    def test_divergence_is_least_sure(self) -> None:
        fold = a_fold(*MID_ITERATION)

        told = projected(fold, self.WORKING, Liveness.ALIVE, batch_last=fold.last, log_shrank=True)
        assert told.divergence == DivergenceFlags(cursor_regression=True)
        assert told.transition.confidence == "low"


class TestActiveMismatch:
    INACTIVE = Artifacts(state=a_state(21, active=False))

    def test_a_log_in_mid_iteration_and_an_inactive_state_disagree(self) -> None:
        assert projected(a_fold(*MID_ITERATION), self.INACTIVE).divergence.active_mismatch

    def test_it_must_outlast_files_that_are_written_apart(self) -> None:
        """Two seconds after the later word, which may have been spoken at that second's end."""
        fold = a_fold(*MID_ITERATION)

        young = projected(fold, self.INACTIVE, after_s=23.9)
        assert not young.divergence.any
        assert young.holds_until == moment(24)
        assert projected(fold, self.INACTIVE, after_s=24).divergence.active_mismatch

    @pytest.mark.parametrize("edge", ["start", "end"])
    @pytest.mark.parametrize("step", ["iteration", "role", "tests", "validation"])
    def test_eight_events_stand_in_mid_iteration(self, step: str, edge: str) -> None:
        fold = a_fold(an_event("loop_start"), an_event(f"{step}_{edge}", 20))

        assert projected(fold, self.INACTIVE).divergence.active_mismatch

    @pytest.mark.parametrize("last", ["checklist_start", "gates_evaluated", "loop_stop", "approval_requested"])
    def test_other_events_do_not(self, last: str) -> None:
        assert not projected(a_fold(*MID_ITERATION, an_event(last, 20)), self.INACTIVE).divergence.any

    def test_a_live_process_explains_it(self) -> None:
        artifacts = replace(self.INACTIVE, active_run=an_active_run())

        assert not projected(a_fold(*MID_ITERATION), artifacts, Liveness.ALIVE).divergence.any

    @pytest.mark.parametrize(
        "state",
        [
            Artifact[RuntimeState](),
            Artifact(Presence.SETTLING, RuntimeState(active=False, current_loop_id=LOOP)),
            Artifact(Presence.UNREADABLE, RuntimeState(active=False, current_loop_id=LOOP)),
        ],
    )
    def test_a_state_that_is_gone_or_in_flux_contradicts_nothing(self, state: Artifact[RuntimeState]) -> None:
        """A cancel deletes it; the reference calls that divergence, depending on the batch."""
        assert not projected(a_fold(*MID_ITERATION), Artifacts(state=state)).divergence.any

    def test_another_loops_state_contradicts_only_what_was_logged_after_it(self) -> None:
        """A run cancelled long ago must not disagree with every later run of its neighbours."""
        fold = a_fold(*MID_ITERATION)

        for others in (a_state(20, loop_id="other"), a_state(20, loop_id="other", active=False)):
            assert not projected(fold, Artifacts(state=others)).divergence.any
        earlier = Artifacts(state=a_state(19, loop_id="other"))
        assert projected(fold, earlier).divergence.active_mismatch

    def test_a_state_without_a_date_is_believed_to_be_old(self) -> None:
        state = on_file(RuntimeState(active=False, current_loop_id=LOOP), 59)

        assert projected(a_fold(*MID_ITERATION), Artifacts(state=state)).divergence.active_mismatch


class TestApprovalConflict:
    def test_a_candidate_that_is_pending_and_complete_is_a_conflict(self) -> None:
        artifacts = Artifacts(
            state=a_state(30, active=False), approval=an_approval(29), summary=a_summary(29, complete=True)
        )

        told = projected(a_fold(*MID_ITERATION, an_event("approval_requested", 30)), artifacts)
        assert told.divergence == DivergenceFlags(approval_completion_conflict=True)
        assert (told.phase, told.has_pending_approval) == (Phase.AWAITING_APPROVAL, True)

    def test_another_runs_completion_is_none(self) -> None:
        fold = a_fold(
            *MID_ITERATION,
            an_event("loop_complete", 30),
            an_event("loop_start", 100, run_id=LATER_ID),
            an_event("approval_requested", 120, run_id=LATER_ID),
        )
        artifacts = Artifacts(
            state=a_state(120, active=False),
            approval=an_approval(119, run_id=LATER_ID),
            summary=a_summary(29, complete=True),
        )

        assert not projected(fold, artifacts, after_s=200).divergence.any

    def test_a_newer_runs_completion_is_none_either(self) -> None:
        """A run that finds an approval pending leaves; one that completed beside it had another candidate."""
        artifacts = Artifacts(
            state=a_state(120, active=False),
            approval=an_approval(29),
            summary=a_summary(119, run_id=LATER_ID, complete=True),
        )

        assert not projected(a_fold(*MID_ITERATION, an_event("approval_requested", 30)), artifacts).divergence.any


class TestNumbers:
    ENTRY = SummaryEntry(RUN_ID, 1, None, stamp(29), None, {"tests": "ok"}, Stuck(2, 3), True)

    def test_they_are_the_newest_runs(self) -> None:
        """The contract's fields speak of the last finished iteration, whichever run it was of."""
        artifacts = Artifacts(
            state=a_state(), active_run=an_active_run(), summary=on_file(RunSummary(None, self.ENTRY, 1))
        )
        fold = a_fold(*MID_ITERATION)

        same = projected(fold, artifacts, Liveness.ALIVE)
        assert (same.gates, same.stuck_streak, same.stuck_threshold) == ({"tests": "ok"}, 2, 3)
        assert same.completion_ok

        newer = a_fold(
            an_event("loop_start", 100, run_id=LATER_ID),
            an_event("iteration_start", 101, run_id=LATER_ID, iteration=2),
            onto=fold,
        )
        told = projected(newer, artifacts, Liveness.ALIVE, 110)
        assert (told.run_id, told.iteration) == (LATER_ID, 2)
        assert (told.gates, told.stuck_streak, told.completion_ok) == (None, None, False)

    def test_without_a_log_the_summary_names_the_run(self) -> None:
        told = projected(
            Fold(), Artifacts(state=a_state(active=False), summary=on_file(RunSummary(None, self.ENTRY, 1)))
        )

        assert (told.run_id, told.iteration, told.phase) == (RUN_ID, 1, Phase.COMPLETE)

    def test_without_anything_the_run_is_unknown(self) -> None:
        told = projected(Fold(), Artifacts())

        assert (told.run_id, told.iteration, told.transition.current_state) == ("unknown", 0, Lifecycle.UNKNOWN)

    def test_an_approval_taken_up_completes_the_taking_run_with_the_asking_runs_entry(self) -> None:
        fold = a_fold(
            *MID_ITERATION,
            an_event("approval_requested", 30),
            an_event("loop_start", 100, run_id=LATER_ID),
            an_event("approval_consumed", 101),
        )
        artifacts = Artifacts(state=a_state(104, active=False), summary=on_file(RunSummary(None, self.ENTRY, 2)))

        told = projected(fold, artifacts, after_s=200)
        assert (told.phase, told.run_id, told.completion_ok, told.gates) == (
            Phase.COMPLETE,
            LATER_ID,
            True,
            {"tests": "ok"},
        )
