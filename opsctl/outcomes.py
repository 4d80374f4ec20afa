"""What an intent's state means to somebody who waits for it: whether the waiting is over, and with which exit code."""

from collections.abc import Mapping

from opsctl.exits import Exit
from opsd.model.intent import Intent, IntentStatus, Stage
from opsd.protocol import WaitFor

_EXIT_OF: Mapping[IntentStatus, Exit] = {
    IntentStatus.RECORDED: Exit.OK,
    IntentStatus.EXECUTING: Exit.OK,
    IntentStatus.EXECUTED: Exit.OK,
    IntentStatus.CONFIRMED: Exit.OK,
    IntentStatus.EXECUTED_UNCONFIRMED: Exit.OK,
    IntentStatus.ACKNOWLEDGED: Exit.OK,
    IntentStatus.AMBIGUOUS: Exit.AMBIGUOUS,
    IntentStatus.FAILED_COMMAND: Exit.FAILED,
    IntentStatus.REFUSED: Exit.REFUSED,
    IntentStatus.EXPIRED: Exit.REFUSED,
}
_GOOD = frozenset({IntentStatus.CONFIRMED, IntentStatus.EXECUTED_UNCONFIRMED})
_REACHED: Mapping[WaitFor, frozenset[Stage]] = {
    WaitFor.CONSUMED: frozenset({Stage.CONSUMED, Stage.COMPLETED}),
    WaitFor.COMPLETE: frozenset({Stage.COMPLETED}),
}


def exit_of(intent: Intent) -> Exit:
    """What is known of it so far, as an exit code; in flight it is OK, since it was recorded as asked."""
    return _EXIT_OF[intent.status]


def has_come_true(intent: Intent, until: WaitFor) -> bool:
    """Whether what is waited for is so."""
    if until is WaitFor.SETTLED:
        return not intent.is_in_flight
    return intent.status in _GOOD and intent.stage in _REACHED[until]


def is_over(intent: Intent, until: WaitFor) -> bool:
    """Whether waiting longer is of no use: it has come true, or the intent itself came to nothing.

    An ambiguous one may still be proven; whoever waits hears of it at once, because somebody has to look.
    """
    return has_come_true(intent, until) or not (intent.is_in_flight or intent.status in _GOOD)
