"""The contract's three rows of a finished control attempt, for the programs that read them.

Source: control-and-service 6. Made from an intent by `opsd.core.intents.rows`. Members marked ours are additive.
"""

import msgspec

from opsd.model.intent import Actor, Evidence, Refusal
from opsd.model.runtime import Aware


class ConfirmDocument(msgspec.Struct, frozen=True, rename="camel"):
    """`confirm`: here nulls are kept. Source: control-and-service 3. `evidence` is ours.

    In its place stands what the caller's own confirmation program printed, where one was asked.
    """

    intent: str
    confirmed: bool
    reason: str
    attempts: int
    timeout_seconds: int
    observed_status: str
    observed_last_event: str | None
    observed_approval_status: str | None
    observed_active: bool
    observed_at: Aware
    evidence: tuple[Evidence, ...] = ()


class IntentRow(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A line of `intents.jsonl`; its last line is what existing readers judge by. Source: control-and-service 6.1.

    `intent_id`, `actor`, `acknowledged_by`, `acknowledged_reason` are ours.
    """

    timestamp: Aware
    loop_id: str
    intent: str
    trace_id: str
    requested_by: str
    transport: str
    status: str
    command: str
    idempotency_key: str
    exit_code: int
    confirm_exit_code: int
    confirmed: bool
    note: str = ""
    command_output: str = ""
    confirm: ConfirmDocument | msgspec.Raw | None = None
    intent_id: str | None = None
    actor: Actor | None = None
    acknowledged_by: str | None = None
    acknowledged_reason: str | None = None


class ControlRow(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A line of `telemetry/control.jsonl`. Source: control-and-service 6.2.

    `intent_id` and the `transport_*` members are ours: how many requests or calls were made, what each came to (an HTTP
    status, `ok`, or a word), and how long the intent took to be carried out.
    """

    timestamp: Aware
    started_at: Aware
    loop_id: str
    intent: str
    trace_id: str
    transport: str
    status: str
    idempotency_key: str
    requested_by: str
    exit_code: int
    confirm_exit_code: int
    confirmed: bool
    duration_seconds: int
    retry_attempts: int
    retry_backoff_seconds: int
    reason_code: str | None = None
    intent_id: str | None = None
    transport_attempts: int | None = None
    transport_result_codes: tuple[str, ...] | None = None
    transport_latency_bucket: str | None = None


class InvocationRequest(msgspec.Struct, frozen=True, rename="camel", gc=False):
    do_confirm: bool
    timeout_seconds: int
    interval_seconds: int
    retry_attempts: int
    retry_backoff_seconds: int


class InvocationExecution(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`status` is `succeeded` or `failed_command`; `not_started` for what was refused or expired."""

    status: str
    exit_code: int
    command: str
    replayed: bool
    output: str = ""


class InvocationConfirmation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    attempted: bool
    status: str
    exit_code: int
    outcome: ConfirmDocument | msgspec.Raw | None = None


class InvocationOutcome(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`refusal` is ours."""

    status: str
    confirmed: bool
    duration_seconds: int
    reason_code: str | None = None
    refusal: Refusal | None = None


class InvocationRow(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A line of `telemetry/control-invocations.jsonl`. Source: control-and-service 6.3.

    `intent_id` and `actor` are ours.
    """

    timestamp: Aware
    started_at: Aware
    loop_id: str
    intent: str
    trace_id: str
    transport: str
    requested_by: str
    idempotency_key: str
    request: InvocationRequest
    execution: InvocationExecution
    confirmation: InvocationConfirmation
    outcome: InvocationOutcome
    schema_version: str
    note: str = ""
    intent_id: str | None = None
    actor: Actor | None = None
