"""Recovery after failing tests: the first failure is mended automatically, the next one needs a human. Pure.

Source: runtime-artifacts 4.4. Running the tests again is the iteration's business.
"""

from collections.abc import Generator

from opsd.sim.scene import Scene
from opsd.sim.steps import Delete, Document, Mark, Step


def recover(scene: Scene, iteration: int) -> Generator[Step, None, bool]:
    """Propose a recovery; in iteration 1 it is approved and works (returns True), later it is escalated."""
    pen = scene.pen
    mends = iteration == 1
    command = "npm ci" if mends else "rm -rf node_modules"
    category = "dependencies" if mends else "destructive"
    confidence = "high" if mends else "low"
    proposal: Document = {
        "category": category,
        "recovery": {
            "command": command,
            "working_dir": ".",
            "timeout_seconds": 120,
            "confidence": confidence,
        },
    }
    yield from pen.put(scene.path("recovery.json"), proposal)
    yield from scene.event("recovery_proposed", proposal, iteration=iteration)
    pen.wait(0.1)
    named: Document = {"command": command, "category": category}
    if not mends:
        reason = "not_in_auto_approve"
        asked: Document = {**named, "confidence": confidence, "reason": reason}
        escalation: Document = {
            "timestamp": pen.stamp(),
            "loop_id": scene.loop_id,
            "iteration": iteration,
            "type": "recovery_approval_required",
            "status": "pending",
            "recovery_proposal": proposal,
            "reason": reason,
        }
        yield from pen.put(scene.path("escalation.json"), escalation)
        yield from scene.event("recovery_escalated", asked, iteration=iteration)
        yield pen.step(Mark("escalated"))
        return False
    yield from scene.event("recovery_approved", {**named, "source": "auto"}, iteration=iteration)
    took_s = pen.wait_about(20)
    done: Document = {
        "command": command,
        "working_dir": ".",
        "exit_code": 0,
        "duration_ms": int(took_s * 1000),
        "output": "added 1204 packages\n",
        "status": "success",
    }
    yield from scene.event("recovery_executed", done, iteration=iteration)
    yield pen.step(Delete(scene.path("recovery.json")))
    counted: Document = {"recoveries_this_run": 1, "last_recovery_time": pen.epoch_s}
    yield from pen.put(scene.path("recovery-state.json"), counted)
    yield pen.step(Mark("recovered"))
    return True
