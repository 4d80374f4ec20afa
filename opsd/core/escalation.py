"""Who must hear of it, and was that said before? One row when a condition begins, one when it ends.

The journal is the durable truth: what stands open there is not escalated again, whatever was forgotten meanwhile. What
the rows look like is in `escalation_rows`; how they reach people is decided further out. Source: loop-core 9.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from opsd.core.escalation_rows import Condition, Journalist, run_id_of
from opsd.model.effects import Document, Journal
from opsd.model.escalation import Category, EscalationRow, OpenEscalation
from opsd.model.health import Finding, HealthDocument, HealthStatus, Severity
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.reasons import REASONS
from opsd.model.run import Run
from opsd.model.tuning import DriftDocument

CATEGORY_OF: Mapping[str, Category] = {
    "divergence_detected": Category.DIVERGENCE,
    "ordering_drift_detected": Category.ORDERING_DRIFT,
    "approval_pending": Category.APPROVAL_PENDING,
    "recovery_waiting": Category.RECOVERY_WAITING,
    "runtime_process_missing": Category.RUN_CRASHED,
    "role_timed_out": Category.RUN_FAILED,
    "run_failed": Category.RUN_FAILED,
    "usage_limited": Category.RUN_FAILED,
    "run_stuck": Category.RUN_STUCK,
    "no_progress": Category.RUN_STUCK,
    "max_iterations_reached": Category.RUN_STOPPED,
    "lifecycle_gate_failed": Category.RUN_STOPPED,
    "run_stopped": Category.RUN_STOPPED,
    "run_rate_limited": Category.RUN_RATE_LIMITED,
    "pause_expired": Category.PAUSE_EXPIRED,
}
"""The findings that escalate by themselves. What the contract's health knows escalates as a change of health."""

HEALTH = frozenset({Category.HEALTH_DEGRADED, Category.HEALTH_CRITICAL})
CONTRACT = HEALTH | {Category.DIVERGENCE, Category.ORDERING_DRIFT}

_ORDER: Mapping[Category, int] = {category: order for order, category in enumerate(Category)}

# What somebody has to know of although it began before the first look; all else found then is history.
_URGENT_AT_FIRST_SIGHT = frozenset({Category.APPROVAL_PENDING, Category.RUN_CRASHED})
_URGENT_CODES = frozenset({"ingest_stale", "runtime_heartbeat_stale"})
_UNREAD = "The log has not been read to its end; the rest of it may say otherwise."


class Escalated(msgspec.Struct, frozen=True):
    """`rows` in the order in which they belong in the journal; the rest is what the run remembers from now on."""

    rows: tuple[EscalationRow, ...]
    open: tuple[OpenEscalation, ...]
    counts: dict[str, int]
    baseline: tuple[str, ...] = ()


def escalate(
    run: Run,
    health: HealthDocument,
    *,
    home: str,
    trace_id: str,
    now: datetime,
    moved: Mapping[Document | Journal, str] | None = None,
    one_shot: bool = False,
) -> Escalated:
    """What begins and what ends with this pass. `home` is the repository whose manager files the rows name; those that
    lie elsewhere are `moved`. `one_shot`: somebody asked about this loop, and hears at the first look already of what
    the contract's own categories cover.

    `run` carries this pass's projection and sequence, and what was open before it. The same pass repeated after a
    crash gives rows of the same ids, and none for what already stands open in the journal. A change of health ends
    the former health and begins the new one in a single row.
    """
    present = tuple(conditions(run, health))
    opened, baseline = run.open_escalations, run.baseline
    if not present and not opened and not baseline:
        return Escalated((), (), run.escalation_counts)

    standing = {_key(one): one for one in opened}
    asked = CONTRACT if one_shot else frozenset()
    begun = [one for one in present if one.key not in standing and why_not_begun(one, run, health, asked) is None]
    change = next((one for one in begun if one.category in HEALTH), None)
    gone = [one for one in opened if one.category is not Category.PROFILE_DRIFT and not _stands(one, present)]
    may_end = why_not_ended(run, health) is None
    ended = [one for one in gone if may_end or (change is not None and one.category in HEALTH)]
    kept = _baseline(run, health, present, standing, asked)
    if not ended and not begun:
        return Escalated((), opened, run.escalation_counts, kept)

    journal = Journalist(run, health, home, trace_id, now, moved)
    former = next((one for one in ended if one.category in HEALTH), None) if change is not None else None
    for one in ended:
        if one is not former:
            journal.end(one)
    begun.sort(key=_contract_order)
    began = tuple(journal.begin(one, former if one is change else None) for one in begun)
    stay = tuple(one for one in opened if one not in ended)
    return Escalated(tuple(journal.rows), (*stay, *began), journal.counts, kept)


def escalate_drift(
    run: Run,
    health: HealthDocument,
    drift: DriftDocument,
    *,
    home: str,
    trace_id: str,
    now: datetime,
    moved: Mapping[Document | Journal, str] | None = None,
) -> Escalated:
    """The same for drift of the threshold profile, which is judged with samples only, and after everything else.

    It begins with the evaluation that made it active, unless the journal has it already: a crash keeps documents from
    the disk, and the streak is then counted again. Source: status-and-tuning 3.6.
    """
    standing = [one for one in run.open_escalations if one.category is Category.PROFILE_DRIFT]
    journal = Journalist(run, health, home, trace_id, now, moved)
    began: tuple[OpenEscalation, ...] = ()
    if not drift.drift_active:
        for one in standing:
            journal.end(one)
    elif drift.transitioned.to_active and not standing:
        began = (journal.begin(_profile_drift(drift), None),)
    stay = tuple(one for one in run.open_escalations if drift.drift_active or one not in standing)
    return Escalated(tuple(journal.rows), (*stay, *began), journal.counts, run.baseline)


def _profile_drift(drift: DriftDocument) -> Condition:
    since = drift.mismatch_since or drift.updated_at
    return Condition(
        Category.PROFILE_DRIFT,
        f"{drift.applied_profile} is applied",
        since.isoformat(),
        since,
        says=f"Telemetry has advised another threshold profile {drift.mismatch_streak} times in a row: "
        f"{drift.recommended_profile}, and {drift.applied_profile} is applied. {drift.rationale or ''}".rstrip(),
    )


def conditions(run: Run, health: HealthDocument) -> Iterator[Condition]:
    """All that is true of the run now and would escalate, whether or not it already has."""
    for finding in health.findings:
        category = CATEGORY_OF.get(finding.code)
        if category is not None and not _only_a_note(finding, category):
            yield Condition(category, _about(run, finding, category), finding.onset, finding.since, finding)
    if health.status is not HealthStatus.HEALTHY:
        yield _health(run, health)


def _only_a_note(finding: Finding, category: Category) -> bool:
    """A run that waits for a usage limit has not failed; that a pending approval needs no haste silences nobody."""
    return finding.severity is Severity.INFO and category is not Category.APPROVAL_PENDING


def _about(run: Run, finding: Finding, category: Category) -> str:
    """What the condition is about within its category: the same as long as it is the same condition."""
    match category:
        case Category.DIVERGENCE:
            flags = run.projection.divergence if run.projection is not None else None
            return ",".join(name for name in flags.__struct_fields__ if getattr(flags, name)) if flags else ""
        case Category.ORDERING_DRIFT | Category.APPROVAL_PENDING | Category.RECOVERY_WAITING | Category.PAUSE_EXPIRED:
            return finding.onset
        case _:
            return run_id_of(run)


def _health(run: Run, health: HealthDocument) -> Condition:
    transport = run.transport_health
    failing = transport.failing_since if transport is not None else None
    onsets = {finding.code: finding.onset for finding in health.findings}
    unreached = failing.isoformat() if failing is not None else "-"
    known = [
        finding.since for finding in health.findings if finding.since is not None and REASONS[finding.code].contract
    ]
    return Condition(
        Category.HEALTH_CRITICAL if health.status is HealthStatus.CRITICAL else Category.HEALTH_DEGRADED,
        ",".join(health.reason_codes),
        " ".join(f"{code}={onsets.get(code, unreached)}" for code in health.reason_codes),
        max(known, default=failing),
    )


def why_not_begun(
    one: Condition, run: Run, health: HealthDocument, asked: frozenset[Category] = frozenset()
) -> str | None:
    """Why a condition that is not open yet may not be escalated now; None where it may.

    Conditions of the categories `asked` need no haste to be told at the first look.
    """
    if one.key in run.baseline:
        return "It was there at the first look, before the manager's time."
    looked = health.transport.ingest_status == "success"
    if run.backlog_bytes and not _is_witnessed(one, run) and (looked or one.category not in HEALTH):
        return _UNREAD
    if one.category in asked:
        return None
    if one.category in HEALTH and _is_a_crash(run, health):
        return "That the run crashed is told; that its log is silent since is no other news."
    if run.baselined:
        return None
    if not looked:
        lasting = any(reason.metric == "transportFailureStreak" for reason in health.reasons)
        return None if lasting else "It was never reached yet, and has not failed often enough to say so."
    urgent = (
        one.category in _URGENT_AT_FIRST_SIGHT
        or (one.category is Category.RECOVERY_WAITING and health.metrics.lifecycle_state == Lifecycle.RUNNING)
        or (one.category in HEALTH and not _URGENT_CODES.isdisjoint(health.reason_codes))
    )
    return None if urgent else "It was there at the first look, and needs nobody at once."


def _is_a_crash(run: Run, health: HealthDocument) -> bool:
    """Whether all that the contract's health knows against the run follows from its crash."""
    crashed = run.projection is not None and run.projection.phase is Phase.CRASHED
    return crashed and health.reason_codes == ("ingest_stale",)


def _is_witnessed(one: Condition, run: Run) -> bool:
    """Whether this very pass saw it and the next no longer may: that the log went backwards."""
    shrank = run.projection is not None and run.projection.divergence.cursor_regression
    return one.category is Category.ORDERING_DRIFT or (one.category is Category.DIVERGENCE and shrank)


def why_not_ended(run: Run, health: HealthDocument) -> str | None:
    """Why this pass may not call an open condition ended just because it no longer sees it; None where it may."""
    if health.transport.ingest_status != "success":
        return "The last look failed, so nothing shows that it ended."
    return _UNREAD if run.backlog_bytes else None


def _stands(one: OpenEscalation, present: Iterable[Condition]) -> bool:
    return any(one.category is now.category and one.condition == now.condition for now in present)


def _key(one: OpenEscalation) -> str:
    return f"{one.category}|{one.condition}"


def _contract_order(one: Condition) -> tuple[bool, int]:
    """Divergence before drift (loop-core 9), ours, and health last: readers of the journal's end look for it there."""
    return one.category in HEALTH, _ORDER[one.category]


def _baseline(
    run: Run,
    health: HealthDocument,
    present: tuple[Condition, ...],
    standing: Mapping[str, OpenEscalation],
    asked: frozenset[Category],
) -> tuple[str, ...]:
    """What stays known and unsaid: found at the first look, and lasting since."""
    looked = health.transport.ingest_status == "success"
    if not looked or run.backlog_bytes:
        return run.baseline
    if run.baselined:
        if not run.baseline:
            return ()
        keys = {one.key for one in present}
        return tuple(key for key in run.baseline if key in keys)
    return tuple(
        one.key for one in present if one.key not in standing and why_not_begun(one, run, health, asked) is not None
    )
