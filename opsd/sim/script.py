"""What one `run` does from its first file to its exit: a pure generator of timed steps. Source: runtime-artifacts 7.1.

What it meets on disk is handed in (`Found`), so nothing is read here. One iteration's inside is in
`opsd.sim.iteration`; what operators do between runs is in `opsd.sim.story`.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opsd.sim import documents, events
from opsd.sim.iteration import Iteration
from opsd.sim.part import Part
from opsd.sim.pen import Pen
from opsd.sim.scenarios import Behaviour, behaviour_of
from opsd.sim.scene import Ended, Scene
from opsd.sim.steps import AddEntry, Delete, Document, Exit, Mark, Rename, Step, Touch, Truncate
from opsd.sim.tree import Tree, read_document


class FoundLoop(NamedTuple):
    """What a run meets in one loop's folder. `ran_before`: its event log is not empty."""

    approval: dict[str, Any] | None = None
    stuck_streak: int = 0
    ran_before: bool = False
    decided_before: bool = False


class Found(NamedTuple):
    """What a run meets in the checkout."""

    state: Document | None
    loops: Mapping[str, FoundLoop]


def look(tree: Tree, loop_ids: Sequence[str]) -> Found:
    """Read what a starting run reads. A file that is missing or being rewritten counts as not there."""
    return Found(read_document(tree, documents.STATE), {loop_id: _look_at(tree, loop_id) for loop_id in loop_ids})


def _look_at(tree: Tree, loop_id: str) -> FoundLoop:
    folder = documents.folder(loop_id)
    streak = (read_document(tree, f"{folder}/stuck.json") or {}).get("streak")
    return FoundLoop(
        approval=read_document(tree, f"{folder}/approval.json"),
        stuck_streak=streak if isinstance(streak, int) else 0,
        ran_before=bool(tree.read(f"{folder}/events.jsonl")),
        decided_before=tree.read(f"{folder}/decisions.jsonl") is not None,
    )


def behaviour_for(part: Part) -> Behaviour:
    """The scenario's behaviour with the part's own number of iterations in it."""
    behaviour = behaviour_of(part.scenario)
    if not part.iterations or not behaviour.promise_in:
        return behaviour
    return behaviour._replace(promise_in=part.iterations, max_iterations=max(behaviour.max_iterations, part.iterations))


def run_script(
    part: Part,
    *,
    repo: str,
    loop_ids: Sequence[str],
    only: str | None,
    found: Found,
    pid: int,
    pgid: int,
    start_s: float,
) -> Iterator[Step]:
    """The steps of `run [--loop ONLY]`, begun at wall time `start_s`; ends with `Exit` or `Die`.

    `steady` never ends. `silent-stall` ends in a step so far off that a live player never reaches it.
    """
    refusal = _refusal(found.state, only)
    if refusal:
        yield Step(0.0, Exit(1, refusal))
        return
    behaviour = behaviour_for(part)
    pen = Pen(part, start_s, salt=only or "all", torn=behaviour.torn)

    def active_run(stage: str, loop_id: str | None) -> Iterator[Step]:
        at = pen.stamp()
        document = documents.active_run(repo=repo, pid=pid, pgid=pgid, loop_id=loop_id, stage=stage, at=at)
        yield from pen.put(documents.ACTIVE_RUN, document)

    yield from active_run("run_start", only)
    ended = Ended(0)
    for index, loop_id in enumerate(loop_ids):
        if only not in (None, loop_id):
            continue
        pen.wait(0.05)
        yield from active_run("loop_start", loop_id)
        scene = Scene(pen, part, behaviour, repo, loop_id, index)
        ended = yield from _play_loop(scene, found.loops[loop_id])
        if ended.dead:
            return
        if not ended.complete:
            break
        if only:
            yield from scene.state(active=False, iteration=1)
    else:
        if not only:
            at = pen.stamp()
            idle = documents.state(active=False, loop_index=len(loop_ids), iteration=0, loop_id="", at=at)
            yield from pen.put(documents.STATE, idle)
    yield pen.step(Delete(documents.ACTIVE_RUN))
    yield pen.step(Exit(ended.code, ended.says))


def _refusal(state: Document | None, only: str | None) -> str:
    """Why a run may not start, or nothing. The pid behind an active state is never checked (runtime-artifacts 9.6)."""
    if state is None or state.get("active") is not True:
        return ""
    if only is None:
        return "error: a loop is already running; cancel it first"
    if state.get("current_loop_id") == only:
        return f"error: reentrant run blocked: loop '{only}' is already active"
    return ""


def _play_loop(scene: Scene, found: FoundLoop) -> Generator[Step, None, Ended]:
    pen, behaviour = scene.pen, scene.behaviour
    if 0 < behaviour.stuck_threshold <= found.stuck_streak:
        return Ended(1, says=f"error: stuck threshold reached for loop '{scene.loop_id}'; see stuck-report.md")
    for report in documents.REPORTS:
        yield pen.step(Touch(scene.path(report)))
    pen.wait(3)
    scene.run_id = pen.stamp()
    yield from scene.event("loop_start", events.loop_start(scene.loop_id, behaviour), iteration=1)
    pen.wait(0.2)
    scene.befalls = "" if behaviour.once and found.ran_before else behaviour.ending
    if found.decided_before:
        scene.involved = frozenset({"decisions"})
    status = (found.approval or {}).get("status")
    if found.approval is not None and status == "approved":
        return (yield from _consume(scene, found.approval))
    noted: Document = {"status": status, "approval_file": scene.path("approval.json")}
    if status == "pending":
        yield from scene.event("approval_wait", {"status": "pending", **noted}, iteration=1)
        yield from scene.state(active=False, iteration=1)
        return Ended(0, says=f"Approval still pending for loop '{scene.loop_id}'.")
    if status == "rejected":
        yield from scene.event("approval_rejected", noted, iteration=1)
        yield pen.step(Delete(scene.path("approval.json")))
    return (yield from _iterate(scene))


def _iterate(scene: Scene) -> Generator[Step, None, Ended]:
    iteration = 1
    limit = scene.behaviour.max_iterations
    while not limit or iteration <= limit:
        ended = yield from Iteration(scene, iteration).play()
        if ended is not None:
            return ended
        if scene.behaviour.rotated:
            yield from _rotate(scene, iteration)
        iteration += 1
    stop: Document = {"reason": "max_iterations", "max_iterations": limit}
    yield from scene.event("loop_stop", stop, iteration=iteration)
    yield from scene.state(active=False, iteration=iteration)
    return Ended(1, says=f"error: loop '{scene.loop_id}' reached its maximum of {limit} iterations")


def _rotate(scene: Scene, iteration: int) -> Iterator[Step]:
    """What an operator does to a log that grew too long: cut it after one iteration, move it away after the next."""
    log = scene.path("events.jsonl")
    if iteration % 2:
        yield scene.pen.step(Truncate(log))
        yield scene.pen.step(Mark("truncated"))
    else:
        yield scene.pen.step(Rename(log, log + ".1"))
        yield scene.pen.step(Touch(log))
        yield scene.pen.step(Mark("replaced"))


def _consume(scene: Scene, asked: dict[str, Any]) -> Generator[Step, None, Ended]:
    """Take an approval up: no iteration is run; the events carry the run and iteration that had asked."""
    pen = scene.pen
    scene.run_id, iteration = asked["run_id"], asked["iteration"]
    decision = asked["decision"]
    yield from scene.event("approval_consumed", decision, iteration=iteration)
    pen.wait(3)
    entry = documents.summary_entry(
        loop_id=scene.loop_id,
        run_id=scene.run_id,
        iteration=iteration,
        window=(asked["iteration_started_at"], asked["iteration_ended_at"]),
        promised=True,
        gates={**asked["candidate"]["gates"], "approval": "approved"},
        streak=0,
        threshold=scene.behaviour.stuck_threshold,
        complete=True,
        epoch_s=pen.epoch_s,
        involved=frozenset({"approval", "decisions"}),
    )
    yield pen.step(AddEntry(scene.path("run-summary.json"), scene.loop_id, entry, pen.stamp()))
    pen.wait(0.1)
    done: Document = {"iteration": iteration, "run_id": scene.run_id, "approval": True}
    yield from scene.event("loop_complete", done, iteration=iteration)
    yield pen.step(Delete(scene.path("approval.json")))
    return Ended(0, complete=True, says=f"Loop '{scene.loop_id}' complete (approved).")
