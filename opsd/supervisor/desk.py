"""The control desk: where operators' intents come in, one at a time for each checkout, and are seen to their end.

Whether an intent may be carried out is `opsd.core.intents.gate`, carrying it out `carrying`, remembering it `books`.
A checkout and not a loop is the unit, because the runtime's cancel ends whatever runs there.
"""

import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

import anyio
import anyio.abc

from opsd.app.desk import CannotRecord, IdempotencyConflict, NotAmbiguous, UnknownIntent
from opsd.core.intents import evidence, gate, identity, life
from opsd.core.intents.book import Conflict, replay, settled
from opsd.logs import Log
from opsd.model.acts import Scene
from opsd.model.ids import LoopId
from opsd.model.intent import DECISIONS, Actor, Intent, IntentStatus, Options, Refusal, Stage
from opsd.model.mode import Mode
from opsd.model.run import Run, ServiceRef
from opsd.model.transport import TransportMode
from opsd.ports import Clock
from opsd.protocol import (
    AckRequest,
    ContractRequest,
    IntentRequest,
    ModePage,
    ModeRequest,
    ProfilePage,
    ProfileReply,
    ProfileRequest,
    Submitted,
    TransportReply,
    TransportRequest,
    WaitFor,
)
from opsd.store.store import Store
from opsd.supervisor.bell import Bell
from opsd.supervisor.books import Books
from opsd.supervisor.carrying import HANGS, Carrier, gist, unseen
from opsd.supervisor.commits import Commits
from opsd.supervisor.fleet import UnknownLoop, managed
from opsd.supervisor.modes import ModeKeeper
from opsd.supervisor.profiles import ProfileKeeper
from opsd.supervisor.remote import RemoteCarrier
from opsd.supervisor.roster import Roster
from opsd.supervisor.switches import Switches

TURN_WITHIN = timedelta(seconds=120)
"""An intent that has not had its turn by then is given up: what its operator saw is too old to act on."""
LOOK_AGAIN_S = 1.0
_INTERVAL_S = Options().interval_s
_NO_SERVICE = ServiceRef("")
"""What is written down of how requests are repeated, where none is made."""


class Desk:
    """`opsd.api.seams.Desk`. `serve` carries out what was taken in."""

    def __init__(
        self,
        *,
        books: Books,
        carrier: Carrier,
        remote: RemoteCarrier | None,
        modes: ModeKeeper,
        switches: Switches,
        profiles: ProfileKeeper,
        store: Store,
        commits: Commits,
        roster: Roster,
        clock: Clock,
        log: Log,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._books = books
        self._carrier = carrier
        self._remote = remote
        self._modes = modes
        self._switches = switches
        self._profiles = profiles
        self._store = store
        self._commits = commits
        self._roster = roster
        self._clock = clock
        self._log = log
        self._new_id = new_id
        self._bell = Bell(clock)
        # Evidence and an operator may settle the same intent in the same moment: whoever comes first.
        self._settling = anyio.Lock()
        self._at_checkout: dict[str, anyio.Lock] = {}
        self._carried: set[str] = set()
        self._to_look: set[LoopId] = set()
        self._to_forward: list[tuple[Intent, AckRequest]] = []
        self._asking: set[str] = set()
        self._asked_after: dict[str, datetime] = {}

    # For the API

    async def submit(self, loop_id: LoopId, request: IntentRequest, actor: Actor) -> Submitted:
        """Take an intent in, or say why not. It is on the disk when this returns, and is being carried out.

        Raises:
            UnknownLoop, NotManaged: there is nothing to act on.
            IdempotencyConflict: the key stands for another request.
        """
        member = managed(self._roster, loop_id)
        async with self.at_checkout(member.run):
            unread = self._books.unread(self._in_checkout(member.run))
            if request.idempotency_key is not None and not request.dry_run and unread is None:
                known = await self._replayed(loop_id, request, request.idempotency_key)
                if known is not None:
                    return Submitted(known, replayed=True)
            problem = await self._carrier.fresh(member)
            run = managed(self._roster, loop_id).run
            # A disk that hangs would hang again, and hold a thread that others wait for.
            scene = None
            if not run.ref.is_remote and problem is None:
                try:
                    scene = await self._carrier.scene(run)
                except TimeoutError:
                    problem = HANGS
            now = self._clock.now()
            intent = self._drafted(run, scene, request, actor, now)
            in_flight = self._in_flight(run)
            if in_flight is not None and not request.dry_run and _is_same_press(in_flight, intent):
                return Submitted(in_flight, replayed=True)
            refusal = _unread(unread) or _busy(in_flight) or unseen(problem) or gate.refuse(intent, run, scene, now)
            if request.dry_run:
                if refusal is not None:
                    return Submitted(life.refused(intent, refusal, now))
                return Submitted(intent, would=self._would(intent, run, scene))
            if refusal is not None and unread is not None:
                return Submitted(life.refused(intent, refusal, now))
            if refusal is not None:
                return Submitted(await self._refused(intent, refusal))
            try:
                await self._books.record(intent)
            except CannotRecord as error:
                refusal = Refusal("store_unwritable", f"It could not be written down: {error}.")
                return Submitted(life.refused(intent, refusal, now))
            self._log.info("intent.recorded", **gist(intent), by=intent.requested_by, user=actor.user)
            self._bell.ring()
            return Submitted(intent)

    def intent(self, intent_id: str) -> Intent | None:
        """As it is in memory; older ones are in the files. The key under which it was asked for names it as well."""
        return self._books.named(intent_id)

    async def wait(self, intent_id: str, until: WaitFor, wait_s: float) -> Intent | None:
        """The intent once `until` has come true or cannot any more, at the latest after `wait_s` seconds."""
        with anyio.move_on_after(wait_s):
            while (intent := self._books.named(intent_id)) is not None and not _has_come(intent, until):
                await self._books.any_moved()
        return self._books.named(intent_id)

    async def acknowledge(self, intent_id: str, request: AckRequest, actor: Actor) -> Intent:
        """Settle an ambiguous intent by an operator's word.

        Raises:
            UnknownIntent, NotAmbiguous: there is nothing of the kind to settle.
            CannotRecord: the disk refuses it, so it stays open.
        """
        async with self._settling:
            intent = self._books.named(intent_id)
            if intent is None:
                raise UnknownIntent(intent_id)
            if intent.status is not IntentStatus.AMBIGUOUS:
                raise NotAmbiguous(intent.status)
            after = life.acknowledged(intent, request.by or actor.user, actor, request.reason, self._clock.now())
            await self._books.record(after)
        self._log.info("intent.acknowledged", **gist(after), by=request.by or actor.user, reason=request.reason)
        if _is_remote(after):
            self._to_forward.append((after, request))
            self._bell.ring()
        return after

    def modes(self, now: datetime) -> ModePage:
        return self._modes.listed(now)

    async def set_mode(self, request: ModeRequest, actor: Actor) -> ModePage:
        """
        Raises:
            UnknownLoop: the request names a loop that is not in the fleet.
            CannotRecord: the disk refuses it, so the mode is what it was.
        """
        # A mode that was set for a loop which has left the fleet can still be ended.
        unknown = request.loop_id is not None and self._roster.get(LoopId(request.loop_id)) is None
        if unknown and request.mode is not Mode.NORMAL:
            raise UnknownLoop(f"no loop {request.loop_id!r} is in the fleet")
        return await self._modes.set(request, actor)

    def transport(self, loop_id: LoopId) -> TransportReply:
        """
        Raises:
            UnknownLoop, NotManaged: nobody looks at such a loop.
        """
        return self._switches.told(managed(self._roster, loop_id).run.ref)

    async def set_transport(self, loop_id: LoopId, request: TransportRequest, actor: Actor) -> TransportReply:
        """Have a loop reached otherwise, now and after restarts.

        Raises:
            UnknownLoop, NotManaged: nobody looks at such a loop.
            CannotSwitch: the registry names no such way.
            CannotRecord: the disk refuses it, so the loop is reached as it was.
        """
        await self._switches.set(managed(self._roster, loop_id).run.ref, request, actor)
        return self.transport(loop_id)

    def profiles(self) -> ProfilePage:
        return self._profiles.listed()

    def profile(self, loop_id: LoopId) -> ProfileReply:
        """
        Raises:
            UnknownLoop, NotManaged: nobody looks at such a loop.
        """
        return self._profiles.told(managed(self._roster, loop_id).loop_id)

    async def set_profile(self, loop_id: LoopId, request: ProfileRequest, actor: Actor) -> ProfileReply:
        """Have a loop judged by a profile of its own, now and after restarts.

        Raises:
            UnknownLoop, NotManaged: nobody looks at such a loop.
            UnknownProfile, UnusableProfile: it is judged as it was.
            CannotRecord: the disk refuses it, so it is as well.
        """
        # What was chosen for a loop that has left the fleet can still be ended.
        if request.profile is not None or not self._profiles.is_chosen(loop_id):
            managed(self._roster, loop_id)
        await self._profiles.set(loop_id, request, actor)
        return self._profiles.told(loop_id)

    # For one-shot commands that ask a service themselves

    def at_checkout(self, run: Run) -> anyio.Lock:
        """Whoever holds it is the only one to take an intent in there."""
        return self._at_checkout.setdefault(run.ref.place, anyio.Lock())

    @contextmanager
    def carried(self, intent: Intent) -> Iterator[None]:
        """While inside, nobody here carries the intent; what is in flight afterwards is followed as usual."""
        self._carried.add(intent.id)
        try:
            yield
        finally:
            self._carried.discard(intent.id)
            self._bell.ring()

    # For the supervisor

    def looked(self, loop_id: LoopId, changed: bool) -> None:
        """A pass over the loop has ended."""
        if changed:
            self._carrier.heard(loop_id)
        if self._books.is_followed(loop_id):
            self._to_look.add(loop_id)
            if changed:
                self._bell.ring()

    def modes_changed(self) -> None:
        """Another mode holds for some loop: every picture says so."""
        for loop_id in self._roster.loop_ids():
            self._books.show(loop_id)

    async def serve(self, beat: Callable[[], None]) -> None:
        """Carries out what was taken in, and looks after what is open. Started anew, it goes on where it was."""
        self._carried.clear()
        async with anyio.create_task_group() as tasks:
            while True:
                for intent in self._waiting():
                    self._carried.add(intent.id)
                    tasks.start_soon(self._carry, intent, name=f"{intent.intent} {intent.loop_id}")
                looks, self._to_look = self._to_look, set()
                for loop_id in looks:
                    async with self._settling:
                        for intent in self._followed(loop_id):
                            if not _is_asked_after(intent):
                                await self._contained(intent, self._carrier.look_again(intent))
                            elif self._is_due(intent):
                                tasks.start_soon(self._ask_after, intent, name=f"ask after {intent.id}")
                told, self._to_forward = self._to_forward, []
                for intent, request in told:
                    tasks.start_soon(self._forward, intent, request, name=f"forward {intent.id}")
                await self._books.write_rest()
                await self._books.read_unread()
                self._modes.look_up(self._clock.now())
                beat()
                await self._bell.wait(self._clock.monotonic() + LOOK_AGAIN_S)

    def _waiting(self) -> list[Intent]:
        """Those in flight that nobody carries yet: taken in just now, or found so after a restart."""
        return [each for each in self._books.open() if each.is_in_flight and each.id not in self._carried]

    def _followed(self, loop_id: LoopId) -> list[Intent]:
        book = self._books.of(loop_id)
        return [*book.ambiguous, *([book.tracked] if book.tracked is not None else [])]

    async def _carry(self, intent: Intent) -> None:
        try:
            if not _is_remote(intent):
                work = self._carrier.carry(intent)
            elif self._remote is not None:
                work = self._remote.carry(intent)
            else:
                await self._give_up(intent.id, "Nothing here asks services any more.")
                return
            if not await self._contained(intent, work):
                await self._give_up(intent.id, "Carrying it out broke off by a fault of opsd; see its log.")
        finally:
            self._carried.discard(intent.id)

    def _is_due(self, intent: Intent) -> bool:
        """Its service answered a poll since it was last asked after the intent: it is awake, and may know more."""
        member = self._roster.get(intent.loop_id)
        contact_at = member.run.last_contact_at if member is not None else None
        if self._remote is None or contact_at is None or self._asked_after.get(intent.id) == contact_at:
            return False
        is_asking = intent.id in self._asking
        if not is_asking:
            self._asked_after[intent.id] = contact_at
        return not is_asking

    async def _ask_after(self, intent: Intent) -> None:
        """What the service says of an intent that is ambiguous here; however long that takes, nobody waits for it."""
        assert self._remote is not None
        self._asking.add(intent.id)
        try:
            await self._contained(intent, self._hear(intent, self._remote))
        finally:
            self._asking.discard(intent.id)
            if (now := self._books.intent(intent.id)) is None or not now.is_open:
                self._asked_after.pop(intent.id, None)

    async def _hear(self, intent: Intent, remote: RemoteCarrier) -> None:
        answer = await remote.ask_again(intent)
        async with self._settling:
            now = self._books.intent(intent.id)
            if answer is not None and now is not None and now.status is IntentStatus.AMBIGUOUS:
                await remote.hear(now, answer)

    async def _forward(self, intent: Intent, request: AckRequest) -> None:
        if self._remote is not None:
            await self._contained(intent, self._remote.forward(intent, request))

    def _would(self, intent: Intent, run: Run, scene: Scene | None) -> tuple[str, ...]:
        if scene is not None:
            return self._carrier.would(intent, run, scene)
        return self._remote.would(run) if self._remote is not None else ()

    async def _contained(self, intent: Intent, work: Awaitable[None]) -> bool:
        """Whether it went well. A fault of ours over one intent must not keep the others from being looked after."""
        try:
            await work
        except Exception as error:  # noqa: BLE001  see above
            self._log.error("intent.broken", **gist(intent), exc_info=error)
            return False
        return True

    async def _give_up(self, intent_id: str, why: str) -> None:
        """Nobody knows how far carrying it out came."""
        intent = self._books.intent(intent_id)
        if intent is None or not intent.is_in_flight:
            return
        now = self._clock.now()
        if intent.status is IntentStatus.RECORDED:
            await self._books.tell(life.expired(intent, "waited_too_long", now))
        else:
            seen = evidence.unseen(0, why, now)
            await self._books.tell(life.ambiguous(intent, seen, now))

    async def _replayed(self, loop_id: LoopId, request: IntentRequest, key: str) -> Intent | None:
        """What came of the request that this key stands for."""
        held = self._books.keyed(loop_id, key)
        if held is None:
            transport = managed(self._roster, loop_id).run.ref.transport
            found = await self._commits.apart(partial(self._store.find_intent, loop_id, key, transport))
            if found is not None:
                # Memory knows better. What is in flight in the log alone was refused, and its row not taken back.
                held = self._books.intent(found.id) or (None if found.is_in_flight else found)
        if held is None:
            return None
        known = replay([held], key, _fingerprint(loop_id, request))
        if isinstance(known, Conflict):
            raise IdempotencyConflict(known.intent_id)
        return known

    def _drafted(self, run: Run, scene: Scene | None, request: IntentRequest, actor: Actor, now: datetime) -> Intent:
        loop_id, book = run.ref.loop_id, self._books.of(run.ref.loop_id)
        approval = (scene if scene is not None else run.artifacts).approval.value
        candidate = approval.digest if request.intent in DECISIONS and approval is not None else None
        facts, service = run.fold.run, run.ref.service if run.ref.is_remote else None
        made_key = request.made_key if isinstance(request, ContractRequest) else ""
        key = (
            request.idempotency_key
            or made_key
            or identity.default_key(
                loop_id,
                facts.run_id if facts is not None else None,
                facts.iteration if facts is not None else None,
                request.intent,
                candidate,
                settled(book),
            )
        )
        return life.recorded(
            id=self._new_id(),
            loop_id=loop_id,
            kind=request.intent,
            now=now,
            expires_at=now + TURN_WITHIN,
            requested_by=request.by or actor.user,
            actor=actor,
            trace_id=request.trace_id or str(uuid.uuid4()),
            idempotency_key=key,
            key_given=request.idempotency_key is not None,
            fingerprint=_fingerprint(loop_id, request),
            ordinal=book.ordinal + 1,
            transport=run.ref.transport,
            note=request.note,
            reason=request.reason,
            expect=request.expect,
            options=_options(request, now),
            retry_attempts=service.retry_attempts if service is not None else _NO_SERVICE.retry_attempts,
            retry_backoff_s=service.retry_backoff_s if service is not None else _NO_SERVICE.retry_backoff_s,
        )

    def _in_flight(self, run: Run) -> Intent | None:
        """What is being carried out in the checkout, on this loop or on another."""
        return self._books.in_flight(self._in_checkout(run), run.ref.transport)

    def _in_checkout(self, run: Run) -> list[LoopId]:
        return [member.loop_id for member in self._roster.in_checkout(run.ref.place)]

    async def _refused(self, intent: Intent, refusal: Refusal) -> Intent:
        refused = life.refused(intent, refusal, self._clock.now())
        await self._books.tell(refused)
        self._log.info("intent.refused", **gist(refused), code=refusal.code, by=intent.requested_by)
        return refused


def _fingerprint(loop_id: LoopId, request: IntentRequest) -> str:
    """`by` is filled in by then, from the kernel's word where nobody claimed another name."""
    return identity.fingerprint(
        loop_id,
        request.intent,
        request.by or "",
        request.note,
        request.reason,
        request.expect,
        _options(request, None),
        pause_for_s=request.pause_for_s,
    )


def _options(request: IntentRequest, now: datetime | None) -> Options:
    """Without `now` the moment until which a pause is expected is left out: a key is not bound to a time of day."""
    until = now + timedelta(seconds=request.pause_for_s) if now is not None and request.pause_for_s else None
    return Options(
        confirm=request.confirm,
        timeout_s=request.timeout_s,
        override_divergence=request.override_divergence,
        clear_stale=request.clear_stale,
        pause_until=until,
        as_contract=request.as_contract,
        interval_s=request.interval_s if isinstance(request, ContractRequest) else _INTERVAL_S,
    )


def _is_remote(intent: Intent) -> bool:
    """By the way that it was recorded for: its loop may be reached otherwise since."""
    return intent.transport == TransportMode.SPRITE_SERVICE


def _is_asked_after(intent: Intent) -> bool:
    """Whether a service and not a look settles it. How far a decision has come, the log says in any case."""
    return intent.status is IntentStatus.AMBIGUOUS and _is_remote(intent)


def _is_same_press(in_flight: Intent, intent: Intent) -> bool:
    """The same person asking for the same thing again while it is under way. Source: control-and-service 8."""
    return not intent.key_given and not in_flight.key_given and in_flight.fingerprint == intent.fingerprint


def _unread(problem: str | None) -> Refusal | None:
    """Somebody may have asked for something before this start, and it is not known what.

    Not even the refusal is written down: its row would stand before those that a crash kept from being told.
    """
    if problem is None:
        return None
    return Refusal("store_unwritable", f"What was asked for before cannot be read: {problem}.")


def _busy(in_flight: Intent | None) -> Refusal | None:
    if in_flight is None:
        return None
    return Refusal(
        "intent_in_flight",
        f"{in_flight.requested_by}'s {in_flight.intent} of {in_flight.loop_id} ({in_flight.id}) is {in_flight.status}.",
    )


_REACHED = {WaitFor.CONSUMED: (Stage.CONSUMED, Stage.COMPLETED), WaitFor.COMPLETE: (Stage.COMPLETED,)}


def _has_come(intent: Intent, until: WaitFor) -> bool:
    """Whether there is nothing more to wait for. Only a confirmed decision can still be taken up by a run."""
    if intent.is_in_flight:
        return False
    if until is WaitFor.SETTLED or intent.intent not in DECISIONS or intent.status is not IntentStatus.CONFIRMED:
        return True
    return intent.stage in _REACHED[until]
