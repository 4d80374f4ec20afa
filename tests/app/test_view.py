"""How a loop is shown: what its intents mean for it, and what waits to be approved."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from opsd.app import view
from opsd.model.intent import ControlState, IntentKind, IntentStatus, OpenIntent, PauseNote
from opsd.model.observation import Artifact
from opsd.model.run import Run
from opsd.model.runtime import Approval, Candidate, Presence, Promise
from opsd.protocol import LoopControl
from tests.doubles.clock import EPOCH as NOW
from tests.doubles.fleet import a_supervised_run

CANCEL = OpenIntent("i1", IntentKind.CANCEL, IntentStatus.EXECUTING, "riya", NOW)
LOST = OpenIntent("i0", IntentKind.APPROVE, IntentStatus.AMBIGUOUS, "sam", NOW)


def shown(control: ControlState) -> LoopControl | None:
    return view.summary(a_supervised_run("docs-17", NOW, control=control), NOW).control


@pytest.mark.parametrize(
    "quiet", [ControlState(), ControlState(last_status="confirmed", last_is_ours=True), ControlState("failed_command")]
)
def test_a_loop_that_nobody_asks_anything_of_shows_no_control(quiet: ControlState) -> None:
    """What came of the last request is a finding, where it matters."""
    assert shown(quiet) is None


@pytest.mark.parametrize(
    ("state", "control"),
    [
        (ControlState(in_flight=CANCEL), LoopControl(in_flight=CANCEL)),
        (ControlState(ambiguous=(LOST,)), LoopControl(ambiguous=(LOST,))),
        (ControlState(pause=PauseNote("i2", "riya", NOW)), LoopControl(pause=PauseNote("i2", "riya", NOW))),
        (ControlState(observing=True), LoopControl(observing=True)),
        (ControlState(observing=True, observe_until=NOW), LoopControl(observing=True, observe_until=NOW)),
    ],
)
def test_whatever_an_operator_should_know_of_is_shown(state: ControlState, control: LoopControl) -> None:
    assert shown(state) == control


def test_an_ambiguous_intent_needs_a_human_before_any_pass_says_so() -> None:
    quiet = a_supervised_run("docs-17", NOW)
    lost = replace(quiet, control=ControlState(ambiguous=(LOST,)))

    assert [view.summary(run, NOW).needs_human for run in (quiet, lost)] == [False, True]


def asking(approval: Approval | None, *, pending: bool = True) -> Run:
    run = a_supervised_run("docs-17", NOW)
    assert run.projection is not None
    return replace(
        run,
        projection=replace(run.projection, has_pending_approval=pending),
        artifacts=replace(run.artifacts, approval=Artifact(Presence.PRESENT, approval)),
    )


def test_a_pending_approval_is_shown_with_all_there_is_to_decide_on() -> None:
    approval = Approval(
        status="pending",
        run_id="2026-01-01T00:00:00Z",
        iteration=4,
        requested_at="2026-01-01T00:20:00Z",
        candidate=Candidate(Promise("DONE", "<promise>DONE</promise>", True), {"tests": "ok"}),
        files={"test_report": ".superloop/loops/docs-17/test-report.txt"},
        digest="d" * 64,
    )

    pending = view.status(asking(approval), NOW).approval
    assert pending is not None
    assert (pending.run_id, pending.iteration, pending.requested_at) == (
        "2026-01-01T00:00:00Z",
        4,
        "2026-01-01T00:20:00Z",
    )
    assert (pending.promise, pending.promise_matched, pending.gates) == (
        "<promise>DONE</promise>",
        True,
        {"tests": "ok"},
    )
    assert pending.candidate == "d" * 64
    assert pending.since == datetime(2026, 1, 1, 0, 20, tzinfo=UTC)
    assert pending.files == {"test_report": ".superloop/loops/docs-17/test-report.txt"}


def test_an_approval_that_says_little_is_shown_as_far_as_it_goes() -> None:
    pending = view.pending_approval(asking(Approval(status="pending", requested_at="yesterday")))

    assert pending is not None
    assert (pending.requested_at, pending.since, pending.promise, pending.files) == ("yesterday", None, None, {})


@pytest.mark.parametrize("run", [asking(None), asking(Approval(status="approved"), pending=False)])
def test_what_is_decided_or_absent_is_not_pending(run: Run) -> None:
    assert view.pending_approval(run) is None
