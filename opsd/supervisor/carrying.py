"""Carries one intent out on this host: the last look, the log, the act, and the looks that show what came of it.

Which intents are taken in, and when, is `desk`; those of loops behind services are carried by `remote`. Everything is
asked of the core; what is decided is on the disk before it is done, and nothing is done twice: an intent found
executing after a crash is only looked at.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import anyio
import msgspec

from opsd.app import control
from opsd.app.desk import CannotRecord
from opsd.core.intents import evidence, gate, life
from opsd.core.intents.acts import acts_for, watermark, words
from opsd.core.intents.evidence import Outcome, Verdict
from opsd.logs import Log
from opsd.model.acts import Act, ActResult, Scene
from opsd.model.ids import LoopId
from opsd.model.intent import Intent, IntentKind, IntentStatus, Refusal
from opsd.model.run import Run
from opsd.ports import Clock, Controls, Files, Offload, Processes
from opsd.store.faults import in_words
from opsd.store.layout import Layout
from opsd.supervisor.bell import Bell
from opsd.supervisor.books import Books
from opsd.supervisor.intake import Intake
from opsd.supervisor.roster import Member, Roster

HANGS = "its files could not be read in time"
LOOK_LIMIT_S = 15.0
"""A loop that cannot be looked at within this time is not acted on."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 2.0
AFTER_RESTART_S = 10.0
"""How long the evidence of an intent is looked for that a restart found executing, if its own window is over."""


class Hands(msgspec.Struct, frozen=True):
    """What carrying out needs of the outside, and how long the runtime's commands may take."""

    files: Files
    processes: Processes
    controls: Controls
    layout: Layout
    timeout_s: Callable[[], float]


class Carrier:
    """`acts` is where acts are carried out, `looks` where files are read."""

    def __init__(
        self,
        hands: Hands,
        *,
        books: Books,
        roster: Roster,
        intake: Intake,
        acts: Offload,
        looks: Offload,
        clock: Clock,
        log: Log,
        most_at_once: int,
    ) -> None:
        self.acting = 0
        self._hands = hands
        self._books = books
        self._roster = roster
        self._intake = intake
        self._acts = acts
        self._looks = looks
        self._clock = clock
        self._log = log
        self._turns = anyio.CapacityLimiter(most_at_once)
        self._bells: dict[LoopId, Bell] = {}

    def heard(self, loop_id: LoopId) -> None:
        """The loop's picture has changed."""
        bell = self._bells.get(loop_id)
        if bell is not None:
            bell.ring()

    async def carry(self, intent: Intent) -> None:
        """From wherever the intent stands to where it leaves the flight."""
        self._bells[intent.loop_id] = Bell(self._clock)
        try:
            if intent.status is IntentStatus.RECORDED:
                # Turns are for acts; looking for evidence takes nobody's place.
                async with self._turns:
                    intent = await self._act(intent)
            if intent.is_in_flight:
                await self._confirm(intent)
        finally:
            del self._bells[intent.loop_id]

    async def look_again(self, intent: Intent) -> None:
        """Whether what a pass has shown since settles an ambiguous intent, or moves a decision on."""
        member = self._roster.get(intent.loop_id)
        if member is None:
            return
        run = member.run
        if intent.status is IntentStatus.AMBIGUOUS and not run.ref.is_remote:
            try:
                verdict, scene = await self._verdict(intent, run)
            except TimeoutError:
                return
            if verdict.outcome is not Outcome.NOT_YET:
                attempts = intent.confirmation.attempts + 1 if intent.confirmation is not None else 1
                now = self._clock.now()
                seen = evidence.confirmation(intent, verdict, run, scene, attempts, now)
                after = life.judged(intent, verdict, seen, now)
                if after is not intent:
                    intent = await self._closed(after)
        stage = evidence.stage(intent, run)
        if stage is not None:
            intent = life.staged(intent, *stage, self._clock.now())
            await self._books.tell(intent)
            self._log.info("intent.staged", **gist(intent), stage=str(intent.stage))

    async def fresh(self, member: Member) -> str | None:
        """Look at the loop now; why that could not be done, or None."""
        return await fresh(self._intake, member)

    async def scene(self, run: Run, intent: Intent | None = None) -> Scene:
        """The files and processes that an intent is about, as they are at this moment.

        Raises:
            TimeoutError: a disk hangs; its thread is left behind, and nobody acts on what it cannot show.
        """
        with anyio.fail_after(LOOK_LIMIT_S):
            return await self._looks.run(partial(self._scene, run, intent))

    def log_path(self, intent: Intent) -> str:
        return self._hands.layout.launch_log(intent.loop_id, intent.id)

    def would(self, intent: Intent, run: Run, scene: Scene) -> tuple[str, ...]:
        """What carrying it out would do, one line each."""
        return tuple(words(act) for act in self._todo(intent, run, scene))

    def _todo(self, intent: Intent, run: Run, scene: Scene) -> tuple[Act, ...]:
        log, timeout_s = self.log_path(intent), self._hands.timeout_s()
        return acts_for(intent, scene, repo=run.ref.repo_path, log=log, timeout_s=timeout_s)

    def _scene(self, run: Run, intent: Intent | None) -> Scene:
        hands = self._hands
        mark = intent.watermark if intent is not None else None
        log = self.log_path(intent) if intent is not None else None
        now = self._clock.now()
        return control.look(hands.files, hands.processes, hands.controls, run.ref, now, watermark=mark, log=log)

    async def _act(self, intent: Intent) -> Intent:
        """The intent as it stands after the act, or after what kept it from being done."""
        member = self._roster.get(intent.loop_id)
        if member is None or self._clock.now() >= intent.expires_at:
            return await self._closed(life.expired(intent, "waited_too_long", self._clock.now()))
        # The watermark is where this pass stands: what it has not read could pass for evidence of the act.
        problem = await self.fresh(member)
        if (refusal := unseen(problem)) is not None:
            return await self._closed(life.refused(intent, refusal, self._clock.now()))
        run = (self._roster.get(intent.loop_id) or member).run
        scene, refusal = await self._weighed(intent, run)
        now = self._clock.now()
        if scene is None or refusal is not None:
            refusal = refusal or Refusal("picture_incomplete", f"The loop could not be looked at: {HANGS}.")
            return await self._closed(life.refused(intent, refusal, now))
        todo = self._todo(intent, run, scene)
        executing = life.executing(intent, watermark(run, scene, now), todo, now)
        try:
            await self._books.record(executing)
        except CannotRecord as error:
            refusal = Refusal("store_unwritable", f"It could not be written down: {error}.")
            return await self._closed(life.refused(intent, refusal, self._clock.now()))
        self._log.info("intent.executing", **gist(executing), command="; ".join(map(words, todo)))
        return await self._after(executing, await self._done(executing, run, todo))

    async def _weighed(self, intent: Intent, run: Run) -> tuple[Scene | None, Refusal | None]:
        """What there is to see, and what objects to acting on it; no scene where a disk hangs."""
        try:
            scene = await self.scene(run)
        except TimeoutError:
            return None, None
        return scene, gate.refuse(intent, run, scene, self._clock.now())

    async def _done(self, intent: Intent, run: Run, todo: Sequence[Act]) -> Refusal | list[ActResult]:
        self.acting += 1
        try:
            return await self._acts.run(partial(self._carry_out, intent, run, todo))
        finally:
            self.acting -= 1

    def _carry_out(self, intent: Intent, run: Run, todo: Sequence[Act]) -> Refusal | list[ActResult]:
        """In a worker thread: a last look, with nothing between it and the act but the act's own start."""
        member = self._roster.get(intent.loop_id)
        if member is not None:
            run = member.run  # somebody may have set another mode since
        scene = self._scene(run, intent)
        refusal = gate.refuse(intent, run, scene, scene.at) or gate.moved(intent, scene)
        if refusal is not None:
            return refusal
        if intent.intent is IntentKind.START:
            try:
                control.make_room_for_launch(self._hands.files, self._hands.layout, intent.loop_id)
            except OSError as error:
                return Refusal("store_unwritable", f"What the run prints has no place to go to: {in_words(error)}.")
        results = []
        for act in todo:
            results.append(self._hands.controls.carry_out(act))
            if results[-1].problem is not None:
                break
        return results

    async def _after(self, intent: Intent, outcome: Refusal | list[ActResult]) -> Intent:
        now = self._clock.now()
        if isinstance(outcome, Refusal):
            return await self._closed(life.refused(intent, outcome, now))
        after = life.executed(intent, outcome, now)
        if after.is_in_flight:
            await self._books.tell(after)
            return after
        # It failed, and one look tells whether it had its effect all the same; the contract's command takes none.
        member = self._roster.get(intent.loop_id) if not intent.options.as_contract else None
        if member is not None and await self.fresh(member) is None:
            run = (self._roster.get(intent.loop_id) or member).run
            with suppress(TimeoutError):
                verdict, scene = await self._verdict(after, run)
                now = self._clock.now()
                after = life.looked_back(after, evidence.confirmation(after, verdict, run, scene, 1, now), now)
        return await self._closed(after)

    async def _confirm(self, intent: Intent) -> None:
        if not intent.options.confirm and intent.status is IntentStatus.EXECUTED:
            await self._closed(life.unconfirmed(intent, self._clock.now()))
            return
        end_s = self._clock.monotonic() + self._window_s(intent)
        bell, pause_s, attempts = self._bells[intent.loop_id], FIRST_PAUSE_S, 0
        while True:
            member = self._roster.get(intent.loop_id)
            if member is None or member.run.ref.is_remote:
                # Files and processes of this host would say nothing about a loop that is behind a service by now.
                seen = evidence.unseen(attempts, "The loop has left the fleet, or this host.", self._clock.now())
                await self._closed(life.ambiguous(intent, seen, self._clock.now()))
                return
            problem = await self.fresh(member)
            attempts += 1
            run = (self._roster.get(intent.loop_id) or member).run
            try:
                found = await self._verdict(intent, run) if problem is None else None
            except TimeoutError:
                found, problem = None, HANGS
            now = self._clock.now()
            if found is not None:
                verdict, scene = found
                seen = evidence.confirmation(intent, verdict, run, scene, attempts, now)
                if verdict.outcome is not Outcome.NOT_YET:
                    await self._closed(life.judged(intent, verdict, seen, now))
                    return
            else:
                seen = evidence.unseen(attempts, f"The loop could not be looked at: {problem}.", now)
            now_s = self._clock.monotonic()
            if now_s >= end_s:
                await self._closed(life.ambiguous(intent, seen, now))
                return
            await bell.wait(min(now_s + pause_s, end_s))
            pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)

    def _window_s(self, intent: Intent) -> float:
        """How long its evidence is still looked for: some time is left even where a restart came late."""
        execution = intent.execution
        began = (execution.ended_at or execution.started_at) if execution is not None else intent.updated_at
        if not intent.options.timeout_s:
            return 0.0  # one look is what its caller wants
        left_s = intent.options.timeout_s - max(0.0, (self._clock.now() - began).total_seconds())
        return left_s if left_s > 0 else AFTER_RESTART_S

    async def _verdict(self, intent: Intent, run: Run) -> tuple[Verdict, Scene]:
        scene = await self.scene(run, intent)
        return evidence.judge(intent, run, scene, self._clock.now()), scene

    async def _closed(self, intent: Intent) -> Intent:
        await close(self._books, self._log, intent)
        return intent


async def fresh(intake: Intake, member: Member) -> str | None:
    """Look at the loop now; why that could not be done, or None."""
    if intake.is_closed:
        return "opsd stops"
    with anyio.move_on_after(LOOK_LIMIT_S):
        return (await intake.asked_for(member)).error
    return f"it could not be looked at within {LOOK_LIMIT_S:g} s"


async def close(books: Books, log: Log, intent: Intent) -> None:
    """The intent has left the flight, or what was ambiguous is settled."""
    await books.tell(intent)
    seen = intent.confirmation
    reason = intent.refusal.code if intent.refusal is not None else seen.reason if seen is not None else None
    log.info("intent.settled", **gist(intent), reason=reason)


def gist(intent: Intent) -> dict[str, str]:
    """What every log event about an intent carries."""
    return {
        "loop_id": intent.loop_id,
        "intent_id": intent.id,
        "intent": intent.intent.value,
        "status": intent.status.value,
        "trace_id": intent.trace_id,
    }


def unseen(problem: str | None) -> Refusal | None:
    """A loop that could not be looked at is not acted on."""
    return None if problem is None else Refusal("picture_incomplete", f"The loop could not be looked at: {problem}.")
