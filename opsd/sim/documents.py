"""The runtime's JSON documents, member for member as the recordings show them. Pure: values in, one document out.

When each is written is in `opsd.sim.script`; event payloads are in `opsd.sim.events`. Source: runtime-artifacts 2, 3.
"""

import hashlib
from collections.abc import Mapping, Sequence, Set

from opsd.sim.scenarios import Behaviour
from opsd.sim.steps import Document

ROLES = ("planner", "implementer", "tester", "reviewer")
STATE = ".superloop/state.json"
ACTIVE_RUN = ".superloop/active-run.json"
CONFIG = ".superloop/config.json"
EMPTY_SIGNATURE = hashlib.sha256(b"").hexdigest()

# Artifact name in a summary entry, its file, and when it exists: always, never here, or once approvals were involved.
_ARTIFACTS = (
    ("plan", "plan.md", "report"),
    ("implementer", "implementer.md", "report"),
    ("test_report", "test-report.md", "report"),
    ("reviewer", "review.md", "report"),
    ("test_output", "test-output.txt", "always"),
    ("test_status", "test-status.json", "always"),
    ("prerequisites_status", "prerequisites-status.json", "always"),
    ("prerequisites_results", "prerequisites-results.json", "never"),
    ("checklist_status", "checklist-status.json", "always"),
    ("checklist_remaining", "checklist-remaining.md", "always"),
    ("evidence", "evidence.json", "never"),
    ("lifecycle_status", "lifecycle-status.json", "always"),
    ("lifecycle_audit", "lifecycle-audit.json", "always"),
    ("validation_status", "validation-status.json", "never"),
    ("validation_results", "validation-results.json", "never"),
    ("gate_summary", "gate-summary.txt", "always"),
    ("iteration_notes", "iteration_notes.md", "always"),
    ("events", "events.jsonl", "always"),
    ("reviewer_packet", "reviewer-packet.md", "never"),
    ("approval", "approval.json", "approval"),
    ("decisions", "decisions.jsonl", "decisions"),
    ("decisions_md", "decisions.md", "decisions"),
    ("rlms_index", "rlms/index.json", "never"),
    ("delegation_index", "delegation/index.json", "never"),
)
REPORTS = tuple(file for _, file, when in _ARTIFACTS if when == "report")


def folder(loop_id: str) -> str:
    """The loop's folder, relative to the checkout, without a slash at the end."""
    return f".superloop/loops/{loop_id}"


def pseudo_sha256(*parts: object) -> str:
    """A digest that stands for a file's: the same for the same parts, which are joined by slashes."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def config(loop_ids: Sequence[str], behaviour: Behaviour) -> Document:
    """`config.json` for one checkout: the members an operator would have set for this behaviour."""
    runner = {
        "command": ["/usr/local/bin/mock-role"],
        "args": ["{repo}", "{last_message_file}"],
        "prompt_mode": "stdin",
    }
    return {"runners": {"mock": runner}, "loops": [_loop_config(loop_id, behaviour) for loop_id in loop_ids]}


def _loop_config(loop_id: str, behaviour: Behaviour) -> Document:
    return {
        "id": loop_id,
        "spec_file": f".superloop/specs/{loop_id}.md",
        "completion_promise": "DONE",
        "max_iterations": behaviour.max_iterations,
        "checklists": checklists(loop_id, behaviour),
        "tests": {"mode": "every", "commands": suite_commands(behaviour)},
        "validation": {"enabled": False},
        "evidence": {"enabled": False},
        "prerequisites": {"enabled": False},
        "lifecycle": {
            "enabled": True,
            "require_on_completion": True,
            "strict": True,
            "block_on_failure": True,
            "feature_prefix": "feat/",
            "main_ref": "main",
            "no_fetch": True,
        },
        "usage_check": {"enabled": behaviour.ending == "usage-limit"},
        "reviewer_packet": {"enabled": False},
        "approval": {"enabled": behaviour.approval, "require_on_completion": behaviour.approval},
        "timeouts": {"enabled": behaviour.timeout_s > 0, "default": behaviour.timeout_s},
        "stuck": {
            "enabled": behaviour.stuck_threshold > 0,
            "threshold": behaviour.stuck_threshold,
            "action": "report_and_stop",
            "ignore": [".mock*", ".superloop/*", ".superloop/**"],
        },
        "git": {"commit_strategy": "never"},
        "roles": {role: {"runner": "mock"} for role in ROLES},
    }


def checklists(loop_id: str, behaviour: Behaviour) -> list[str]:
    """Checklist patterns: one only where items stay open."""
    return [f"checklist-{loop_id}.md"] if behaviour.open_items else []


def suite_commands(behaviour: Behaviour) -> list[str]:
    """The configured test command, whose name tells how it ends."""
    return ["true" if behaviour.tests_ok else "false"]


def state(*, active: bool, loop_index: int, iteration: int, loop_id: str, at: str) -> Document:
    """`state.json`. Source: runtime-artifacts 3.2."""
    return {
        "active": active,
        "loop_index": loop_index,
        "iteration": iteration,
        "current_loop_id": loop_id,
        "updated_at": at,
    }


def active_run(*, repo: str, pid: int, pgid: int, loop_id: str | None, stage: str, at: str) -> Document:
    """`active-run.json`; the iteration is always 1 in it. Source: runtime-artifacts 3.3."""
    return {
        "repo": repo,
        "pid": pid,
        "pgid": pgid,
        "loop_id": loop_id,
        "iteration": 1,
        "stage": stage,
        "updated_at": at,
    }


def usage(*, at: str, iteration: int, role: str, duration_ms: int) -> Document:
    """A line of `usage.jsonl`."""
    return {
        "timestamp": at,
        "iteration": iteration,
        "role": role,
        "duration_ms": duration_ms,
        "runner": "unknown",
        "model": None,
        "cost_usd": 0,
        "session_id": None,
        "thread_id": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
        "session_file": None,
    }


def stuck(*, seed: int, streak: int, threshold: int, reason: str, at: str) -> Document:
    """`stuck.json`; equal seeds have equal code signatures, as an unchanged tree has."""
    return {
        "code_signature": pseudo_sha256("code", seed),
        "test_signature": EMPTY_SIGNATURE,
        "streak": streak,
        "threshold": threshold,
        "reason": reason,
        "updated_at": at,
    }


def lifecycle_audit(*, repo: str, ok: bool, at: str) -> Document:
    """`lifecycle-audit.json`; a failing one has found one stale branch."""
    found = {"threshold_failures": ["ahead_without_pr=1 exceeds 0"], "ahead_without_pr": ["feat/forgotten"]}
    kinds = (
        "ahead_without_pr",
        "pr_lookup_unknown",
        "stale_merged_local_branch",
        "stale_merged_remote_branch",
        "behind_and_dirty_worktree",
        "stale_merged_worktree",
        "threshold_failures",
    )
    details = {kind: [] if ok else found.get(kind, []) for kind in kinds}
    return {
        "generated_at": at,
        "repo": repo,
        "feature_prefix": "feat/",
        "main_ref": "main",
        "strict": True,
        "gh_available": False,
        "counts": {kind: len(items) for kind, items in details.items()},
        "details": details,
        "status": "pass" if ok else "fail",
    }


def lifecycle_status(*, loop_id: str, ok: bool, at: str) -> Document:
    """`lifecycle-status.json`."""
    return {
        "generated_at": at,
        "status": "ok" if ok else "failed",
        "ok": ok,
        "main_ref": "main",
        "feature_prefix": "feat/",
        "strict": "true",
        "no_fetch": "true",
        "threshold_failures": 0 if ok else 1,
        "audit_file": f"{folder(loop_id)}/lifecycle-audit.json",
        "output_file": f"{folder(loop_id)}/lifecycle-audit.txt",
    }


def rate_limit(*, loop_id: str, run_id: str, iteration: int, role: str, at: str, resets_in_s: int) -> Document:
    """`rate-limit.json`, which is also the payload of `rate_limit_stop`."""
    error = {"type": "rate_limit_error", "message": "Rate limit exceeded"}
    raw = f'{{"error": {{"type": "rate_limit_error", "retry_after_seconds": {resets_in_s}}}}}'
    return {
        "loop_id": loop_id,
        "run_id": run_id,
        "iteration": iteration,
        "role": role,
        "occurred_at": at,
        "info": {
            "message": "Rate limit error detected",
            "type": "json",
            "error": error,
            "resets_in": resets_in_s,
            "raw_line": raw,
            "raw_context": [f"{role}: step 1 of 2", f"{role}: step 2 of 2", raw],
        },
    }


def approval_request(
    *, loop_id: str, run_id: str, iteration: int, at: str, window: tuple[str, str], gates: Mapping[str, str]
) -> Document:
    """`approval.json` as a run writes it: pending. Source: runtime-artifacts 3.5."""
    files = {
        "gate_summary": "gate-summary.txt",
        "evidence": "evidence.json",
        "reviewer_report": "review.md",
        "test_report": "test-report.md",
        "plan": "plan.md",
        "iteration_notes": "iteration_notes.md",
    }
    return {
        "status": "pending",
        "loop_id": loop_id,
        "run_id": run_id,
        "iteration": iteration,
        "requested_at": at,
        "iteration_started_at": window[0],
        "iteration_ended_at": window[1],
        "candidate": {
            "promise": {"expected": "DONE", "text": "DONE", "matched": True},
            "gates": {name: value for name, value in gates.items() if name != "approval"},
        },
        "files": {name: f"{folder(loop_id)}/{file}" for name, file in files.items()},
    }


def summary_entry(
    *,
    loop_id: str,
    run_id: str,
    iteration: int,
    window: tuple[str, str],
    promised: bool,
    gates: Mapping[str, str],
    streak: int,
    threshold: int,
    complete: bool,
    epoch_s: int,
    involved: Set[str],
) -> Document:
    """An entry of `run-summary.json`, 24 artifacts and all. `involved`: which of `approval`, `decisions` exist."""
    return {
        "run_id": run_id,
        "iteration": iteration,
        "started_at": window[0],
        "ended_at": window[1],
        "promise": {"expected": "DONE", "text": "DONE" if promised else None, "matched": promised},
        "gates": dict(gates),
        "tests_mode": "every",
        "stuck": {"streak": streak, "threshold": threshold},
        "delegation": {},
        "completion_ok": complete,
        "artifacts": {
            name: _artifact(name, f"{folder(loop_id)}/{file}", when, (run_id, iteration), epoch_s, involved)
            for name, file, when in _ARTIFACTS
        },
    }


def _artifact(name: str, path: str, when: str, of: tuple[str, int], epoch_s: int, involved: Set[str]) -> Document:
    exists = when in ("report", "always") or when in involved
    entry: Document = {"path": path, "exists": exists}
    if exists:
        # The runtime only touches the role reports when the loop begins: their digest is that of an empty file.
        entry["sha256"] = EMPTY_SIGNATURE if when == "report" else pseudo_sha256(path, *of)
        entry["mtime"] = epoch_s
    if name == "approval":
        entry["gate"] = "approval"
    return entry
