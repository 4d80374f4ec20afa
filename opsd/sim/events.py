"""The payloads (`data`) of the runtime's events, member for member. Pure. Source: runtime-artifacts 4.

The envelope around them (time, run, iteration) is put on by the script, which also knows their order.
"""

from collections.abc import Mapping

from opsd.sim.documents import checklists, folder, suite_commands
from opsd.sim.scenarios import Behaviour
from opsd.sim.steps import Document


def line(
    *,
    at: str,
    event: str,
    loop_id: str,
    run_id: str,
    iteration: int,
    data: Document,
    role: str = "",
    status: str = "",
) -> Document:
    """One line of `events.jsonl`; `role` and `status` are there only when set. Source: runtime-artifacts 3.1."""
    envelope: Document = {
        "timestamp": at,
        "event": event,
        "loop_id": loop_id,
        "run_id": run_id,
        "iteration": iteration,
    }
    if role:
        envelope["role"] = role
    if status:
        envelope["status"] = status
    envelope["data"] = data
    return envelope


def loop_start(loop_id: str, behaviour: Behaviour) -> Document:
    """The whole configuration, as the runtime logs it; delegation and rlms are off."""
    return {
        "spec_file": f".superloop/specs/{loop_id}.md",
        "max_iterations": behaviour.max_iterations,
        "tests_mode": "every",
        "test_commands": suite_commands(behaviour),
        "checklists": checklists(loop_id, behaviour),
        "prerequisites": {"enabled": "false", "require_on_completion": "false"},
        "delegation": {
            "enabled": False,
            "dispatch_mode": "serial",
            "wake_policy": "on_wave_complete",
            "failure_policy": "warn_and_continue",
            "max_children": 1,
            "max_parallel": 1,
            "max_waves": 1,
            "child_timeout_seconds": 300,
            "retry_limit": 0,
            "retry_backoff_seconds": 0,
            "retry_backoff_max_seconds": 30,
        },
        "rlms": {"enabled": False, "mode": "hybrid"},
        "lifecycle": {
            "feature_prefix": "feat/",
            "main_ref": "main",
            "no_fetch": "true",
            "strict": "true",
            "block_on_failure": "true",
        },
        "git": {
            "commit_strategy": "never",
            "commit_message": {"authoring": "llm", "author_role": "reviewer", "timeout_seconds": 120},
        },
    }


def role_files(repo: str, loop_id: str, iteration: int, role: str) -> Document:
    """Payload of `role_end`: absolute paths; no duration and no exit code."""
    base = f"{repo}/{folder(loop_id)}"
    return {
        "log_file": f"{base}/logs/iter-{iteration}/{role}.log",
        "last_message_file": f"{base}/last_messages/{role}.txt",
    }


def role_start(repo: str, loop_id: str, iteration: int, role: str) -> Document:
    """Payload of `role_start`."""
    prompt = {"prompt_file": f"{repo}/{folder(loop_id)}/prompts/{role}.md"}
    return prompt | role_files(repo, loop_id, iteration, role)


LIFECYCLE_START: Document = {
    "feature_prefix": "feat/",
    "main_ref": "main",
    "strict": "true",
    "no_fetch": "true",
    "require_on_completion": "true",
    "block_on_failure": "true",
}


def lifecycle_end(loop_id: str, *, ok: bool) -> Document:
    """Payload of `lifecycle_end`."""
    return {
        "status": "ok" if ok else "failed",
        "ok": ok,
        "audit_file": f"{folder(loop_id)}/lifecycle-audit.json",
        "output_file": f"{folder(loop_id)}/lifecycle-audit.txt",
    }


def gates_evaluated(gates: Mapping[str, str], *, promised: bool, stuck: str) -> Document:
    """Payload of `gates_evaluated`; `stuck` is `"1/3"`, or `"n/a"` where detection is off."""
    return {"promise": promised, **gates, "stuck": stuck}


def iteration_end(gates: Mapping[str, str], *, window: tuple[str, str], complete: bool, promised: bool) -> Document:
    """Payload of `iteration_end`."""
    return {
        "started_at": window[0],
        "ended_at": window[1],
        "completion": complete,
        "promise": promised,
        **gates,
    }


def approval_requested(loop_id: str, gates: Mapping[str, str]) -> Document:
    """Payload of `approval_requested`: the gates without `approval`."""
    return {
        "approval_file": f"{folder(loop_id)}/approval.json",
        "promise": True,
        **{name: value for name, value in gates.items() if name != "approval"},
    }
