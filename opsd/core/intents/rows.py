"""What is written down of an intent: its row of our own log, and the contract's rows once it has settled.

The rows follow from the intent alone, so that what a crash kept from the disk can be made again and is the same.
Source: control-and-service 3, 4.1, 6.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from opsd.core.instants import lag_s, whole
from opsd.core.latency import latency_bucket
from opsd.model.acts import ActProblem
from opsd.model.control import (
    ConfirmDocument,
    ControlRow,
    IntentRow,
    InvocationConfirmation,
    InvocationExecution,
    InvocationOutcome,
    InvocationRequest,
    InvocationRow,
)
from opsd.model.effects import Append, Journal
from opsd.model.intent import IN_FLIGHT, NEVER_EXECUTED, Confirmation, Evidence, Execution, Intent, IntentStatus
from opsd.model.transport import TransportMode

_EXIT_CODES: Final[Mapping[str, int]] = {
    ActProblem.COMMAND_MISSING: 127,
    ActProblem.COMMAND_NOT_EXECUTABLE: 126,
    ActProblem.COMMAND_TIMED_OUT: 124,
}
"""As a shell and `timeout` have them, where there was no exit code."""
_REASON_CODES: Final[Mapping[IntentStatus, str]] = {
    IntentStatus.AMBIGUOUS: "control_ambiguous",
    IntentStatus.FAILED_COMMAND: "control_failed_command",
}
AMBIGUOUS_EXIT: Final = 2
_ENDS: Final[Mapping[IntentStatus, int]] = {
    IntentStatus.CONFIRMED: 0,
    IntentStatus.EXECUTED_UNCONFIRMED: 0,
    IntentStatus.ACKNOWLEDGED: 0,
    IntentStatus.FAILED_COMMAND: 1,
    IntentStatus.REFUSED: 1,
    IntentStatus.EXPIRED: 1,
}
_EXECUTION: Final[Mapping[IntentStatus, str]] = {IntentStatus.FAILED_COMMAND: "failed_command"}
_CONFIRMATION: Final[Mapping[IntentStatus, str]] = {
    IntentStatus.CONFIRMED: "confirmed",
    IntentStatus.AMBIGUOUS: "ambiguous",
    IntentStatus.EXECUTED_UNCONFIRMED: "skipped",
}


def log_row(intent: Intent) -> Append:
    """The intent as it stands, for our own log: on the disk before anything follows from it."""
    return Append(Journal.INTENT_LOG, intent, durable=True)


def rows(intent: Intent) -> tuple[Append, ...]:
    """The contract's rows of an intent that has just settled, in the order in which they are written; else none.

    A row each in `intents.jsonl`, `control.jsonl` and `control-invocations.jsonl`, of what was never executed only the
    last; but the contract's own command knows no such end, and tells of a failed one in all three.

    One that was ambiguous and settled later gets another row in `intents.jsonl`, by whose last line readers judge; the
    other two have a row per attempt, and there was one attempt. For what an operator settled by his word the contract
    has no better status than `executed_unconfirmed`: executed, and no longer open.
    """
    if intent.status in IN_FLIGHT:
        return ()
    if intent.status in NEVER_EXECUTED and not intent.options.as_contract:
        return (Append(Journal.INVOCATIONS, _invocation(intent), durable=True),)
    told = Append(Journal.INTENTS, intent_row(intent), durable=True)
    if intent.resolved_at is not None or intent.acknowledged is not None:
        return (told,)
    return (
        told,
        Append(Journal.CONTROL, _control(intent), durable=True),
        Append(Journal.INVOCATIONS, _invocation(intent), durable=True),
    )


def exit_code(intent: Intent) -> int:
    """With what the contract's command ends. Source: control-and-service 2."""
    return _ENDS.get(intent.status, AMBIGUOUS_EXIT)


def intent_row(intent: Intent) -> IntentRow:
    """The row of `intents.jsonl`, also of one that gets none, or none yet: how a service tells of it."""
    execution, acknowledged = intent.execution, intent.acknowledged
    status = _status(intent) if acknowledged is None else IntentStatus.EXECUTED_UNCONFIRMED
    return IntentRow(
        timestamp=_settled_at(intent),
        loop_id=intent.loop_id,
        intent=intent.intent,
        trace_id=intent.trace_id,
        requested_by=intent.requested_by,
        transport=intent.transport,
        status=status,
        command=execution.command if execution is not None else "",
        idempotency_key=intent.idempotency_key,
        exit_code=_exit_code(intent),
        confirm_exit_code=_confirm_exit_code(intent),
        confirmed=intent.status is IntentStatus.CONFIRMED,
        note=intent.note,
        command_output=_output(intent),
        confirm=_confirm(intent),
        intent_id=intent.id,
        actor=intent.actor,
        acknowledged_by=acknowledged.by if acknowledged is not None else None,
        acknowledged_reason=acknowledged.reason if acknowledged is not None else None,
    )


def _control(intent: Intent) -> ControlRow:
    execution, status = intent.execution, _status(intent)
    attempts, codes = _attempts(intent)
    return ControlRow(
        timestamp=_settled_at(intent),
        started_at=_started_at(intent),
        loop_id=intent.loop_id,
        intent=intent.intent,
        trace_id=intent.trace_id,
        transport=intent.transport,
        status=status,
        idempotency_key=intent.idempotency_key,
        requested_by=intent.requested_by,
        exit_code=_exit_code(intent),
        confirm_exit_code=_confirm_exit_code(intent),
        confirmed=intent.status is IntentStatus.CONFIRMED,
        duration_seconds=lag_s(_started_at(intent), _settled_at(intent)),
        retry_attempts=intent.retry_attempts,
        retry_backoff_seconds=math.ceil(intent.retry_backoff_s),
        reason_code=_REASON_CODES.get(status),
        intent_id=intent.id,
        transport_attempts=attempts,
        transport_result_codes=codes,
        transport_latency_bucket=latency_bucket(_took_s(execution, intent)) if execution is not None else None,
    )


def _invocation(intent: Intent) -> InvocationRow:
    execution, status = intent.execution, _status(intent)
    attempted = intent.confirmation is not None
    never = status in NEVER_EXECUTED
    return InvocationRow(
        timestamp=_settled_at(intent),
        started_at=_started_at(intent),
        loop_id=intent.loop_id,
        intent=intent.intent,
        trace_id=intent.trace_id,
        transport=intent.transport,
        requested_by=intent.requested_by,
        idempotency_key=intent.idempotency_key,
        request=InvocationRequest(
            do_confirm=intent.options.confirm,
            timeout_seconds=_timeout_s(intent),
            interval_seconds=math.ceil(intent.options.interval_s),
            retry_attempts=intent.retry_attempts,
            retry_backoff_seconds=math.ceil(intent.retry_backoff_s),
        ),
        execution=InvocationExecution(
            status="not_started" if never else _EXECUTION.get(status, "succeeded"),
            exit_code=_exit_code(intent),
            command=execution.command if execution is not None else "",
            replayed=execution is not None and execution.replayed,
            output=_output(intent),
        ),
        confirmation=InvocationConfirmation(
            attempted=attempted,
            # Of a failed command the contract knows this word where a look was taken all the same (4.2).
            status=_CONFIRMATION.get(status, "attempted_unknown" if attempted else "not_attempted"),
            exit_code=_confirm_exit_code(intent),
            outcome=_confirm(intent),
        ),
        outcome=InvocationOutcome(
            status=status,
            confirmed=status is IntentStatus.CONFIRMED,
            duration_seconds=lag_s(_started_at(intent), _settled_at(intent)),
            reason_code=_REASON_CODES.get(status),
            refusal=intent.refusal,
        ),
        schema_version=intent.schema_version,
        note=intent.note,
        intent_id=intent.id,
        actor=intent.actor,
    )


def _status(intent: Intent) -> IntentStatus:
    """The contract's word: its command tells of what it did not carry out as of what failed."""
    never = intent.status in NEVER_EXECUTED
    return IntentStatus.FAILED_COMMAND if never and intent.options.as_contract else intent.status


def _output(intent: Intent) -> str:
    """What was printed; of what the contract's command did not carry out, why not."""
    if intent.execution is not None:
        return intent.execution.output
    refusal = intent.refusal
    told = refusal is not None and intent.options.as_contract
    return f"nothing was executed: {refusal.code}: {refusal.message}" if refusal is not None and told else ""


def _attempts(intent: Intent) -> tuple[int, tuple[str, ...]] | tuple[None, None]:
    """How often it was tried, and what each time came to. On this host nothing is tried twice."""
    execution = intent.execution
    if execution is None:
        return None, None
    if intent.transport == TransportMode.SPRITE_SERVICE:
        return execution.attempts, execution.codes
    return 1, (execution.problem or "ok",)


def _took_s(execution: Execution, intent: Intent) -> float:
    return ((execution.ended_at or intent.updated_at) - execution.started_at).total_seconds()


def _settled_at(intent: Intent) -> datetime:
    acknowledged_at = intent.acknowledged.at if intent.acknowledged is not None else None
    return whole(acknowledged_at or intent.resolved_at or intent.settled_at or intent.updated_at)


def _started_at(intent: Intent) -> datetime:
    return whole(intent.execution.started_at if intent.execution is not None else intent.recorded_at)


def _timeout_s(intent: Intent) -> int:
    return math.ceil(intent.options.timeout_s)


def _exit_code(intent: Intent) -> int:
    """The contract's: never negative, and never 0 for a failed command."""
    execution = intent.execution
    if execution is None:
        return int(_status(intent) is IntentStatus.FAILED_COMMAND)
    code = execution.exit_code
    if code is None:
        code = _EXIT_CODES.get(execution.problem or "", 1 if execution.problem else 0)
    if code < 0:
        code = 128 - code  # ended by a signal, as a shell tells it
    return code or int(intent.status is IntentStatus.FAILED_COMMAND)


def _confirm_exit_code(intent: Intent) -> int:
    seen = intent.confirmation
    if intent.status is IntentStatus.AMBIGUOUS or intent.acknowledged is not None:
        return (seen.exit_code if seen is not None else None) or 1
    return int(intent.confirmation is not None and not intent.confirmation.confirmed)


def _confirm(intent: Intent) -> ConfirmDocument | msgspec.Raw | None:
    seen = intent.confirmation
    if seen is None or (seen.exit_code is not None and not seen.told):
        return None
    if seen.told:
        return msgspec.Raw(seen.told.encode())
    return ConfirmDocument(
        intent=intent.intent,
        confirmed=seen.confirmed,
        reason=seen.reason,
        attempts=seen.attempts,
        timeout_seconds=_timeout_s(intent),
        observed_status=seen.observed_status,
        observed_last_event=seen.observed_last_event,
        observed_approval_status=seen.observed_approval_status,
        observed_active=seen.observed_active,
        observed_at=whole(seen.observed_at),
        evidence=_evidence(seen),
    )


def _evidence(seen: Confirmation) -> tuple[Evidence, ...]:
    missing = (Evidence("missing", seen.missing),) if seen.missing else ()
    return (*seen.evidence, *missing)
