"""The log alone: what a run did, in any batching, however odd its lines."""

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import event as noted
from hypothesis import given
from hypothesis import strategies as st

from opsd.core.fold import Folded, fold_events
from opsd.model.lifecycle import Ending, Fold, RunFacts
from opsd.model.runtime import EventLine
from tests.core.builders import LOOP, RUN_ID, an_event, moment, stamp
from tests.core.histories import logs
from tests.core.story import NAMES, moments

LATER_ID = stamp(100)


def folded(*events: EventLine, onto: Fold | None = None) -> Folded:
    fold = onto or Fold()
    return fold_events(fold, events, range(fold.line + 1, fold.line + 1 + len(events)), epoch=fold.epoch)


def facts(*events: EventLine) -> RunFacts:
    run = folded(*events).fold.run
    assert run is not None
    return run


@given(logs(), st.lists(st.integers(0, 30)))
def test_how_a_log_was_cut_into_batches_never_shows(events: list[EventLine], cuts: list[int]) -> None:
    whole = folded(*events)

    fold = Fold()
    ended: list[RunFacts] = []
    for begin, end in _pieces(cuts, len(events)):
        piece = fold_events(fold, events[begin:end], range(begin + 1, end + 1), epoch=0)
        fold, ended = piece.fold, ended + list(piece.ended)

    noted(f"runs ended: {min(len(ended), 3)}")
    assert fold == whole.fold
    assert tuple(ended) == whole.ended


@given(logs(), st.integers(0, 30), st.integers(0, 30))
def test_folding_lines_again_changes_nothing(events: list[EventLine], begin: int, end: int) -> None:
    """After a crash the cursor may be behind what was folded."""
    fold = folded(*events).fold
    begin, end = sorted((min(begin, len(events)), min(end, len(events))))

    again = fold_events(fold, events[begin:end], range(begin + 1, end + 1), epoch=0)

    assert again == Folded(fold)


@given(logs())
def test_what_is_remembered_survives_the_disk(events: list[EventLine]) -> None:
    fold = folded(*events).fold

    assert msgspec.json.decode(msgspec.json.encode(fold), type=Fold) == fold


@given(logs())
def test_a_run_ends_once_unless_it_goes_on(events: list[EventLine]) -> None:
    """No run id is reported ended at two lines without a new beginning or further work in between."""
    result = folded(*events)
    work = {"loop_start", "iteration_start", "role_start", "tests_start"}

    for one, other in itertools.pairwise(result.ended):
        if one.first_line == other.first_line and one.ended and other.ended:
            between = events[one.ended.line : other.ended.line]
            assert any(event.name in work for event in between)


def test_another_epoch_starts_from_nothing() -> None:
    fold = folded(an_event("loop_start"), an_event("loop_complete", 9)).fold

    assert fold_events(fold, [], [], epoch=1).fold == Fold(epoch=1)
    renewed = fold_events(fold, [an_event("loop_start", 20, run_id=LATER_ID)], [1], epoch=1).fold
    assert (renewed.epoch, renewed.line, renewed.event_count, renewed.runs_begun) == (1, 1, 1, 1)


def test_line_numbers_are_the_logs_own() -> None:
    """Blank and quarantined lines have numbers too."""
    fold = fold_events(Fold(), [an_event("loop_start"), an_event("role_start", 3)], [2, 7], epoch=0).fold

    assert (fold.line, fold.event_count) == (7, 2)
    assert fold.last is not None
    assert (fold.last.line, fold.last.at) == (7, moment(3))


def test_a_step_is_at_work_from_its_start_to_its_end() -> None:
    began = facts(an_event("loop_start"), an_event("role_start", 5, role="tester"))
    assert (began.role, began.activity, began.activity_since) == ("tester", "role_start", moment(5))

    gate = facts(an_event("loop_start"), an_event("role_start", 5, role="tester"), an_event("tests_start", 9))
    assert (gate.role, gate.activity, gate.activity_since) == (None, "tests_start", moment(9))

    ended = facts(an_event("loop_start"), an_event("tests_start", 9), an_event("tests_end", 10))
    assert (ended.activity, ended.activity_since) == (None, None)


def test_the_iteration_is_the_newest_events_and_never_the_one_that_will_not_be() -> None:
    """`loop_stop` for max iterations carries the maximum plus one."""
    run = facts(
        an_event("loop_start", data={"max_iterations": 2}),
        an_event("iteration_start", 1, iteration=2),
        an_event("loop_stop", 2, iteration=3, data={"reason": "max_iterations", "max_iterations": 2}),
    )

    assert (run.iteration, run.max_iterations, run.ending) == (2, 2, Ending.MAX_ITERATIONS)


@pytest.mark.parametrize(
    ("event", "ending", "detail"),
    [
        (an_event("loop_complete", 9), Ending.COMPLETE, None),
        (an_event("loop_stop", 9, data={"reason": "stuck", "streak": 3}), Ending.STUCK, "stuck"),
        (an_event("loop_stop", 9, data={"reason": "no_progress"}), Ending.NO_PROGRESS, "no_progress"),
        (an_event("loop_stop", 9, data={"reason": "max_iterations"}), Ending.MAX_ITERATIONS, "max_iterations"),
        (
            an_event("loop_stop", 9, data={"reason": "lifecycle_gate_failed", "status": "failed"}),
            Ending.LIFECYCLE_GATE_FAILED,
            "lifecycle_gate_failed",
        ),
        (an_event("loop_stop", 9, data={"reason": "manual_cancel"}), Ending.CANCELLED, "manual_cancel"),
        (an_event("loop_stop", 9, data={"reason": "new\u202ereason\x1b"}), Ending.STOPPED, "new?reason?"),
        (an_event("loop_stop", 9), Ending.STOPPED, None),
        (
            an_event("role_timeout", 9, role="tester", status="timeout", data={"timeout_seconds": 300}),
            Ending.ROLE_TIMEOUT,
            "tester was ended after 300 s",
        ),
        (an_event("role_timeout", 9, data={"timeout_seconds": "long"}), Ending.ROLE_TIMEOUT, None),
        (an_event("delegation_fail_role", 9, data={"failure_policy": "fail_role"}), Ending.FAILED, "fail_role"),
        (an_event("usage_limit_blocked", 9, data={"action": "blocked"}), Ending.USAGE_LIMITED, None),
        (an_event("rate_limit_stop", 9, data={"info": {"message": "later"}}), Ending.RATE_LIMITED, "later"),
        (an_event("approval_requested", 9), Ending.AWAITING_APPROVAL, None),
        (an_event("approval_wait", 9), Ending.AWAITING_APPROVAL, None),
    ],
)
def test_each_ending_event_ends_the_run(event: EventLine, ending: Ending, detail: str | None) -> None:
    result = folded(an_event("loop_start"), event)

    assert [(run.ending, run.detail, run.ended and run.ended.line) for run in result.ended] == [(ending, detail, 2)]
    assert result.fold.run == result.ended[0]


def test_the_first_word_on_an_end_holds() -> None:
    """`loop_stop` follows `no_progress_stop`, and would be a second end of one run."""
    result = folded(
        an_event("loop_start"),
        an_event("no_progress_stop", 8, status="blocked", data={"reason": "checklist_remaining_no_change"}),
        an_event("loop_stop", 9, data={"reason": "no_progress"}),
    )

    assert [run.detail for run in result.ended] == ["checklist_remaining_no_change"]


def test_a_run_that_a_newer_one_replaces_is_lost_where_it_was_last_seen() -> None:
    result = folded(an_event("loop_start"), an_event("role_start", 5), an_event("loop_start", 100, run_id=LATER_ID))

    (lost,) = result.ended
    assert (lost.run_id, lost.ending, lost.ended and lost.ended.line) == (RUN_ID, Ending.LOST, 2)
    assert result.fold.run is not None
    assert (result.fold.run.run_id, result.fold.runs_begun) == (LATER_ID, 2)


def test_a_new_run_counts_from_nothing() -> None:
    run = facts(
        an_event("loop_start"),
        an_event("tests_end", 1, data={"status": "failed"}),
        an_event("gates_evaluated", 2, data={"tests": "failed"}),
        an_event("iteration_end", 3),
        an_event("loop_start", 100, run_id=LATER_ID),
    )

    assert run == RunFacts(run_id=LATER_ID, first_line=5, started_at=moment(100), iteration=1)


def test_an_ended_run_is_at_no_step() -> None:
    """A role that was ended for its time never logs its own end."""
    run = facts(an_event("loop_start"), an_event("role_start", 1, role="tester"), an_event("role_timeout", 9))

    assert (run.role, run.activity, run.activity_since) == (None, None, None)


def test_a_usage_limit_that_was_waited_for_is_no_end() -> None:
    blocked = folded(
        an_event("loop_start"), an_event("usage_limit_blocked", 5, role="planner", data={"action": "blocked"})
    )
    assert blocked.fold.limit is not None
    assert (blocked.fold.limit.kind, blocked.fold.limit.since, blocked.fold.limit.ends_at) == (
        "usage_limit",
        moment(5),
        None,
    )

    went_on = folded(an_event("role_start", 400), onto=blocked.fold).fold
    assert went_on.limit is None
    assert went_on.run is not None
    assert (went_on.run.ending, went_on.run.ended) == (None, None)


@pytest.mark.parametrize(
    ("info", "ends_after_s"),
    [
        ({"resets_at": int(moment(60).timestamp()), "resets_in": 5}, 60),
        ({"resets_in": 30}, 39),
        ({"message": "no idea"}, None),
        ({"resets_at": 10**18}, None),
        ({"resets_in": 10**18}, None),
        ({"resets_in": "soon"}, None),
    ],
)
def test_a_rate_limit_ends_when_it_says(info: dict[str, Any], ends_after_s: float | None) -> None:
    limit = folded(
        an_event("loop_start"), an_event("rate_limit_stop", 9, role="tester", data={"info": info})
    ).fold.limit

    assert limit is not None
    assert limit.ends_at == (None if ends_after_s is None else moment(ends_after_s))


class TestApproval:
    ASKED = (an_event("loop_start"), an_event("approval_requested", 9))

    def test_a_decision_begins_no_run(self) -> None:
        """`approve` logs under the asking run's id, or `unknown`, while a newer run may have looked in."""
        fold = folded(
            *self.ASKED,
            an_event("loop_start", 100, run_id=LATER_ID),
            an_event("approval_wait", 101, run_id=LATER_ID),
            an_event("approval_decision", 102, role="human", status="approved"),
            an_event("approval_decision", 103, run_id="unknown", role="human", status="approved"),
        ).fold

        assert fold.run is not None
        assert (fold.run.run_id, fold.runs_begun) == (LATER_ID, 2)
        assert fold.approval_requested is not None

    def test_the_run_that_takes_it_up_completes_under_the_asking_runs_id(self) -> None:
        result = folded(
            *self.ASKED,
            an_event("loop_start", 100, run_id=LATER_ID),
            an_event("approval_consumed", 101),
            an_event("loop_complete", 104),
        )

        assert [(run.run_id, run.ending) for run in result.ended] == [
            (RUN_ID, Ending.AWAITING_APPROVAL),
            (LATER_ID, Ending.COMPLETE),
        ]
        assert result.fold.run is not None
        assert result.fold.run.took_up == RUN_ID
        assert result.fold.approval_requested is None

    def test_nothing_is_asked_any_more_once_it_is_taken_up(self) -> None:
        taken_up = (an_event("loop_start", 100, run_id=LATER_ID), an_event("approval_consumed", 101))

        assert folded(*self.ASKED, *taken_up).fold.approval_requested is None

    def test_it_completes_even_if_the_taking_up_was_never_logged(self) -> None:
        run = facts(*self.ASKED, an_event("loop_start", 100, run_id=LATER_ID), an_event("loop_complete", 104))

        assert (run.run_id, run.ending) == (LATER_ID, Ending.COMPLETE)

    def test_a_rejection_noticed_leaves_nothing_asked(self) -> None:
        fold = folded(
            *self.ASKED,
            an_event("loop_start", 100, run_id=LATER_ID),
            an_event("approval_rejected", 101, run_id=LATER_ID),
        ).fold

        assert fold.approval_requested is None
        assert fold.run is not None
        assert fold.run.ending is None

    def test_the_newest_decision_and_the_newest_taking_up_are_remembered_over_runs(self) -> None:
        """They are what proves a decision once its file is gone."""
        decided = an_event("approval_decision", 50, role="human", status="rejected")
        taken_up = an_event("approval_rejected", 101, run_id=LATER_ID)
        first = (*self.ASKED, decided, an_event("loop_start", 100, run_id=LATER_ID), taken_up)
        again = (
            an_event("approval_decision", 120, run_id=LATER_ID, iteration=3, status="approved"),
            an_event("loop_start", 130, run_id=stamp(130)),
            an_event("approval_consumed", 131, run_id=LATER_ID, iteration=3),
            an_event("loop_complete", 132, run_id=LATER_ID),
            an_event("loop_start", 140, run_id=stamp(140)),
        )

        folds = [folded(*events).fold for events in (self.ASKED, first, (*first, *again))]
        marks = [mark for fold in folds for mark in (fold.decided, fold.taken_up)]

        assert [mark and (mark.line, mark.name, mark.run_id, mark.iteration, mark.status) for mark in marks] == [
            None,
            None,
            (3, "approval_decision", RUN_ID, 1, "rejected"),
            (5, "approval_rejected", LATER_ID, 1, None),
            (6, "approval_decision", LATER_ID, 3, "approved"),
            (8, "approval_consumed", LATER_ID, 3, None),
        ]


def test_a_late_word_of_an_older_run_does_not_end_the_newer_one() -> None:
    """Two processes may write one log; what the older still says is not about the newer."""
    fold = folded(
        an_event("loop_start"),
        an_event("loop_start", 100, run_id=LATER_ID),
        an_event("loop_stop", 101, run_id=RUN_ID, data={"reason": "stuck"}),
    ).fold

    assert fold.run is not None
    assert (fold.run.run_id, fold.run.ending) == (LATER_ID, None)
    assert fold.last is not None
    assert fold.last.name == "loop_stop"


def test_a_run_whose_start_was_never_seen_begins_at_its_first_word() -> None:
    fold = folded(an_event("role_start", 5, iteration=3, role="tester")).fold

    assert fold.run is not None
    assert (fold.run.run_id, fold.run.first_line, fold.run.iteration, fold.run.role) == (RUN_ID, 1, 3, "tester")


def test_foreign_producers_say_type_and_no_run_id() -> None:
    lines = [
        b'{"timestamp":"2026-11-21T02:00:00Z","type":"loop_start","iteration":1}',
        b'{"timestamp":"2026-11-21T02:00:05Z","type":"role_start","role":"tester","iteration":2}',
    ]
    fold = folded(*(msgspec.json.decode(line, type=EventLine) for line in lines)).fold

    assert fold.run is not None
    assert (fold.run.run_id, fold.run.role, fold.run.iteration, fold.runs_begun) == ("unknown", "tester", 2, 1)


def test_failing_tests_are_counted_by_iteration() -> None:
    """A rerun after a recovery belongs to its iteration, and skipped tests say nothing."""
    failed, skipped, passed = ({"status": status} for status in ("failed", "skipped", "ok"))
    log = [
        an_event("loop_start"),
        an_event("tests_end", 1, data=failed),
        an_event("tests_rerun_end", 2, data=failed),
        an_event("tests_end", 3, data=skipped),
        an_event("tests_end", 4, data=failed),
    ]
    assert facts(*log).tests_failed_streak == 2
    assert facts(*log, an_event("tests_rerun_end", 5, data=passed)).tests_failed_streak == 0


def test_the_gates_are_the_newest_evaluations() -> None:
    data = {"promise": True, "tests": "ok", "checklist": "remaining", "stuck": "1/3"}
    run = facts(an_event("loop_start"), an_event("gates_evaluated", 1, data=data), an_event("iteration_end", 2))

    assert (run.gates, run.iterations_ended) == ({"tests": "ok", "checklist": "remaining"}, 1)


def test_a_payload_of_another_shape_costs_only_itself() -> None:
    run = facts(
        an_event("loop_start", data={"max_iterations": "many"}),
        an_event("gates_evaluated", 1, data={"tests": 1}),
        an_event("tests_end", 2, data={"status": ["ok"]}),
        msgspec.structs.replace(an_event("tests_end", 3), data=msgspec.Raw(b'"text"')),
    )

    assert (run.max_iterations, run.gates, run.tests_failed_streak) == (None, None, 0)


@pytest.mark.parametrize("name", ["recovery_blocked", "recovery_denied", "recovery_escalated"])
def test_a_recovery_waits_until_it_is_settled_or_a_new_run_begins(name: str) -> None:
    waiting = folded(an_event("loop_start"), an_event(name, 5)).fold
    assert waiting.recovery is not None
    assert waiting.recovery.name == name

    assert folded(an_event("recovery_executed", 6), onto=waiting).fold.recovery is None
    assert folded(an_event("loop_start", 100, run_id=LATER_ID), onto=waiting).fold.recovery is None


def test_an_unknown_event_is_carried_and_changes_nothing_else() -> None:
    before = folded(an_event("loop_start"), an_event("role_start", 5, role="tester")).fold
    after = folded(an_event("brand_new", 6), onto=before).fold

    assert after.last is not None
    assert after.last.name == "brand_new"
    assert after.run == before.run


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_log_folds_the_same_line_by_line(name: str) -> None:
    events = moments(name, LOOP)[-1].events
    fold = Fold()
    for line, event in enumerate(events, 1):
        fold = fold_events(fold, [event], [line], epoch=0).fold

    assert fold == folded(*events).fold


def _pieces(cuts: Sequence[int], length: int) -> list[tuple[int, int]]:
    edges = sorted({0, length, *(cut for cut in cuts if cut <= length)})
    return list(itertools.pairwise(edges))
