"""The registry of refusals: every code with which an intent may be turned down, and what to do then.

When one applies is decided in `opsd.core.intents.gate`; codes of findings are `opsd.model.reasons`.
"""

import msgspec


class RefusalEntry(msgspec.Struct, frozen=True, gc=False):
    """`next_step` is the operator's next act, where LOOP stands for the loop's id."""

    code: str
    says: str
    next_step: str


def _registry_of(*entries: RefusalEntry) -> dict[str, RefusalEntry]:
    registry = {entry.code: entry for entry in entries}
    if len(registry) != len(entries):
        raise ValueError("a refusal code is registered twice; give one of the two another name")
    return registry


REFUSALS = _registry_of(
    RefusalEntry(
        "observe_mode",
        "opsd is in observe mode for this loop or for the fleet: it looks and carries nothing out.",
        "See who set it and until when with `opsctl mode`; `opsctl mode normal --reason ...` ends it.",
    ),
    RefusalEntry(
        "intent_in_flight",
        "Another intent on this loop has not come to its end.",
        "Follow it with `opsctl intents LOOP -f`, then decide anew.",
    ),
    RefusalEntry(
        "fence_mismatch",
        "The run is no longer what the operator saw.",
        "Look again with `opsctl status LOOP`, then decide anew.",
    ),
    RefusalEntry(
        "divergence_frozen",
        "The runtime's files contradict each other about this loop, so that acts on it are frozen.",
        "See which with `opsctl explain LOOP`; `--override-divergence --reason ...` acts all the same.",
    ),
    RefusalEntry(
        "picture_incomplete",
        "The loop's files could not be read, or not to their end, so that nobody knows what the act would meet.",
        "See why with `opsctl explain LOOP`, and try again once they are read.",
    ),
    RefusalEntry(
        "neighbour_active",
        "Another loop of the checkout is, or may be, running, and the runtime's cancel ends whatever runs there.",
        "See which with `opsctl status`; cancel that loop, if it is the one that is meant.",
    ),
    RefusalEntry(
        "nothing_to_cancel",
        "No run of this loop is active, and it has left nothing behind.",
        "Nothing: it is as it should be after a cancel.",
    ),
    RefusalEntry(
        "nothing_to_approve",
        "The loop asks for no approval.",
        "See what waits for whom with `opsctl approvals`.",
    ),
    RefusalEntry(
        "already_decided",
        "The approval was decided already, and waits for the loop's next run.",
        "`opsctl start LOOP` takes the decision up.",
    ),
    RefusalEntry(
        "run_active",
        "A run is, or may be, active in the checkout.",
        "Follow it with `opsctl watch LOOP`, or cancel it first.",
    ),
    RefusalEntry(
        "approval_waits",
        "The loop waits for an approval: a run would only find that and leave.",
        "`opsctl approve LOOP --then-start`, or `opsctl reject LOOP --then-start`.",
    ),
    RefusalEntry(
        "stale_active",
        "A run that is gone left the checkout marked active, and the runtime refuses every run until that is cleared.",
        "`opsctl start LOOP --clear-stale` clears it first; `opsctl cancel LOOP` only clears it.",
    ),
    RefusalEntry(
        "not_running",
        "The loop has no process of its own to pause or resume.",
        "See what became of it with `opsctl status LOOP`.",
    ),
    RefusalEntry("already_paused", "The run is paused already.", "`opsctl resume LOOP` continues it."),
    RefusalEntry("not_paused", "The run is not paused.", "Nothing: it goes on."),
    RefusalEntry(
        "process_unknown",
        "The run's process cannot be judged from here: it belongs to another host or namespace, or evidence is off.",
        "Act where the process lives.",
    ),
    RefusalEntry(
        "start_unavailable",
        "opsd may not start processes that outlive it here.",
        "Keep a systemd manager for opsd's user with `loginctl enable-linger USER`, or start the run by hand.",
    ),
    RefusalEntry(
        "runtime_command_missing",
        "There is no runtime command for this checkout.",
        "Set `superloop_bin` to the path of superloop.sh, or put it into the checkout.",
    ),
    RefusalEntry(
        "transport_not_supported",
        "The loop is reached in a way over which this cannot be done.",
        "Act where the loop runs.",
    ),
    RefusalEntry(
        "store_unwritable",
        "The intent could not be written down, and what is not written down is not done.",
        "Make room on the disk or mend its permissions, then repeat it.",
    ),
    RefusalEntry(
        "opsd_restarted",
        "opsd was restarted after it had taken the intent in and before it did anything.",
        "Nothing was done; look with `opsctl status LOOP` and repeat it.",
    ),
    RefusalEntry(
        "waited_too_long",
        "The intent's turn did not come in time.",
        "Nothing was done; look with `opsctl status LOOP` and repeat it.",
    ),
)
"""Every refusal code, by code."""
