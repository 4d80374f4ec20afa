"""A control desk that only a test moves: takes intents in as the real one does, and carries nothing out.

For trying the API and opsctl. It refuses what can be seen from outside (another intent, another run, observe mode) and
what it is told to; how far an intent comes is the test's word, given beforehand (`outcomes`) or later (`move`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import anyio
import msgspec
from msgspec.structs import replace

from opsd.app.desk import CannotRecord, IdempotencyConflict, NotAmbiguous, UnknownIntent
from opsd.model.ids import LoopId
from opsd.model.intent import (
    DECISIONS,
    IN_FLIGHT,
    NEVER_EXECUTED,
    NEXT,
    Acknowledgement,
    Actor,
    Confirmation,
    ControlState,
    Evidence,
    Execution,
    FenceDifference,
    Intent,
    IntentKind,
    IntentStatus,
    OpenIntent,
    Options,
    PauseNote,
    Refusal,
    Stage,
    Watermark,
)
from opsd.model.mode import Mode
from opsd.model.refusals import REFUSALS
from opsd.model.run import Run
from opsd.protocol import (
    AckRequest,
    IntentRequest,
    ModePage,
    ModeRequest,
    ModeStatus,
    Submitted,
    WaitFor,
)
from opsd.supervisor.fleet import NotManaged, UnknownLoop
from tests.doubles.fleet import StandInFleet

_WAY_TO: Mapping[IntentStatus, tuple[IntentStatus, ...]] = {
    IntentStatus.EXECUTING: (IntentStatus.EXECUTING,),
    IntentStatus.EXECUTED: (IntentStatus.EXECUTING, IntentStatus.EXECUTED),
    IntentStatus.CONFIRMED: (IntentStatus.EXECUTING, IntentStatus.EXECUTED, IntentStatus.CONFIRMED),
    IntentStatus.EXECUTED_UNCONFIRMED: (
        IntentStatus.EXECUTING,
        IntentStatus.EXECUTED,
        IntentStatus.EXECUTED_UNCONFIRMED,
    ),
    IntentStatus.AMBIGUOUS: (IntentStatus.EXECUTING, IntentStatus.EXECUTED, IntentStatus.AMBIGUOUS),
    IntentStatus.FAILED_COMMAND: (IntentStatus.EXECUTING, IntentStatus.FAILED_COMMAND),
    IntentStatus.EXPIRED: (IntentStatus.EXPIRED,),
    IntentStatus.REFUSED: (IntentStatus.REFUSED,),
}
"""What comes between `recorded` and an outcome."""
_REASONS = {
    IntentKind.CANCEL: ("inactive_not_running", "state.json is absent, and process 4242 is gone."),
    IntentKind.APPROVE: ("decision_recorded", "approval.json carries `approved` on this candidate."),
    IntentKind.REJECT: ("decision_recorded", "approval.json carries `rejected` on this candidate."),
    IntentKind.START: ("run_started", "loop_start of a new run."),
    IntentKind.PAUSE: ("processes_stopped", "Every process of the run is stopped."),
    IntentKind.RESUME: ("processes_running", "No process of the run is stopped."),
}


class StandInDesk:
    """`opsd.api.seams.Desk` over a `StandInFleet`, whose loops show what their intents mean for them.

    `outcomes` is how far an intent on a loop comes by itself, within its submission; without one it stays recorded.
    `refusals` turns every intent on a loop down. `broken` is raised by whatever would be written next. `asked` is
    every request that came in, dry runs too; `waiting` how many wait for an intent now.
    """

    def __init__(self, fleet: StandInFleet, *known: Intent, prefix: str = "intent") -> None:
        self.fleet = fleet
        self.outcomes: dict[str, IntentStatus] = {}
        self.refusals: dict[str, Refusal] = {}
        self.broken: Exception | None = None
        self.asked: list[tuple[str, IntentRequest, Actor]] = []
        self.waiting = 0
        self._prefix = prefix
        self._intents = {intent.id: intent for intent in known}
        self._forgotten: set[str] = set()
        self._modes: dict[str | None, ModeStatus] = {}
        self._moved = anyio.Event()
        for loop_id in {intent.loop_id for intent in known}:
            self._show(loop_id)

    # What a test does

    @property
    def intents(self) -> tuple[Intent, ...]:
        """All that were recorded, as the files have them, oldest first."""
        return tuple(self._intents.values())

    def move(self, intent_id: str, to: IntentStatus, **members: Any) -> Intent:
        """The intent comes as far as `to`, by every step between; `members` are set in the last."""
        intent = self._intents[intent_id]
        for status in (to,) if to in NEXT[intent.status] else _WAY_TO[to]:
            if status in NEXT[intent.status]:
                given = members if status is to else {}
                intent = self._put(replace(intent, **{**self._believable(intent, status), **given}))
        if intent.status is not to:
            raise ValueError(f"an intent that is {intent.status} does not become {to}")
        return intent

    def stage(self, intent_id: str, stage: Stage) -> Intent:
        """The recorded decision comes a stage further: a run took it up, or completed."""
        told = Evidence("events.jsonl", f"The decision is {stage}.", line=12)
        intent = self._intents[intent_id]
        return self._put(replace(intent, stage=stage, stage_evidence=(*intent.stage_evidence, told)))

    def forget(self, intent_id: str) -> None:
        """Only the files still have it, as those that were settled long ago."""
        self._forgotten.add(intent_id)

    def lose(self, intent_id: str) -> None:
        """It is nowhere: the daemon was killed before it was on the disk."""
        del self._intents[intent_id]

    def restarted(self, fleet: StandInFleet) -> "StandInDesk":
        """The desk of the daemon's next start: what was recorded and not begun is expired, the rest as it was."""
        known = []
        for intent in self._intents.values():
            if intent.status is IntentStatus.RECORDED:
                intent = replace(intent, **self._believable(intent, IntentStatus.EXPIRED))
            known.append(intent)
        desk = StandInDesk(fleet, *known, prefix=self._prefix)
        desk._modes = dict(self._modes)
        return desk

    # What the API does

    async def submit(self, loop_id: LoopId, request: IntentRequest, actor: Actor) -> Submitted:
        run = self.fleet.run(loop_id)
        if run is None:
            raise UnknownLoop(f"no loop {loop_id!r} is in the fleet")
        if run.ref.fault is not None or not run.ref.enabled:
            raise NotManaged(f"loop {loop_id!r} is listed and not looked at: {run.ref.fault_detail or 'disabled'}")
        self.asked.append((loop_id, request, actor))
        intent = self._new(run, request, actor)
        if request.idempotency_key is not None and not request.dry_run:
            known = self._replayed(intent)
            if known is not None:
                return Submitted(known, replayed=True)
        refusal = self._refusal(run, intent)
        if refusal is not None:
            intent = replace(intent, **self._believable(intent, IntentStatus.REFUSED, refusal))
        if request.dry_run:
            would = () if refusal else (f"superloop.sh {intent.intent} --repo {run.ref.repo_path}",)
            return Submitted(intent, would=would)
        self._check_disk()
        intent = self._put(intent)
        outcome = self.outcomes.get(loop_id)
        if refusal is None and outcome is not None:
            self.move(intent.id, outcome)
        return Submitted(intent)

    def intent(self, intent_id: str) -> Intent | None:
        return None if intent_id in self._forgotten else self._intents.get(intent_id)

    async def wait(self, intent_id: str, until: WaitFor, wait_s: float) -> Intent | None:
        self.waiting += 1
        try:
            with anyio.move_on_after(wait_s):
                while (intent := self.intent(intent_id)) is not None and not _has_come(intent, until):
                    await self._moved.wait()
        finally:
            self.waiting -= 1
        return self.intent(intent_id)

    async def acknowledge(self, intent_id: str, request: AckRequest, actor: Actor) -> Intent:
        intent = self.intent(intent_id)
        if intent is None:
            raise UnknownIntent(intent_id)
        if intent.status is not IntentStatus.AMBIGUOUS:
            raise NotAmbiguous(intent.status)
        self._check_disk()
        word = Acknowledgement(request.by or actor.user, actor, request.reason, self.fleet.clock.now())
        return self._put(replace(intent, status=IntentStatus.ACKNOWLEDGED, updated_at=word.at, acknowledged=word))

    def modes(self, now: datetime) -> ModePage:
        return ModePage(
            now, tuple(mode for mode in self._modes.values() if mode.mode is not Mode.NORMAL and _holds(mode, now))
        )

    async def set_mode(self, request: ModeRequest, actor: Actor) -> ModePage:
        self._check_disk()
        now = self.fleet.clock.now()
        until = now + timedelta(seconds=request.for_s) if request.for_s is not None else None
        self._modes[request.loop_id] = ModeStatus(
            request.mode, request.by or actor.user, now, request.loop_id, request.reason, until
        )
        self.fleet.mode = next((mode for mode in self.modes(now).modes if mode.loop_id is None), None)
        for loop_id in self.fleet.loop_ids():
            self._show(loop_id)
        return self.modes(now)

    def _new(self, run: Run, request: IntentRequest, actor: Actor) -> Intent:
        now = self.fleet.clock.now()
        ordinal = sum(each.loop_id == run.ref.loop_id for each in self._intents.values()) + 1
        number = len(self._intents) + 1
        return Intent(
            id=f"{self._prefix}-{number}",
            loop_id=run.ref.loop_id,
            intent=request.intent,
            status=IntentStatus.RECORDED,
            recorded_at=now,
            updated_at=now,
            expires_at=now + timedelta(seconds=120),
            requested_by=request.by or actor.user,
            actor=actor,
            trace_id=request.trace_id or f"trace-{number}",
            idempotency_key=request.idempotency_key or f"{request.intent}-{number}",
            fingerprint=_fingerprint(run.ref.loop_id, request),
            ordinal=ordinal,
            schema_version="v1",
            key_given=request.idempotency_key is not None,
            note=request.note,
            reason=request.reason,
            expect=request.expect,
            options=Options(
                request.confirm,
                request.timeout_s,
                request.override_divergence,
                request.clear_stale,
                now + timedelta(seconds=request.pause_for_s) if request.pause_for_s is not None else None,
            ),
        )

    def _replayed(self, intent: Intent) -> Intent | None:
        for known in reversed(self.intents):
            if known.idempotency_key == intent.idempotency_key and known.status not in NEVER_EXECUTED:
                if known.fingerprint != intent.fingerprint:
                    raise IdempotencyConflict(known.id)
                return known
        return None

    def _refusal(self, run: Run, intent: Intent) -> Refusal | None:
        if intent.loop_id in self.refusals:
            return self.refusals[intent.loop_id]
        if run.control.observing:
            return a_refusal("observe_mode")
        if run.control.in_flight is not None:
            return a_refusal("intent_in_flight")
        found = run.projection.run_id if run.projection else "none"
        if intent.expect.run_id not in (None, found):
            return a_refusal("fence_mismatch", FenceDifference("run_id", intent.expect.run_id or "", found))
        return None

    def _believable(self, intent: Intent, to: IntentStatus, refusal: Refusal | None = None) -> dict[str, Any]:
        """What the real desk would have found and written by then."""
        now = self.fleet.clock.now()
        members: dict[str, Any] = {"status": to, "updated_at": now}
        if to not in IN_FLIGHT and intent.settled_at is None:
            members["settled_at"] = now
        reason, says = _REASONS[intent.intent]
        begun = intent.execution or Execution(f"superloop.sh {intent.intent} --repo /srv/repo", now)
        match to:
            case IntentStatus.EXECUTING:
                members |= {"watermark": Watermark(now, 0, 7, run_id=intent.expect.run_id), "execution": begun}
            case IntentStatus.EXECUTED:
                members["execution"] = replace(begun, ended_at=now, exit_code=0, output="Done.")
            case IntentStatus.CONFIRMED:
                members["confirmation"] = Confirmation(
                    True, reason, 1, now, evidence=(Evidence("state.json", says),), observed_status="idle"
                )
                members["stage"] = Stage.RECORDED if intent.intent in DECISIONS else None
            case IntentStatus.AMBIGUOUS:
                members["confirmation"] = Confirmation(False, "timeout", 3, now, missing=f"Not found: {says}")
            case IntentStatus.FAILED_COMMAND:
                members["execution"] = replace(
                    begun, ended_at=now, exit_code=2, output="superloop: no such loop", problem="command_failed"
                )
            case IntentStatus.REFUSED:
                members["refusal"] = refusal or a_refusal("run_active")
            case IntentStatus.EXPIRED:
                members["refusal"] = a_refusal("opsd_restarted")
            case _:
                pass
        return members

    def _check_disk(self) -> None:
        if self.broken is not None:
            raise self.broken

    def _put(self, intent: Intent) -> Intent:
        self._intents[intent.id] = intent
        self.fleet.feed.intent(intent.loop_id, intent)
        self._show(intent.loop_id)
        moved, self._moved = self._moved, anyio.Event()
        moved.set()
        return intent

    def _show(self, loop_id: LoopId) -> None:
        run = self.fleet.run(loop_id)
        if run is None:
            return
        of_loop = [intent for intent in self.intents if intent.loop_id == loop_id]
        modes = [mode for mode in self.modes(self.fleet.clock.now()).modes if mode.loop_id in (None, loop_id)]
        control = ControlState(
            last_status=of_loop[-1].status if of_loop else None,
            last_is_ours=bool(of_loop),
            in_flight=next((_opened(intent) for intent in of_loop if intent.is_in_flight), None),
            ambiguous=tuple(_opened(each) for each in of_loop if each.status is IntentStatus.AMBIGUOUS),
            pause=_pause(of_loop),
            observing=bool(modes),
            observe_until=modes[0].until if modes else None,
        )
        if control != run.control:
            self.fleet.put(replace(run, control=control))


def a_refusal(code: str, *differences: FenceDifference) -> Refusal:
    return Refusal(code, REFUSALS[code].says, differences)


def a_full_disk() -> CannotRecord:
    return CannotRecord("/srv/home/.superloop/ops-manager/docs-17/intent-log.jsonl: No space left on device")


def _fingerprint(loop_id: str, request: IntentRequest) -> str:
    body = (loop_id, request.intent, request.by, request.note, request.reason, request.expect, request.clear_stale)
    return msgspec.json.encode(body).decode()


def _has_come(intent: Intent, until: WaitFor) -> bool:
    if intent.is_in_flight:
        return False
    if until is WaitFor.SETTLED or intent.intent not in DECISIONS or intent.status is not IntentStatus.CONFIRMED:
        return True
    return intent.stage is Stage.COMPLETED or (until is WaitFor.CONSUMED and intent.stage is Stage.CONSUMED)


def _opened(intent: Intent) -> OpenIntent:
    return OpenIntent(intent.id, intent.intent, intent.status, intent.requested_by, intent.recorded_at)


def _pause(of_loop: list[Intent]) -> PauseNote | None:
    """The newest confirmed pause, unless something confirmed came after it."""
    confirmed = [intent for intent in of_loop if intent.status is IntentStatus.CONFIRMED]
    if not confirmed or confirmed[-1].intent is not IntentKind.PAUSE:
        return None
    last = confirmed[-1]
    return PauseNote(last.id, last.requested_by, last.updated_at, last.reason, last.options.pause_until)


def _holds(mode: ModeStatus, now: datetime) -> bool:
    return mode.until is None or now < mode.until
