"""`ops-manager control` on a home that this daemon holds: the same intent, rows and exit code as without a daemon.

On this host the desk carries it out, by the contract's rules. What a service is to be asked for is asked here, as the
command says and with its caller's token, whichever way the loop itself is reached; that service may be this process.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial

import anyio
import msgspec
from msgspec.structs import replace

from opsd.app.desk import CannotRecord, IdempotencyConflict
from opsd.app.oneshot_control import drafted, key_taken, stands
from opsd.app.service_control import asked, followed
from opsd.app.whereabouts import ref_for
from opsd.core.intents import gate, life, remote
from opsd.core.intents.rows import AMBIGUOUS_EXIT, exit_code, intent_row
from opsd.logs import Log
from opsd.model.ids import LoopId
from opsd.model.intent import Actor, Intent, IntentKind, IntentStatus
from opsd.model.oneshot import ControlCommand, OneShotReply
from opsd.model.run import LoopRef, Run
from opsd.model.transport import TransportMode
from opsd.ports import Clock, Services
from opsd.protocol import ContractRequest, WaitFor
from opsd.store.store import Store
from opsd.supervisor.books import Books
from opsd.supervisor.carrying import close
from opsd.supervisor.commits import Commits
from opsd.supervisor.desk import Desk
from opsd.supervisor.fleet import managed
from opsd.supervisor.roster import Roster

TURN_AND_COMMAND_S = 200.0
"""Beyond its window, what an intent takes at most: its turn, the runtime's command, and a service's silence."""

Lend = Callable[[str | None], AbstractAsyncContextManager[Services]]


class OneShotControl:
    """`lend` gives the services to be asked with a token of the caller's."""

    def __init__(
        self,
        desk: Desk,
        *,
        books: Books,
        store: Store,
        commits: Commits,
        roster: Roster,
        lend: Lend,
        clock: Clock,
        log: Log,
    ) -> None:
        self._desk = desk
        self._books = books
        self._store = store
        self._commits = commits
        self._roster = roster
        self._lend = lend
        self._clock = clock
        self._log = log
        self._asking: dict[LoopId, anyio.Lock] = {}

    async def control(self, loop_id: LoopId, command: ControlCommand, actor: Actor) -> OneShotReply:
        """What the command prints and ends with, once the intent is settled.

        Raises:
            UnknownLoop, NotManaged: there is nothing to act on.
        """
        if command.service is None:
            return await self._here(loop_id, command, actor)
        async with self._asking.setdefault(loop_id, anyio.Lock()):
            return await self._there(loop_id, command, actor)

    async def _here(self, loop_id: LoopId, command: ControlCommand, actor: Actor) -> OneShotReply:
        if self._run(loop_id).ref.is_remote:
            problem = (
                f"--transport local: opsd reaches {loop_id!r} over its service; pass --transport sprite_service and "
                f"--service-base-url, or have opsd reach it locally: opsctl transport {loop_id} local"
            )
            return OneShotReply(1, error=problem)
        request = ContractRequest(
            intent=IntentKind(command.intent),
            by=command.by,
            note=command.note,
            idempotency_key=command.idempotency_key if command.key_given else None,
            made_key=command.idempotency_key,
            timeout_s=float(command.timeout_seconds),
            interval_s=float(command.interval_seconds),
            confirm=command.confirm,
            trace_id=command.trace_id,
        )
        try:
            submitted = await self._desk.submit(loop_id, request, actor)
        except IdempotencyConflict as error:
            return OneShotReply(1, error=key_taken(command.idempotency_key, error.intent_id))
        intent = submitted.intent
        if intent.is_in_flight:
            limit_s = command.timeout_seconds + TURN_AND_COMMAND_S
            intent = await self._desk.wait(intent.id, WaitFor.SETTLED, limit_s) or intent
        return _told(intent)

    async def _there(self, loop_id: LoopId, command: ControlCommand, actor: Actor) -> OneShotReply:
        assert command.service is not None
        known = await self._known(loop_id, command) if command.key_given else None
        if isinstance(known, OneShotReply):
            return known
        async with self._lend(command.service.token) as services:
            if known is not None:
                known = await self._settled(services, known, command)
                if stands(known, self._clock.now()):
                    return _told(known)
            with ExitStack() as held:
                async with self._desk.at_checkout(self._run(loop_id)):
                    run = self._run(loop_id)
                    ordinal = self._books.of(loop_id).ordinal + 1
                    intent = drafted(command, loop_id, actor, ordinal, self._clock.now())
                    held.enter_context(self._desk.carried(intent))
                    begun = await self._begun(intent, run, command)
                if isinstance(begun, OneShotReply):
                    return begun
                for step in await asked(services, _ref(run, command), begun, self._clock.now):
                    begun = await self._take(step)
        return _told(begun)

    async def _begun(self, intent: Intent, run: Run, command: ControlCommand) -> Intent | OneShotReply:
        """The row is on the disk by which the service may be asked; or why it is not asked."""
        try:
            await self._books.record(intent)
        except CannotRecord as error:
            return _not_written(error)
        member, now = self._roster.get(intent.loop_id), self._clock.now()
        run = replace(member.run if member is not None else run, ref=_ref(run, command))  # its control knows of it now
        refusal = gate.refuse(intent, run, None, now)
        if refusal is not None:
            return _told(await self._take(life.refused(intent, refusal, now)))
        executing = remote.begun(intent, run, remote.BY_CONTRACT, now)
        try:
            await self._books.record(executing)
        except CannotRecord as error:
            await self._take(life.expired(intent, "waited_too_long", self._clock.now()))
            return _not_written(error)
        return executing

    async def _known(self, loop_id: LoopId, command: ControlCommand) -> Intent | OneShotReply | None:
        key, transport = command.idempotency_key, TransportMode.SPRITE_SERVICE
        found = await self._commits.apart(partial(self._store.find_intent, loop_id, key, transport))
        if found is None:
            return None
        fingerprint = drafted(command, loop_id, found.actor, 0, self._clock.now()).fingerprint
        if found.fingerprint != fingerprint and not life.did_nothing(found):
            return OneShotReply(1, error=key_taken(key, found.id))
        return self._books.intent(found.id) or found

    async def _settled(self, services: Services, known: Intent, command: ControlCommand) -> Intent:
        """What its service says of it by now, where that is not known yet."""
        if known.status not in (IntentStatus.EXECUTING, IntentStatus.AMBIGUOUS):
            return known
        ref = _ref(self._run(known.loop_id), command)
        with self._desk.carried(known):
            for step in await followed(services, ref, known, self._clock.now):
                known = await self._take(step)
        return known

    async def _take(self, step: Intent) -> Intent:
        if step.is_in_flight:
            await self._books.tell(step)
        else:
            await close(self._books, self._log, step)
        return step

    def _run(self, loop_id: LoopId) -> Run:
        """
        Raises:
            UnknownLoop, NotManaged: there is nothing to act on.
        """
        return managed(self._roster, loop_id).run


def _ref(run: Run, command: ControlCommand) -> LoopRef:
    return ref_for(command, run.ref.loop_id, run.ref.repo_path)


def _told(intent: Intent) -> OneShotReply:
    if intent.is_in_flight:
        problem = f"the {intent.intent} is {intent.status} and goes on; opsctl intent {intent.id} says how it ends"
        return OneShotReply(AMBIGUOUS_EXIT, error=problem)
    return OneShotReply(exit_code(intent), msgspec.Raw(msgspec.json.encode(intent_row(intent))))


def _not_written(error: CannotRecord) -> OneShotReply:
    return OneShotReply(1, error=f"nothing was done, because it could not be written down: {error}")
