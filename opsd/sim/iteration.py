"""One iteration of one loop: roles, gates, and how it ends. Pure generators of steps. Source: runtime-artifacts 4.7.

What comes before the first and after the last iteration is in `opsd.sim.script`.
"""

from collections.abc import Generator, Iterator

from opsd.sim import documents, events
from opsd.sim.recovery import recover
from opsd.sim.scene import Ended, Scene
from opsd.sim.steps import AddEntry, Append, Die, Document, Exit, Mark, Step, Truncate

YEARS_S = 10 * 365 * 86_400.0
# How long each role takes beside the part's mean: implementing is most of the work.
_SHARES = {"planner": 0.5, "implementer": 2.0, "tester": 0.8, "reviewer": 0.7}


class Iteration:
    """One pass through roles and gates; `play` yields its steps and returns how the loop ended, or None to go on."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.scene = scene
        self.pen = scene.pen
        self.number = number
        self.befalls = scene.befalls if number == 1 else ""
        plan = scene.behaviour
        self.promised = 0 < plan.promise_in <= number
        self.gates = {
            "tests": "ok" if plan.tests_ok else "failed",
            "validation": "skipped",
            "prerequisites": "skipped",
            "checklist": "remaining" if plan.open_items else "ok",
            "evidence": "skipped",
            "lifecycle": "ok" if plan.lifecycle_ok else "failed",
            "approval": "skipped",
        }

    def play(self) -> Generator[Step, None, Ended | None]:
        yield from self.scene.state(active=True, iteration=self.number)
        self.started_at = self.pen.stamp()
        yield from self._event("iteration_start", {"started_at": self.started_at})
        for role in documents.ROLES:
            ended = yield from self._role(role)
            if ended is not None:
                return ended
        yield from self._checks()
        if self.gates["lifecycle"] == "failed":
            files = events.lifecycle_end(self.scene.loop_id, ok=False)
            del files["ok"]
            return (yield from self._stop({"reason": "lifecycle_gate_failed", **files}))
        streak = yield from self._stuck()
        if isinstance(streak, Ended):
            return streak
        return (yield from self._close(streak))

    def _event(self, event: str, data: Document, *, role: str = "", status: str = "") -> Iterator[Step]:
        yield from self.scene.event(event, data, iteration=self.number, role=role, status=status)
        self.pen.wait(0.1)

    def _stop(self, reason: Document) -> Generator[Step, None, Ended]:
        yield from self._event("loop_stop", reason)
        yield from self.scene.state(active=False, iteration=self.number)
        return Ended(1, says=f"error: loop '{self.scene.loop_id}' stopped: {reason['reason']}")

    def _role(self, role: str) -> Generator[Step, None, Ended | None]:
        scene, pen = self.scene, self.pen
        befalls = self.befalls if role == ("tester" if self.befalls == "error" else "implementer") else ""
        pen.wait(0.4)
        if befalls == "usage-limit":
            blocked: Document = {"runner": "claude", "role": role, "action": "blocked"}
            yield from self._event("usage_limit_blocked", blocked, role=role, status="error")
            yield from scene.state(active=False, iteration=self.number)
            return Ended(1, says=f"error: usage limit reached for role '{role}'")
        paths = (scene.repo, scene.loop_id, self.number, role)
        yield from self._event("role_start", events.role_start(*paths), role=role)
        log = scene.path(f"logs/iter-{self.number}/{role}.log")
        yield pen.step(Truncate(log))
        yield pen.step(Append(log, f"{role}: iteration {self.number}, step 1 of 2\n"))
        if role == "implementer" and self.number == 1:
            yield pen.step(Mark("running"))
        if befalls in ("stall", "kill"):
            if befalls == "kill":
                pen.wait_about(scene.part.role_s)
                yield pen.step(Die())
            else:
                yield pen.step(Mark("stalled"))
                yield Step(pen.at_s + YEARS_S, Exit(0))
            return Ended(137, dead=True)
        if befalls == "timeout":
            took_s = scene.behaviour.timeout_s + 2.0
            pen.wait(took_s)
        else:
            took_s = pen.wait_about(scene.part.role_s * _SHARES[role])
        yield pen.step(Append(log, f"{role}: iteration {self.number}, step 2 of 2\n"))
        at = pen.stamp()
        usage = documents.usage(at=at, iteration=self.number, role=role, duration_ms=int(took_s * 1000))
        yield from pen.log(scene.path("usage.jsonl"), usage)
        if befalls in ("timeout", "error", "rate-limit"):
            return (yield from self._fail(role, befalls))
        promise = "<promise>DONE</promise>\n" if self.promised and role == "reviewer" else "Done for now.\n"
        yield from pen.text(scene.path(f"last_messages/{role}.txt"), promise)
        yield from self._event("role_end", events.role_files(*paths), role=role)
        return None

    def _fail(self, role: str, befalls: str) -> Generator[Step, None, Ended]:
        scene = self.scene
        if befalls == "error":
            return Ended(1, says=f"error: runner command failed for role '{role}'")
        if befalls == "timeout":
            timed: Document = {"role": role, "timeout_seconds": scene.behaviour.timeout_s}
            yield from self._event("role_timeout", timed, role=role, status="timeout")
            yield from scene.state(active=False, iteration=self.number)
            return Ended(1, says=f"error: role '{role}' timed out after {scene.behaviour.timeout_s} s")
        limit = documents.rate_limit(
            loop_id=scene.loop_id,
            run_id=scene.run_id,
            iteration=self.number,
            role=role,
            at=self.pen.stamp(),
            resets_in_s=self.pen.dice.randrange(60, 3600),
        )
        yield from self.pen.put(scene.path("rate-limit.json"), limit)
        yield from self._event("rate_limit_stop", limit, role=role, status="rate_limited")
        yield from scene.state(active=True, iteration=self.number)
        return Ended(1, says="Rate limited. Resume with: superloop.sh run")

    def _checks(self) -> Iterator[Step]:
        scene, pen, gates = self.scene, self.pen, self.gates
        text = "DONE" if self.promised else ""
        yield from self._event("promise_checked", {"expected": "DONE", "text": text, "matched": self.promised})
        patterns = documents.checklists(scene.loop_id, scene.behaviour)
        yield from self._event("checklist_start", {"patterns": patterns})
        left = scene.behaviour.open_items
        items: Document = {"ok": not left, "remaining": left, "generated_at": pen.stamp()}
        yield from pen.put(scene.path("checklist-status.json"), items)
        yield from pen.text(scene.path("checklist-remaining.md"), "- [ ] open item\n" * left)
        yield from self._event("checklist_end", {"status": gates["checklist"], "ok": not left, "details": items})
        commands = documents.suite_commands(scene.behaviour)
        yield from self._event("tests_start", {"mode": "every", "commands": commands})
        yield from self._tested("tests_end")
        if scene.behaviour.recovery:
            mended = yield from recover(scene, self.number)
            if mended:
                gates["tests"] = "ok"
                yield from self._event("tests_rerun_start", {"reason": "post_recovery"})
                yield from self._tested("tests_rerun_end")
        yield from self._event("validation_start", {"enabled": "false", "mode": "every"})
        yield from self._event("validation_end", {"status": "skipped", "results_file": ""})
        yield from self._event("prerequisites_start", {"enabled": "false", "require_on_completion": "false"})
        skipped: Document = {
            "ok": True,
            "status": "skipped",
            "generated_at": pen.stamp(),
            "results_file": None,
        }
        yield from pen.put(scene.path("prerequisites-status.json"), skipped)
        yield from self._event("prerequisites_end", {"status": "skipped", "results_file": ""})
        yield from self._event("evidence_start", {"enabled": "false"})
        evidence = scene.path("evidence.json")
        yield from self._event("evidence_end", {"status": "skipped", "evidence_file": evidence})
        clean = gates["lifecycle"] == "ok"
        yield from self._event("lifecycle_start", events.LIFECYCLE_START)
        audit = documents.lifecycle_audit(repo=scene.repo, ok=clean, at=pen.stamp())
        yield from pen.put(scene.path("lifecycle-audit.json"), audit)
        status = documents.lifecycle_status(loop_id=scene.loop_id, ok=clean, at=pen.stamp())
        yield from pen.put(scene.path("lifecycle-status.json"), status)
        yield from self._event("lifecycle_end", events.lifecycle_end(scene.loop_id, ok=clean))

    def _tested(self, event: str) -> Iterator[Step]:
        scene, ok = self.scene, self.gates["tests"] == "ok"
        self.pen.wait(0.3)
        result: Document = {"ok": ok, "exit_code": 0 if ok else 1, "generated_at": self.pen.stamp()}
        yield from self.pen.text(scene.path("test-output.txt"), f"exit_code: {result['exit_code']}\n")
        yield from self.pen.put(scene.path("test-status.json"), result)
        yield from self._event(event, {"status": self.gates["tests"], "details": result})

    @property
    def _satisfied(self) -> bool:
        return self.promised and self.gates["tests"] == "ok" and self.gates["checklist"] == "ok"

    def _stuck(self) -> Generator[Step, None, int | Ended]:
        """Detect standing still. Nothing is written about an iteration whose gates are all satisfied."""
        scene, plan = self.scene, self.scene.behaviour
        threshold = plan.stuck_threshold
        if not threshold:
            return 0
        failing = self.gates["tests"] == "failed"
        streak = 0 if self._satisfied else self.number if failing or not plan.changes else 1
        if streak:
            reason = "" if streak == 1 else "same_test_failures" if failing else "no_code_changes"
            signed = scene.part.seed + (self.number if plan.changes else 0)
            document = documents.stuck(
                seed=signed, streak=streak, threshold=threshold, reason=reason, at=self.pen.stamp()
            )
            yield from self.pen.put(scene.path("stuck.json"), document)
            if plan.open_items and streak > 1:
                facts: Document = {name: document[name] for name in ("code_signature", "test_signature")}
                counts: Document = {"streak": streak, "threshold": threshold}
                blocked: Document = {"reason": "checklist_remaining_no_change", **facts, **counts}
                yield from self._event("no_progress_stop", blocked, status="blocked")
                return (yield from self._stop({"reason": "no_progress", **counts}))
        hit = streak >= threshold
        checked: Document = {"streak": streak, "threshold": threshold, "triggered": hit}
        yield from self._event("stuck_checked", {**checked, "action": "report_and_stop"})
        if hit:
            return (yield from self._stop({"reason": "stuck", "streak": streak, "threshold": threshold}))
        return streak

    def _close(self, streak: int) -> Generator[Step, None, Ended | None]:
        """Write the iteration down; complete the loop or ask for approval when the gates are satisfied."""
        scene, pen = self.scene, self.pen
        threshold = scene.behaviour.stuck_threshold
        asks = self._satisfied and scene.behaviour.approval
        complete = self._satisfied and not asks
        self.gates["approval"] = "pending" if asks else "skipped"
        shown = f"{streak}/{threshold}" if threshold else "n/a"
        yield from self._event(
            "gates_evaluated", events.gates_evaluated(self.gates, promised=self.promised, stuck=shown)
        )
        gates = " ".join(f"{gate}={result}" for gate, result in self.gates.items())
        yield from pen.text(scene.path("gate-summary.txt"), f"promise={self.promised} {gates}\n".lower())
        yield from pen.text(scene.path("iteration_notes.md"), f"## Iteration {self.number}\n\n{gates}\n")
        window = (self.started_at, pen.stamp())
        data = events.iteration_end(self.gates, window=window, complete=complete, promised=self.promised)
        yield from self._event("iteration_end", data)
        if scene.behaviour.torn:
            output = "checking file\n" * pen.dice.randrange(400, 1200)
            committed: Document = {"command": "make check", "exit_code": 0, "output": output}
            yield from self._event("pre_commit_executed", committed)
        pen.wait_about(2)
        entry = documents.summary_entry(
            loop_id=scene.loop_id,
            run_id=scene.run_id,
            iteration=self.number,
            window=window,
            promised=self.promised,
            gates=self.gates,
            streak=streak,
            threshold=threshold,
            complete=complete,
            epoch_s=pen.epoch_s,
            involved=scene.involved,
        )
        yield pen.step(AddEntry(scene.path("run-summary.json"), scene.loop_id, entry, pen.stamp()))
        yield pen.step(Mark(f"iteration-{self.number}"))
        pen.wait(0.1)
        if asks:
            request = documents.approval_request(
                loop_id=scene.loop_id,
                run_id=scene.run_id,
                iteration=self.number,
                at=pen.stamp(),
                window=window,
                gates=self.gates,
            )
            yield from pen.put(scene.path("approval.json"), request)
            yield from self._event("approval_requested", events.approval_requested(scene.loop_id, self.gates))
            yield from scene.state(active=False, iteration=self.number)
            return Ended(0, says=f"Approval required for loop '{scene.loop_id}'.")
        if complete:
            done: Document = {"iteration": self.number, "run_id": scene.run_id}
            yield from self._event("loop_complete", done)
            return Ended(0, complete=True, says=f"Loop '{scene.loop_id}' complete.")
        return None
