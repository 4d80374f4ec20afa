"""The contract's rows, member by member: what programs outside read of an intent."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from opsd.core.intents import life
from opsd.core.intents.evidence import Outcome, Verdict
from opsd.core.intents.rows import log_row, rows
from opsd.model.acts import ActProblem, ActResult
from opsd.model.effects import Append, Journal
from opsd.model.intent import Evidence, Intent, IntentKind, IntentStatus, Options, Refusal, Stage
from tests.core.builders import moment
from tests.core.intents.asking import (
    AT_S,
    COMMAND,
    RIYA,
    a_candidate,
    a_confirmation,
    a_run_at_work,
    a_run_that_asks,
    a_scene,
    an_intent,
    at_work,
    carried_out,
)

INTENTS, CONTROL, INVOCATIONS = Journal.INTENTS, Journal.CONTROL, Journal.INVOCATIONS
# Fractions of seconds, so that what is cut off shows: carried out at 60.4 s, over at 61.4 s, settled at 65.9 s.
ACTOR = {"uid": 1000, "user": "riya", "pid": 77}
WINDOW = Options(timeout_s=2.5)


def executed(kind: IntentKind = IntentKind.CANCEL, *results: ActResult, **members: Any) -> Intent:
    intent = an_intent(kind, 59.7, options=WINDOW, **members)
    if kind in (IntentKind.APPROVE, IntentKind.REJECT):
        return carried_out(intent, a_run_that_asks(), a_scene(approval=a_candidate()), *results, at_s=60.4)
    return carried_out(intent, a_run_at_work(), at_work(), *results, at_s=60.4)


def seen(confirmed: bool = True, **members: Any) -> Any:
    return a_confirmation(confirmed, moment(65.8), **members)


def settled(intent: Intent, *, confirmed: bool = True, **members: Any) -> Intent:
    confirmation = seen(confirmed, **members)
    settle = life.settled if confirmed else life.ambiguous
    return settle(intent, confirmation, moment(65.9))


def told(intent: Intent) -> dict[Journal, dict[str, Any]]:
    """What the rows say, as it stands on the disk."""
    return {append.journal: msgspec.json.decode(msgspec.json.encode(append.row)) for append in rows(intent)}


def test_an_approval_reads_like_the_contracts_example() -> None:
    """Control-and-service 6.1 to 6.3, with values of our own."""
    done = executed(IntentKind.APPROVE, ActResult(exit_code=0, output="stored"), note="ship it")
    ambiguous = settled(
        done,
        confirmed=False,
        observed_status="idle",
        observed_last_event="approval_decision",
        observed_approval_status="approved",
    )
    command = f"{COMMAND} approve --repo /srv/repo --loop demo-loop --by riya --note 'ship it'"
    confirm = {
        "intent": "approve",
        "confirmed": False,
        "reason": "timeout",
        "attempts": 2,
        "timeoutSeconds": 3,
        "observedStatus": "idle",
        "observedLastEvent": "approval_decision",
        "observedApprovalStatus": "approved",
        "observedActive": False,
        "observedAt": "2026-11-21T02:01:05Z",
        "evidence": [],
    }

    found = told(ambiguous)

    assert list(found) == [INTENTS, CONTROL, INVOCATIONS]
    assert found[INTENTS] == {
        "timestamp": "2026-11-21T02:01:05Z",
        "loopId": "demo-loop",
        "intent": "approve",
        "traceId": "trace-1",
        "requestedBy": "riya",
        "note": "ship it",
        "transport": "local",
        "status": "ambiguous",
        "command": command,
        "idempotencyKey": "key-1",
        "exitCode": 0,
        "confirmExitCode": 1,
        "confirmed": False,
        "commandOutput": "stored",
        "confirm": confirm,
        "intentId": "i-1",
        "actor": ACTOR,
    }
    assert found[CONTROL] == {
        "timestamp": "2026-11-21T02:01:05Z",
        "startedAt": "2026-11-21T02:01:00Z",
        "loopId": "demo-loop",
        "intent": "approve",
        "traceId": "trace-1",
        "transport": "local",
        "status": "ambiguous",
        "reasonCode": "control_ambiguous",
        "idempotencyKey": "key-1",
        "requestedBy": "riya",
        "exitCode": 0,
        "confirmExitCode": 1,
        "confirmed": False,
        "durationSeconds": 5,
        "retryAttempts": 3,
        "retryBackoffSeconds": 1,
        "intentId": "i-1",
        "transportAttempts": 1,
        "transportResultCodes": ["ok"],
        "transportLatencyBucket": "<2s",
    }
    assert found[INVOCATIONS] == {
        "schemaVersion": "v1",
        "timestamp": "2026-11-21T02:01:05Z",
        "startedAt": "2026-11-21T02:01:00Z",
        "loopId": "demo-loop",
        "intent": "approve",
        "traceId": "trace-1",
        "transport": "local",
        "requestedBy": "riya",
        "idempotencyKey": "key-1",
        "note": "ship it",
        "request": {
            "doConfirm": True,
            "timeoutSeconds": 3,
            "intervalSeconds": 2,
            "retryAttempts": 3,
            "retryBackoffSeconds": 1,
        },
        "execution": {
            "status": "succeeded",
            "exitCode": 0,
            "command": command,
            "replayed": False,
            "output": "stored",
        },
        "confirmation": {"attempted": True, "status": "ambiguous", "exitCode": 1, "outcome": confirm},
        "outcome": {
            "status": "ambiguous",
            "confirmed": False,
            "durationSeconds": 5,
            "reasonCode": "control_ambiguous",
        },
        "intentId": "i-1",
        "actor": ACTOR,
    }


FAILED = ActResult(exit_code=2, problem=ActProblem.COMMAND_FAILED)
KILLED = ActResult(problem=ActProblem.COMMAND_TIMED_OUT)


@pytest.mark.parametrize(
    ("intent", "status", "execution", "confirmation", "attempted", "exit_code", "confirm_exit_code"),
    [
        (settled(executed()), "confirmed", "succeeded", "confirmed", True, 0, 0),
        (settled(executed(), confirmed=False), "ambiguous", "succeeded", "ambiguous", True, 0, 1),
        (
            life.unconfirmed(executed(), moment(62)),
            "executed_unconfirmed",
            "succeeded",
            "skipped",
            False,
            0,
            0,
        ),
        (executed(IntentKind.CANCEL, FAILED), "failed_command", "failed_command", "not_attempted", False, 2, 0),
        (
            life.looked_back(executed(IntentKind.CANCEL, FAILED), seen(), moment(63)),
            "failed_command",
            "failed_command",
            "attempted_unknown",
            True,
            2,
            0,
        ),
        (
            life.looked_back(executed(IntentKind.CANCEL, FAILED), seen(False), moment(63)),
            "failed_command",
            "failed_command",
            "attempted_unknown",
            True,
            2,
            1,
        ),
        (settled(executed(IntentKind.CANCEL, KILLED)), "confirmed", "succeeded", "confirmed", True, 124, 0),
        (
            settled(executed(IntentKind.CANCEL, KILLED), confirmed=False),
            "ambiguous",
            "succeeded",
            "ambiguous",
            True,
            124,
            1,
        ),
        (
            life.settled(executed(), seen(False), moment(65.9)),
            "failed_command",
            "failed_command",
            "attempted_unknown",
            True,
            1,
            1,
        ),
    ],
)
def test_each_outcome_is_told_in_the_contracts_words(
    intent: Intent,
    status: str,
    execution: str,
    confirmation: str,
    attempted: bool,
    exit_code: int,
    confirm_exit_code: int,
) -> None:
    """Control-and-service 4.1, row by row; all three files say the same."""
    found = told(intent)
    reason = {"ambiguous": "control_ambiguous", "failed_command": "control_failed_command"}.get(status)
    confirmed = status == "confirmed"

    for row in (found[INTENTS], found[CONTROL]):
        assert (row["status"], row["exitCode"], row["confirmExitCode"], row["confirmed"]) == (
            status,
            exit_code,
            confirm_exit_code,
            confirmed,
        )
    invocation = found[INVOCATIONS]
    assert (invocation["execution"]["status"], invocation["execution"]["exitCode"]) == (execution, exit_code)
    assert invocation["confirmation"]["status"] == confirmation
    assert (invocation["confirmation"]["attempted"], invocation["confirmation"]["exitCode"]) == (
        attempted,
        confirm_exit_code,
    )
    assert (invocation["outcome"]["status"], invocation["outcome"]["confirmed"]) == (status, confirmed)
    assert found[CONTROL].get("reasonCode") == invocation["outcome"].get("reasonCode") == reason
    assert ("confirm" in found[INTENTS]) == ("outcome" in invocation["confirmation"]) == attempted


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (ActResult(problem=ActProblem.COMMAND_MISSING), 127),
        (ActResult(problem=ActProblem.COMMAND_NOT_EXECUTABLE), 126),
        (ActResult(problem=ActProblem.PROCESS_CHANGED), 1),
        (ActResult(problem=ActProblem.START_UNAVAILABLE), 1),
        (ActResult(exit_code=-15, problem=ActProblem.COMMAND_FAILED), 143),
        (ActResult(exit_code=255), 255),
    ],
)
def test_a_failed_command_has_an_exit_code_that_programs_know(result: ActResult, code: int) -> None:
    found = told(executed(IntentKind.CANCEL, result))

    assert found[INTENTS]["status"] == "failed_command"
    assert [found[journal]["exitCode"] for journal in (INTENTS, CONTROL)] == [code, code]


def test_a_run_that_never_began_has_the_exit_code_that_it_ended_with() -> None:
    started = replace(executed(), intent=IntentKind.START)
    verdict = Verdict(Outcome.CONTRARY, "run_not_started", missing="It ended.", exit_code=3, output="why")

    found = told(life.judged(started, verdict, seen(False, reason="run_not_started"), moment(65.9)))

    assert (found[INTENTS]["exitCode"], found[INTENTS]["commandOutput"]) == (3, "why")
    assert found[INTENTS]["confirm"]["reason"] == "run_not_started"


@pytest.mark.parametrize(
    "intent",
    [
        life.refused(an_intent(), Refusal("run_active", "It runs."), moment(61.2)),
        life.expired(an_intent(), "opsd_restarted", moment(61.2)),
    ],
    ids=lambda intent: intent.status,
)
def test_what_was_never_executed_is_in_the_audit_alone(intent: Intent) -> None:
    """Readers judge a loop by the last row of intents.jsonl: there, nothing has happened."""
    found = told(intent)

    assert list(found) == [INVOCATIONS]
    row = found[INVOCATIONS]
    assert row["execution"] == {"status": "not_started", "exitCode": 0, "command": "", "replayed": False}
    assert row["confirmation"] == {"attempted": False, "status": "not_attempted", "exitCode": 0}
    assert (row["outcome"]["status"], row["outcome"]["confirmed"]) == (intent.status, False)
    assert intent.refusal is not None
    assert row["outcome"]["refusal"]["code"] == intent.refusal.code
    assert row["startedAt"] == "2026-11-21T02:01:00Z"
    assert row["outcome"]["durationSeconds"] == 1


def test_one_that_settles_later_is_told_again_and_counted_once() -> None:
    ambiguous = settled(executed(), confirmed=False)
    later = life.settled_later(ambiguous, seen(), moment(120.5))

    found = told(later)

    assert list(found) == [INTENTS], "there was one attempt"
    assert (found[INTENTS]["status"], found[INTENTS]["timestamp"]) == ("confirmed", "2026-11-21T02:02:00Z")
    assert (found[INTENTS]["confirmed"], found[INTENTS]["confirmExitCode"]) == (True, 0)


def test_an_operators_word_is_told_as_executed_and_nothing_more() -> None:
    """The contract has no other status that closes an ambiguous one without claiming a proof."""
    ambiguous = settled(executed(), confirmed=False)

    found = told(life.acknowledged(ambiguous, "noor", RIYA, "I looked", moment(200)))

    assert list(found) == [INTENTS]
    row = found[INTENTS]
    assert (row["status"], row["confirmed"], row["timestamp"]) == (
        "executed_unconfirmed",
        False,
        "2026-11-21T02:03:20Z",
    )
    assert (row["acknowledgedBy"], row["acknowledgedReason"], row["requestedBy"]) == ("noor", "I looked", "riya")


def test_a_decision_that_comes_further_tells_its_rows_the_same() -> None:
    """A crash may keep them from the disk, and they are made again from what the intent is by then."""
    done = settled(executed(IntentKind.APPROVE), reason="decision_recorded")
    consumed = life.staged(done, Stage.CONSUMED, (), moment(900))

    assert rows(consumed) == rows(done)


def test_what_is_missing_is_told_with_the_evidence() -> None:
    half = Evidence("process", "Process 1 is gone.")
    ambiguous = settled(executed(), confirmed=False, evidence=(half,), missing="state.json calls the loop active.")

    evidence = told(ambiguous)[INTENTS]["confirm"]["evidence"]

    assert evidence == [
        {"where": "process", "says": "Process 1 is gone."},
        {"where": "missing", "says": "state.json calls the loop active."},
    ]


@pytest.mark.parametrize("status", [IntentStatus.RECORDED, IntentStatus.EXECUTING, IntentStatus.EXECUTED])
def test_what_is_under_way_is_told_to_nobody_outside(status: IntentStatus) -> None:
    assert rows(an_intent(status=status)) == ()


def test_empty_text_is_left_out() -> None:
    row = told(settled(executed()))[INTENTS]

    assert {"note", "commandOutput"} & set(row) == set()


def test_a_clock_that_was_set_back_gives_no_negative_duration() -> None:
    back = life.settled(executed(), seen(), moment(AT_S - 30))

    assert told(back)[CONTROL]["durationSeconds"] == 0


def test_every_row_must_last() -> None:
    """What follows an intent may not be on the disk without it."""
    done = settled(executed())

    assert log_row(done) == Append(Journal.INTENT_LOG, done, durable=True)
    assert all(append.durable for append in rows(done))
