"""The control desk of a one-shot command: one intent, from the request to its end, on this host or through a service.

The same log, gate, acts, evidence and rows as the daemon's, one after the other: whatever must be on the disk first is
there before the next step is thought of, and what a killed command left in flight is looked at, never done again.
Source: control-and-service 2 to 6.
"""

import os
import pwd
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from opsd.app import control
from opsd.app.restore import Restored
from opsd.core.intents import book as books
from opsd.core.intents import evidence, gate, identity, life, remote
from opsd.core.intents.acts import acts_for, watermark
from opsd.core.intents.evidence import Outcome
from opsd.core.intents.rows import log_row, rows
from opsd.core.modes import in_force, modes_of
from opsd.core.reconcile import Pass, Rules, decide
from opsd.model.acts import Act, ActResult, Scene
from opsd.model.ids import LoopId, TraceId
from opsd.model.intent import (
    IN_FLIGHT,
    Actor,
    Confirmation,
    Fence,
    Intent,
    IntentKind,
    IntentStatus,
    Options,
    Refusal,
)
from opsd.model.observation import Seen
from opsd.model.oneshot import ControlCommand
from opsd.model.run import LoopRef, Run
from opsd.model.transport import TransportMode
from opsd.ports import Ask, Controls, Files, Processes
from opsd.store.commit import LoopCommit
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.transports.local import LocalTransport

COMMAND_TIMEOUT_S: Final = 60.0
"""After how long a command of the runtime is ended; a real cancel takes up to 12 s."""
_STANDS: Final = timedelta(seconds=120)
DONE_THERE_WITHIN: Final = timedelta(seconds=60)
"""What a service was asked for has ended there by then: a cancel takes 12 s, and its effect is looked for for 30 s."""


class KeyTaken(Exception):  # noqa: N818  it says what the key is
    """The key stands for another request; the message names it."""


class UnderWay(Exception):  # noqa: N818  it says what the intent is
    """Another command, which is still there, has asked for just this; the message names it."""


class Unwritable(Exception):  # noqa: N818  it says what the disk is
    """`after`: how far the intent had come by then; None where nothing was done, and nothing will be."""

    def __init__(self, problem: str, after: Intent | None = None) -> None:
        super().__init__(problem)
        self.after = after


class Host(msgspec.Struct, frozen=True):
    """What the desk needs of the outside. `pause` waits for so many seconds; `told` asks the caller's own program."""

    layout: Layout
    files: Files
    processes: Processes
    controls: Controls
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    pause: Callable[[float], None]
    told: Callable[[Intent], Confirmation] | None = None


class Way(Protocol):
    """How an intent is carried out. Each step that is yielded is on the disk when the next one is asked for."""

    def carry(self, intent: Intent, run: Run) -> Iterator[Intent]:
        """From the record to where it leaves the flight."""

    def resume(self, intent: Intent, run: Run, *, patient: bool) -> Iterator[Intent]:
        """What became of one that a killed command left open; `patient` where the caller asks for this very one."""


class Locally:
    """On this host, for the checkout of `ref`."""

    def __init__(self, host: Host, ref: LoopRef, rules: Rules) -> None:
        self._host = host
        self._ref = ref
        self._rules = rules
        self._transport = LocalTransport(host.files, host.processes)

    def carry(self, intent: Intent, run: Run) -> Iterator[Intent]:
        run, _ = self._looked(run)
        scene = self._scene(None)
        now = self._host.now()
        refusal = gate.refuse(intent, run, scene, now)
        if refusal is not None:
            yield life.refused(intent, refusal, now)
            return
        todo = acts_for(intent, scene, repo=self._ref.repo_path, log="", timeout_s=COMMAND_TIMEOUT_S)
        executing = life.executing(intent, watermark(run, scene, now), todo, now)
        yield executing
        outcome = self._done(executing, run, todo)
        if isinstance(outcome, Refusal):
            yield life.refused(executing, outcome, self._host.now())
            return
        after = life.executed(executing, outcome, self._host.now())
        yield after
        if after.is_in_flight:
            yield self._confirmed(after, run)

    def resume(self, intent: Intent, run: Run, *, patient: bool) -> Iterator[Intent]:
        if intent.transport == TransportMode.SPRITE_SERVICE:
            if intent.is_in_flight:
                problem = "The command that asked for it ended before the answer came."
                yield remote.unanswered(intent, problem, self._host.now())
            return
        if patient and intent.is_in_flight:
            yield self._confirmed(intent, run)
            return
        verdict, seen = self._look(intent, run, 1)
        after = intent
        if verdict is not None and verdict.outcome is not Outcome.NOT_YET:
            after = life.judged(intent, verdict, seen, self._host.now())
        elif intent.is_in_flight:
            after = life.ambiguous(intent, seen, self._host.now())
        if after is not intent:
            yield after

    def _looked(self, run: Run) -> tuple[Run, str | None]:
        """The run by its files as they are now, in memory alone, and why it could not be looked at, if so."""
        this = Pass(TraceId(""))
        while True:
            now = self._host.now()
            observation = self._transport.observe([Ask(run.ref, run.cursor)], now)[0]
            decision = decide(run, observation, self._rules, this, now)
            run = decision.run
            if not decision.again:
                return run, None if isinstance(observation, Seen) else observation.problem

    def _scene(self, intent: Intent | None) -> Scene:
        host = self._host
        mark = intent.watermark if intent is not None else None
        return control.look(host.files, host.processes, host.controls, self._ref, host.now(), watermark=mark)

    def _done(self, intent: Intent, run: Run, todo: tuple[Act, ...]) -> Refusal | list[ActResult]:
        """A last look, with nothing between it and the act but the act's own start."""
        scene = self._scene(intent)
        refusal = gate.refuse(intent, run, scene, scene.at) or gate.moved(intent, scene)
        if refusal is not None:
            return refusal
        results: list[ActResult] = []
        for act in todo:
            results.append(self._host.controls.carry_out(act))
            if results[-1].problem is not None:
                break
        return results

    def _confirmed(self, intent: Intent, run: Run) -> Intent:
        """As the contract's confirmation looks: at least once, and until the window is over. Source: 3."""
        host = self._host
        if not intent.options.confirm and intent.status is IntentStatus.EXECUTED:
            return life.unconfirmed(intent, host.now())
        if host.told is not None:
            seen = host.told(intent)
            judged = life.settled if seen.confirmed else life.ambiguous
            return judged(intent, seen, host.now())
        ends_s, attempts = host.monotonic() + intent.options.timeout_s, 0
        while True:
            attempts += 1
            verdict, seen = self._look(intent, run, attempts)
            if verdict is not None and verdict.outcome is not Outcome.NOT_YET:
                return life.judged(intent, verdict, seen, host.now())
            if host.monotonic() >= ends_s:
                return life.ambiguous(intent, seen, host.now())
            host.pause(max(1.0, intent.options.interval_s))

    def _look(self, intent: Intent, run: Run, attempts: int) -> tuple[evidence.Verdict | None, Confirmation]:
        run, problem = self._looked(run)
        now = self._host.now()
        if problem is not None:
            return None, evidence.unseen(attempts, f"The loop could not be looked at: {problem}", now)
        scene = self._scene(intent)
        verdict = evidence.judge(intent, run, scene, now)
        return verdict, evidence.confirmation(intent, verdict, run, scene, attempts, now)


class ThroughService:
    """By the service that `ref` names: `ask` sends what an executing intent asks for, `follow` asks what became of it.

    Both say which steps the intent takes by the answer; they do the waiting.
    """

    def __init__(
        self,
        ref: LoopRef,
        now: Callable[[], datetime],
        *,
        ask: Callable[[Intent], tuple[Intent, ...]],
        follow: Callable[[Intent], tuple[Intent, ...]],
    ) -> None:
        self._ref = ref
        self._now = now
        self._ask = ask
        self._follow = follow

    def carry(self, intent: Intent, run: Run) -> Iterator[Intent]:
        run, now = replace(run, ref=self._ref), self._now()
        refusal = gate.refuse(intent, run, None, now)
        if refusal is not None:
            yield life.refused(intent, refusal, now)
            return
        executing = remote.begun(intent, run, remote.BY_CONTRACT, now)
        yield executing
        yield from self._ask(executing)

    def resume(self, intent: Intent, run: Run, *, patient: bool) -> Iterator[Intent]:
        if intent.transport != TransportMode.SPRITE_SERVICE or not (intent.is_in_flight or patient):
            return
        steps = self._follow(intent)
        yield from steps
        if intent.is_in_flight and not steps:
            problem = "The command that asked for it ended before the answer came, and the service knows nothing of it."
            yield remote.unanswered(intent, problem, self._now())


class Settled(msgspec.Struct, frozen=True):
    intent: Intent
    replayed: bool = False


class SoloDesk:
    """For the writer of the home, and one loop of it. `loop` is what the files had of it."""

    def __init__(
        self,
        store: Store,
        loop: Restored,
        way: Way,
        now: Callable[[], datetime],
        *,
        waited_for: Callable[[Intent], bool],
    ) -> None:
        """`waited_for`: whether the command that asked for the intent is still there, waiting for an answer or a proof.

        Such an intent is that command's to settle. A service over this very home carries it out by a command like this.
        """
        self._store = store
        self._waited_for = waited_for
        self._run = loop.run
        self._last = loop.last_control
        self._intents = {intent.id: intent for intent in loop.intents}
        self._unread = loop.unread
        self._way = way
        self._now = now

    @property
    def loop_id(self) -> LoopId:
        return self._run.ref.loop_id

    def carry_out(self, command: ControlCommand) -> Settled:
        """What the command comes to.

        Raises:
            KeyTaken: its key stands for another request.
            UnderWay: another command is at it.
            Unwritable: it cannot be written down.
        """
        if self._unread is not None:
            raise Unwritable(f"what was asked for before cannot be read: {self._unread}")
        asked = drafted(command, self.loop_id, ourselves(), self._book().ordinal + 1, self._now())
        known = self._known(asked, command) if command.key_given else None
        if known is not None and self._is_anothers(known):
            raise UnderWay(
                f"--idempotency-key {asked.idempotency_key} stands for intent {known.id}, for whose outcome pid "
                f"{known.actor.pid} waits; ask again when that has ended"
            )
        for intent in [each for each in self._intents.values() if each.is_open and not self._is_anothers(each)]:
            self._settle(intent, patient=known is not None and intent.id == known.id)
        if known is not None:
            known = self._intents.get(known.id, known)
            if stands(known, self._now()):
                return Settled(known, replayed=True)
        self._write(asked)
        return Settled(self._followed(asked, self._way.carry(asked, self._shown())))

    def _settle(self, intent: Intent, *, patient: bool) -> None:
        """What a command before us left open. Nothing is carried out for it any more."""
        after = life.recovered(intent, self._now())
        if after is not intent:
            self._write(after)
            return
        self._followed(intent, self._way.resume(intent, self._shown(), patient=patient))

    def _followed(self, intent: Intent, steps: Iterator[Intent]) -> Intent:
        for step in steps:
            self._write(step)
            intent = step
        return intent

    def _known(self, asked: Intent, command: ControlCommand) -> Intent | None:
        """The intent that stands behind the key."""
        found = self._store.find_intent(self.loop_id, asked.idempotency_key, command.transport)
        if found is not None and found.fingerprint != asked.fingerprint and not life.did_nothing(found):
            raise KeyTaken(key_taken(asked.idempotency_key, found.id))
        return None if found is None else self._intents.get(found.id, found)

    def _is_anothers(self, intent: Intent) -> bool:
        return intent.is_in_flight and self._waited_for(intent)

    def _book(self) -> books.Book:
        return books.book_of(sorted(self._intents.values(), key=lambda each: each.ordinal))

    def _shown(self) -> Run:
        """The run with what its intents and its mode mean for it by now."""
        mode = in_force(modes_of(*self._store.load_modes()), self.loop_id, self._now())
        here = [
            intent
            for intent in self._intents.values()
            if intent.transport == TransportMode.LOCAL or not self._is_anothers(intent)
        ]
        book = books.book_of(sorted(here, key=lambda each: each.ordinal))
        state = books.control_state(book, self._last.status, self._last.ours, mode)
        return replace(self._run, control=state)

    def _write(self, intent: Intent) -> None:
        before = self._intents.get(intent.id)
        settles = intent.status not in IN_FLIGHT and (before is None or before.status is not intent.status)
        effects = (log_row(intent), *(rows(intent) if settles else ()))
        self._store.forget(self.loop_id)  # others may have written since the last step, while the home was lent
        done = self._store.commit([LoopCommit(self.loop_id, effects)], self._now())
        for failure in done.failures:
            was_done = before is not None and before.execution is not None
            raise Unwritable(f"{failure.path} cannot be written: {failure.problem}", intent if was_done else None)
        self._intents[intent.id] = intent


def drafted(command: ControlCommand, loop_id: LoopId, actor: Actor, ordinal: int, now: datetime) -> Intent:
    """The intent that the command asks for."""
    kind, options = IntentKind(command.intent), options_of(command)
    return life.recorded(
        id=uuid.uuid4().hex,
        loop_id=loop_id,
        kind=kind,
        requested_by=command.by,
        actor=actor,
        trace_id=command.trace_id,
        idempotency_key=command.idempotency_key,
        # A key that goes to a service is bound there: here another request may come under it, from that service.
        key_given=command.key_given and command.service is None,
        fingerprint=identity.fingerprint(loop_id, kind, command.by, command.note, "", Fence(), options),
        ordinal=ordinal,
        now=now,
        expires_at=now + _STANDS,
        transport=command.transport,
        note=command.note,
        options=options,
        retry_attempts=command.retry_attempts,
        retry_backoff_s=command.retry_backoff_seconds,
    )


def stands(intent: Intent, now: datetime) -> bool:
    """Whether what came of it is the answer to the same request under its key; else that may be made again.

    A service keeps what it carried out under the key. One that does not answer may still be at it: contract's own
    service forgets a key until it is done. Source: control-and-service 8, 12 (A3, A4, C3).
    """
    if life.did_nothing(intent):
        return False
    if intent.transport == TransportMode.LOCAL or intent.status is not IntentStatus.AMBIGUOUS:
        return True
    return intent.execution is not None and now - intent.execution.started_at < DONE_THERE_WITHIN


def key_taken(key: str, intent_id: str) -> str:
    return (
        f"--idempotency-key {key} stands for intent {intent_id}, which asked for something else; "
        "use a key of its own for this one"
    )


def options_of(command: ControlCommand) -> Options:
    return Options(
        confirm=command.confirm,
        timeout_s=float(command.timeout_seconds),
        interval_s=float(command.interval_seconds),
        as_contract=True,
    )


def ourselves() -> Actor:
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return Actor(uid, user, os.getpid())
