"""What one-shot commands ask of the daemon that holds their home: the same pass, by the same use case, made here.

A loop of the fleet is held while its pass is made, so that no other pass sees half of it, and what comes of it is taken
over into memory; a loop that nobody supervises is worked on in its files alone. The use case is `opsd.app.oneshot`.
"""

import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

import anyio
import anyio.from_thread
import msgspec
from msgspec.structs import replace

from opsd.app.given_envelopes import ProjectError
from opsd.app.oneshot import Passed, one_pass, rules_for, written
from opsd.app.passes import PassResult
from opsd.app.project import project_state
from opsd.app.restore import restore
from opsd.app.tuning import Telemetry, drift_pass
from opsd.app.whereabouts import ref_for
from opsd.core.reconcile import Rules
from opsd.logs import Log
from opsd.model.cursor import Cursor
from opsd.model.effects import Replace
from opsd.model.ids import LoopId
from opsd.model.intent import Actor
from opsd.model.oneshot import ControlCommand, DriftRequest, OneShotReply, PassOptions, ProjectRequest
from opsd.model.run import LoopRef, Run, Written
from opsd.model.tuning import DriftDocument
from opsd.ports import Clock, Files, Offload, Transport
from opsd.services.asking import AskingTransport
from opsd.store.faults import StoreError
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.supervisor.alarms import Alarms
from opsd.supervisor.bell import Bell
from opsd.supervisor.commits import Commits
from opsd.supervisor.fleet import FleetError, PassBroke, managed
from opsd.supervisor.intake import Intake
from opsd.supervisor.membership import Membership
from opsd.supervisor.oneshot_control import Lend, OneShotControl
from opsd.supervisor.perform import Performer
from opsd.supervisor.queue import WorkQueue
from opsd.supervisor.roster import Member, Roster

AT_ONCE_MAX = 64
WRITTEN_WITHIN_S = 20.0
"""A disk that takes longer hangs, as far as somebody is concerned who waits at a terminal."""
PASS_WITHIN_S = 100.0
"""A long log is read to its end in one pass, from a disk or in several requests; the command waits for 120 s."""
OWN_RULES_AFTER = timedelta(seconds=3)
"""When a loop is looked at again that was judged by other thresholds than its own: time enough to read the files."""
_SIGN_OF_LIFE_S = 5.0
_KEPT = "the daemon keeps what belongs there, and writes it once it can"
_STOPS = "the daemon stops; repeat the command, an intent under the same key"


class Busy(FleetError):  # noqa: N818  it says what the daemon is
    """More one-shot commands at once than are taken in."""


class Outward(msgspec.Struct, frozen=True):
    """`transport` makes one without memory, as a command has it; `lend` gives services to ask with a caller's token."""

    transport: Callable[[], Transport]
    lend: Lend


class _Errand:
    """Something that is done to its end, whoever may have stopped waiting for it."""

    def __init__(self, name: str, work: Callable[[], Awaitable[OneShotReply]]) -> None:
        self.name = name
        self.work = work
        self.ended = anyio.Event()
        self.reply: OneShotReply | None = None
        self.error: FleetError | None = None

    def end(self, reply: OneShotReply | None, error: FleetError | None = None) -> None:
        if not self.ended.is_set():
            self.reply, self.error = reply, error
            self.ended.set()


class OneShots:
    """`opsd.api.seams.OneShots`. `serve` does what was asked for."""

    def __init__(
        self,
        outward: Outward,
        *,
        layout: Layout,
        files: Files,
        store: Store,
        rules: Callable[[], Rules],
        roster: Roster,
        queue: WorkQueue,
        intake: Intake,
        alarms: Alarms,
        control: OneShotControl,
        performer: Performer,
        commits: Commits,
        membership: Membership,
        offload: Offload,
        clock: Clock,
        log: Log,
    ) -> None:
        self._outward = outward
        self._layout = layout
        self._files = files
        self._home = layout.home
        self._telemetry = Telemetry(layout, files)
        self._store = store
        self._rules = rules
        self._roster = roster
        self._queue = queue
        self._intake = intake
        self._alarms = alarms
        self._control = control
        self._performer = performer
        self._commits = commits
        self._membership = membership
        self._offload = offload
        self._clock = clock
        self._log = log
        self._bell = Bell(clock)
        self._waiting: deque[_Errand] = deque()
        self._open: set[_Errand] = set()
        self._looking: set[object] = set()

    # For the API

    async def reconcile(self, loop_id: LoopId, options: PassOptions) -> OneShotReply:
        """One pass with these options; what the command prints. It is made even if the caller stops waiting.

        Raises:
            FleetError: see there.
        """
        return await self._done(f"one pass over {loop_id}", partial(self._reconcile, loop_id, options))

    async def project_state(self, loop_id: LoopId, request: ProjectRequest) -> OneShotReply:
        """`state.json` as a projection of the given envelopes, until the next pass finds something to say.

        Raises:
            FleetError: see there.
        """

        def project(repo_path: str) -> OneShotReply:
            try:
                now = self._clock.now()
                return OneShotReply(0, project_state(self._files, self._layout, loop_id, repo_path, request, now))
            except ProjectError as error:
                return OneShotReply(1, error=str(error))

        def written(run: Run, document: msgspec.Raw) -> Run:
            return replace(run, written=replace(run.written, state_digest=0))

        return await self._done(f"a projection of {loop_id}", partial(self._in_files, loop_id, project, written))

    async def profile_drift(self, loop_id: LoopId, request: DriftRequest) -> OneShotReply:
        """One evaluation of drift, from which the passes go on.

        Raises:
            FleetError: see there.
        """

        def evaluate(_repo_path: str) -> OneShotReply:
            return drift_pass(self._store, self._layout, self._files, loop_id, request, self._clock.now())

        def evaluated(run: Run, document: msgspec.Raw) -> Run:
            return replace(run, drift=msgspec.json.decode(document, type=DriftDocument))

        return await self._done(f"drift of {loop_id}", partial(self._in_files, loop_id, evaluate, evaluated))

    async def control(self, loop_id: LoopId, command: ControlCommand, actor: Actor) -> OneShotReply:
        """One intent, as the contract's command asks for it, once it is settled.

        Raises:
            FleetError: see there.
        """

        async def carry_out() -> OneShotReply:
            await self._member(loop_id)
            return await self._control.control(loop_id, command, actor)

        return await self._done(f"{command.intent} of {loop_id}", carry_out)

    # For the supervisor

    @property
    def looking(self) -> int:
        """How many passes are in their threads, which cannot be called off."""
        return len(self._looking)

    async def serve(self, beat: Callable[[], None]) -> None:
        """For ever."""
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    beat()
                    while self._waiting:
                        errand = self._waiting.popleft()
                        tasks.start_soon(self._run, errand, name=errand.name)
                    await self._bell.wait(self._clock.monotonic() + _SIGN_OF_LIFE_S)
        finally:
            self.close()

    def close(self) -> None:
        """Whoever waits hears that nothing comes any more. What was not handed to the disk by now is not done."""
        self._waiting.clear()
        for errand in self._open:
            errand.end(None, PassBroke(_STOPS))
        self._open.clear()

    async def _done(self, name: str, work: Callable[[], Awaitable[OneShotReply]]) -> OneShotReply:
        if self._intake.is_closed:
            raise PassBroke(_STOPS)
        if len(self._open) >= AT_ONCE_MAX:
            raise Busy(f"{AT_ONCE_MAX} one-shot commands are being worked on already; repeat it in a moment")
        errand = _Errand(name, work)
        self._open.add(errand)
        self._waiting.append(errand)
        self._bell.ring()
        await errand.ended.wait()
        if errand.error is not None:
            raise errand.error
        assert errand.reply is not None
        return errand.reply

    async def _run(self, errand: _Errand) -> None:
        try:
            errand.end(await errand.work())
        except FleetError as error:
            errand.end(None, error)
        except StoreError as error:
            errand.end(OneShotReply(1, error=str(error)))
        except Exception as error:  # noqa: BLE001  a fault of ours in one errand must not end the others
            self._log.error("oneshot.failed", errand=errand.name, exception=traceback.format_exc())
            errand.end(None, PassBroke(f"{errand.name} broke off: {type(error).__name__}: {error}"))
        finally:
            self._open.discard(errand)
            errand.end(None, PassBroke(_STOPS))

    # A pass

    async def _reconcile(self, loop_id: LoopId, options: PassOptions) -> OneShotReply:
        async with self._held(loop_id):
            member = await self._member(loop_id)
            passed = None if member is not None else await self._pass_of_files(loop_id, options)
            if passed is None:
                member = member or self._roster.get(loop_id)
                if member is None:
                    raise PassBroke(f"{loop_id!r} came and went meanwhile; repeat the command")
                passed = await self._pass_of_member(member, options)
        return OneShotReply(passed.exit_code, msgspec.Raw(msgspec.json.encode(passed.document)))

    async def _member(self, loop_id: LoopId) -> Member | None:
        """The member, also where its folder has not been noticed yet; None where nobody supervises the loop.

        Raises:
            NotManaged: it is listed and not looked at.
        """
        if self._roster.get(loop_id) is None:
            await self._membership.look()
        return None if self._roster.get(loop_id) is None else managed(self._roster, loop_id)

    async def _pass_of_member(self, member: Member, options: PassOptions) -> Passed:
        loop_id = member.loop_id
        await self._on_disk(loop_id)
        stored = await self._commits.apart(lambda: self._store.load([loop_id], self._clock.now(), mend=False)[0])
        line = stored.cursor.event_line_offset if stored.cursor is not None else 0
        ref = ref_for(options, loop_id, self._checkout(member))
        began_s = self._clock.monotonic()
        try:
            passed = await self._looked(replace(member.run, ref=ref), line, options)
        except FleetError:
            raise
        except Exception as error:
            self._performer.perform(member, PassResult(member.run, None, traceback.format_exc(limit=-3)))
            raise PassBroke(f"the pass over {loop_id!r} broke off: {type(error).__name__}: {error}") from error
        if self._roster.get(loop_id) is not member:
            raise PassBroke(f"{loop_id!r} left the fleet, or changed its entry there, meanwhile; repeat the command")
        member.looked_s = began_s
        self._take_over(member, passed, options)
        await self._on_disk(loop_id)
        return passed

    def _take_over(self, member: Member, passed: Passed, options: PassOptions) -> None:
        """Memory says what the disk will say; the loop's own rules hold again before long."""
        before, run = member.run, replace(passed.run, ref=member.run.ref)
        if _is_another_log(before, passed.run):
            # What the loop's own way brings has not been read any further; but what was told was told.
            run = replace(
                before,
                open_escalations=run.open_escalations,
                escalation_counts=run.escalation_counts,
                baseline=run.baseline,
                baselined=run.baselined,
                written=Written(),
                revision=run.revision,
            )
        elif options.max_events:
            run = replace(run, written=replace(run.written, cursor_line=_cursor_line(passed)))
        self._performer.perform(member, PassResult(before, replace(passed.decision, run=run)))
        if before.ref.is_remote:
            # What was seen of it before is older than this pass, and nothing that another one should be made of.
            self._intake.trigger([member.loop_id], asked=True)
            return
        is_as_usual = options.thresholds == self._rules().of(member.loop_id).thresholds and not options.max_events
        if is_as_usual and passed.run.ref.transport is before.ref.transport:
            return
        own_at, wake = self._clock.now() + OWN_RULES_AFTER, passed.decision.wake
        self._alarms.put(member.loop_id, min(own_at, wake.when) if wake is not None else own_at)

    async def _pass_of_files(self, loop_id: LoopId, options: PassOptions) -> Passed | None:
        """One over a loop that nobody supervises, with what its files remember; None where somebody does by now."""
        ref = ref_for(options, loop_id, self._home)
        known, line = await self._commits.apart(lambda: self._restored(ref))
        passed = await self._looked(known, line, options)
        async with self._membership.still():
            if self._roster.get(loop_id) is not None:
                return None
            await self._commits.apart(lambda: self._write(passed))
        return passed

    def _restored(self, ref: LoopRef) -> tuple[Run, int]:
        (loop,), _ = restore(self._store, [ref], self._clock.now(), boot_id=self._rules().boot_id)
        return loop.run, loop.cursor_line

    def _write(self, passed: Passed) -> None:
        try:
            written(self._store, passed, self._clock.now())
        finally:
            self._store.forget(passed.run.ref.loop_id)

    async def _looked(self, run: Run, line: int, options: PassOptions) -> Passed:
        """
        Raises:
            PassBroke: the disk does not answer.
        """
        service = options.service if run.ref.is_remote else None
        with anyio.move_on_after(PASS_WITHIN_S):
            if service is None:
                transport = self._outward.transport()
                return await self._offload.run(lambda: self._look(transport, run, line, options))
            async with self._outward.lend(service.token) as services:
                return await self._offload.run(lambda: self._look(AskingTransport(services), run, line, options))
        raise PassBroke(f"the pass over {run.ref.loop_id!r} has not ended within {PASS_WITHIN_S:g} s")

    def _look(self, transport: Transport, run: Run, line: int, options: PassOptions) -> Passed:
        """In a worker thread."""
        own, this = self._rules(), object()
        self._looking.add(this)
        try:
            return one_pass(
                transport,
                run,
                options,
                rules_for(options, home=own.home, boot_id=own.boot_id),
                self._telemetry,
                cursor_line=line,
                now=self._clock.now(),
                monotonic=self._clock.monotonic,
                later=lambda at: anyio.from_thread.run(self._later, at),
            )
        finally:
            self._looking.discard(this)

    async def _later(self, at: datetime) -> datetime:
        left_s = (at - self._clock.now()).total_seconds()
        await self._clock.sleep_until(self._clock.monotonic() + max(0.0, left_s))
        return self._clock.now()

    async def _in_files(
        self,
        loop_id: LoopId,
        work: Callable[[str], OneShotReply],
        taken_over: Callable[[Run, msgspec.Raw], Run],
    ) -> OneShotReply:
        """What one of the loop's files is made anew by, given its checkout; memory takes over what was written."""
        async with self._held(loop_id):
            member = await self._member(loop_id)
            if member is not None:
                await self._on_disk(loop_id)
            async with self._membership.still():
                member = self._roster.get(loop_id)
                repo_path = self._checkout(member)
                reply = await self._commits.apart(lambda: work(repo_path))
                if member is None:
                    await self._commits.apart(lambda: self._store.forget(loop_id))
                elif reply.error is None:
                    member.run = taken_over(member.run, reply.document)
        return reply

    # The loop, and its files

    def _checkout(self, member: Member | None) -> str:
        """Where the loop's files are on this host, as far as anybody knows."""
        return member.run.ref.repo_path if member is not None and member.run.ref.has_checkout else self._home

    @asynccontextmanager
    async def _held(self, loop_id: LoopId) -> AsyncIterator[None]:
        """No pass over the loop while inside. Who waits for one gets it afterwards."""
        turn = anyio.Event()
        self._queue.hold(loop_id, turn.set)
        failed = True
        try:
            await turn.wait()
            yield
            failed = False
        finally:
            if turn.is_set():
                member = self._roster.get(loop_id)
                waits = member is not None and (failed or bool(member.requests))
                self._queue.done(loop_id, self._clock.monotonic(), again=waits)
            else:
                self._queue.unhold(loop_id, turn.set)
            self._intake.bell.ring()

    async def _on_disk(self, loop_id: LoopId) -> None:
        """
        Raises:
            StoreError: the disk refuses, or does not answer.
        """
        with anyio.move_on_after(WRITTEN_WITHIN_S):
            failure = await self._commits.tried(loop_id)
            if failure is None:
                return
            raise StoreError(f"{failure.path} cannot be written: {failure.problem}; {_KEPT}")
        raise StoreError(f"the files of {loop_id!r} were not written within {WRITTEN_WITHIN_S:g} s; {_KEPT}")


def _is_another_log(before: Run, after: Run) -> bool:
    """Whether the pass went another way than the loop's own, and read another file there."""
    if before.ref.transport is after.ref.transport or before.cursor is None or after.cursor is None:
        return False
    old, new = before.cursor.stream, after.cursor.stream
    return old is not None and new is not None and (old.device, old.inode) != (new.device, new.inode)


def _cursor_line(passed: Passed) -> int:
    """Where `cursor.json` stands after the pass."""
    lines = [
        effect.record.event_line_offset
        for effect in passed.decision.effects
        if isinstance(effect, Replace) and isinstance(effect.record, Cursor)
    ]
    return lines[-1] if lines else passed.run.written.cursor_line
