"""Intents behind a service: what is asked of it, and what its answer makes of ours.

The service inside a sprite has a control desk of its own, which judges, carries out and confirms; the manager's intent
follows that record and is never ahead of it. A service that knows the contract's control endpoint alone is asked once.
Sending, and when to ask again, is `opsd.supervisor.remote`. Source: control-and-service 4.2, 9.4, 12 (A3, B3, B5, E1).
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import replace

from opsd.core.intents import life
from opsd.core.intents.acts import watermark
from opsd.core.intents.evidence import unseen
from opsd.core.intents.verdict import TIMEOUT
from opsd.model.acts import ActProblem
from opsd.model.defuse import defuse, defuse_lines
from opsd.model.ids import UNKNOWN_RUN
from opsd.model.intent import (
    DECISIONS,
    Confirmation,
    Evidence,
    Execution,
    Fence,
    Intent,
    IntentKind,
    IntentStatus,
    Refusal,
)
from opsd.model.lifecycle import Phase
from opsd.model.refusals import REFUSALS
from opsd.model.run import LoopRef, Run
from opsd.model.runtime import Aware
from opsd.model.service import ControlAnswer, ControlRequest

THERE: Final = "sprite:"
"""What evidence that was found inside a sprite begins its `where` with."""
BY_CONTRACT: Final = "/ops/control"
BY_KEY: Final = "/ops/intents"
FENCED_HERE: Final = Evidence("manager", "The fence was checked here, before the request; the service knows none.")

CODES_KEPT: Final = 20
_TEXT_LENGTH_MAX: Final = 1_000
_WAS_EXECUTED: Final = frozenset(
    {
        IntentStatus.EXECUTED,
        IntentStatus.CONFIRMED,
        IntentStatus.EXECUTED_UNCONFIRMED,
        IntentStatus.AMBIGUOUS,
        IntentStatus.ACKNOWLEDGED,
    }
)
_SHORTEST_PAUSE_S: Final = 1e-3


# What is asked


def begun(intent: Intent, run: Run, path: str, now: datetime) -> Intent:
    """About to be asked for at `path` of the service: the row that must be on the disk before."""
    return life.begun(intent, watermark(run, run.artifacts, now), words(run.ref, path), now)


def words(ref: LoopRef, path: str) -> str:
    """The request as people read it. Source: control-and-service 2.3."""
    return f"POST {ref.place}{path}"


def is_asked_by_key(intent: Intent) -> bool:
    """Whether the service that it was sent to can be asked what became of it.

    The contract's command uses the contract's endpoint even where the service knows intents: asking does no harm.
    """
    if intent.execution is None:
        return False
    return intent.options.as_contract or intent.execution.command.endswith(BY_KEY)


def wire_key(intent: Intent) -> str:
    """The key under which its service is asked: our own id for it, but of a caller of the contract's command his own.

    So whoever asks again under that key, his answer being lost, is told what came of it, and does nothing twice.
    """
    return intent.idempotency_key if intent.options.as_contract else intent.id


def counted(intent: Intent, attempts: int, codes: tuple[str, ...]) -> Intent:
    """What sending the request took so far; of many attempts the newest are kept."""
    execution = _begun(intent)
    kept = (*execution.codes, *codes)[-CODES_KEPT:]
    return replace(intent, execution=replace(execution, attempts=execution.attempts + attempts, codes=kept))


def pause_for_s(intent: Intent) -> float | None:
    """For how long a pause was asked to be expected: the same whenever it is asked."""
    until = intent.options.pause_until
    return max(_SHORTEST_PAUSE_S, (until - intent.recorded_at).total_seconds()) if until is not None else None


def control_request_of(intent: Intent) -> ControlRequest:
    """What a service that knows the contract alone is asked for, once."""
    return ControlRequest(
        loop_id=intent.loop_id,
        intent=intent.intent,
        by=intent.requested_by,
        trace_id=intent.trace_id,
        idempotency_key=wire_key(intent),
        note=intent.note,
        no_confirm=not intent.options.confirm,
    )


def fence_of(intent: Intent, run: Run) -> Fence:
    """What the operator saw, and where he named nothing what is true now: the request may be long on its way.

    A start is for whatever comes, and a run that has no id yet cannot be named.
    """
    expect, mark = intent.expect, intent.watermark
    if mark is None or intent.intent is IntentKind.START:
        return expect
    if intent.intent in DECISIONS:
        return replace(expect, candidate=expect.candidate or mark.candidate)
    projection = run.projection
    if mark.run_id in (None, UNKNOWN_RUN) or projection is None or projection.phase is Phase.STARTING:
        return expect
    return replace(expect, run_id=expect.run_id or mark.run_id)


# What a service that knows intents answers


def is_ours(intent: Intent, theirs: Intent) -> bool:
    """Whether the service's record is of this very request."""
    return (theirs.idempotency_key, theirs.loop_id, theirs.intent) == (wire_key(intent), intent.loop_id, intent.intent)


def followed(intent: Intent, theirs: Intent, now: datetime, *, replayed: bool = False) -> tuple[Intent, ...]:
    """The steps that `intent` takes by the service's own record of it; none where that is no further.

    `replayed`: the service had it already when it was asked for. Times of steps are ours, those in evidence theirs.
    """
    if intent.status not in (IntentStatus.EXECUTING, IntentStatus.EXECUTED, IntentStatus.AMBIGUOUS):
        return ()
    steps: list[Intent] = []
    execution = _execution(intent, theirs, now, replayed)
    if intent.status is IntentStatus.EXECUTING and _is_over(theirs):
        intent = life.executed_there(intent, execution, now)
        steps.append(intent)
    match theirs.status:
        case IntentStatus.RECORDED | IntentStatus.EXECUTING | IntentStatus.EXECUTED:
            pass
        case IntentStatus.CONFIRMED if theirs.confirmation is not None and theirs.confirmation.confirmed:
            steps.append(life.settled(replace(intent, execution=execution), _confirmation(theirs.confirmation), now))
        case IntentStatus.EXECUTED_UNCONFIRMED:
            if execution.problem is None:  # of a command whose end nobody knows that would be no answer
                steps.append(life.unconfirmed(replace(intent, execution=execution), now))
        case IntentStatus.FAILED_COMMAND:
            seen = _confirmation(theirs.confirmation) if theirs.confirmation is not None else None
            steps.append(life.failed_there(intent, execution, now, confirmation=seen))
        case IntentStatus.REFUSED | IntentStatus.EXPIRED:
            steps.append(_not_done_there(intent, theirs, now))
        case IntentStatus.CONFIRMED | IntentStatus.AMBIGUOUS | IntentStatus.ACKNOWLEDGED:
            if intent.status is not IntentStatus.AMBIGUOUS:
                intent = life.ambiguous(replace(intent, execution=execution), _unproven(theirs, now), now)
                steps.append(intent)
            word = theirs.acknowledged
            if word is not None:
                steps.append(life.acknowledged(intent, word.by, word.actor, word.reason, now))
    return tuple(steps)


def unanswered(intent: Intent, problem: str, now: datetime) -> Intent:
    """The service may have been asked, and does not say what became of it."""
    return life.ambiguous(intent, unseen(0, _text(problem), now), now)


def unreached(intent: Intent, problem: str, now: datetime) -> Intent:
    """Surely nothing was done: no request came to the service."""
    return _failed(intent, ActProblem.SERVICE_UNREACHED, problem, now)


def turned_down(intent: Intent, code: str, problem: str, now: datetime) -> Intent:
    """Surely nothing was done: the service answered with its own code that it does not take the request."""
    return _failed(intent, ActProblem.SERVICE_REFUSED, f"{_text(code)}: {problem}", now)


def _failed(intent: Intent, what: ActProblem, problem: str, now: datetime) -> Intent:
    detail = _text(problem)
    execution = _begun(intent)
    output = f"service request failed: {detail}"
    told = replace(execution, ended_at=now, output=output, problem=what.value, detail=detail)
    return life.failed_there(intent, told, now)


def _not_done_there(intent: Intent, theirs: Intent, now: datetime) -> Intent:
    """Nothing was done. Of one that was believed to be under way, or open, only a failed command can be made."""
    fallback = "waited_too_long" if theirs.status is IntentStatus.EXPIRED else "picture_incomplete"
    refusal = theirs.refusal or Refusal(fallback, f"The service says {theirs.status}, and not why.")
    told = replace(refusal, message=_text(refusal.message))
    if intent.status is not IntentStatus.EXECUTING:
        return turned_down(intent, told.code, told.message, now)
    if theirs.status is IntentStatus.REFUSED or told.code not in REFUSALS:
        return life.refused(intent, told, now)
    return replace(life.expired(intent, told.code, now), refusal=told, execution=None)


def _is_over(theirs: Intent) -> bool:
    """Whether the service knows that its act came to an end; after a crash of its own it may only know the outcome."""
    if theirs.status is IntentStatus.EXECUTED_UNCONFIRMED:
        return True
    ended = theirs.execution is not None and theirs.execution.ended_at is not None
    return theirs.status in _WAS_EXECUTED and ended


def _execution(intent: Intent, theirs: Intent, now: datetime, replayed: bool) -> Execution:
    """How it went there, under our own command; `replayed` sticks."""
    execution, done = _begun(intent), theirs.execution
    execution = replace(execution, replayed=execution.replayed or replayed)
    if done is None:
        return execution
    return replace(
        execution,
        ended_at=execution.ended_at or now,
        exit_code=done.exit_code,
        output=_output(done.output),
        problem=done.problem,
        detail=_text(done.detail) if done.detail is not None else None,
    )


def _confirmation(theirs: Confirmation) -> Confirmation:
    quoted = tuple(replace(one, where=THERE + _text(one.where), says=_text(one.says)) for one in theirs.evidence)
    return replace(theirs, evidence=quoted)


def _unproven(theirs: Intent, now: datetime) -> Confirmation:
    seen = theirs.confirmation
    if seen is None or seen.confirmed:
        return unseen(0, f"The service says {theirs.status} without what shows it.", now)
    return _confirmation(seen)


# What a service that knows the contract alone answers


class _Confirm(msgspec.Struct, frozen=True, rename="camel"):
    confirmed: bool = False
    reason: str = TIMEOUT
    attempts: int = 0
    observed_status: str = "unknown"
    observed_last_event: str | None = None
    observed_approval_status: str | None = None
    observed_active: bool = False
    observed_at: Aware | None = None


class _Result(msgspec.Struct, frozen=True, rename="camel"):
    """The inner control's row, as far as it says how it ended. `intent` and `loop_id` tell whose it is (B3)."""

    status: str | None = None
    intent: str | None = None
    loop_id: str | None = None
    confirm: _Confirm | None = None


class _ControlReply(msgspec.Struct, frozen=True, rename="camel"):
    ok: bool | None = None
    exit_code: int | None = None
    result: _Result | None = None
    replayed: bool = False


_control_reply = msgspec.json.Decoder(_ControlReply)


def controlled(intent: Intent, answer: ControlAnswer, now: datetime) -> tuple[Intent, ...]:
    """The steps that `intent`, which is executing, takes by the one answer of such a service.

    The contract's table, apart from its hazards: what says no status is not confirmed (B5), an answer that is none
    leaves open what was done (A4, E1), and so does one about another request (B3). Source: control-and-service 4.2.
    """
    intent = counted(intent, answer.attempts, answer.codes)
    problem = answer.problem.problem if answer.problem is not None else "the service did not answer"
    if answer.surely_not_sent:
        return (unreached(intent, problem, now),)
    if answer.turned_down is not None:
        return (turned_down(intent, answer.turned_down, problem, now),)
    if answer.problem is not None or answer.status is None:
        return (unanswered(intent, f"No answer came that tells: {problem}.", now),)
    try:
        reply = _control_reply.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return (unanswered(intent, f"Its answer cannot be read: {error}.", now),)
    return _replied(intent, reply, bytes(answer.body), now)


def says_no_end(answer: ControlAnswer) -> bool:
    """Whether a service that may have carried the request out does not say how that ended."""
    if answer.problem is not None:
        return not answer.surely_not_sent and answer.turned_down is None
    try:
        reply = _control_reply.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    status = reply.result.status if reply.result is not None else None
    return status in (IntentStatus.RECORDED, IntentStatus.EXECUTING, IntentStatus.EXECUTED)


def _replied(intent: Intent, reply: _ControlReply, body: bytes, now: datetime) -> tuple[Intent, ...]:
    result = reply.result or _Result()
    code = reply.exit_code if reply.exit_code is not None and reply.exit_code >= 0 else 0
    output = _output(body.decode("utf-8", "backslashreplace"))
    execution = replace(_begun(intent), ended_at=now, exit_code=code, output=output, replayed=reply.replayed)
    seen = _seen(result.confirm, now)
    if (result.intent or intent.intent) != intent.intent or (result.loop_id or intent.loop_id) != intent.loop_id:
        told = f"Its answer is about {_text(str(result.intent))} of {_text(str(result.loop_id))}."
        return (life.ambiguous(replace(intent, execution=execution), _unknown(told, now), now),)
    if result.status == IntentStatus.FAILED_COMMAND or (not result.status and _has_failed(reply)):
        return (life.failed_there(intent, execution, now, confirmation=seen),)
    done = life.executed_there(intent, execution, now)
    match result.status:
        case IntentStatus.CONFIRMED:
            proof = replace(seen or _word(now), confirmed=True)
            return done, life.settled(done, proof, now)
        case IntentStatus.EXECUTED_UNCONFIRMED:
            return done, life.unconfirmed(done, now)
        case IntentStatus.AMBIGUOUS:
            told = "Its service found no evidence of the effect in time."
            return done, life.ambiguous(done, replace(seen or _unknown(told, now), confirmed=False), now)
        case None | "":
            return done, life.ambiguous(done, _unknown("Its answer says no status.", now), now)
        case _:
            told = f"Its answer has the status {_text(result.status)}, which proves nothing."
            return done, life.ambiguous(done, seen or _unknown(told, now), now)


def _has_failed(reply: _ControlReply) -> bool:
    """By an answer without a status: it is not well, and its exit code is not that of an ambiguous end."""
    return reply.ok is not True and reply.exit_code != 2 and (reply.ok is False or bool(reply.exit_code))


def _seen(confirm: _Confirm | None, now: datetime) -> Confirmation | None:
    if confirm is None:
        return None
    return Confirmation(
        confirmed=confirm.confirmed,
        reason=_text(confirm.reason),
        attempts=confirm.attempts,
        observed_at=confirm.observed_at or now,
        observed_status=_text(confirm.observed_status),
        observed_last_event=confirm.observed_last_event,
        observed_approval_status=confirm.observed_approval_status,
        observed_active=confirm.observed_active,
        evidence=(FENCED_HERE,),
    )


def _word(now: datetime) -> Confirmation:
    """It says confirmed, and nothing more."""
    says = Evidence(f"{THERE}control", "The service says confirmed, and quotes nothing.")
    return Confirmation(True, "service_says_so", 0, now, evidence=(says, FENCED_HERE))


def _unknown(missing: str, now: datetime) -> Confirmation:
    return replace(unseen(0, missing, now), evidence=(FENCED_HERE,))


def _begun(intent: Intent) -> Execution:
    if intent.execution is None:
        raise ValueError(f"intent {intent.id} is {intent.status}, and no service was asked")
    return intent.execution


def _text(text: str) -> str:
    """Words of a service, fit for terminals: one line, bounded."""
    return defuse(" ".join(text.split()))[:_TEXT_LENGTH_MAX]


def _output(text: str) -> str:
    return defuse_lines(text)[-life.OUTPUT_LENGTH_MAX :]
