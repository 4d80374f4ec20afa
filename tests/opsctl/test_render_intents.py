"""How intents, what waits for a human, and modes look."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from opsctl.exits import WORST_FIRST, Exit, worst
from opsctl.outcomes import exit_of, has_come_true, is_over
from opsctl.output import Look
from opsctl.render import approvals, intents
from opsctl.render.before import before
from opsctl.render.changes import change_line
from opsctl.render.control import render_modes, why
from opsctl.render.fleet import fleet
from opsctl.render.outcomes import Told, outcome, outcomes
from opsd.app import view
from opsd.model.ids import LoopId
from opsd.model.intent import (
    Acknowledgement,
    Actor,
    Confirmation,
    Evidence,
    Execution,
    Fence,
    FenceDifference,
    Intent,
    IntentKind,
    IntentStatus,
    OpenIntent,
    Options,
    PauseNote,
    Refusal,
    Stage,
    Watermark,
)
from opsd.model.mode import Mode
from opsd.protocol import (
    ApprovalItem,
    ApprovalPage,
    DaemonStatus,
    FeedItem,
    FleetStatus,
    IntentPage,
    IntentReply,
    LoopControl,
    ModePage,
    ModeStatus,
    WaitFor,
)
from tests.doubles.fleet import a_finding, a_supervised_run
from tests.opsctl.loops import DIGEST, RUN, a_waiting_run

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAIN = Look()
RECORDED = Intent(
    id="4d2c9a10",
    loop_id=LoopId("api 03"),
    intent=IntentKind.APPROVE,
    status=IntentStatus.RECORDED,
    recorded_at=NOW - timedelta(minutes=3),
    updated_at=NOW - timedelta(minutes=3),
    expires_at=NOW - timedelta(minutes=1),
    requested_by="ana",
    actor=Actor(1000, "ana.k", 4711),
    trace_id="trace-1",
    idempotency_key="approve-77",
    fingerprint="f",
    ordinal=4,
    schema_version="v1",
    note="read it",
    reason="asked in the meeting",
    expect=Fence(RUN, 3, DIGEST),
)
EXECUTED = replace(
    RECORDED,
    status=IntentStatus.EXECUTED,
    watermark=Watermark(
        NOW - timedelta(minutes=3), 1, 42, RUN, 3, candidate=DIGEST, approval_status="pending", marked_active=True
    ),
    execution=Execution(
        "superloop.sh approve --repo /srv/repo --loop 'api 03' --by ana",
        NOW - timedelta(minutes=3),
        NOW - timedelta(minutes=3) + timedelta(seconds=2),
        0,
        "Looking.\nDecision stored: approved",
    ),
)
CONFIRMED = replace(
    EXECUTED,
    status=IntentStatus.CONFIRMED,
    settled_at=NOW - timedelta(minutes=2),
    confirmation=Confirmation(
        True,
        "decision_recorded",
        2,
        NOW - timedelta(minutes=2),
        "idle",
        "approval_decision",
        "approved",
        evidence=(Evidence("approval.json", "approved by ana"), Evidence("events.jsonl", "approval_decision", 43)),
    ),
    stage=Stage.CONSUMED,
    stage_evidence=(Evidence("events.jsonl", "approval_consumed", 44),),
)
AMBIGUOUS = replace(
    EXECUTED,
    id="5e3d0b21",
    status=IntentStatus.AMBIGUOUS,
    settled_at=NOW - timedelta(minutes=2),
    confirmation=Confirmation(False, "timeout", 9, NOW, missing="approval.json carries no decision."),
)
REFUSED = replace(
    RECORDED,
    id="6f4e1c32",
    status=IntentStatus.REFUSED,
    settled_at=NOW,
    refusal=Refusal("fence_mismatch", "It moved on.", (FenceDifference("iteration", "3", "4"),)),
)
FAILED = replace(
    EXECUTED,
    id="705f2d43",
    status=IntentStatus.FAILED_COMMAND,
    settled_at=NOW,
    execution=Execution("superloop.sh approve", NOW, NOW, 1, "one\nno request to decide", "command_failed"),
)
ACKNOWLEDGED = replace(
    AMBIGUOUS,
    status=IntentStatus.ACKNOWLEDGED,
    acknowledged=Acknowledgement("ben", Actor(0, "root", 1), "seen it", NOW),
)


def golden(name: str) -> str:
    return (Path(__file__).parent / "golden" / f"{name}.txt").read_text()


def in_full(intent: Intent, following: str | None = None) -> str:
    return intents.render_one(msgspec.json.encode(IntentReply(NOW, intent, next=following)), PLAIN)


def test_the_list_says_in_a_line_why_each_stands_as_it_does() -> None:
    page = IntentPage(NOW, (RECORDED, CONFIRMED, AMBIGUOUS, REFUSED, FAILED, ACKNOWLEDGED))

    assert intents.render_list(msgspec.json.encode(page), PLAIN) + "\n" == golden("intents")


def test_no_intent_is_said_and_without_headers_there_are_only_rows() -> None:
    empty = msgspec.json.encode(IntentPage(NOW, ()))

    assert intents.render_list(empty, PLAIN) == "no intent yet"
    assert intents.render_list(empty, Look(headers=False)) == ""
    rows = intents.render_list(msgspec.json.encode(IntentPage(NOW, (AMBIGUOUS,))), Look(headers=False))
    assert rows.splitlines() == [rows]


def test_one_intent_in_full_quotes_everything_it_rests_on() -> None:
    assert in_full(CONFIRMED, "Nothing to do.") + "\n" == golden("intent")


@pytest.mark.parametrize(
    ("intent", "parts"),
    [
        (AMBIGUOUS, ["not proven (timeout), 9 looks", "missing: approval.json carries no decision."]),
        (REFUSED, ["fence_mismatch: It moved on.", "iteration: expected 3, found 4"]),
        (FAILED, ["exit code  1", "problem    command_failed", "    no request to decide"]),
        (ACKNOWLEDGED, ["settled by the word of ben (account root) at 2026-01-01 12:00:00Z: seen it"]),
        (
            replace(CONFIRMED, resolved_at=NOW),
            ["settled    2026-01-01 11:58:00Z, after 1m, as ambiguous", "resolved   2026-01-01 12:00:00Z, after 3m"],
        ),
        (RECORDED, ["expires    2026-01-01 11:59:00Z, unless it is carried out"]),
        (
            replace(RECORDED, options=Options(False, 5, True, True, NOW)),
            ["no effect looked for, although the files contradict each other, clearing what a dead run left, until "],
        ),
    ],
)
def test_each_outcome_says_what_it_rests_on(intent: Intent, parts: list[str]) -> None:
    text = in_full(intent)

    for part in parts:
        assert part in text


def test_a_step_is_a_line_and_an_ambiguous_one_says_what_to_type() -> None:
    step = FeedItem("intent", "s", 1, NOW, intent=CONFIRMED)
    unclear = change_line(FeedItem("intent", "s", 2, NOW, intent=AMBIGUOUS), None, PLAIN)

    assert change_line(step, None, PLAIN) == (
        "2026-01-01 11:57:00Z  api 03  approve confirmed (consumed)  by ana: events.jsonl, line 44: approval_consumed"
    )
    assert unclear is not None
    assert unclear.endswith("(next: opsctl intent show 5e3d0b21)")


def a_told(intent: Intent, **members: object) -> Told:
    reply = IntentReply(NOW, intent, next="Do this.")
    return replace(Told(intent.loop_id, intent.intent, reply), **members)


def test_an_outcome_quotes_its_evidence() -> None:
    assert outcome(a_told(CONFIRMED), PLAIN).splitlines() == [
        "api 03  approve  confirmed (consumed)  after 1m",
        "  approval.json: approved by ana",
        "  events.jsonl, line 43: approval_decision",
        "  events.jsonl, line 44: approval_consumed",
        "  intent 4d2c9a10",
        "  next: Do this.",
    ]


def test_a_failed_command_shows_what_it_printed_last() -> None:
    assert outcome(a_told(FAILED), PLAIN).splitlines()[1:4] == [
        "  command_failed: no request to decide",
        "  | one",
        "  | no request to decide",
    ]


def test_several_outcomes_are_a_table_with_the_steps_below() -> None:
    several = [
        a_told(CONFIRMED),
        a_told(replace(REFUSED, loop_id=LoopId("docs-17"))),
        Told("off", "approve", problem="it is listed and not looked at"),
        a_told(CONFIRMED, ending="run r ended: failed (crashed), -"),
    ]

    assert outcomes(several, PLAIN) + "\n" == golden("outcomes")


def test_the_inbox_has_what_to_read_and_what_to_type() -> None:
    waiting = view.status(a_waiting_run("docs-17", NOW), NOW).approval
    page = ApprovalPage(
        NOW,
        (
            ApprovalItem("api 03", "/srv/repo", "pause_expired", "It is time.", None, None, "opsctl resume 'api 03'"),
            ApprovalItem(
                "docs-17", "/srv/repo", "approval_pending", "It waits.", NOW, 300.0, "opsctl approve docs-17", waiting
            ),
        ),
    )

    assert approvals.render(msgspec.json.encode(page), PLAIN) + "\n" == golden("approvals")
    rows = approvals.render(msgspec.json.encode(page), Look(headers=False)).splitlines()
    assert [row.split()[-1] for row in rows] == ["03'", "docs-17"]


def test_an_empty_inbox_says_so() -> None:
    page = msgspec.json.encode(ApprovalPage(NOW, ()))

    assert approvals.render(page, PLAIN) == "nothing waits for a human, as of 2026-01-01 12:00:00Z"


def test_before_an_act_one_sees_what_it_would_meet() -> None:
    status = view.status(a_supervised_run("docs-17", NOW), NOW)
    control = LoopControl(
        in_flight=OpenIntent("i", IntentKind.CANCEL, IntentStatus.EXECUTING, "ana", NOW),
        pause=PauseNote("p", "ben", NOW - timedelta(hours=1)),
        observing=True,
    )
    watched = replace(status, summary=replace(status.summary, control=control))

    assert before(IntentKind.CANCEL, status, PLAIN) + "\n" == golden("before")
    text = before(IntentKind.RESUME, watched, PLAIN, if_run="another")
    for part in (
        "is          running, healthy, cancel in flight, paused by ben",
        "paused      by ben 1h00m ago",
        "mode        observe mode until somebody ends it, so that this will be refused",
        "not the run you named another",
        "its processes go on where they stood",
    ):
        assert part in text


@pytest.mark.parametrize("kind", IntentKind)
def test_before_every_act_one_is_told_what_comes_then(kind: IntentKind) -> None:
    text = before(kind, view.status(a_waiting_run("docs-17", NOW), NOW), PLAIN)

    assert text.splitlines()[-1].startswith("  then        ")


def test_a_row_of_the_fleet_says_what_of_intents_explains_its_state() -> None:
    quiet = view.summary(a_supervised_run("docs-17", NOW), NOW)
    opened = OpenIntent("i", IntentKind.CANCEL, IntentStatus.EXECUTING, "ana", NOW)
    control = LoopControl(opened, (opened,), PauseNote("p", "ben", NOW))
    stuck = replace(quiet, findings=(a_finding("run_stuck"),))
    found = replace(quiet, findings=(a_finding("run_paused"), a_finding("control_ambiguous")))

    assert why(quiet) == "-"
    assert why(replace(quiet, control=control)) == "cancel in flight, cancel ambiguous, paused by ben"
    assert why(replace(stuck, control=LoopControl(opened))) == "run_stuck, cancel in flight"
    assert why(replace(found, control=control)) == "run_paused, control_ambiguous, cancel in flight", "not said twice"


def test_observe_mode_stands_above_the_fleet() -> None:
    mode = ModeStatus(Mode.OBSERVE, "ana", NOW, None, "disks", NOW + timedelta(hours=2))
    daemon = DaemonStatus("0.1.0", "v1", "s1", 42, NOW, "/srv/home", "discovery", (), (), mode)

    assert (
        "opsd: observe mode for the fleet: by ana since 2026-01-01 12:00:00Z, until 2026-01-01 14:00:00Z (disks): "
        "no intent is carried out"
    ) in fleet(FleetStatus(NOW, daemon, (), 1), PLAIN)


def test_modes_are_told_with_who_and_until_when() -> None:
    modes = (ModeStatus(Mode.OBSERVE, "ana", NOW), ModeStatus(Mode.OBSERVE, "ben", NOW, "docs-17", "look"))
    page = msgspec.json.encode(ModePage(NOW, modes))

    assert render_modes(page, PLAIN).splitlines() == [
        "observe mode for the fleet: by ana since 2026-01-01 12:00:00Z, until somebody ends it",
        "observe mode for loop docs-17: by ben since 2026-01-01 12:00:00Z, until somebody ends it (look)",
    ]
    assert render_modes(page, Look(headers=False)).splitlines()[1].split() == ["observe", "docs-17", "ben", "-", "look"]


@given(st.text(min_size=1, max_size=30))
def test_nothing_that_a_run_or_an_operator_wrote_steers_the_terminal(text: str) -> None:
    evil = f"\x1b[2J\u202e{text}\r\n"
    said = Evidence(evil, evil, 1)
    assert CONFIRMED.confirmation is not None
    assert EXECUTED.execution is not None
    intent = replace(
        CONFIRMED,
        loop_id=LoopId(evil),
        requested_by=evil,
        note=evil,
        reason=evil,
        execution=replace(EXECUTED.execution, command=evil, output=evil, detail=evil, problem=evil),
        confirmation=replace(CONFIRMED.confirmation, evidence=(said,), missing=evil, observed_last_event=evil),
        stage_evidence=(said,),
        refusal=Refusal("run_active", evil, (FenceDifference(evil, evil, evil),)),
        acknowledged=Acknowledgement(evil, Actor(0, evil, 1), evil, NOW),
    )
    waiting = view.status(a_waiting_run("docs-17", NOW), NOW)
    assert waiting.approval is not None
    asked = replace(waiting.approval, promise=evil, run_id=evil, gates={evil: evil}, files={evil: evil})
    item = ApprovalItem(evil, evil, evil, evil, NOW, 1.0, evil, asked)
    pages = [
        in_full(intent, evil),
        intents.render_list(msgspec.json.encode(IntentPage(NOW, (intent,))), PLAIN),
        intents.intent_line(intent, PLAIN),
        outcome(replace(a_told(intent), ending=evil), PLAIN),
        outcomes([a_told(intent), Told(evil, "cancel", problem=evil)], PLAIN),
        approvals.render(msgspec.json.encode(ApprovalPage(NOW, (item,))), PLAIN),
        before(IntentKind.APPROVE, replace(waiting, approval=asked), PLAIN, if_run=evil),
        render_modes(msgspec.json.encode(ModePage(NOW, (ModeStatus(Mode.OBSERVE, evil, NOW, evil, evil),))), PLAIN),
    ]

    for page in pages:
        assert all(char == "\n" or char.isprintable() for char in page), page
        assert "\\x1b[2J" in page


def test_the_worst_exit_wins_whatever_the_order() -> None:
    """Every code that an errand can have is ranked."""
    assert set(WORST_FIRST) == set(Exit) - {Exit.OK, Exit.INTERRUPTED, Exit.PIPE_CLOSED}
    assert worst([]) is Exit.OK
    assert worst([Exit.OK, Exit.REFUSED, Exit.AMBIGUOUS, Exit.FAILED]) is Exit.AMBIGUOUS
    assert worst([Exit.REFUSED, Exit.TIMEOUT, Exit.OK]) is Exit.TIMEOUT


@pytest.mark.parametrize("status", IntentStatus)
def test_waiting_ends_with_every_status_that_is_settled(status: IntentStatus) -> None:
    intent = replace(RECORDED, status=status)

    assert is_over(intent, WaitFor.SETTLED) == (not intent.is_in_flight)
    assert (exit_of(intent) is Exit.OK) == (
        intent.is_in_flight
        or status in {IntentStatus.CONFIRMED, IntentStatus.EXECUTED_UNCONFIRMED, IntentStatus.ACKNOWLEDGED}
    )


@pytest.mark.parametrize(
    ("stage", "reached"),
    [
        (None, set()),
        (Stage.RECORDED, set()),
        (Stage.CONSUMED, {WaitFor.CONSUMED}),
        (Stage.COMPLETED, {WaitFor.CONSUMED, WaitFor.COMPLETE}),
    ],
)
def test_a_decision_is_waited_for_to_its_stage_and_a_failed_one_no_longer(
    stage: Stage | None, reached: set[WaitFor]
) -> None:
    confirmed, failed = replace(CONFIRMED, stage=stage), replace(FAILED, stage=stage)

    for until in (WaitFor.CONSUMED, WaitFor.COMPLETE):
        assert has_come_true(confirmed, until) == is_over(confirmed, until) == (until in reached)
        assert is_over(failed, until)
        assert not has_come_true(failed, until)
