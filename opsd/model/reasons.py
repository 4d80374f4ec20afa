"""The registry of reasons: every code that a finding may carry, what it means, and what to do about it.

A code is registered once; status output, alerts, the runbook and the tests read it here. When a code holds is decided
in `opsd.core.rules`; the codes of refusals and of API errors live with their records.
"""

import msgspec

from opsd.model.health import Severity


class ReasonEntry(msgspec.Struct, frozen=True, gc=False):
    """One reason code. `severity` is the usual worst; `contract`: tooling outside knows it (loop-core 8.2).

    `says` is one plain sentence; `next_step` the operator's next act, where LOOP and REPO stand for the loop's id and
    its checkout. `needs_human`: it does not pass by itself, somebody has to decide or act.
    """

    code: str
    severity: Severity
    says: str
    next_step: str
    contract: bool = False
    needs_human: bool = False


def registry_of(*entries: ReasonEntry) -> dict[str, ReasonEntry]:
    """`entries` by code. Raises ValueError where a code is registered twice: one code, one meaning."""
    registry: dict[str, ReasonEntry] = {}
    for entry in entries:
        if entry.code in registry:
            raise ValueError(f"reason code {entry.code} is registered twice; give one of the two another name")
        registry[entry.code] = entry
    return registry


_INFO, _DEGRADED, _CRITICAL = Severity.INFO, Severity.DEGRADED, Severity.CRITICAL

REASONS = registry_of(
    # What the contract knows (loop-core 8.2).
    ReasonEntry(
        "divergence_detected",
        _DEGRADED,
        "The runtime's files contradict each other about this run.",
        "See which with `opsctl explain LOOP`, and do not act on the loop until one of them is believed.",
        contract=True,
        needs_human=True,
    ),
    ReasonEntry(
        "control_ambiguous",
        _DEGRADED,
        "What became of a control request is not known.",
        "See with `opsctl status LOOP` whether it took effect, then settle it: `opsctl intent ack ID --reason ...`.",
        contract=True,
        needs_human=True,
    ),
    ReasonEntry(
        "control_failed_command",
        _DEGRADED,
        "The last control request failed.",
        "Find it with `opsctl intents LOOP`, read what it printed with `opsctl intent show ID`, and repeat it.",
        contract=True,
        needs_human=True,
    ),
    ReasonEntry(
        "ingest_stale",
        _CRITICAL,
        "The run has logged no event for longer than the threshold profile allows.",
        "Read the role's output with `opsctl logs LOOP`; `opsctl cancel LOOP` ends the run if it hangs.",
        contract=True,
        needs_human=True,
    ),
    ReasonEntry(
        "runtime_heartbeat_stale",
        _CRITICAL,
        "The run's heartbeat has stopped.",
        "Check the machine it runs on and its launcher; `opsctl explain LOOP` shows the last beat.",
        contract=True,
        needs_human=True,
    ),
    ReasonEntry(
        "transport_unreachable",
        _CRITICAL,
        "The service through which the loop is watched does not answer.",
        "Check the sprite, its service and the network; `opsctl explain LOOP` quotes the failure.",
        contract=True,
        needs_human=True,
    ),
    ReasonEntry(
        "invalid_transport_payload",
        _DEGRADED,
        "The service answered with something that is not what was asked for.",
        "Compare the versions of opsd and of the sprite's service; `opsctl explain LOOP` quotes the answer.",
        contract=True,
        needs_human=True,
    ),
    ReasonEntry(
        "projection_failed",
        _DEGRADED,
        "What was read cannot be made into a picture of the run.",
        "See what was refused with `opsctl explain LOOP`.",
        contract=True,
        needs_human=True,
    ),
    ReasonEntry(
        "reconcile_failed",
        _DEGRADED,
        "The last look at the loop failed, for a reason that has no code of its own.",
        "See the failure with `opsctl explain LOOP` and in the daemon's log.",
        contract=True,
        needs_human=True,
    ),
    ReasonEntry(
        "ordering_drift_detected",
        _DEGRADED,
        "The event log's line numbers went backwards: the log was cut or exchanged.",
        "Find out who rewrote events.jsonl; `opsctl verify LOOP` recomputes the picture from the files.",
        contract=True,
    ),
    # The process and the log.
    ReasonEntry(
        "runtime_process_missing",
        _CRITICAL,
        "The run says it is active, and its process is gone.",
        "Read why with `opsctl logs LOOP`; `opsctl start LOOP --clear-stale` starts anew, `opsctl cancel LOOP` clears.",
        needs_human=True,
    ),
    ReasonEntry(
        "artifacts_missing",
        _DEGRADED,
        "The loop's folder or its event log is not there.",
        "Check the checkout's path in the registry and whether the loop was ever started.",
        needs_human=True,
    ),
    ReasonEntry(
        "artifacts_unreadable",
        _DEGRADED,
        "The loop's folder or its event log cannot be read.",
        "Check permissions and the disk; the path is in the finding's evidence.",
        needs_human=True,
    ),
    ReasonEntry(
        "file_unreadable",
        _DEGRADED,
        "One of the runtime's small files cannot be read; what it last said is still used.",
        "Look at the file named in the evidence; the runtime rewrites it at its next step.",
    ),
    ReasonEntry(
        "event_quarantined",
        _DEGRADED,
        "A line of the event log is no event and was set aside; all other lines count.",
        "Look at quarantine.jsonl for the line and its first bytes.",
    ),
    ReasonEntry(
        "stream_truncated",
        _DEGRADED,
        "The event log became shorter; it was read again from its start.",
        "Find out who cut events.jsonl: the runtime only appends to it.",
    ),
    ReasonEntry(
        "stream_replaced",
        _DEGRADED,
        "The event log is another file than before; it was read from its start.",
        "Nothing, if the checkout was restored or cloned anew; else find out who exchanged events.jsonl.",
    ),
    ReasonEntry(
        "ingest_backlog",
        _DEGRADED,
        "Part of the event log has not been read yet, so the picture may be old.",
        "Wait for it to be read; if it does not shrink, look at the load with `opsctl status`.",
    ),
    ReasonEntry(
        "service_unauthorized",
        _DEGRADED,
        "The sprite's service does not accept the token, or does not allow what was asked.",
        "Compare the token that `tokenEnv` names with the service's; a rotated one is picked up by itself.",
        needs_human=True,
    ),
    ReasonEntry(
        "service_certificate",
        _DEGRADED,
        "The certificate of the sprite's service cannot be trusted: expired, of another host, or by nobody we know.",
        "Renew the certificate, correct the base URL, or name its authority with `service_ca_file`.",
        needs_human=True,
    ),
    ReasonEntry(
        "service_budget_spent",
        _DEGRADED,
        "More of the polls of the loop's service failed within the last hour than the error budget allows.",
        "See how asking goes with `opsctl status LOOP`; check the sprite and the network.",
        needs_human=True,
    ),
    # Somebody has to decide.
    ReasonEntry(
        "approval_pending",
        _INFO,
        "A completion candidate waits for a human's approval.",
        "See it with `opsctl status LOOP`, then `opsctl approve LOOP` or `opsctl reject LOOP`.",
        needs_human=True,
    ),
    ReasonEntry(
        "decision_not_taken_up",
        _INFO,
        "The approval was decided, and nothing runs until the loop is started again.",
        "Start it with `opsctl start LOOP`: that run takes the decision up.",
        needs_human=True,
    ),
    ReasonEntry(
        "recovery_waiting",
        _DEGRADED,
        "The runtime proposes a recovery that only a human may allow.",
        "Read the loop's escalation.json and recovery.json, and run the proposed command yourself if it is right.",
        needs_human=True,
    ),
    # How the last run ended; all of these end when a new run begins.
    ReasonEntry(
        "run_rate_limited",
        _DEGRADED,
        "The run ended at a provider's rate limit, still marked active.",
        "After the limit's end start it with `opsctl start LOOP --clear-stale`.",
        needs_human=True,
    ),
    ReasonEntry(
        "usage_limited",
        _DEGRADED,
        "A provider's usage limit holds the run up, or ended it.",
        "Nothing while it waits; if it stopped (`opsctl status LOOP`), `opsctl start LOOP` after the limit's end.",
    ),
    ReasonEntry(
        "run_stuck",
        _DEGRADED,
        "The run stopped itself because iterations changed nothing.",
        "Read stuck-report.md and `opsctl logs LOOP`, change the spec or the code, then `opsctl start LOOP`.",
        needs_human=True,
    ),
    ReasonEntry(
        "no_progress",
        _DEGRADED,
        "The run stopped itself because open checklist items met no change.",
        "Read checklist-remaining.md, settle the open items or the spec, then `opsctl start LOOP`.",
        needs_human=True,
    ),
    ReasonEntry(
        "max_iterations_reached",
        _DEGRADED,
        "The run used up its iterations without completing.",
        "See how far it came: `opsctl runs LOOP`; raise max_iterations or change the spec, then `opsctl start LOOP`.",
        needs_human=True,
    ),
    ReasonEntry(
        "lifecycle_gate_failed",
        _DEGRADED,
        "The run was stopped by the branch and worktree audit.",
        "Read lifecycle-audit.txt, clean the branch up, then `opsctl start LOOP`.",
        needs_human=True,
    ),
    ReasonEntry(
        "run_stopped",
        _DEGRADED,
        "The run stopped before completing.",
        "See the stop event with `opsctl events LOOP`; `opsctl start LOOP` if it should go on.",
        needs_human=True,
    ),
    ReasonEntry(
        "role_timed_out",
        _DEGRADED,
        "The run ended because a role exceeded its time limit.",
        "Read the role's output with `opsctl logs LOOP`; raise its timeout or make its task smaller.",
        needs_human=True,
    ),
    ReasonEntry(
        "run_failed",
        _DEGRADED,
        "The run ended with an error.",
        "See the last events with `opsctl events LOOP` and the role's output with `opsctl logs LOOP`.",
        needs_human=True,
    ),
    ReasonEntry(
        "run_cancelled",
        _INFO,
        "The run was cancelled.",
        "Nothing, unless nobody meant to: `opsctl runs LOOP` shows where it was.",
    ),
    # How the present run goes.
    ReasonEntry(
        "run_paused",
        _INFO,
        "The run is paused: its processes are stopped until somebody continues them.",
        "Nothing, if that is meant; `opsctl resume LOOP` continues it.",
    ),
    ReasonEntry(
        "pause_expired",
        _DEGRADED,
        "The run is still paused after the moment until which that was meant.",
        "Continue it with `opsctl resume LOOP`, or end it with `opsctl cancel LOOP`.",
        needs_human=True,
    ),
    ReasonEntry(
        "tests_failing",
        _DEGRADED,
        "The tests gate keeps failing from iteration to iteration.",
        "Read test-output.txt and `opsctl logs LOOP`: the run may be going in circles.",
    ),
    ReasonEntry(
        "role_overdue",
        _DEGRADED,
        "A role runs beyond its time limit and was not ended.",
        "Look at the process and `opsctl logs LOOP`; `opsctl cancel LOOP` ends the run if it hangs.",
        needs_human=True,
    ),
    ReasonEntry(
        "heartbeat_unreadable",
        _INFO,
        "The heartbeat file names no usable time, so it proves nothing.",
        "Mend the launcher that writes it: `timestamp` must read YYYY-MM-DDTHH:MM:SSZ.",
    ),
    ReasonEntry(
        "clock_stepped",
        _INFO,
        "An event or a heartbeat lies in the future of this machine's clock.",
        "Compare the clocks of this machine and of the one that runs the loop.",
    ),
    ReasonEntry(
        "state_contested",
        _INFO,
        "Another loop is active in the checkout in which this one was running.",
        "Give each loop a checkout of its own; `opsctl status` shows which loops share one.",
    ),
    # The fleet and our own house.
    ReasonEntry(
        "loop_id_reserved",
        _DEGRADED,
        "The loop's id is a name that the fleet's own files use, so it is listed and not managed.",
        "Rename the loop in the registry and in the checkout's config.json.",
        needs_human=True,
    ),
    ReasonEntry(
        "loop_id_unsafe",
        _DEGRADED,
        "The loop's id cannot be used as a folder's name, so it is listed and not managed.",
        "Rename the loop: letters, digits, space and _@+=,:~%.- only, at most 128, no leading dot or space.",
        needs_human=True,
    ),
    ReasonEntry(
        "loop_outside_repo",
        _DEGRADED,
        "The loop's folder leads out of its checkout, so it is listed and not managed.",
        "Replace the symbolic link, or correct the path in the registry.",
        needs_human=True,
    ),
    ReasonEntry(
        "loop_disabled",
        _INFO,
        "The registry says that this loop is not to be watched.",
        "Set `enabled` in the registry to watch it.",
    ),
    ReasonEntry(
        "transport_not_supported",
        _DEGRADED,
        "The registry names a way to this loop that this build does not have.",
        "Correct the loop's transport in the registry, or watch it from a build that has it.",
        needs_human=True,
    ),
    ReasonEntry(
        "registry_invalid",
        _DEGRADED,
        "The fleet registry cannot be believed; the last valid one stays in force.",
        "Correct the field named in the evidence; the registry is read again at once.",
        needs_human=True,
    ),
    ReasonEntry(
        "store_corrupt",
        _DEGRADED,
        "One of our own files could not be read; it was set aside and rebuilt.",
        "Nothing is lost if `opsctl verify LOOP` agrees; keep the file set aside for a report.",
    ),
    ReasonEntry(
        "store_unwritable",
        _CRITICAL,
        "Our own files cannot be written; watching goes on in memory only.",
        "Make room on the disk or mend its permissions; writing resumes by itself.",
        needs_human=True,
    ),
    ReasonEntry(
        "watch_blind",
        _DEGRADED,
        "File changes are not noticed at once; the regular sweep finds them later.",
        "Check the system's inotify limits; nothing is lost meanwhile.",
    ),
    ReasonEntry(
        "pass_failed",
        _DEGRADED,
        "A pass over the loop broke off by a fault of ours; it is tried again.",
        "Keep the daemon's log for a report; the other loops are not affected.",
    ),
    ReasonEntry(
        "pass_overdue",
        _DEGRADED,
        "A pass over the loop has exceeded its time; its picture may be old.",
        "Check the disk or the service it waits for; `opsctl status` shows the age of each picture.",
    ),
    ReasonEntry(
        "modes_unreadable",
        _DEGRADED,
        "The file that says which loops are in observe mode cannot be read, so no intent is carried out.",
        "Mend or remove the line named in the evidence, or set the mode anew: `opsctl mode normal --reason ...`.",
        needs_human=True,
    ),
    ReasonEntry(
        "transports_unreadable",
        _DEGRADED,
        "The file that says how loops were switched to another transport cannot be read; the registry's own holds.",
        "Mend or remove the line named in the evidence, or switch anew: `opsctl transport LOOP`.",
        needs_human=True,
    ),
    ReasonEntry(
        "profiles_unreadable",
        _DEGRADED,
        "The file that says which profiles of thresholds were chosen for loops cannot be read; what can be, holds.",
        "Mend or remove the line named in the evidence, or choose anew: `opsctl profile LOOP`.",
        needs_human=True,
    ),
    ReasonEntry(
        "profile_drift_detected",
        _INFO,
        "Telemetry has advised another threshold profile for several samples in a row.",
        "See `opsctl tuning LOOP` for the advice and its reasons; `opsctl profile LOOP` is how to follow it.",
    ),
    ReasonEntry(
        "profile_unusable",
        _DEGRADED,
        "The profile that was chosen for a loop cannot be used any more; the loop has the thresholds of all others.",
        "Mend the catalog and send SIGHUP, or choose anew: `opsctl profile LOOP --list`.",
        needs_human=True,
    ),
    ReasonEntry(
        "manager_silent",
        _CRITICAL,
        "Nobody has looked at the loop for a long time: what is written of it may no longer be true.",
        "Check that opsd runs, with `systemctl status opsd`, or make a pass by hand: `ops-manager reconcile`.",
        needs_human=True,
    ),
    ReasonEntry(
        "settings_invalid",
        _DEGRADED,
        "The daemon was told to read its settings again and cannot use them; the old ones stay in force.",
        "Correct the setting named in the evidence, then send SIGHUP again.",
        needs_human=True,
    ),
    ReasonEntry(
        "subsystem_failed",
        _DEGRADED,
        "A part of the daemon ended with an error and is started again.",
        "Keep the daemon's log for a report; if it goes on failing the daemon ends by itself.",
    ),
)
"""Every reason code, by code."""
