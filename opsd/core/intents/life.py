"""How an intent gets from one status to the next. `opsd.model.intent.NEXT` says what may follow what.

Whether a step is due is decided elsewhere: in `gate` before the act, in `evidence` after it. Every step gives the
intent's next row for the log; what outside programs read of it is `rows`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from opsd.core.intents.acts import words
from opsd.core.intents.evidence import Outcome, Verdict
from opsd.model.acts import Act, ActProblem, ActResult
from opsd.model.ids import LoopId
from opsd.model.intent import (
    DECISIONS,
    IN_FLIGHT,
    NEVER_EXECUTED,
    NEXT,
    Acknowledgement,
    Actor,
    Confirmation,
    Evidence,
    Execution,
    Fence,
    Intent,
    IntentKind,
    IntentStatus,
    Options,
    Refusal,
    Stage,
    Watermark,
)
from opsd.model.refusals import REFUSALS

SCHEMA_VERSION: Final = "v1"
OUTPUT_LINES_MAX: Final = 40
OUTPUT_LENGTH_MAX: Final = 16 * 1024
"""Of what several commands printed together, as much is kept as of one. Source: control-and-service 2.2."""

_ANYTHING: Final = Fence()
_USUAL: Final = Options()
_STAGES: Final = tuple(Stage)
_NOTHING_DONE: Final = frozenset(
    {
        ActProblem.COMMAND_MISSING,
        ActProblem.COMMAND_NOT_EXECUTABLE,
        ActProblem.PROCESS_CHANGED,
        ActProblem.NOT_PERMITTED,
        ActProblem.START_UNAVAILABLE,
        ActProblem.SERVICE_UNREACHED,
        ActProblem.SERVICE_REFUSED,
    }
)
# A look that finds these without their object (a run that never began, a process that is gone) leaves nothing open:
# nothing more can come of them. A decision that went astray, or a cancel, is for people to look at.
_OVER_WHEN_CONTRADICTED: Final = frozenset({IntentKind.START, IntentKind.PAUSE, IntentKind.RESUME})


def recorded(
    *,
    id: str,  # noqa: A002  the record's own name for it
    loop_id: LoopId,
    kind: IntentKind,
    requested_by: str,
    actor: Actor,
    trace_id: str,
    idempotency_key: str,
    fingerprint: str,
    ordinal: int,
    now: datetime,
    expires_at: datetime,
    key_given: bool = False,
    transport: str = "local",
    note: str = "",
    reason: str = "",
    expect: Fence = _ANYTHING,
    options: Options = _USUAL,
    retry_attempts: int = 3,
    retry_backoff_s: float = 1.0,
) -> Intent:
    """An intent that has just been taken in."""
    return Intent(
        id=id,
        loop_id=loop_id,
        intent=kind,
        status=IntentStatus.RECORDED,
        recorded_at=now,
        updated_at=now,
        expires_at=expires_at,
        requested_by=requested_by,
        actor=actor,
        trace_id=trace_id,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        ordinal=ordinal,
        schema_version=SCHEMA_VERSION,
        key_given=key_given,
        transport=transport,
        note=note,
        reason=reason,
        expect=expect,
        options=options,
        retry_attempts=retry_attempts,
        retry_backoff_s=retry_backoff_s,
    )


def refused(intent: Intent, refusal: Refusal, now: datetime) -> Intent:
    """Nothing was done, and nothing will be. What an execution already begun had in mind is taken back."""
    return _to(intent, IntentStatus.REFUSED, now, refusal=refusal, execution=None)


def expired(intent: Intent, code: str, now: datetime) -> Intent:
    """Nothing was done, and its time is over; `code` is one of `opsd.model.refusals`.

    Raises:
        KeyError: no such code.
    """
    return _to(intent, IntentStatus.EXPIRED, now, refusal=Refusal(code, REFUSALS[code].says))


def executing(intent: Intent, watermark: Watermark, acts: Sequence[Act], now: datetime) -> Intent:
    """About to be carried out: the row that must be on the disk before anything is done."""
    return begun(intent, watermark, "; ".join(words(act) for act in acts), now)


def begun(intent: Intent, watermark: Watermark, command: str, now: datetime) -> Intent:
    """The same, where what is about to be done is no act of ours but a request: `command` is how it reads."""
    return _to(intent, IntentStatus.EXECUTING, now, watermark=watermark, execution=Execution(command, now))


def executed(intent: Intent, results: Sequence[ActResult], now: datetime) -> Intent:
    """What came of the acts. An exit other than 0, or an act that surely did nothing, is a failed command.

    Where nobody knows how a command ended (killed at its time limit), it is executed, and evidence decides.
    """
    told = next((result for result in results if result.problem is not None or result.exit_code), None)
    codes = [result.exit_code for result in results if result.exit_code is not None]
    if told is not None:
        codes = [told.exit_code] if told.exit_code is not None else []
    failed = told is not None and (told.problem in _NOTHING_DONE or bool(told.exit_code))
    execution = replace(
        _execution(intent),
        ended_at=now,
        exit_code=codes[-1] if codes else None,
        output=_last_words([result.output for result in results if result.output]),
        problem=told.problem.value if told is not None and told.problem is not None else None,
        detail=told.detail if told is not None else None,
    )
    status = IntentStatus.FAILED_COMMAND if failed else IntentStatus.EXECUTED
    return _to(intent, status, now, execution=execution)


def did_nothing(intent: Intent) -> bool:
    """Whether it surely changed nothing, so that the same request may be made again."""
    if intent.status in NEVER_EXECUTED:
        return True
    problem = intent.execution.problem if intent.execution is not None else None
    return intent.status is IntentStatus.FAILED_COMMAND and problem in _NOTHING_DONE


def executed_there(intent: Intent, execution: Execution, now: datetime) -> Intent:
    """A service has carried it out; what came of that is `execution`."""
    return _to(intent, IntentStatus.EXECUTED, now, execution=execution)


def failed_there(
    intent: Intent, execution: Execution, now: datetime, *, confirmation: Confirmation | None = None
) -> Intent:
    """A service could not carry it out, or was never reached. What a look showed all the same is `confirmation`."""
    return _to(intent, IntentStatus.FAILED_COMMAND, now, execution=execution, confirmation=confirmation)


def looked_back(intent: Intent, confirmation: Confirmation, now: datetime) -> Intent:
    """A failed command that was looked after all the same: it stays one, and quotes what was seen.

    Raises:
        ValueError: it is no failed command.
    """
    if intent.status is not IntentStatus.FAILED_COMMAND:
        raise ValueError(f"intent {intent.id} is {intent.status}: only a failed command is looked back at")
    return replace(intent, confirmation=confirmation, updated_at=now)


def judged(intent: Intent, verdict: Verdict, confirmation: Confirmation, now: datetime) -> Intent:
    """What a verdict that is final makes of an intent: of an executed one, and of one that is still ambiguous.

    Contradicted, a start, a pause or a resume has failed; anything else is ambiguous (and stays so), because somebody
    should look at it.

    Raises:
        ValueError: the verdict is that it is not known yet.
    """
    match verdict.outcome:
        case Outcome.CONFIRMED:
            return settled(intent, confirmation, now)
        case Outcome.CONTRARY if intent.intent in _OVER_WHEN_CONTRADICTED:
            execution = intent.execution
            if execution is not None and verdict.exit_code is not None:
                # What was launched is the runtime: its end is how the intent ended.
                execution = replace(
                    execution,
                    exit_code=verdict.exit_code,
                    output=_last_words([text for text in (execution.output, verdict.output) if text]),
                )
            return settled(replace(intent, execution=execution), confirmation, now)
        case Outcome.CONTRARY if intent.status is IntentStatus.AMBIGUOUS:
            return intent
        case Outcome.CONTRARY:
            return ambiguous(intent, confirmation, now)
        case Outcome.NOT_YET:
            raise ValueError(f"intent {intent.id} is not judged yet: {verdict.missing}")


def settled(intent: Intent, confirmation: Confirmation, now: datetime) -> Intent:
    """Confirmed by evidence, or failed by evidence to the contrary; a confirmed decision is recorded (its stage)."""
    if not confirmation.confirmed:
        return _to(intent, IntentStatus.FAILED_COMMAND, now, confirmation=confirmation)
    if intent.intent not in DECISIONS:
        return _to(intent, IntentStatus.CONFIRMED, now, confirmation=confirmation)
    return _to(
        intent,
        IntentStatus.CONFIRMED,
        now,
        confirmation=confirmation,
        stage=Stage.RECORDED,
        stage_evidence=confirmation.evidence,
    )


def settled_later(intent: Intent, confirmation: Confirmation, now: datetime) -> Intent:
    """As `settled`, of an intent that was ambiguous.

    Raises:
        ValueError: it is not ambiguous.
    """
    if intent.status is not IntentStatus.AMBIGUOUS:
        raise ValueError(f"intent {intent.id} is {intent.status}, not ambiguous: it does not settle later")
    return settled(intent, confirmation, now)


def unconfirmed(intent: Intent, now: datetime) -> Intent:
    """Executed, and nobody wants it confirmed. One whose command's end nobody knows is ambiguous instead."""
    known = _execution(intent).problem is None
    return _to(intent, IntentStatus.EXECUTED_UNCONFIRMED if known else IntentStatus.AMBIGUOUS, now)


def ambiguous(intent: Intent, confirmation: Confirmation, now: datetime) -> Intent:
    """It was carried out, or may have been, and the window closed without proof."""
    return _to(intent, IntentStatus.AMBIGUOUS, now, confirmation=confirmation)


def acknowledged(intent: Intent, by: str, actor: Actor, reason: str, now: datetime) -> Intent:
    """An operator has looked and settles it by his word."""
    return _to(intent, IntentStatus.ACKNOWLEDGED, now, acknowledged=Acknowledgement(by, actor, reason, now))


def staged(intent: Intent, stage: Stage, evidence: tuple[Evidence, ...], now: datetime) -> Intent:
    """A confirmed decision has come further; its status stays as it is.

    Raises:
        ValueError: it is no confirmed decision, or would go back (or nowhere).
    """
    if intent.intent not in DECISIONS or intent.status is not IntentStatus.CONFIRMED:
        raise ValueError(f"intent {intent.id} ({intent.intent}, {intent.status}) is no confirmed decision")
    if intent.stage is not None and _STAGES.index(stage) <= _STAGES.index(intent.stage):
        raise ValueError(f"intent {intent.id} cannot go from stage {intent.stage} to {stage}")
    return replace(intent, stage=stage, stage_evidence=evidence, updated_at=now)


def recovered(intent: Intent, now: datetime) -> Intent:
    """What a restart makes of it. One that was only recorded has surely not been carried out, and never will be.

    One that was being carried out stays as it is: what it did is a question of evidence, and it is not done again.
    """
    return expired(intent, "opsd_restarted", now) if intent.status is IntentStatus.RECORDED else intent


def _to(intent: Intent, status: IntentStatus, now: datetime, **changes: Any) -> Intent:
    """The one way from a status to another.

    Raises:
        ValueError: the table has no such way.
    """
    if status not in NEXT[intent.status]:
        raise ValueError(f"intent {intent.id} is {intent.status}, and cannot become {status}")
    if intent.status in IN_FLIGHT and status not in IN_FLIGHT:
        changes["settled_at"] = now
    elif intent.status is IntentStatus.AMBIGUOUS and status is not IntentStatus.ACKNOWLEDGED:
        changes["resolved_at"] = now
    return replace(intent, status=status, updated_at=now, **changes)


def _execution(intent: Intent) -> Execution:
    if intent.execution is None:
        raise ValueError(f"intent {intent.id} is {intent.status}, and nothing was carried out")
    return intent.execution


def _last_words(outputs: Sequence[str]) -> str:
    lines = "\n".join(output.rstrip("\n") for output in outputs).splitlines()
    return "\n".join(lines[-OUTPUT_LINES_MAX:])[-OUTPUT_LENGTH_MAX:]
