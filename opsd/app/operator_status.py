"""Reads one loop's files for the operator status: small ones whole, of journals the end. Writing and locking nothing.

What the document says of them is decided in `opsd.core.operator_status`. The command line and the daemon both come
here, and both find the same. Loading little is the point: most who ask are commands that live for a moment.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from opsd.app.samples import summary_of
from opsd.core.operator_status import Recommendation, Sources, operator_status
from opsd.model.effects import Document, Journal
from opsd.model.ids import LoopId
from opsd.model.operator_status import UNSET, HeldBy, OperatorStatus, StatusFiles, StatusSource, Verbatim
from opsd.model.tuning import SummarySource, TelemetrySummary
from opsd.ports import Files
from opsd.store.holder import live_holder
from opsd.store.journal import Line, newest_first
from opsd.store.layout import Layout, rotated

SUMMARY_WINDOW: Final = 200
_DOCUMENT_BYTES_MAX: Final = 1 << 26


class StatusError(Exception):
    """A file stands in the way of the whole status; the message names it, what is wrong, and the remedy."""


class NothingKnown(LookupError):  # noqa: N818  it names a state of the loop, as its siblings do
    """No manager has ever written of this loop, or not here."""


def files_of(layout: Layout, loop_id: LoopId, moved: Mapping[str, str] | None = None) -> StatusFiles:
    """Where the loop's files lie; `moved` are those that are to be read elsewhere, by their fields."""
    paths = {
        "state_file": layout.document(loop_id, Document.STATE),
        "cursor_file": layout.document(loop_id, Document.CURSOR),
        "health_file": layout.document(loop_id, Document.HEALTH),
        "intents_file": layout.journal(loop_id, Journal.INTENTS),
        "heartbeat_state_file": layout.document(loop_id, Document.HEARTBEAT),
        "heartbeat_telemetry_file": layout.journal(loop_id, Journal.HEARTBEAT),
        "sequence_state_file": layout.document(loop_id, Document.SEQUENCE),
        "sequence_telemetry_file": layout.journal(loop_id, Journal.SEQUENCE),
        "control_invocations_file": layout.journal(loop_id, Journal.INVOCATIONS),
        "drift_state_file": layout.document(loop_id, Document.PROFILE_DRIFT),
        "drift_history_file": layout.journal(loop_id, Journal.PROFILE_DRIFT),
        "alert_dispatch_state_file": layout.alert_dispatch_state(loop_id),
        "alert_dispatch_telemetry_file": layout.alert_telemetry(loop_id),
        "reconcile_telemetry_file": layout.journal(loop_id, Journal.RECONCILE),
        "control_telemetry_file": layout.journal(loop_id, Journal.CONTROL),
    }
    return StatusFiles(**{**paths, **(moved or {})})


def read_status(
    files: Files,
    layout: Layout,
    loop_id: LoopId,
    where: StatusFiles,
    *,
    summary_window: int,
    now: datetime,
    advise: Callable[[], Recommendation] | None = None,
) -> OperatorStatus:
    """The advice on thresholds is `advise`'s, if it is given.

    Raises:
        NothingKnown: there is neither a state nor a health document.
        StatusError: a document is there and makes no sense.
        OSError: a document cannot be read.
    """
    read = _sources(files, where)
    if read.state is None and read.health is None:
        raise NothingKnown(
            f"nothing is known of loop '{loop_id}': there is neither {where.state_file} nor {where.health_file}; "
            f"make a first pass with 'ops-manager reconcile --repo {layout.home} --loop {loop_id}'"
        )
    return operator_status(
        read,
        StatusSource(layout.home, loop_id),
        where,
        _advice(files, layout, loop_id, where, summary_window) if advise is None else advise(),
        _held_by(layout),
        summary_window=summary_window,
        now=now,
    )


def _advice(files: Files, layout: Layout, loop_id: LoopId, where: StatusFiles, window: int) -> Recommendation:
    """What the newest telemetry advises; nothing where there is none, or where it cannot be read."""
    source = SummarySource(layout.home, loop_id, where.reconcile_telemetry_file, where.control_telemetry_file, window)
    summary = summary_of(files, source)
    if summary is None:
        return Recommendation()
    told = msgspec.to_builtins(TelemetrySummary(summary.observed, source))
    return Recommendation(summary.recommended.value, summary.confidence, summary.rationale, told)


def _held_by(layout: Layout) -> HeldBy | None:
    holder = live_holder(layout.lock)
    if holder is None:
        return None
    return HeldBy(pid=holder.pid, started_at=holder.started_at, socket_path=holder.socket_path or UNSET)


def _sources(files: Files, where: StatusFiles) -> Sources:
    return Sources(
        state=_document(files, where.state_file),
        health=_document(files, where.health_file),
        cursor=_document(files, where.cursor_file),
        heartbeat=_document(files, where.heartbeat_state_file),
        sequence=_document(files, where.sequence_state_file),
        drift=_document(files, where.drift_state_file),
        dispatch=_document(files, where.alert_dispatch_state_file),
        last_intent=_last_row(files, where.intents_file),
        last_control=_last_row(files, where.control_telemetry_file),
        last_invocation=_last_row(files, where.control_invocations_file),
        last_reconcile=_last_row(files, where.reconcile_telemetry_file),
        last_heartbeat=_last_row(files, where.heartbeat_telemetry_file),
        last_sequence=_last_row(files, where.sequence_telemetry_file),
        last_delivery=_last_row(files, where.alert_dispatch_telemetry_file),
    )


def _document(files: Files, path: str) -> Verbatim | None:
    """The object in a small file; None where there is no file.

    An empty file is what a crash leaves of one that is rewritten in place. It is not taken for an absent one: whoever
    asks must hear that something is lost.
    """
    try:
        found, data = files.read(path, 0, _DOCUMENT_BYTES_MAX)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if found.size_bytes > _DOCUMENT_BYTES_MAX:
        raise _unusable(path, f"has {found.size_bytes} bytes, more than any manager writes")
    if not data.strip():
        raise _unusable(path, "is empty, as a crash leaves a file that is being rewritten")
    try:
        content = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable(path, f"is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise _unusable(path, "is JSON, but not an object")
    return content


def _unusable(path: str, problem: str) -> StatusError:
    return StatusError(f"{path} {problem}; move it out of the way, the manager's next pass writes it anew")


def _last_row(files: Files, path: str) -> Verbatim | None:
    """The last line, if it is an object: torn, blank and odd ones count as no row. Source: status-and-tuning 1.1.

    While a rotation is under way the newest row is the last one of the file that was just moved aside.
    """
    line = next(newest_first(files, (path, rotated(path, 1)), physical=True), None)
    if not isinstance(line, Line):
        return None
    try:
        row = msgspec.json.decode(line.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
