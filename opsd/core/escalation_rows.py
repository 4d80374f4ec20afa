"""The rows of `escalations.jsonl`: their ids, and the members that the contract gives each category.

Whether there is anything to say is decided in `escalation`. Source: loop-core 9.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

import msgspec
from msgspec.structs import replace

from opsd.core.documents import position, projected
from opsd.core.instants import whole
from opsd.model.effects import Document, Journal
from opsd.model.escalation import (
    AlertSeverity,
    Category,
    EscalatedSequence,
    EscalatedState,
    EscalationRow,
    OpenEscalation,
)
from opsd.model.health import Finding, HealthDocument
from opsd.model.ids import UNKNOWN_RUN, EscalationId
from opsd.model.reasons import REASONS
from opsd.model.run import Run
from opsd.model.tuning import EscalatedDrift

_SEVERITY: Mapping[Category, AlertSeverity] = {
    Category.APPROVAL_PENDING: AlertSeverity.WARNING,
    Category.RECOVERY_WAITING: AlertSeverity.WARNING,
    Category.RUN_CRASHED: AlertSeverity.CRITICAL,
    Category.RUN_FAILED: AlertSeverity.WARNING,
    Category.RUN_STUCK: AlertSeverity.WARNING,
    Category.RUN_STOPPED: AlertSeverity.WARNING,
    Category.RUN_RATE_LIMITED: AlertSeverity.WARNING,
    Category.PAUSE_EXPIRED: AlertSeverity.WARNING,
}


class Condition(msgspec.Struct, frozen=True, gc=False):
    """Something that someone should hear of, as long as it lasts. `finding` is None where none stands behind it."""

    category: Category
    condition: str
    onset: str
    since: datetime | None
    finding: Finding | None = None
    says: str = ""
    """What people are told, where neither a finding nor the health says it."""

    @property
    def key(self) -> str:
        return f"{self.category}|{self.condition}"


class Journalist:
    """The rows of one pass, and the counts that keep their ids apart."""

    def __init__(
        self,
        run: Run,
        health: HealthDocument,
        home: str,
        trace_id: str,
        now: datetime,
        moved: Mapping[Document | Journal, str] | None = None,
    ) -> None:
        self._run, self._health, self._trace_id, self._now = run, health, trace_id, now
        self._folder = f"{home}/.superloop/ops-manager/{run.ref.loop_id}"
        self._moved = moved or {}
        self.counts = dict(run.escalation_counts)
        self.rows: list[EscalationRow] = []

    def begin(self, one: Condition, former: OpenEscalation | None) -> OpenEscalation:
        key = f"{one.key}|{one.onset}"
        occurrence = self.counts.get(key, 0)
        self.counts[key] = occurrence + 1
        opened = OpenEscalation(
            _id(self._run.ref.loop_id, key, str(occurrence)), one.category, one.condition, one.onset, one.since
        )
        row = self._row(opened.id, one.category, one.condition, one.onset, one.since, _summary(one, self._health))
        row = replace(
            row,
            severity=_SEVERITY.get(one.category, msgspec.UNSET),
            baseline=msgspec.UNSET if self._run.baselined or not self._looked else True,
            resolves=former.id if former is not None else msgspec.UNSET,
        )
        self.rows.append(self._as_contract(row, one))
        return opened

    def end(self, one: OpenEscalation) -> None:
        category = f"{one.category}_resolved"
        row = self._row(
            _id(self._run.ref.loop_id, category, one.id),
            category,
            one.condition,
            one.onset,
            one.since,
            f"Ended: {one.category.replace('_', ' ')} ({one.condition}).",
        )
        self.rows.append(replace(row, severity=AlertSeverity.INFO, resolves=one.id))

    @property
    def _looked(self) -> bool:
        return self._health.transport.ingest_status == "success"

    def _row(
        self, id_: EscalationId, category: str, condition: str, onset: str, since: datetime | None, summary: str
    ) -> EscalationRow:
        return EscalationRow(
            timestamp=whole(self._now),
            loop_id=self._run.ref.loop_id,
            trace_id=self._trace_id,
            category=category,
            transport=self._run.ref.transport,
            id=id_,
            onset=onset,
            summary=summary,
            run_id=run_id_of(self._run),
            since=since,
            condition=condition,
        )

    def _as_contract(self, row: EscalationRow, one: Condition) -> EscalationRow:
        """`row` with the members that the contract gives its category. Source: loop-core 9."""
        run, health = self._run, self._health
        state_file, cursor_file = self._path(Document.STATE), self._path(Document.CURSOR)
        match one.category:
            case Category.DIVERGENCE if run.projection is not None:
                projection = run.projection
                return replace(
                    row,
                    state_file=state_file,
                    cursor_file=cursor_file,
                    divergence_flags=projection.divergence,
                    state=EscalatedState(projection.transition, projected(run, projection), position(run)),
                )
            case Category.ORDERING_DRIFT if run.sequence is not None:
                sequence = run.sequence
                return replace(
                    row,
                    reason_code=one.finding.code if one.finding is not None else msgspec.UNSET,
                    state_file=state_file,
                    sequence_state_file=self._path(Document.SEQUENCE),
                    sequence_telemetry_file=self._path(Journal.SEQUENCE),
                    sequence=EscalatedSequence(
                        sequence.status, sequence.drift_active, sequence.violations, sequence.snapshot, sequence.events
                    ),
                )
            case Category.HEALTH_DEGRADED | Category.HEALTH_CRITICAL:
                return replace(
                    row,
                    ingest_status=health.transport.ingest_status,
                    failure_code=health.transport.failure_code or msgspec.UNSET,
                    state_file=state_file,
                    cursor_file=cursor_file,
                    health_file=self._path(Document.HEALTH),
                    health_status=health.status,
                    reason_codes=health.reason_codes,
                    reasons=health.reasons,
                )
            case Category.PROFILE_DRIFT if run.drift is not None:
                drift = run.drift
                return replace(
                    row,
                    state_file=state_file,
                    drift_state_file=self._path(Document.PROFILE_DRIFT),
                    drift_history_file=self._path(Journal.PROFILE_DRIFT),
                    reason_code=drift.reason_code,
                    drift=EscalatedDrift(
                        drift.status,
                        drift.applied_profile,
                        drift.recommended_profile,
                        drift.recommendation_confidence,
                        drift.mismatch_streak,
                        drift.required_streak,
                        drift.action,
                        drift.rationale,
                    ),
                )
            case _:
                code = one.finding.code if one.finding is not None else msgspec.UNSET
                return replace(row, state_file=state_file, reason_code=code)

    def _path(self, file: Document | Journal) -> str:
        return self._moved.get(file) or f"{self._folder}/{file.value}"


_LOCAL_TROUBLE = frozenset({"artifacts_missing", "artifacts_unreadable"})


def _summary(one: Condition, health: HealthDocument) -> str:
    if one.says:
        return one.says
    if one.finding is not None:
        return f"{REASONS[one.finding.code].says} {one.finding.evidence}"
    # The contract calls unreadable local files a transport failure; people are told what it really is.
    local = next((finding.code for finding in health.findings if finding.code in _LOCAL_TROUBLE), None)
    codes = [local if local and code == "transport_unreachable" else code for code in health.reason_codes]
    return " ".join(REASONS[code].says if code in REASONS else f"{code}." for code in codes)


def _id(*parts: str) -> EscalationId:
    """32 hex digits that depend on the condition alone, so that a pass repeated after a crash names it the same."""
    return EscalationId(sha256("\0".join(parts).encode()).hexdigest()[:32])


def run_id_of(run: Run) -> str:
    """The run that a row is about: the newest one begun."""
    return run.projection.run_id if run.projection is not None else UNKNOWN_RUN
