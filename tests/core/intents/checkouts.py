"""A checkout on which intents are carried out, by commands that work, fail, lie or are killed; it keeps count itself.

The runtime's side is `tests.core.worlds`; here is what operators and their commands do to it.
"""

from collections import Counter
from typing import Final

import msgspec
from msgspec.structs import replace

from opsd.core.intents.identity import candidate_digest
from opsd.model.acts import ActProblem, ActResult, Scene
from opsd.model.intent import Intent, IntentKind, Watermark
from opsd.model.observation import Artifact, ProcessSighting
from opsd.model.runtime import ApprovalDecision, Heartbeat, Presence
from tests.core.builders import LOOP, a_state, an_active_run, moment, on_file, stamp
from tests.core.worlds import ABSENT, World

ALIVE, STOPPED = ProcessSighting.ALIVE, ProcessSighting.STOPPED

WAYS: Final = ("works", "fails", "lies", "fails late", "is killed before", "is killed after", "does half")
"""How a command may go. What `does half` is depends on the kind."""


class Checkout(World):
    """`acted` counts acts by intent, from the command's own side. `decisions` and `begun` are what truly happened."""

    def __init__(self) -> None:
        super().__init__()
        self.acted: Counter[str] = Counter()
        self.decisions: list[tuple[float, str | None, str]] = []
        self.begun: list[float] = []
        self.neighbour = ProcessSighting.NONE
        self._exchanged = 0

    # What the runtime and other people do

    def starts_by_hand(self) -> bool | None:
        if self._running or self.neighbour is ALIVE or self._marked:
            return False
        self._begin()
        return None

    def asks_for_approval(self) -> bool | None:
        done = self.asks()
        self._digested()
        return done

    def decides_by_hand(self) -> bool | None:
        return self._decide("rejected" if len(self.decisions) % 2 else "approved", "noor")

    def takes_up(self) -> bool | None:
        """The next run finds the decision: it completes the loop, or works on."""
        approval = self.files.approval.value
        if self._running or self._marked or approval is None or approval.status == "pending":
            return False
        self._begin()
        own, self.run_id = self.run_id, approval.run_id or ""
        if approval.status == "approved":
            self._say("approval_consumed")
            self._say("loop_complete")
            self.run_id = own
            self._leave()
        else:
            self.run_id = own
            self._say("approval_rejected")
        self._put(approval=ABSENT)
        return None

    def neighbour_begins(self) -> bool | None:
        if self._running or self._marked:
            return False
        self._put(state=a_state(self.clock_s, loop_id="other"), active_run=an_active_run(self.clock_s, loop_id="other"))
        self.neighbour = ALIVE
        return None

    def neighbour_dies(self) -> bool | None:
        if self.neighbour is not ALIVE:
            return False
        self.neighbour = ProcessSighting.ABSENT
        return None

    def is_cancelled(self) -> bool | None:
        """By hand, and whatever runs: that is what the runtime's cancel does."""
        if super().is_cancelled() is False:
            return False
        self.neighbour = ProcessSighting.NONE
        return None

    # What a close look shows

    def scene(self, mark: Watermark | None = None) -> Scene:
        active_run = self.files.active_run.value
        own = active_run is not None and active_run.loop_id == LOOP
        on_file_now = self._sighted(self.pid) if own else self.neighbour
        return Scene(
            at=moment(self.clock_s),
            state=self.files.state,
            active_run=self.files.active_run,
            approval=self.files.approval,
            heartbeat=self.files.heartbeat,
            active_process=on_file_now if active_run is not None else ProcessSighting.NONE,
            watched=self._sighted(mark.pid) if mark is not None and mark.pid is not None else ProcessSighting.NONE,
            family=(self.process, self.process) if own and self._running else (),
            command="/opt/superloop.sh",
        )

    def has_candidate(self, digest: str | None) -> bool:
        approval = self.files.approval.value
        return approval is not None and approval.digest == digest

    def is_active(self) -> bool:
        return self._marked

    # What the commands of an intent do

    def carry_out(self, intent: Intent, way: str) -> ActResult:
        self.acted[intent.id] += 1
        acts = way not in ("fails", "lies", "is killed before")
        if acts:
            self._act(intent, half=way == "does half")
        if way.startswith("is killed"):
            return ActResult(problem=ActProblem.COMMAND_TIMED_OUT)
        return ActResult(exit_code=1 if way.startswith("fails") else 0)

    def _act(self, intent: Intent, *, half: bool) -> None:
        match intent.intent:
            case IntentKind.CANCEL:
                self._put(state=ABSENT)
                if not half:  # else the process survives
                    self._put(active_run=ABSENT)
                    self.process = ProcessSighting.NONE
                    if self.neighbour is ALIVE:
                        raise AssertionError(f"{intent.id} reached a neighbour")
            case IntentKind.APPROVE | IntentKind.REJECT:
                if half:  # another candidate takes the place of the one that was seen
                    self._exchange()
                self._decide("approved" if intent.intent is IntentKind.APPROVE else "rejected", intent.requested_by)
            case IntentKind.START:
                if intent.options.clear_stale:
                    self._put(state=ABSENT, active_run=ABSENT)
                if half:  # it ends before it began
                    beat = Heartbeat(stamp(self.clock_s), status="exited", exit_code=1, launch_id=intent.id)
                    self._put(heartbeat=on_file(beat, self.clock_s))
                elif not self._marked:
                    self._begin()
            case IntentKind.PAUSE:
                self.is_paused()
            case IntentKind.RESUME:
                self.goes_on()

    @property
    def _marked(self) -> bool:
        state = self.files.state.value
        return self.files.state.presence is Presence.PRESENT and state is not None and state.active is True

    def _sighted(self, pid: int | None) -> ProcessSighting:
        if pid == self.pid and self._running:
            return self.process
        # The neighbour's process has a number of its own, which no run of this loop ever gets.
        return self.neighbour if pid == 4711 and self.neighbour is ALIVE else ProcessSighting.ABSENT

    def _begin(self) -> None:
        self.process = ProcessSighting.NONE
        self.pid += 1
        self.run_id = stamp(self.clock_s)
        self._put(
            active_run=an_active_run(self.clock_s, pid=self.pid), state=a_state(self.clock_s), heartbeat=Artifact()
        )
        self.process = ALIVE
        self._say("loop_start", max_iterations=9)
        self.begun.append(self.clock_s)

    def _decide(self, status: str, by: str) -> bool | None:
        approval = self.files.approval.value
        if approval is None or approval.status != "pending":
            return False
        decided = replace(approval, status=status, decision=ApprovalDecision(status, by, None, stamp(self.clock_s)))
        self._put(approval=on_file(decided, self.clock_s))
        own, self.run_id = self.run_id, approval.run_id or ""
        self._say("approval_decision", status=status, role="human")
        self.run_id = own
        self.decisions.append((self.clock_s, approval.digest, status))
        return None

    def _exchange(self) -> None:
        approval = self.files.approval.value
        if approval is not None:
            self._exchanged += 1
            self._put(approval=on_file(replace(approval, run_id=stamp(-self._exchanged)), self.clock_s))
            self._digested()

    def _digested(self) -> None:
        approval = self.files.approval.value
        if approval is not None:
            digest = candidate_digest(msgspec.to_builtins(replace(approval, digest=None)))
            self._put(approval=replace(self.files.approval, value=replace(approval, digest=digest)))
