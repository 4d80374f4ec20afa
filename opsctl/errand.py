"""One intent asked of one loop: handed in once, and followed to its end over restarts of the daemon.

An answer that is lost on the way is looked for in the log of intents, by its trace id; the request is never sent twice.
What is shown before and afterwards is `opsctl.render`; for which loops and in which order, `opsctl.commands.act`.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial

import msgspec

from opsctl.client import Client, loop_path, quoted, target
from opsctl.clock import monotonic_s, pause
from opsctl.errors import LostError, OpsctlError, RefusedError
from opsctl.exits import Exit
from opsctl.feed import is_passing, pauses
from opsctl.outcomes import is_over
from opsctl.patience import WAIT_S, patiently
from opsd.model.intent import Intent
from opsd.protocol import IntentPage, IntentReply, IntentRequest, VersionReply, WaitFor

Note = Callable[[str], None]

# Most are settled by then; for the others one is told what is waited for.
_SILENT_S = 2.0
# Several intents of one loop can have come in between, hardly so many.
_LOOKED_BACK = 100


class Errand:
    """`before` is the daemon's own time at which the operator saw the loop. `body` is the newest answer, as it came."""

    def __init__(self, loop_id: str, request: IntentRequest, before: datetime) -> None:
        self.loop_id = loop_id
        self.request = request
        self.before = before
        self.body: bytes | None = None
        self.reply: IntentReply | None = None
        self.error: OpsctlError | None = None
        """Why there is no answer, or none that was waited for."""

    @property
    def intent(self) -> Intent | None:
        return self.reply.intent if self.reply else None

    def heard(self, body: bytes) -> Intent:
        replayed = self.reply is not None and self.reply.replayed
        self.body, self.reply = body, msgspec.json.decode(body, type=IntentReply)
        if replayed:  # which only the first answer can say
            self.reply = msgspec.structs.replace(self.reply, replayed=True)
        return self.reply.intent


def hand_in(client: Client, errand: Errand, note: Note, deadline_s: float) -> None:
    """Ask for it; what went wrong is in `errand.error`."""
    try:
        errand.heard(client.post(loop_path(errand.loop_id, "intents"), msgspec.json.encode(errand.request)))
    except LostError as error:
        try:
            _look_for(client, errand, error, note, deadline_s)
        except OpsctlError as trouble:
            errand.error = trouble
    except OpsctlError as error:
        errand.error = error


def see_to_its_end(client: Client, errand: Errand, until: WaitFor, note: Note, deadline_s: float) -> None:
    """Follow it until `until` has come true, cannot any more, or the time is up, whatever becomes of the daemon."""
    early, hold_max_s = pauses(), _SILENT_S
    while (intent := errand.intent) is not None and not is_over(intent, until):
        asked_s = monotonic_s()
        hold_s = min(hold_max_s, deadline_s - asked_s)
        if hold_s <= 0:
            return
        try:
            body = patiently(_Asking(client, intent.id, until, hold_s), note, deadline_s=deadline_s)
        except OpsctlError as error:
            errand.error = _lost_sight(intent, error)
            return
        after = errand.heard(body)
        if is_over(after, until):
            return
        if hold_max_s < WAIT_S and monotonic_s() < deadline_s:
            note(f"waiting: the {after.intent} of {errand.loop_id} is {after.status}; Ctrl-C ends only the waiting")
            hold_max_s = WAIT_S
        if monotonic_s() - asked_s < hold_s / 2:
            # The daemon is about to stop, or sees nothing more to wait for: no reason to hammer it.
            pause(max(0.0, min(next(early), deadline_s - monotonic_s())))


class _Asking:
    """Holds the answer back the first time only: after an interruption one wants to hear that the daemon is back."""

    def __init__(self, client: Client, intent_id: str, until: WaitFor, hold_s: float) -> None:
        self._client = client
        self._intent_id = intent_id
        self._until = until
        self._hold_s = hold_s

    def __call__(self) -> bytes:
        hold_s, self._hold_s = self._hold_s, 0.0
        return _ask(self._client, self._intent_id, self._until, hold_s)


def _ask(client: Client, intent_id: str, until: WaitFor, hold_s: float) -> bytes:
    where = target(f"/v1/intents/{quoted(intent_id)}", wait=f"{hold_s:.3f}", until=until.value)
    return client.get(where, limit_s=hold_s + client.limit_s)


def _lost_sight(intent: Intent, error: OpsctlError) -> OpsctlError:
    if is_passing(error):
        return OpsctlError(
            Exit.TIMEOUT,
            f"{error.message}, and the time to wait ran out: nobody can say what became of intent {intent.id}",
            f"opsctl intent show {intent.id}, once opsd answers again",
        )
    if isinstance(error, RefusedError) and error.code == "unknown_intent":
        return OpsctlError(
            Exit.DAEMON_ERROR,
            f"opsd has recorded intent {intent.id}, was restarted, and knows nothing of it any more",
            "look with opsctl status whether it took effect before repeating it",
        )
    return error


def _look_for(client: Client, errand: Errand, lost: LostError, note: Note, deadline_s: float) -> None:
    """Whether it was taken in, although the answer was lost.

    Raises:
        OpsctlError: it was not, or nobody can say.
    """
    what = f"the {errand.request.intent} of {errand.loop_id}"
    note(f"{lost.message}; looking whether {what} was recorded")
    version = msgspec.json.decode(
        patiently(partial(client.get, "/v1/version"), note, deadline_s=deadline_s), type=VersionReply
    )
    where = target("/v1/intents", loop=errand.loop_id, tail=_LOOKED_BACK)
    page = msgspec.json.decode(patiently(partial(client.get, where), note, deadline_s=deadline_s), type=IntentPage)
    for intent in reversed(page.intents):
        if intent.trace_id == errand.request.trace_id:
            errand.heard(_ask(client, intent.id, WaitFor.SETTLED, 0.0))
            return
    if version.started_at > errand.before:
        raise OpsctlError(
            Exit.REFUSED,
            f"opsd was restarted before it had recorded {what}: nothing was done",
            "look again with opsctl status, then repeat it",
        )
    raise OpsctlError(
        lost.exit_code,
        f"{lost.message}; nobody can say whether {what} will still be recorded",
        "opsctl intents shows it, if so; look before repeating it",
    )
