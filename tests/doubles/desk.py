"""A control desk that only a test moves: takes intents in as the real one does, and carries nothing out.

For trying the API and opsctl. Its intents live by the real rules (`opsd.core.intents`). It refuses what can be seen
from outside (another intent, another run, observe mode) and what it is told to; how far an intent comes is the test's
word, given beforehand (`outcomes`) or later (`move`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
from msgspec.structs import replace

from opsd import shipped
from opsd.app.desk import (
    CannotRecord,
    CannotSwitch,
    IdempotencyConflict,
    NotAmbiguous,
    UnknownIntent,
    UnknownProfile,
    UnusableProfile,
)
from opsd.app.profiles import profile_of, profile_page
from opsd.core import modes as mode_rules
from opsd.core.intents import life
from opsd.core.intents.book import Conflict, book_of, control_state, replay
from opsd.core.intents.identity import fingerprint
from opsd.core.profiles import judged, standing
from opsd.core.thresholds import catalog_from
from opsd.model.acts import ActProblem, ActResult, RunCommand
from opsd.model.ids import LoopId
from opsd.model.intent import (
    DECISIONS,
    NEXT,
    Actor,
    Confirmation,
    Evidence,
    FenceDifference,
    Intent,
    IntentKind,
    IntentStatus,
    Options,
    Refusal,
    Stage,
    Watermark,
)
from opsd.model.mode import ModeRow
from opsd.model.profile import ProfileRow
from opsd.model.refusals import REFUSALS
from opsd.model.run import Run
from opsd.model.thresholds import ProfileCatalog, ThresholdBasis
from opsd.model.transport import TransportMode
from opsd.protocol import (
    AckRequest,
    IntentRequest,
    ModePage,
    ModeRequest,
    ModeStatus,
    ProfilePage,
    ProfileReply,
    ProfileRequest,
    Submitted,
    TransportReply,
    TransportRequest,
    WaitFor,
)
from opsd.supervisor.fleet import NotManaged, UnknownLoop
from tests.doubles.fleet import StandInFleet

_WAY_TO: Mapping[IntentStatus, tuple[IntentStatus, ...]] = {
    IntentStatus.EXECUTED: (IntentStatus.EXECUTING,),
    IntentStatus.CONFIRMED: (IntentStatus.EXECUTING, IntentStatus.EXECUTED),
    IntentStatus.EXECUTED_UNCONFIRMED: (IntentStatus.EXECUTING, IntentStatus.EXECUTED),
    IntentStatus.AMBIGUOUS: (IntentStatus.EXECUTING, IntentStatus.EXECUTED),
    IntentStatus.FAILED_COMMAND: (IntentStatus.EXECUTING,),
}
"""What an intent that is only recorded goes through on its way to a status."""
_PROOF: Mapping[IntentKind, tuple[str, Evidence]] = {
    IntentKind.CANCEL: ("inactive_not_running", Evidence("state.json", "Absent, and process 4242 is gone.")),
    IntentKind.APPROVE: ("decision_recorded", Evidence("approval.json", "`approved` on this very candidate.")),
    IntentKind.REJECT: ("decision_recorded", Evidence("approval.json", "`rejected` on this very candidate.")),
    IntentKind.START: ("run_started", Evidence("events.jsonl", "loop_start of a new run.", line=8)),
    IntentKind.PAUSE: ("processes_stopped", Evidence("/proc", "All 3 processes of the run are stopped.")),
    IntentKind.RESUME: ("processes_running", Evidence("/proc", "None of the run's processes is stopped.")),
}


class StandInDesk:
    """`opsd.api.seams.Desk` over a `StandInFleet`, whose loops show what their intents mean for them.

    `outcomes` is how far an intent on a loop comes by itself, within its submission; without one it stays recorded.
    `refusals` turns every intent on a loop down. `broken` is raised by whatever would be written next. `asked` is
    every request that came in, dry runs too; `waiting` how many wait for an intent now.
    """

    def __init__(self, fleet: StandInFleet, *known: Intent, prefix: str = "intent") -> None:
        self.fleet = fleet
        self.basis = ThresholdBasis(_shipped_catalog())
        self.chosen: list[ProfileRow] = []
        self.switched: dict[LoopId, TransportReply] = {}
        self.served: set[LoopId] = set()
        self.outcomes: dict[str, IntentStatus] = {}
        self.refusals: dict[str, Refusal] = {}
        self.broken: Exception | None = None
        self.asked: list[tuple[str, IntentRequest, Actor]] = []
        self.waiting = 0
        self._prefix = prefix
        self._intents = {intent.id: intent for intent in known}
        self._forgotten: set[str] = set()
        self._rows: list[ModeRow] = []
        self._moved = anyio.Event()
        for loop_id in {intent.loop_id for intent in known}:
            self._show(loop_id)

    # What a test does

    @property
    def intents(self) -> tuple[Intent, ...]:
        """All that were recorded, as the files have them, oldest first."""
        return tuple(self._intents.values())

    def move(self, intent_id: str, to: IntentStatus, **members: Any) -> Intent:
        """The intent comes as far as `to`, by every step between; `members` are set in the last.

        Raises:
            ValueError: there is no such way.
        """
        intent = self._intents[intent_id]
        for status in _WAY_TO.get(to, ()):
            if status in NEXT[intent.status]:
                intent = self._put(self._step(intent, status))
        return self._put(replace(self._step(intent, to), **members))

    def stage(self, intent_id: str, stage: Stage) -> Intent:
        """The recorded decision comes a stage further: a run took it up, or completed."""
        told = Evidence("events.jsonl", f"The decision is {stage}.", line=12)
        return self._put(life.staged(self._intents[intent_id], stage, (told,), self.fleet.clock.now()))

    def forget(self, intent_id: str) -> None:
        """Only the files still have it, as those that were settled long ago."""
        self._forgotten.add(intent_id)

    def lose(self, intent_id: str) -> None:
        """It is nowhere: the daemon was killed before it was on the disk."""
        lost = self._intents.pop(intent_id)
        self._show(lost.loop_id)

    def restarted(self, fleet: StandInFleet) -> "StandInDesk":
        """The desk of the daemon's next start: what was recorded and not begun is expired, the rest as it was."""
        now = fleet.clock.now()
        known = (life.recovered(intent, now) for intent in self._intents.values())
        desk = StandInDesk(fleet, *known, prefix=self._prefix)
        desk._rows = list(self._rows)
        desk._show_modes(now)
        return desk

    # What the API does

    async def submit(self, loop_id: LoopId, request: IntentRequest, actor: Actor) -> Submitted:
        run = self.fleet.run(loop_id)
        if run is None:
            raise UnknownLoop(f"no loop {loop_id!r} is in the fleet")
        if run.ref.fault is not None or not run.ref.enabled:
            raise NotManaged(f"loop {loop_id!r} is listed and not looked at: {run.ref.fault_detail or 'disabled'}")
        self.asked.append((loop_id, request, actor))
        now = self.fleet.clock.now()
        intent = self._drafted(run, request, actor, now)
        known = None if request.dry_run else self._replayed(intent)
        if known is not None:
            return Submitted(known, replayed=True)
        refusal = self._refusal(run, intent)
        if refusal is not None:
            intent = life.refused(intent, refusal, now)
        if request.dry_run:
            return Submitted(intent, would=() if refusal else (_command(intent, run.ref.repo_path),))
        self._check_disk()
        self._put(intent)
        outcome = self.outcomes.get(loop_id)
        if refusal is None and outcome is not None:
            intent = self.move(intent.id, outcome)
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
            raise UnknownIntent(f"no intent {intent_id!r} is held")
        if intent.status is not IntentStatus.AMBIGUOUS:
            raise NotAmbiguous(intent.status)
        self._check_disk()
        by = request.by or actor.user
        return self._put(life.acknowledged(intent, by, actor, request.reason, self.fleet.clock.now()))

    def modes(self, now: datetime) -> ModePage:
        rows = mode_rules.listed(mode_rules.modes_of(self._rows), now)
        return ModePage(now, tuple(_status(row) for row in rows))

    def transport(self, loop_id: LoopId) -> TransportReply:
        run = self.fleet.run(loop_id)
        assert run is not None
        return self.switched.get(loop_id) or TransportReply(
            self.fleet.clock.now(), loop_id, run.ref.transport, run.ref.transport, True
        )

    async def set_transport(self, loop_id: LoopId, request: TransportRequest, actor: Actor) -> TransportReply:
        self._check_disk()
        before, now = self.transport(loop_id), self.fleet.clock.now()
        if request.transport is TransportMode.SPRITE_SERVICE and loop_id not in self.served:
            raise CannotSwitch(f"The registry names no service for loop {loop_id}: it lacks service.baseUrl.")
        by, wanted = request.by or actor.user, request.transport or before.declared
        self.switched[loop_id] = TransportReply(
            now, loop_id, wanted, before.declared, request.events, by, now, request.reason
        )
        return self.switched[loop_id]

    def profiles(self) -> ProfilePage:
        return profile_page(self.basis, self.fleet.clock.now())

    def profile(self, loop_id: LoopId) -> ProfileReply:
        row = standing(self.chosen).get(loop_id)
        chosen = None if row is None else judged(row, self.basis)
        return profile_of(loop_id, chosen, self.basis, self.fleet.clock.now())

    async def set_profile(self, loop_id: LoopId, request: ProfileRequest, actor: Actor) -> ProfileReply:
        self._check_disk()
        by = request.by or actor.user
        row = ProfileRow(self.fleet.clock.now(), loop_id, by, actor, "v1", request.profile, request.reason)
        if request.profile is not None and (problem := (chosen := judged(row, self.basis)).problem) is not None:
            raise UnknownProfile(problem) if chosen.unknown else UnusableProfile(problem)
        self.chosen.append(row)
        return self.profile(loop_id)

    async def set_mode(self, request: ModeRequest, actor: Actor) -> ModePage:
        self._check_disk()
        now = self.fleet.clock.now()
        row = ModeRow(
            timestamp=now,
            mode=request.mode,
            by=request.by or actor.user,
            actor=actor,
            schema_version="v1",
            loop_id=request.loop_id,
            reason=request.reason,
            until=now + timedelta(seconds=request.for_s) if request.for_s is not None else None,
        )
        self._rows.append(row)
        self._show_modes(now)
        return self.modes(now)

    # How it comes about

    def _drafted(self, run: Run, request: IntentRequest, actor: Actor, now: datetime) -> Intent:
        loop_id, number = run.ref.loop_id, len(self._intents) + 1
        by, until = request.by or actor.user, None
        if request.pause_for_s is not None:
            until = now + timedelta(seconds=request.pause_for_s)
        options = Options(
            request.confirm, request.timeout_s, request.override_divergence, request.clear_stale, pause_until=until
        )
        said = (loop_id, request.intent, by, request.note, request.reason, request.expect, options)
        return life.recorded(
            id=f"{self._prefix}-{number}",
            loop_id=loop_id,
            kind=request.intent,
            requested_by=by,
            actor=actor,
            trace_id=request.trace_id or f"trace-{number}",
            idempotency_key=request.idempotency_key or f"{request.intent}-{number}",
            fingerprint=fingerprint(*said, pause_for_s=request.pause_for_s),
            ordinal=len(self._of(loop_id)) + 1,
            now=now,
            expires_at=now + timedelta(seconds=120),
            key_given=request.idempotency_key is not None,
            note=request.note,
            reason=request.reason,
            expect=request.expect,
            options=options,
        )

    def _replayed(self, intent: Intent) -> Intent | None:
        """What came of the same request under its key; without one, what is under way by it."""
        if not intent.key_given:
            under_way = book_of(self._of(intent.loop_id)).in_flight
            same = under_way is not None and under_way.fingerprint == intent.fingerprint and not under_way.key_given
            return under_way if same else None
        known = replay(self._of(intent.loop_id), intent.idempotency_key, intent.fingerprint)
        if isinstance(known, Conflict):
            raise IdempotencyConflict(known.intent_id)
        return known

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

    def _step(self, intent: Intent, to: IntentStatus) -> Intent:
        """What the real desk would make of it in one step."""
        now = self.fleet.clock.now()
        reason, proof = _PROOF[intent.intent]
        match to:
            case IntentStatus.EXECUTING:
                run = self.fleet.run(intent.loop_id)
                repo_path = run.ref.repo_path if run else "/srv/repo"
                act = RunCommand(tuple(_command(intent, repo_path).split(" ")), repo_path, 60.0)
                watermark = Watermark(now, 0, 7, run_id=intent.expect.run_id, pid=4242, pgid=4242)
                return life.executing(intent, watermark, (act,), now)
            case IntentStatus.EXECUTED:
                return life.executed(intent, (ActResult(0, "Done."),), now)
            case IntentStatus.FAILED_COMMAND if intent.status is IntentStatus.EXECUTING:
                failed = ActResult(2, "superloop: no such loop", ActProblem.COMMAND_FAILED, "it exited with 2")
                return life.executed(intent, (failed,), now)
            case IntentStatus.CONFIRMED:
                return life.settled(intent, Confirmation(True, reason, 1, now, "idle", evidence=(proof,)), now)
            case IntentStatus.FAILED_COMMAND:
                return life.settled(intent, Confirmation(False, "contrary", 2, now, evidence=(proof,)), now)
            case IntentStatus.AMBIGUOUS:
                missing = f"{proof.where} does not say: {proof.says}"
                return life.ambiguous(intent, Confirmation(False, "timeout", 3, now, missing=missing), now)
            case IntentStatus.EXECUTED_UNCONFIRMED:
                return life.unconfirmed(intent, now)
            case IntentStatus.REFUSED:
                return life.refused(intent, a_refusal("run_active"), now)
            case IntentStatus.EXPIRED:
                return life.expired(intent, "waited_too_long", now)
            case IntentStatus.RECORDED | IntentStatus.ACKNOWLEDGED:
                raise ValueError(f"{to} is what `submit` or `acknowledge` makes of an intent")

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

    def _of(self, loop_id: LoopId) -> list[Intent]:
        return [intent for intent in self.intents if intent.loop_id == loop_id]

    def _show(self, loop_id: LoopId) -> None:
        run = self.fleet.run(loop_id)
        if run is None:
            return
        book, now = book_of(self._of(loop_id)), self.fleet.clock.now()
        last = next((each.status for each in reversed(self._of(loop_id)) if not each.is_in_flight), None)
        observing = mode_rules.in_force(mode_rules.modes_of(self._rows), loop_id, now)
        control = control_state(book, last, last is not None, observing)
        if control != run.control:
            self.fleet.put(replace(run, control=control))

    def _show_modes(self, now: datetime) -> None:
        self.fleet.mode = next((mode for mode in self.modes(now).modes if mode.loop_id is None), None)
        for loop_id in self.fleet.loop_ids():
            self._show(loop_id)


def a_refusal(code: str, *differences: FenceDifference) -> Refusal:
    return Refusal(code, REFUSALS[code].says, differences)


def a_full_disk() -> CannotRecord:
    return CannotRecord("/srv/home/.superloop/ops-manager/docs-17/intent-log.jsonl: No space left on device")


def _command(intent: Intent, repo_path: str) -> str:
    return f"superloop.sh {intent.intent} --repo {repo_path}"


def _has_come(intent: Intent, until: WaitFor) -> bool:
    if intent.is_in_flight:
        return False
    if until is WaitFor.SETTLED or intent.intent not in DECISIONS or intent.status is not IntentStatus.CONFIRMED:
        return True
    return intent.stage is Stage.COMPLETED or (until is WaitFor.CONSUMED and intent.stage is Stage.CONSUMED)


def _status(row: ModeRow) -> ModeStatus:
    return ModeStatus(row.mode, row.by, row.timestamp, row.loop_id, row.reason, row.until)


def _shipped_catalog() -> ProfileCatalog:
    path = shipped.config(shipped.THRESHOLD_PROFILES)
    return catalog_from(Path(path).read_bytes(), path)
