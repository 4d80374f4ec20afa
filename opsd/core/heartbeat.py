"""Is a heartbeat believable, and how old is it? The contract's heartbeat document and row. Source: loop-core 6.

What a late beat means for the run's health is judged in `findings`.
"""

from datetime import datetime

import msgspec

from opsd.core.instants import lag_s, parse, whole
from opsd.model.heartbeat import Beat, Freshness, HeartbeatDocument, HeartbeatRow, HeartbeatThresholds
from opsd.model.observation import Artifact
from opsd.model.runtime import ActiveRun, Heartbeat
from opsd.model.thresholds import Thresholds

MISSING_TIME = "missing_heartbeat_timestamp"
INVALID_TIME = "invalid_heartbeat_timestamp"
STALE = "runtime_heartbeat_stale"
EXITED = "exited"


def believe(
    beat: Beat | None, artifact: Artifact[Heartbeat], active_run: ActiveRun | None
) -> tuple[Beat | None, str | None]:
    """The beat to believe after this look, and the contract's fault code where the file's own beat is unusable.

    A file that is gone, unusable, or speaks of another process than the active run's leaves the remembered `beat`
    standing, so that its lag goes on growing. The file's word replaces it even when it is older: there is one writer,
    and what it wrote last is its newest word, whatever its clock did in between.
    """
    said = artifact.value
    if said is None:
        return beat, None
    if active_run is not None and said.pid is not None and active_run.pid not in (None, said.pid):
        return beat, None
    text = said.timestamp or said.updatedAt
    if text is None:
        return beat, MISSING_TIME
    if beat is not None and beat.text == text and beat.pid == said.pid and beat.status == said.status:
        return beat, None
    at = parse(text)
    if at is None:
        return beat, INVALID_TIME
    return Beat(at=at, text=text, status=said.status, pid=said.pid, exited=said.status == EXITED), None


def freshness(beat: Beat, thresholds: Thresholds, now: datetime) -> Freshness:
    """An exited beat is never late: it is the last word of a process that is known to be gone."""
    lag = lag_s(beat.at, now)
    if beat.exited or lag < thresholds.degraded_heartbeat_lag_seconds:
        return Freshness.FRESH
    return Freshness.CRITICAL if lag >= thresholds.critical_heartbeat_lag_seconds else Freshness.DEGRADED


def document(
    beat: Beat,
    heartbeat: msgspec.Raw,
    thresholds: Thresholds,
    *,
    loop_id: str,
    trace_id: str,
    transport: str,
    now: datetime,
) -> HeartbeatDocument:
    """`heartbeat.json` of a believable beat; `heartbeat` is the file's whole object."""
    status = freshness(beat, thresholds, now)
    return HeartbeatDocument(
        updated_at=whole(now),
        loop_id=loop_id,
        trace_id=trace_id,
        transport=transport,
        last_heartbeat_at=beat.text,
        heartbeat_lag_seconds=lag_s(beat.at, now),
        freshness_status=status,
        thresholds=HeartbeatThresholds(
            thresholds.degraded_heartbeat_lag_seconds, thresholds.critical_heartbeat_lag_seconds
        ),
        heartbeat=heartbeat,
        reason_code=msgspec.UNSET if status is Freshness.FRESH else STALE,
    )


def row(document: HeartbeatDocument) -> HeartbeatRow:
    """The telemetry row of a believable beat."""
    return HeartbeatRow(
        timestamp=document.updated_at,
        loop_id=document.loop_id,
        trace_id=document.trace_id,
        transport=document.transport,
        status=document.freshness_status,
        heartbeat=document.heartbeat,
        reason_code=document.reason_code,
        heartbeat_at=document.last_heartbeat_at,
        heartbeat_lag_seconds=document.heartbeat_lag_seconds,
    )


def fault_row(
    fault: str, heartbeat: Heartbeat, *, loop_id: str, trace_id: str, transport: str, now: datetime
) -> HeartbeatRow:
    """The telemetry row of an unusable beat: no lag, and of the time what there was."""
    text = heartbeat.timestamp or heartbeat.updatedAt
    return HeartbeatRow(
        timestamp=whole(now),
        loop_id=loop_id,
        trace_id=trace_id,
        transport=transport,
        status=Freshness.FAILED,
        heartbeat=heartbeat.verbatim,
        reason_code=fault,
        heartbeat_at=msgspec.UNSET if text is None else text,
    )
