"""What waits for a human, over all loops: which, since when, and what to type."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from opsd.app.inbox import approvals
from opsd.model.health import Finding
from opsd.model.intent import QUIET, ControlState, IntentKind, IntentStatus, OpenIntent
from opsd.model.observation import Artifact
from opsd.model.reasons import REASONS
from opsd.model.run import Run
from opsd.model.runtime import Approval, Presence
from opsd.protocol import ApprovalItem
from tests.doubles.clock import EPOCH as NOW
from tests.doubles.fleet import a_finding, a_supervised_run


def waiting(code: str, *, minutes: float | None = 5.0) -> Finding:
    since = None if minutes is None else NOW - timedelta(minutes=minutes)
    return a_finding(code, since=since)


def a_run(loop_id: str, *codes: Finding | str, control: ControlState = QUIET) -> Run:
    findings = tuple(code if isinstance(code, Finding) else waiting(code) for code in codes)
    return a_supervised_run(loop_id, NOW, findings=findings, control=control)


def ambiguous(*ids: str, since: datetime = NOW) -> ControlState:
    return ControlState(
        ambiguous=tuple(OpenIntent(id_, IntentKind.CANCEL, IntentStatus.AMBIGUOUS, "riya", since) for id_ in ids)
    )


def items(*runs: Run) -> tuple[ApprovalItem, ...]:
    return approvals(runs, NOW).items


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("approval_pending", "opsctl approve docs-17"),
        ("decision_not_taken_up", "opsctl start docs-17"),
        ("recovery_waiting", "opsctl explain docs-17"),
        ("pause_expired", "opsctl resume docs-17"),
        ("control_ambiguous", "opsctl explain docs-17"),
    ],
)
def test_each_decision_comes_with_the_command_to_type(code: str, command: str) -> None:
    (item,) = items(a_run("docs-17", code))

    assert (item.kind, item.command, item.loop_id, item.repo_path) == (code, command, "docs-17", "/srv/repo")
    assert item.says == f"{REASONS[code].says} evidence of {code}"


def test_only_what_needs_a_human_is_in_the_inbox() -> None:
    listed = {code for code in REASONS if items(a_run("docs-17", code))}

    assert len(listed) >= 4
    assert all(REASONS[code].needs_human for code in listed)


def test_what_only_went_wrong_is_no_decision() -> None:
    """The inbox would drown in it; `opsctl status` has it."""
    assert items(a_run("docs-17", "run_stuck", "ingest_stale"), a_run("api-03")) == ()


def test_the_oldest_comes_first_and_what_nobody_dates_last() -> None:
    found = items(
        a_run("a", waiting("approval_pending", minutes=None)),
        a_run("b", waiting("approval_pending", minutes=5)),
        a_run("c", waiting("recovery_waiting", minutes=90), control=ambiguous("i1", since=NOW - timedelta(minutes=10))),
        a_run("d", waiting("approval_pending", minutes=5)),
    )

    assert [(item.loop_id, item.age_s) for item in found] == [
        ("c", 5400.0),
        ("c", 600.0),
        ("b", 300.0),
        ("d", 300.0),
        ("a", None),
    ]


def test_what_is_dated_in_the_future_has_no_negative_age() -> None:
    (item,) = items(a_run("docs-17", waiting("approval_pending", minutes=-1)))

    assert item.age_s == 0.0


def test_each_ambiguous_intent_is_acknowledged_by_its_own_id() -> None:
    """The finding tells of the same ones, and is not a decision beside them."""
    found = items(a_run("docs-17", "control_ambiguous", control=ambiguous("i1", "i2")))

    assert [(item.kind, item.command) for item in found] == [
        ("control_ambiguous", "opsctl intent ack i1 --reason ..."),
        ("control_ambiguous", "opsctl intent ack i2 --reason ..."),
    ]
    assert "riya" in found[0].says


def test_a_command_can_be_typed_whatever_the_loop_is_called() -> None:
    (item,) = items(a_run("api 03", "decision_not_taken_up"))

    assert item.command == "opsctl start 'api 03'"


def test_a_pending_approval_says_what_is_asked() -> None:
    run = a_run("docs-17", "approval_pending", "recovery_waiting")
    asked = Approval("pending", "2026-01-01T00:00:00Z", 3, "2026-01-01T00:00:00Z", digest="d" * 64)
    assert run.projection is not None
    run = replace(
        run,
        projection=replace(run.projection, has_pending_approval=True),
        artifacts=replace(run.artifacts, approval=Artifact(Presence.PRESENT, asked)),
    )

    pending, other = items(run)
    assert pending.approval is not None
    assert (pending.approval.candidate, pending.approval.iteration) == ("d" * 64, 3)
    assert other.approval is None


def test_a_loop_that_nobody_looked_at_asks_for_nothing() -> None:
    assert items(replace(a_run("docs-17"), health=None, projection=None)) == ()
