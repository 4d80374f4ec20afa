"""`cancel`, `approve` and `status` with the runtime's real semantics, oddities included.

Source: runtime-artifacts 7.2 to 7.4 and 9. `run` is a script (`opsd.sim.script`); faults are `opsd.sim.faults`; the
processes and the time that these commands meet are handed in (`Outside`), so that a test may play them.
"""

import itertools
from collections.abc import Iterator
from typing import Protocol

from opsd.sim import documents
from opsd.sim.commandline import Answer, Options, complaint
from opsd.sim.decisions import another_request, decision_script
from opsd.sim.part import Part
from opsd.sim.steps import Delete, Step
from opsd.sim.tree import Tree, read_document

POLLS_MAX = 10
STOPPED, FORCED = "stopped", "force-stopped"
_DELEGATION = (
    "delegation_roles",
    "delegation_enabled_roles",
    "delegation_children",
    "delegation_failed",
    "delegation_recon_violations",
)


class Outside(Protocol):
    """What a command meets beside the checkout's files."""

    def now_s(self) -> float:
        """Wall time, in seconds since 1970."""

    def play(self, steps: Iterator[Step]) -> None:
        """Carry the steps out, each at its time from now."""

    def is_run(self, pid: int) -> bool:
        """Whether a process of this pid lives and has `superloop.sh run` in its command line."""

    def end(self, pid: int, *, grouped: bool) -> str:
        """TERM, up to `POLLS_MAX` looks, then KILL: to its group, else to it and its descendants. Says which it took:
        `STOPPED` or `FORCED`."""


def cancel(tree: Tree, part: Part, outside: Outside, *, partial: bool = False) -> Answer:
    """Delete the state, end the checkout's run process, delete `active-run.json`. Always 0; no event is written.

    Whichever loop is active is cancelled. The process is recognised by `superloop.sh run` in its command line alone.
    `partial` deletes the state and stops there.
    """
    had_state = tree.read(documents.STATE) is not None
    tree.perform(Delete(documents.STATE))
    if partial:
        return Answer(0)
    if tree.read(documents.ACTIVE_RUN) is None:
        return Answer(0, "Cancelled loop state." if had_state else "No active state file found.")
    run = read_document(tree, documents.ACTIVE_RUN) or {}
    pid, pgid, loop_id = run.get("pid"), run.get("pgid"), run.get("loop_id")
    how = ""
    if part.hosted:
        # Its process plays other loops too; it lets go of this one when it finds the file gone.
        how = STOPPED
    elif isinstance(pid, int) and outside.is_run(pid):
        how = outside.end(pid, grouped=pid == pgid)
    tree.perform(Delete(documents.ACTIVE_RUN))
    named = f"Cancelled loop: {loop_id}\n" if loop_id else ""
    return Answer(
        0, named + (f"Cancelled loop state and {how} active run process." if how else "Cancelled loop state.")
    )


def approve(
    tree: Tree, part: Part, outside: Outside, options: Options, *, user: str, partial: bool = False, other: bool = False
) -> Answer:
    """Record a decision on a pending request, by `user` where no `--by` was said. Nothing is completed or restarted.

    `partial` writes the decision into the request and stops there: no log line, no event. With `other`, the request has
    been replaced by another one when the decision is written, so that this is on what nobody looked at.
    """
    loop_id = options.values.get("--loop")
    if not loop_id:
        return complaint("--loop is required for approve")
    request = read_document(tree, f"{documents.folder(loop_id)}/approval.json")
    if request is None:
        return complaint(f"no approval request found for loop '{loop_id}'")
    if request.get("status") != "pending":
        return complaint(f"approval request is not pending (status={request.get('status', '')})")
    if other:
        outside.play(another_request(part, request, loop_id=loop_id, start_s=outside.now_s()))
        request = read_document(tree, f"{documents.folder(loop_id)}/approval.json") or {}
    reject = "--reject" in options.plain
    script = decision_script(
        part,
        request,
        loop_id=loop_id,
        by=options.values.get("--by") or user,
        note=options.values.get("--note"),
        reject=reject,
        start_s=outside.now_s(),
    )
    outside.play(itertools.islice(script, 1) if partial else script)
    verdict = "rejected" if reject else "approved"
    return Answer(0, f"Recorded approval decision ({verdict}) for loop '{loop_id}'.")


def status(tree: Tree, *, loop_id: str | None, summary: bool) -> Answer:
    """The raw `state.json`, or with `summary` one line about the loop's latest entry. Read-only."""
    if not summary:
        text = tree.read(documents.STATE)
        return Answer(0, "No state file found." if text is None else text.rstrip("\n"))
    if not loop_id:
        return complaint("loop id required for status --summary without a config")
    report = read_document(tree, f"{documents.folder(loop_id)}/run-summary.json")
    if not report or not report.get("entries"):
        return Answer(0, f"No run summary found for loop '{loop_id}'.")
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
    return Answer(0, " ".join(f"{key}={value}" for key, value in told.items()))
