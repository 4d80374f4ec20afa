"""What a service's answer makes of our intent: never ahead of its record, never confirmed without its confirmation."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from opsd.core.intents import life, remote
from opsd.model.acts import ActProblem
from opsd.model.intent import (
    NEXT,
    Acknowledgement,
    Evidence,
    Execution,
    Fence,
    Intent,
    IntentKind,
    IntentStatus,
    Options,
    Refusal,
    Watermark,
)
from opsd.model.lifecycle import Phase
from opsd.model.observation import Artifacts, Malformed, Unreachable, UnreachableCause
from opsd.model.run import LoopRef, Run, ServiceRef
from opsd.model.service import ControlAnswer
from opsd.model.transport import TransportMode
from tests.core.builders import LOOP, RUN_ID, moment
from tests.core.intents.asking import (
    AT_S,
    RIYA,
    a_candidate,
    a_confirmation,
    a_run_at_work,
    a_run_that_asks,
    an_intent,
)

NOW, LATER = moment(AT_S), moment(AT_S + 5)
REF = LoopRef(LOOP, "/srv/sprite", TransportMode.SPRITE_SERVICE, service=ServiceRef("http://sprite:8787"))
OURS = (IntentStatus.EXECUTING, IntentStatus.EXECUTED, IntentStatus.AMBIGUOUS)
STATUSES = tuple(IntentStatus)
COMMAND = "POST http://sprite:8787/ops/intents"


def ours(status: IntentStatus = IntentStatus.EXECUTING, kind: IntentKind = IntentKind.CANCEL, **members: Any) -> Intent:
    """Asked for at the service, and so far come to `status`."""
    mark = Watermark(at=NOW, epoch=0, line=2, run_id=RUN_ID)
    begun = life.begun(an_intent(kind, transport="sprite_service", **members), mark, COMMAND, NOW)
    return replace(begun, status=status)


def theirs(status: IntentStatus, **members: Any) -> Intent:
    """The sprite's own record of it, as complete as that status takes."""
    done = status not in (IntentStatus.RECORDED, IntentStatus.EXECUTING, IntentStatus.REFUSED, IntentStatus.EXPIRED)
    begun = done or status is IntentStatus.EXECUTING
    members.setdefault("execution", Execution("superloop.sh", NOW, NOW if done else None, 0, "done") if begun else None)
    if status in (IntentStatus.CONFIRMED, IntentStatus.AMBIGUOUS):
        confirmed = status is IntentStatus.CONFIRMED
        members.setdefault("confirmation", a_confirmation(confirmed, evidence=(Evidence("state.json", "Gone."),)))
    if status in (IntentStatus.REFUSED, IntentStatus.EXPIRED):
        members.setdefault("refusal", Refusal("waited_too_long", "Its turn did not come."))
    if status is IntentStatus.ACKNOWLEDGED:
        members.setdefault("acknowledged", Acknowledgement("noor", RIYA, "seen", NOW))
    return an_intent(id="theirs-1", idempotency_key="i-1", status=status, **members)


def statuses(steps: tuple[Intent, ...]) -> list[str]:
    return [step.status.value for step in steps]


def behind(run: Run) -> Run:
    return replace(run, ref=REF)


# What is asked


def test_the_row_before_the_request_names_it_and_where_the_picture_stands() -> None:
    run = behind(a_run_that_asks(artifacts=Artifacts(approval=a_candidate())))
    begun = remote.begun(an_intent(IntentKind.APPROVE), run, remote.BY_KEY, NOW)

    assert begun.status is IntentStatus.EXECUTING
    assert begun.execution is not None
    assert begun.execution.command == COMMAND
    assert begun.watermark is not None
    assert (begun.watermark.line, begun.watermark.candidate_run_id) == (run.fold.line, RUN_ID)
    assert remote.is_asked_by_key(begun)


def test_of_a_service_that_knows_the_contract_alone_nothing_can_be_asked_afterwards() -> None:
    assert not remote.is_asked_by_key(remote.begun(an_intent(), behind(a_run_at_work()), remote.BY_CONTRACT, NOW))


@pytest.mark.parametrize(
    ("kind", "given", "sent"),
    [
        (IntentKind.CANCEL, Fence(), Fence(run_id=RUN_ID)),
        (IntentKind.PAUSE, Fence(iteration=3), Fence(run_id=RUN_ID, iteration=3)),
        (IntentKind.CANCEL, Fence(run_id="another"), Fence(run_id="another")),
        (IntentKind.START, Fence(), Fence()),
    ],
)
def test_the_run_that_was_seen_is_named_where_the_operator_named_none(
    kind: IntentKind, given: Fence, sent: Fence
) -> None:
    assert remote.fence_of(ours(kind=kind, expect=given), a_run_at_work()) == sent


def test_a_run_that_has_no_id_yet_is_not_named() -> None:
    assert remote.fence_of(ours(), a_run_at_work(Phase.STARTING)) == Fence()


def test_a_pause_is_as_long_whenever_it_is_asked() -> None:
    until = moment(AT_S + 90)

    assert remote.pause_for_s(ours(kind=IntentKind.PAUSE, options=Options(pause_until=until))) == 90.0
    assert remote.pause_for_s(ours(kind=IntentKind.PAUSE)) is None


def test_the_contracts_request_says_what_it_can() -> None:
    asked = remote.control_request_of(ours(note="enough", options=Options(confirm=False)))

    assert json.loads(msgspec.json.encode(asked)) == {
        "loopId": LOOP,
        "intent": "cancel",
        "by": "riya",
        "traceId": "trace-1",
        "idempotencyKey": "i-1",
        "note": "enough",
        "noConfirm": True,
    }


# What a service that knows intents answers


@pytest.mark.parametrize(
    ("status", "steps"),
    [
        (IntentStatus.RECORDED, []),
        (IntentStatus.EXECUTING, []),
        (IntentStatus.EXECUTED, ["executed"]),
        (IntentStatus.CONFIRMED, ["executed", "confirmed"]),
        (IntentStatus.EXECUTED_UNCONFIRMED, ["executed", "executed_unconfirmed"]),
        (IntentStatus.AMBIGUOUS, ["executed", "ambiguous"]),
        (IntentStatus.FAILED_COMMAND, ["failed_command"]),
        (IntentStatus.REFUSED, ["refused"]),
        (IntentStatus.EXPIRED, ["expired"]),
        (IntentStatus.ACKNOWLEDGED, ["executed", "ambiguous", "acknowledged"]),
    ],
)
def test_ours_goes_the_way_that_theirs_has_gone(status: IntentStatus, steps: list[str]) -> None:
    assert statuses(remote.followed(ours(), theirs(status), LATER)) == steps


def test_what_came_of_it_there_is_copied_under_our_own_request() -> None:
    done = remote.followed(ours(), theirs(IntentStatus.CONFIRMED), LATER, replayed=True)[-1]

    assert done.execution == Execution(COMMAND, NOW, LATER, 0, "done", replayed=True)
    assert done.confirmation is not None
    assert done.confirmation.evidence == (Evidence("sprite:state.json", "Gone."),)
    assert done.settled_at == LATER


def test_a_refusal_there_is_one_here_with_its_code() -> None:
    refusal = Refusal("neighbour_active", "Another loop runs.")
    (done,) = remote.followed(ours(), theirs(IntentStatus.REFUSED, refusal=refusal), LATER)

    assert (done.refusal, done.execution) == (refusal, None)


def test_words_of_a_sprite_are_fit_for_a_terminal() -> None:
    refusal = Refusal("neighbour_active", "\x1b[2J" + "x" * 9_000)
    (done,) = remote.followed(ours(), theirs(IntentStatus.REFUSED, refusal=refusal), LATER)

    assert done.refusal is not None
    assert "\x1b" not in done.refusal.message
    assert len(done.refusal.message) <= 1_000


def test_a_confirmed_one_that_shows_nothing_is_not_confirmed() -> None:
    for confirmation in (None, a_confirmation(False)):
        steps = remote.followed(ours(), theirs(IntentStatus.CONFIRMED, confirmation=confirmation), LATER)
        assert statuses(steps)[-1] == "ambiguous"


@pytest.mark.parametrize("status", [IntentStatus.REFUSED, IntentStatus.EXPIRED])
def test_one_that_is_open_here_and_was_never_done_there_is_a_failed_command(status: IntentStatus) -> None:
    """Whoever reads `intents.jsonl` was told that it is ambiguous, and has to hear that it is not."""
    (done,) = remote.followed(ours(IntentStatus.AMBIGUOUS), theirs(status), LATER)

    assert (done.status, done.resolved_at) == (IntentStatus.FAILED_COMMAND, LATER)
    assert done.execution is not None
    assert done.execution.problem == ActProblem.SERVICE_REFUSED
    assert "waited_too_long" in done.execution.output


@pytest.mark.parametrize("status", [IntentStatus.RECORDED, IntentStatus.EXECUTED, IntentStatus.AMBIGUOUS])
def test_what_is_open_here_and_not_settled_there_stays_open(status: IntentStatus) -> None:
    assert remote.followed(ours(IntentStatus.AMBIGUOUS), theirs(status), LATER) == ()


@pytest.mark.parametrize(
    "other", [{"idempotency_key": "key-9"}, {"loop_id": "another"}, {"intent": IntentKind.APPROVE}]
)
def test_a_record_of_something_else_is_not_ours(other: dict[str, Any]) -> None:
    record = theirs(IntentStatus.CONFIRMED)

    assert remote.is_ours(ours(), record)
    assert not remote.is_ours(ours(), replace(record, **other))


@given(
    here=st.sampled_from(STATUSES),
    there=st.sampled_from(STATUSES),
    has_execution=st.booleans(),
    problem=st.sampled_from([None, "command_timed_out"]),
    has_proof=st.booleans(),
    kind=st.sampled_from(IntentKind),
)
def test_every_answer_leads_along_the_table_and_no_further_than_the_service_is(
    here: IntentStatus, there: IntentStatus, has_execution: bool, problem: str | None, has_proof: bool, kind: IntentKind
) -> None:
    given_ = theirs(there)
    given_ = replace(
        given_,
        intent=kind,
        execution=Execution("it", NOW, NOW, problem=problem) if has_execution else None,
        confirmation=given_.confirmation if has_proof else None,
    )
    steps = remote.followed(ours(here, kind), given_, LATER)

    before = here
    for step in steps:
        assert step.status in NEXT[before]
        before = step.status
    if here not in OURS:
        assert steps == ()
    if IntentStatus.CONFIRMED in (step.status for step in steps):
        assert there is IntentStatus.CONFIRMED
        assert has_proof
    if there is IntentStatus.CONFIRMED and has_proof and here in OURS:
        assert steps[-1].status is IntentStatus.CONFIRMED


# What a service that knows the contract alone answers


def replied(status: int = 200, **body: Any) -> ControlAnswer:
    return ControlAnswer(status, msgspec.Raw(msgspec.json.encode(body)))


def a_result(status: str, **members: Any) -> dict[str, Any]:
    return {"status": status, "intent": "cancel", "loopId": LOOP, **members}


CONFIRM = {"confirmed": True, "reason": "inactive_not_running", "attempts": 3, "observedStatus": "unknown"}
TABLE = [
    (replied(ok=True, exitCode=0, result=a_result("confirmed", confirm=CONFIRM)), "confirmed", 0),
    (replied(ok=True, exitCode=0, result=a_result("confirmed")), "confirmed", 0),
    (replied(ok=True, exitCode=0, result=a_result("executed_unconfirmed")), "executed_unconfirmed", 0),
    (replied(409, ok=False, exitCode=2, result=a_result("ambiguous")), "ambiguous", 2),
    (replied(500, ok=False, exitCode=1, result=a_result("failed_command")), "failed_command", 1),
    (replied(500, ok=False, exitCode=-15, result=a_result("failed_command")), "failed_command", 0),
    (replied(ok=True, exitCode=0, result=a_result("executed")), "ambiguous", 0),
    (replied(ok=True), "ambiguous", 0),
    (replied(ok=True, exitCode=0, result={}), "ambiguous", 0),
    (replied(ok=False, exitCode=2), "ambiguous", 2),
    (replied(ok=False, exitCode=1), "failed_command", 1),
    (replied(ok=False), "failed_command", 0),
    (replied(), "ambiguous", 0),
    (replied(ok=True, result=a_result("confirmed", intent="approve")), "ambiguous", 0),
    (replied(ok=True, result=a_result("confirmed", loopId="another")), "ambiguous", 0),
]


@pytest.mark.parametrize(("answer", "ends", "exit_code"), TABLE)
def test_the_contracts_table_holds_but_for_its_hazards(answer: ControlAnswer, ends: str, exit_code: int) -> None:
    """Control-and-service 4.2; B3 and B5 of its section 12 are ambiguous."""
    done = remote.controlled(ours(), answer, LATER)[-1]

    assert done.status == ends
    assert done.execution is not None
    assert done.execution.exit_code == exit_code
    assert json.loads(done.execution.output) == json.loads(bytes(answer.body))


def test_whose_fence_it_was_stands_in_the_evidence() -> None:
    done = remote.controlled(ours(), TABLE[0][0], LATER)[-1]

    assert done.confirmation is not None
    assert done.confirmation.evidence == (remote.FENCED_HERE,)
    assert (done.confirmation.reason, done.confirmation.attempts) == ("inactive_not_running", 3)


def test_a_replay_is_told_as_the_service_tells_it() -> None:
    done = remote.controlled(ours(), replied(ok=True, replayed=True, result=a_result("confirmed")), LATER)[-1]

    assert done.execution is not None
    assert done.execution.replayed


TIMED_OUT = Unreachable(NOW, UnreachableCause.SERVICE_TIMED_OUT, "service_request_failed", "It did not answer.")
GARBAGE = Malformed(NOW, "service_response_invalid", "It is HTML.")


@pytest.mark.parametrize(
    ("answer", "ends", "problem"),
    [
        (ControlAnswer(problem=TIMED_OUT), "ambiguous", None),
        (ControlAnswer(200, problem=GARBAGE), "ambiguous", None),
        (ControlAnswer(503, problem=TIMED_OUT), "ambiguous", None),
        (ControlAnswer(200, msgspec.Raw(b"[]")), "ambiguous", None),
        (ControlAnswer(problem=TIMED_OUT, surely_not_sent=True), "failed_command", "service_unreached"),
        (ControlAnswer(401, problem=TIMED_OUT, turned_down="unauthorized"), "failed_command", "service_refused"),
    ],
)
def test_only_where_surely_nothing_was_done_is_a_missing_answer_a_failed_command(
    answer: ControlAnswer, ends: str, problem: str | None
) -> None:
    """A4 and E1 of control-and-service 12: the rest may have been executed."""
    (done,) = remote.controlled(ours(), answer, LATER)

    assert done.status == ends
    assert done.execution is not None
    assert done.execution.problem == problem


@given(st.binary(max_size=60), st.sampled_from([200, 409, 500]))
def test_nothing_that_a_service_may_answer_breaks_us_or_is_confirmed_without_its_word(body: bytes, status: int) -> None:
    done = remote.controlled(ours(), ControlAnswer(status, msgspec.Raw(body)), LATER)[-1]

    assert done.status is not IntentStatus.CONFIRMED
    assert not done.is_in_flight
