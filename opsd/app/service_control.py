"""What the contract's control command asks of a service: the contract's request, sent once, and what came of it.

A service that knows intents has them under the key that the request brought: where its answer is lost, it is asked.
Source: control-and-service 2.3, 4.2, 12 (A3, A4, E1).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from opsd.app.oneshot_control import DONE_THERE_WITHIN
from opsd.core.intents import remote
from opsd.model.intent import Intent
from opsd.model.run import LoopRef
from opsd.model.wire import INTENTS, WAIT_MAX_S
from opsd.ports import Services

LOOKS_MAX: Final = 3
"""So often it is asked what became of a request, for `WAIT_MAX_S` each: a cancel takes 12 s there, its proof 30 s."""


async def asked(services: Services, ref: LoopRef, intent: Intent, now: Callable[[], datetime]) -> tuple[Intent, ...]:
    """The steps that `intent`, which is executing, takes by the service's answer; the last is out of the flight."""
    answer = await services.control(ref, remote.control_request_of(intent))
    if remote.says_no_end(answer):
        counted = remote.counted(intent, answer.attempts, answer.codes)
        if steps := await followed(services, ref, counted, now):
            return steps
    return remote.controlled(intent, answer, now())


async def followed(services: Services, ref: LoopRef, intent: Intent, now: Callable[[], datetime]) -> tuple[Intent, ...]:
    """What the service says became of it; nothing where it knows of no end, or where nobody can say."""
    for _ in range(LOOKS_MAX):
        features = services.features(ref)
        if features is not None and INTENTS not in features:
            return ()
        key, wait_s = remote.wire_key(intent), WAIT_MAX_S if features is not None else 0.0
        answer = await services.intent(ref, key, wait_s=wait_s)
        theirs = answer.intent
        if answer.unknown and intent.execution is not None:
            # A request that was sent just now may still be on its way.
            is_late = now() - intent.execution.started_at >= DONE_THERE_WITHIN
            return (remote.unreached(intent, "its service knows nothing of it", now()),) if is_late else ()
        if theirs is None or not remote.is_ours(intent, theirs):
            return ()
        steps = remote.followed(intent, theirs, now())
        if steps and not steps[-1].is_in_flight:
            return steps
    return ()
