"""Carries intents out on loops behind services: asks, follows what the service says of it, copies what it came to.

What an answer means is `opsd.core.intents.remote`. All judging happens again where the loop runs, right before the act.
A request goes out again only where that cannot do anything twice, and never after a restart: from then on it is only
asked what became of it.
"""

import msgspec

from opsd.app.desk import CannotRecord
from opsd.core.intents import gate, life, remote
from opsd.logs import Log
from opsd.model.intent import Intent, IntentStatus, Refusal
from opsd.model.observation import Unreachable, UnreachableCause
from opsd.model.run import LoopRef, Run
from opsd.model.service import IntentAnswer
from opsd.model.wire import INTENTS, WAIT_MAX_S
from opsd.ports import Clock, Services
from opsd.protocol import AckRequest, IntentRequest
from opsd.supervisor.books import Books
from opsd.supervisor.carrying import AFTER_RESTART_S, close, fresh, gist, unseen
from opsd.supervisor.intake import Intake
from opsd.supervisor.roster import Member, Roster

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
FOLLOWED_S = 600.0
"""Beyond its own window an intent is followed for this long: its turn and the runtime's command take time there."""
_CONFLICT = "idempotency_conflict"


class _Asked(msgspec.Struct):
    """What all requests for one intent came to. `is_known`: the service has a record of it."""

    problem: str = "it was not asked"
    perhaps: bool = False
    is_known: bool = False
    turned_down: str | None = None

    def note(self, answer: IntentAnswer) -> None:
        if answer.problem is not None:
            self.problem = answer.problem.problem
        elif answer.unknown:
            self.problem = "it knows nothing of the intent"
        self.turned_down = answer.turned_down


class RemoteCarrier:
    """As `Carrier`, for loops behind services. `services` is how they are asked."""

    def __init__(
        self,
        services: Services,
        *,
        books: Books,
        roster: Roster,
        intake: Intake,
        clock: Clock,
        log: Log,
    ) -> None:
        self._services = services
        self._books = books
        self._roster = roster
        self._intake = intake
        self._clock = clock
        self._log = log

    async def carry(self, intent: Intent) -> None:
        """From wherever the intent stands to where it leaves the flight."""
        if intent.status is IntentStatus.RECORDED:
            await self._ask(intent)
        elif remote.is_asked_by_key(intent):
            left_s = intent.options.timeout_s - (self._clock.now() - intent.updated_at).total_seconds()
            await self._follow(intent, _Asked(), max(left_s, AFTER_RESTART_S))
        else:
            problem = "opsd was restarted before the service answered, and it cannot be asked again"
            await self._take(remote.unanswered(intent, problem, self._clock.now()))

    async def ask_again(self, intent: Intent) -> IntentAnswer | None:
        """What the service says of an ambiguous intent by now; None where it cannot be asked."""
        member = self._member(intent)
        if member is None or not remote.is_asked_by_key(intent):
            return None
        return await self._services.intent(member.run.ref, remote.wire_key(intent), wait_s=0.0)

    async def hear(self, intent: Intent, answer: IntentAnswer) -> None:
        """What that answer makes of it."""
        theirs = answer.intent
        if theirs is not None and remote.is_ours(intent, theirs):
            for step in remote.followed(intent, theirs, self._clock.now()):
                await self._take(step)

    async def forward(self, intent: Intent, request: AckRequest) -> None:
        """Tell the service of the word that settled the intent here: best effort, and the log says how it went."""
        member = self._member(intent)
        if member is None or not remote.is_asked_by_key(intent):
            return
        answer = await self._services.acknowledge(member.run.ref, remote.wire_key(intent), request)
        if answer.intent is not None:
            self._log.info("intent.ack_forwarded", **gist(intent))
        else:
            problem = answer.problem.problem if answer.problem is not None else answer.turned_down or "unknown there"
            self._log.warning("intent.ack_not_forwarded", **gist(intent), problem=problem)

    def would(self, run: Run) -> tuple[str, ...]:
        """What carrying an intent out would do."""
        return (remote.words(run.ref, self._path(run.ref)),)

    def _path(self, ref: LoopRef) -> str:
        return remote.BY_KEY if INTENTS in (self._services.features(ref) or ()) else remote.BY_CONTRACT

    def _member(self, intent: Intent) -> Member | None:
        """None where the loop has left the fleet, or is not reached over a service any more."""
        member = self._roster.get(intent.loop_id)
        return member if member is not None and member.run.ref.is_remote else None

    async def _ask(self, intent: Intent) -> None:
        member = self._member(intent)
        if member is None or self._clock.now() >= intent.expires_at:
            await self._take(life.expired(intent, "waited_too_long", self._clock.now()))
            return
        path = self._path(member.run.ref)
        problem = None
        if path is remote.BY_CONTRACT:
            # Nobody checks the fence after us.
            problem = await fresh(self._intake, member)
            member = self._member(intent) or member
        run, now = member.run, self._clock.now()
        refusal = unseen(problem) or gate.refuse(intent, run, None, now)
        if refusal is None and path is not self._path(run.ref):
            refusal = Refusal("picture_incomplete", "The service was exchanged for another just now.")
        if refusal is not None:
            await self._take(life.refused(intent, refusal, now))
            return
        executing = remote.begun(intent, run, path, now)
        try:
            await self._books.record(executing)
        except CannotRecord as error:
            refusal = Refusal("store_unwritable", f"It could not be written down: {error}.")
            await self._take(life.refused(intent, refusal, self._clock.now()))
            return
        self._log.info("intent.executing", **gist(executing), command=remote.words(run.ref, path))
        if path is remote.BY_CONTRACT:
            answer = await self._services.control(run.ref, remote.control_request_of(executing))
            for step in remote.controlled(executing, answer, self._clock.now()):
                await self._take(step)
            self._intake.trigger([intent.loop_id], asked=True)
        else:
            await self._submit(executing, run)

    async def _submit(self, intent: Intent, run: Run) -> None:
        """Ask under the intent's own id until the service has it, or its time is over; then follow it there."""
        request, asked = _request(intent, run), _Asked()
        began_s = self._clock.monotonic()
        left_s = min(intent.options.timeout_s, (intent.expires_at - self._clock.now()).total_seconds())
        pause_s = FIRST_PAUSE_S
        while True:
            answer = await self._services.submit(run.ref, request)
            intent = remote.counted(intent, answer.attempts, answer.codes)
            asked.note(answer)
            theirs = answer.intent
            if theirs is not None and remote.is_ours(intent, theirs):
                asked.is_known = True
                intent = await self._copied(intent, answer)
                break
            asked.perhaps |= _is_perhaps_there(answer)
            if answer.turned_down is not None and not _passes(answer):
                break
            left = began_s + left_s - self._clock.monotonic()
            if left <= 0 or self._member(intent) is None:
                break
            await self._clock.sleep_until(self._clock.monotonic() + min(pause_s, left))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        if not asked.is_known and not asked.perhaps:
            now = self._clock.now()
            down = asked.turned_down
            failed = remote.unreached(intent, asked.problem, now)
            await self._take(failed if down is None else remote.turned_down(intent, down, asked.problem, now))
        elif intent.is_in_flight:
            window_s = began_s + intent.options.timeout_s - self._clock.monotonic()
            await self._follow(intent, asked, max(window_s, AFTER_RESTART_S))

    async def _follow(self, intent: Intent, asked: _Asked, window_s: float) -> None:
        """Ask what became of it until it is settled there; a service that is silent for `window_s` leaves it open."""
        began_s = heard_s = self._clock.monotonic()
        longest_s, pause_s = intent.options.timeout_s + FOLLOWED_S, FIRST_PAUSE_S
        while intent.is_in_flight:
            member = self._member(intent)
            if member is None:
                problem = "The loop has left the fleet, or its service."
                await self._take(remote.unanswered(intent, problem, self._clock.now()))
                return
            asked_s = self._clock.monotonic()
            answer = await self._services.intent(member.run.ref, remote.wire_key(intent), wait_s=WAIT_MAX_S)
            asked.note(answer)
            theirs, now_s = answer.intent, self._clock.monotonic()
            if theirs is not None and remote.is_ours(intent, theirs):
                heard_s, pause_s = now_s, FIRST_PAUSE_S
                intent = await self._copied(intent, answer)
            if not intent.is_in_flight:
                return
            if now_s >= heard_s + window_s or now_s >= began_s + longest_s:
                problem = f"Its service does not say what became of it: {asked.problem}."
                if theirs is not None:
                    problem = f"Its service says {theirs.status}, and came to no end."
                await self._take(remote.unanswered(intent, problem, self._clock.now()))
                return
            if theirs is None or now_s - asked_s < WAIT_MAX_S / 2:
                await self._clock.sleep_until(now_s + min(pause_s, max(0.0, heard_s + window_s - now_s)))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _copied(self, intent: Intent, answer: IntentAnswer) -> Intent:
        assert answer.intent is not None
        for step in remote.followed(intent, answer.intent, self._clock.now(), replayed=answer.replayed):
            await self._take(step)
            intent = step
        return intent

    async def _take(self, intent: Intent) -> None:
        if intent.is_in_flight:
            await self._books.tell(intent)
        else:
            await close(self._books, self._log, intent)
            if intent.execution is not None:
                # What was done shows at once, however rarely the service is asked else.
                self._intake.trigger([intent.loop_id], asked=True)


def _is_perhaps_there(answer: IntentAnswer) -> bool:
    """Whether the service may have taken the intent in: only the last attempt's word is known."""
    if answer.surely_not_sent:
        return False
    return answer.turned_down in (None, _CONFLICT) or answer.attempts > 1


def _passes(answer: IntentAnswer) -> bool:
    """Whether a service that does not take the request now may take it in a moment."""
    return isinstance(answer.problem, Unreachable) and answer.problem.cause is UnreachableCause.SERVICE_OVERLOADED


def _request(intent: Intent, run: Run) -> IntentRequest:
    """What a service that knows intents is asked for. Its key is the intent's own id: sent twice, it is done once."""
    options = intent.options
    return IntentRequest(
        intent=intent.intent,
        by=intent.requested_by,
        note=intent.note,
        reason=intent.reason,
        idempotency_key=remote.wire_key(intent),
        expect=remote.fence_of(intent, run),
        timeout_s=options.timeout_s,
        confirm=options.confirm,
        override_divergence=options.override_divergence,
        clear_stale=options.clear_stale,
        pause_for_s=remote.pause_for_s(intent),
        trace_id=intent.trace_id,
    )
