"""`cancel`, `approve` and `status` with the runtime's real semantics, oddities included.

Source: runtime-artifacts 7.2 to 7.4 and 9. `run` is a script (`opsd.sim.script`); faults are `opsd.sim.faults`.
"""

import itertools
import os
import signal
import sys
import time

from opsd.sim import documents
from opsd.sim.decisions import decision_script
from opsd.sim.part import Part
from opsd.sim.player import alive, play
from opsd.sim.steps import Delete
from opsd.sim.tree import DiskTree, read_document

POLLS_MAX = 10
_DELEGATION = (
    "delegation_roles",
    "delegation_enabled_roles",
    "delegation_children",
    "delegation_failed",
    "delegation_recon_violations",
)


def cancel(tree: DiskTree, part: Part, *, partial: bool = False) -> int:
    """Delete the state, end the checkout's run process, delete `active-run.json`. Always 0; no event is written.

    Whichever loop is active is cancelled. The process is recognised by `superloop.sh run` in its command line alone.
    `partial` deletes the state and stops there.
    """
    had_state = tree.read(documents.STATE) is not None
    tree.perform(Delete(documents.STATE))
    if partial:
        return 0
    if tree.read(documents.ACTIVE_RUN) is None:
        print("Cancelled loop state." if had_state else "No active state file found.")
        return 0
    run = read_document(tree, documents.ACTIVE_RUN) or {}
    pid, pgid, loop_id = run.get("pid"), run.get("pgid"), run.get("loop_id")
    how = ""
    if part.hosted:
        # Its process plays other loops too; it lets go of this one when it finds the file gone.
        how = "stopped"
    elif isinstance(pid, int) and alive(pid) and is_run(pid):
        how = _end(pid, grouped=pid == pgid, poll_s=part.cancel_poll_s)
    tree.perform(Delete(documents.ACTIVE_RUN))
    if loop_id:
        print(f"Cancelled loop: {loop_id}")
    print(f"Cancelled loop state and {how} active run process." if how else "Cancelled loop state.")
    return 0


def is_run(pid: int) -> bool:
    """Whether the process's command line contains `superloop.sh run`."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"superloop.sh run" in file.read().replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _end(pid: int, *, grouped: bool, poll_s: float) -> str:
    _signal(pid, signal.SIGTERM, grouped=grouped)
    for _ in range(POLLS_MAX):
        time.sleep(poll_s)
        if not alive(pid):
            return "stopped"
    _signal(pid, signal.SIGKILL, grouped=grouped)
    time.sleep(poll_s)
    return "force-stopped"


def _signal(pid: int, number: signal.Signals, *, grouped: bool) -> None:
    try:
        if grouped:
            os.killpg(pid, number)
            return
        for child in (*_descendants(pid), pid):
            os.kill(child, number)
    except ProcessLookupError:
        pass


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(name))
    found = list(parents.get(pid, ()))
    for child in found:  # grows while it is walked: children of children follow
        found.extend(parents.get(child, ()))
    return found


def approve(
    tree: DiskTree, part: Part, *, loop_id: str | None, by: str, note: str | None, reject: bool, partial: bool
) -> int:
    """Record a decision on a pending request. Nothing is completed or restarted by it.

    `partial` writes the decision into the request and stops there: no log line, no event.
    """
    if not loop_id:
        return complain("--loop is required for approve")
    request = read_document(tree, f"{documents.folder(loop_id)}/approval.json")
    if request is None:
        return complain(f"no approval request found for loop '{loop_id}'")
    if request.get("status") != "pending":
        return complain(f"approval request is not pending (status={request.get('status', '')})")
    script = decision_script(part, request, loop_id=loop_id, by=by, note=note, reject=reject, start_s=time.time())
    play(itertools.islice(script, 1) if partial else script, tree, keeper=None)
    verdict = "rejected" if reject else "approved"
    print(f"Recorded approval decision ({verdict}) for loop '{loop_id}'.")
    return 0


def status(tree: DiskTree, *, loop_id: str | None, summary: bool) -> int:
    """Print the raw `state.json`, or with `summary` one line about the loop's latest entry. Read-only."""
    if not summary:
        text = tree.read(documents.STATE)
        print("No state file found." if text is None else text.rstrip("\n"))
        return 0
    if not loop_id:
        return complain("loop id required for status --summary without a config")
    report = read_document(tree, f"{documents.folder(loop_id)}/run-summary.json")
    if not report or not report.get("entries"):
        print(f"No run summary found for loop '{loop_id}'.")
        return 0
    last = report["entries"][-1]
    evidence = last["artifacts"].get("evidence", {})
    told = {
        "loop": loop_id,
        "run_id": last["run_id"],
        "iteration": last["iteration"],
        "updated_at": report["updated_at"],
        "promise": str(last["promise"]["matched"]).lower(),
        # The runtime's line has no `lifecycle`, although its summary has.
        **{gate: value for gate, value in last["gates"].items() if gate != "lifecycle"},
        **dict.fromkeys(_DELEGATION, 0),
        "evidence_file": evidence.get("path", ""),
        "evidence_exists": str(evidence.get("exists", False)).lower(),
        "evidence_sha256": evidence.get("sha256", ""),
        "evidence_mtime": evidence.get("mtime", ""),
    }
    print(" ".join(f"{key}={value}" for key, value in told.items()))
    return 0


def complain(sentence: str) -> int:
    """Say `error: ...` as the runtime does; returns its exit code, 1."""
    print(f"error: {sentence}", file=sys.stderr)
    return 1
