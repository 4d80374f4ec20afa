"""What an operator should do next about an intent, in one sentence with the command to type.

What the codes of refusals advise is `opsd.model.refusals`.
"""

import shlex

from opsd.model.acts import ActProblem
from opsd.model.intent import Intent, IntentKind, IntentStatus, Stage
from opsd.model.refusals import REFUSALS


def next_step(intent: Intent) -> str:
    """One sentence (or two), with the loop's id in it where a command needs one."""
    loop_id = shlex.quote(intent.loop_id)
    match intent.status:
        case IntentStatus.RECORDED | IntentStatus.EXECUTING | IntentStatus.EXECUTED:
            return f"It is under way: follow it with `opsctl intents {loop_id} -f`."
        case IntentStatus.REFUSED | IntentStatus.EXPIRED:
            entry = REFUSALS.get(intent.refusal.code) if intent.refusal is not None else None
            advice = entry.next_step if entry is not None else "Look with `opsctl status LOOP` and decide anew."
            return advice.replace("LOOP", loop_id)
        case IntentStatus.FAILED_COMMAND:
            return _of_failed(intent)
        case IntentStatus.AMBIGUOUS:
            return (
                f"Look with `opsctl status {loop_id}` {_LOOK_FOR[intent.intent]}, and settle it with "
                f"`opsctl intent ack {intent.id} --reason ...`; do not repeat it before."
            )
        case IntentStatus.ACKNOWLEDGED:
            return f"It is settled by {intent.acknowledged.by if intent.acknowledged is not None else 'an operator'}."
        case IntentStatus.EXECUTED_UNCONFIRMED:
            return f"Nobody looked whether it took effect: `opsctl status {loop_id}` shows what is true now."
        case IntentStatus.CONFIRMED:
            return _of_confirmed(intent)


_LOOK_FOR = {
    IntentKind.CANCEL: "whether the run is still there",
    IntentKind.APPROVE: "whether the decision was recorded, and on which candidate",
    IntentKind.REJECT: "whether the decision was recorded, and on which candidate",
    IntentKind.START: "whether a run began",
    IntentKind.PAUSE: "whether the run is paused",
    IntentKind.RESUME: "whether the run goes on",
}


def _of_failed(intent: Intent) -> str:
    problem = intent.execution.problem if intent.execution is not None else None
    if intent.confirmation is not None and intent.confirmation.confirmed:
        return f"What it was to do is done all the same: see `opsctl status {shlex.quote(intent.loop_id)}`."
    if problem == ActProblem.START_UNAVAILABLE:
        return REFUSALS["start_unavailable"].next_step
    if problem in (ActProblem.COMMAND_MISSING, ActProblem.COMMAND_NOT_EXECUTABLE):
        return REFUSALS["runtime_command_missing"].next_step
    if problem == ActProblem.SERVICE_UNREACHED:
        return f"Nothing was done; see with `opsctl status {shlex.quote(intent.loop_id)}` whether its service answers."
    if problem == ActProblem.SERVICE_REFUSED:
        return f"Nothing was done: read the service's words with `opsctl intent show {intent.id}`."
    return f"Read what it printed with `opsctl intent show {intent.id}`, mend that, and repeat it."


def _of_confirmed(intent: Intent) -> str:
    loop_id = shlex.quote(intent.loop_id)
    match intent.intent:
        case IntentKind.APPROVE | IntentKind.REJECT:
            match intent.stage:
                case Stage.COMPLETED:
                    return "Nothing: the loop has completed."
                case Stage.CONSUMED:
                    return f"A run has taken the decision up: follow it with `opsctl watch {loop_id}`."
                case _:
                    return f"Nothing runs until the loop is started again: `opsctl start {loop_id}`."
        case IntentKind.CANCEL:
            return f"Nothing runs; `opsctl start {loop_id}` begins a new run."
        case IntentKind.PAUSE:
            return f"`opsctl resume {loop_id}` continues the run."
        case IntentKind.START | IntentKind.RESUME:
            return f"Follow the run with `opsctl watch {loop_id}`."
