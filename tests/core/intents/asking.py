"""Intents, scenes and runs with sensible defaults: a test shows only what matters to it."""

from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from opsd.core.intents import life
from opsd.core.intents.acts import acts_for, watermark
from opsd.core.intents.identity import candidate_digest
from opsd.model.acts import ActResult, Scene
from opsd.model.intent import Actor, Confirmation, Intent, IntentKind, Options
from opsd.model.lifecycle import Fold, Phase
from opsd.model.observation import Artifact, ProcessSighting
from opsd.model.process import Liveness, ProcessMemory
from opsd.model.run import Run
from opsd.model.runtime import Approval, ApprovalDecision, Heartbeat
from tests.core.builders import LOOP, RUN_ID, a_fold, a_state, an_active_run, an_event, moment, on_file, stamp
from tests.core.judging import projected

RIYA = Actor(uid=1000, user="riya", pid=77)
COMMAND = "/opt/superloop/superloop.sh"
REPO = "/srv/repo"
LOG = "/srv/home/launch.log"
PID = 4711

ALIVE, STOPPED = ProcessSighting.ALIVE, ProcessSighting.STOPPED
ABSENT, UNKNOWN, NONE = ProcessSighting.ABSENT, ProcessSighting.UNKNOWN, ProcessSighting.NONE

BEGUN = (an_event("loop_start"), an_event("iteration_start", 1))
ASKED = (*BEGUN, an_event("approval_requested", 9))
AT_S = 60.0
"""When intents are asked for, taken in and carried out, unless a test says otherwise."""


def an_intent(kind: IntentKind = IntentKind.CANCEL, after_s: float = AT_S, **members: Any) -> Intent:
    """One that was recorded at `after_s`; `members` are those of `Intent`."""
    intent = life.recorded(
        id="i-1",
        loop_id=LOOP,
        kind=kind,
        requested_by="riya",
        actor=RIYA,
        trace_id="trace-1",
        idempotency_key="key-1",
        fingerprint="print-1",
        ordinal=1,
        now=moment(after_s),
        expires_at=moment(after_s + 60),
    )
    return replace(intent, **members)


def options(**members: Any) -> Options:
    return Options(**members)


def a_scene(after_s: float = AT_S, **members: Any) -> Scene:
    """A checkout in which nothing runs and nothing is left; `members` are those of `Scene`."""
    members.setdefault("command", COMMAND)
    members.setdefault("state", a_state(30, active=False))
    return Scene(at=moment(after_s), **members)


def at_work(sighting: ProcessSighting = ALIVE, *, loop_id: str | None = LOOP, **members: Any) -> Scene:
    """A run of `loop_id` is on file, its process seen as `sighting`."""
    members.setdefault("state", a_state(loop_id=loop_id or LOOP))
    members.setdefault("active_run", an_active_run(loop_id=loop_id))
    members.setdefault("family", (sighting, sighting) if sighting in (ALIVE, STOPPED) else ())
    return a_scene(active_process=sighting, **members)


def a_run_at_work(phase: Phase = Phase.RUNNING, fold: Fold | None = None, **members: Any) -> Run:
    """The loop as a pass left it that saw `at_work`."""
    members.setdefault("process", ProcessMemory(pid=PID, begun=stamp(0), seen_alive=True, liveness=Liveness.ALIVE))
    members.setdefault("last_contact_at", moment(AT_S))
    return projected(phase, fold=fold or a_fold(*BEGUN), **members)


def a_run_at_rest(phase: Phase = Phase.COMPLETE, fold: Fold | None = None, **members: Any) -> Run:
    """The loop as a pass left it that saw no process."""
    members.setdefault("process", ProcessMemory(liveness=Liveness.NONE))
    return a_run_at_work(phase, fold or a_fold(*BEGUN, an_event("loop_complete", 20)), **members)


def a_candidate(
    status: str = "pending",
    *,
    run_id: str = RUN_ID,
    iteration: int = 1,
    asked_s: float = 9,
    decided_s: float = AT_S,
    by: str = "riya",
) -> Artifact[Approval]:
    """`approval.json` as it is read: with the digest of what it asks."""
    asked = {"run_id": run_id, "iteration": iteration, "requested_at": stamp(asked_s), "candidate": None}
    decision = None if status == "pending" else ApprovalDecision(status, by, None, stamp(decided_s))
    approval = Approval(
        status=status,
        run_id=run_id,
        iteration=iteration,
        requested_at=stamp(asked_s),
        decision=decision,
        digest=candidate_digest(asked),
    )
    return on_file(approval, asked_s)


def a_run_that_asks(fold: Fold | None = None, **members: Any) -> Run:
    return a_run_at_rest(Phase.AWAITING_APPROVAL, fold or a_fold(*ASKED), **members)


def a_beat(after_s: float = AT_S, *, launch_id: str | None = "i-1", **members: Any) -> Artifact[Heartbeat]:
    """`heartbeat.v1.json` of a launch, written at `after_s`."""
    members.setdefault("status", "running")
    members.setdefault("pid", PID)
    return on_file(Heartbeat(timestamp=stamp(after_s), launch_id=launch_id, **members), after_s)


def carried_out(
    intent: Intent, run: Run, scene: Scene, *results: ActResult, at_s: float = AT_S, took_s: float = 1
) -> Intent:
    """The intent after it was executed at `at_s` on what `run` and `scene` showed then."""
    now = moment(at_s)
    acts = acts_for(intent, scene, repo=REPO, log=LOG, timeout_s=60)
    begun = life.executing(intent, watermark(run, scene, now), acts, now)
    return life.executed(begun, results or (ActResult(exit_code=0),), now + timedelta(seconds=took_s))


def a_confirmation(confirmed: bool = True, at: datetime | None = None, **members: Any) -> Confirmation:
    members.setdefault("reason", "inactive_not_running" if confirmed else "timeout")
    return Confirmation(confirmed=confirmed, attempts=2, observed_at=at or moment(AT_S + 2), **members)
