"""Could the loop be looked at, and its files and log be believed? Trouble on the way, never of the run itself.

Source: loop-core 5.3, 7, 8.2.
"""

from datetime import timedelta
from operator import attrgetter

from opsd.core.instants import parse
from opsd.core.rules.look import Answer, Look, Rule, Span
from opsd.model.health import Finding, Severity
from opsd.model.observation import Artifact, StreamChange, UnreachableCause
from opsd.model.runtime import Presence
from opsd.model.transport import TransportMode

QUARANTINE_NEWS_S = 900
"""For so long a bad line is news; afterwards it is a fact about the log."""
STREAM_NEWS_S = 3600
"""For so long a cut or exchanged log is news, unless a new run has begun in it before."""
BACKLOG_PATIENCE_S = 60
"""Reading may lag this long behind a burst before it counts as falling behind."""

REACHING_FAILURES = frozenset({"snapshot_unavailable", "events_unavailable", "service_request_failed"})
"""The contract's failure codes that mean: it could not be reached (rule 11)."""
_LOCAL = (UnreachableCause.ARTIFACTS_MISSING, UnreachableCause.ARTIFACTS_UNREADABLE)
_ANSWERED = "The last look succeeded."
_OTHERWISE = "The last look failed for another reason."

FILES = {
    "state": "state.json",
    "active_run": "active-run.json",
    "summary": "run-summary.json",
    "approval": "approval.json",
    "heartbeat": "heartbeat.v1.json",
    "config": "config.json",
    "rate_limit": "rate-limit.json",
    "recovery": "escalation.json",
}
every_file = attrgetter(*FILES)


def unreachable(look: Look) -> Answer:
    """Rules 8, 9 and 11 for a real transport; local trouble has codes of its own and starts no outage."""
    ingest, health, limits = look.ingest, look.run.transport_health, look.thresholds
    if ingest.ok:
        return _ANSWERED
    if look.run.ref.transport is TransportMode.LOCAL or ingest.cause in _LOCAL:
        return "The loop is read from local files: no transport is involved."
    streak = health.failure_streak if health is not None else 1
    if ingest.failure_code not in REACHING_FAILURES and streak < limits.degraded_transport_failure_streak:
        return _OTHERWISE
    severity = Severity.CRITICAL if streak >= limits.critical_transport_failure_streak else Severity.DEGRADED
    return _failing(look, "transport_unreachable", severity)


def service_unauthorized(look: Look) -> Answer:
    """The token is not accepted; the contract has no word for it beside unreachable."""
    return _of_service(look, UnreachableCause.SERVICE_UNAUTHORIZED)


def service_certificate(look: Look) -> Answer:
    """The certificate cannot be trusted."""
    return _of_service(look, UnreachableCause.SERVICE_CERTIFICATE)


def _of_service(look: Look, cause: UnreachableCause) -> Answer:
    if look.ingest.ok:
        return _ANSWERED
    return _failing(look, cause.value, Severity.DEGRADED) if look.ingest.cause is cause else _OTHERWISE


def budget_spent(look: Look) -> Answer:
    """More polls failed within an hour than the operator allows."""
    reach = look.run.reach
    if reach is None or not reach.budget_spent:
        return "The error budget of its service, if it has one, is not spent."
    health = look.run.transport_health
    return Finding(
        "service_budget_spent",
        Severity.DEGRADED,
        health.failing_since if health is not None else None,
        f"Of {reach.requests} requests since opsd started too many failed; the last {reach.failures} in a row.",
        "budget",
    )


def artifacts_missing(look: Look) -> Answer:
    """The loop's folder or log is absent."""
    return _local(look, UnreachableCause.ARTIFACTS_MISSING)


def artifacts_unreadable(look: Look) -> Answer:
    """The loop's folder or log is there and cannot be read."""
    return _local(look, UnreachableCause.ARTIFACTS_UNREADABLE)


def _local(look: Look, cause: UnreachableCause) -> Answer:
    if look.ingest.ok:
        return _ANSWERED
    if look.ingest.cause is not cause:
        return _OTHERWISE
    return _failing(look, cause.value, Severity.DEGRADED)


def disbelieved(look: Look) -> Answer:
    """Rules 12 to 15: an answer came and could not be used. A code the registry lacks is `reconcile_failed` here."""
    ingest = look.ingest
    if ingest.ok:
        return _ANSWERED
    if ingest.cause is not None or ingest.failure_code in REACHING_FAILURES:
        return _OTHERWISE
    match ingest.failure_code:
        case "service_response_invalid":
            code = "invalid_transport_payload"
        case "projection_failed":
            code = "projection_failed"
        case _:
            code = "reconcile_failed"
    return _failing(look, code, Severity.DEGRADED)


def _failing(look: Look, code: str, severity: Severity) -> Finding:
    health = look.run.transport_health
    since = health.failing_since if health is not None else None
    why = look.ingest.problem or f"The look failed with {look.ingest.failure_code or 'no code'}."
    return Finding(code, severity, since, why, since.isoformat() if since else "never reached")


def drifted(look: Look) -> Answer:
    """Rule 10: the log's own order went backwards."""
    sequence = look.run.sequence
    if sequence is None or not sequence.drift_active:
        return "The log's line numbers only grew."
    events, snapshot = sequence.events, sequence.snapshot
    return Finding(
        "ordering_drift_detected",
        Severity.DEGRADED,
        None,
        f"{', '.join(sequence.violations)}: the log has {snapshot.current} lines after {snapshot.previous}, "
        f"and lines {events.first} to {events.last} came after line {events.previous_last}.",
        f"e{look.run.fold.epoch}",
    )


def stream_news(look: Look) -> Span | str:
    """Since when the log is known to be cut or exchanged, and when that stops being news."""
    note, facts = look.run.stream_note, look.run.fold.run
    if note is None or note.change is StreamChange.CURSOR_RESET:
        return "The log only grew."
    if facts is not None and facts.started_at is not None and facts.started_at > note.at:
        return "A new run has begun in the log since."
    return Span(note.at, (note.at + timedelta(seconds=STREAM_NEWS_S),))


def stream_changed(look: Look) -> Answer:
    """The log was cut or exchanged lately, and no new run has begun in it."""
    span, note = stream_news(look), look.run.stream_note
    if isinstance(span, str) or note is None:
        return span if isinstance(span, str) else "The log only grew."
    if look.now >= span.turns[0]:
        return "It was long ago."
    what = "became shorter" if note.change is StreamChange.TRUNCATED else "is another file than before"
    return Finding(
        note.change.value,
        Severity.DEGRADED,
        note.at,
        f"events.jsonl {what}; it was read again from its start.",
        f"e{note.epoch}",
    )


def quarantine_news(look: Look) -> Span | str:
    """Since when the newest bad line is set aside, and when that stops being news."""
    at = look.run.quarantined_at
    if not look.run.fold.quarantined_count or at is None:
        return "Every line of the log is an event."
    return Span(at, (at + timedelta(seconds=QUARANTINE_NEWS_S),))


def quarantined(look: Look) -> Answer:
    """Lines of the log that are no events: degraded while it is news, a note afterwards."""
    count, at = look.run.fold.quarantined_count, look.run.quarantined_at
    if not count:
        return "Every line of the log is an event."
    span = quarantine_news(look)
    news = not isinstance(span, str) and look.now < span.turns[0]
    return Finding(
        "event_quarantined",
        Severity.DEGRADED if news else Severity.INFO,
        at,
        f"{count} of the log's lines were set aside in quarantine.jsonl.",
        f"e{look.run.fold.epoch}:{count}",
    )


def backlog_age(look: Look) -> Span | str:
    """Since when reading is behind the log, and when that is falling behind."""
    since = look.run.backlog_since
    if not look.run.backlog_bytes or since is None:
        return "The log is read to its end."
    return Span(since, (since + timedelta(seconds=BACKLOG_PATIENCE_S),))


def backlog(look: Look) -> Answer:
    """Part of the log is unread."""
    span = backlog_age(look)
    if isinstance(span, str):
        return span
    return Finding(
        "ingest_backlog",
        Severity.DEGRADED if look.now >= span.turns[0] else Severity.INFO,
        span.since,
        f"{look.run.backlog_bytes} bytes of events.jsonl are unread.",
        span.since.isoformat(),
    )


def file_unreadable(look: Look) -> Answer:
    """Small files that cannot be read; one finding names them all."""
    files: tuple[Artifact[object], ...] = every_file(look.run.artifacts)
    for file in files:
        if file.presence is Presence.UNREADABLE:
            break
    else:
        return "Every small file that is there can be read."
    bad = [(name, file) for name, file in zip(FILES, files, strict=True) if file.presence is Presence.UNREADABLE]
    begun = [file.since for _, file in bad if file.since is not None]
    return Finding(
        "file_unreadable",
        Severity.DEGRADED,
        min(begun, default=None),
        " ".join(file.problem or f"{FILES[name]} cannot be read." for name, file in bad),
        ",".join(FILES[name] for name, _ in bad),
    )


def heartbeat_unreadable(look: Look) -> Answer:
    """A heartbeat file whose beat names no usable time, or none at all. Source: loop-core 6."""
    heartbeat, beat = look.run.artifacts.heartbeat.value, look.run.beat
    if heartbeat is None:
        return "There is no heartbeat file."
    text = heartbeat.timestamp or heartbeat.updatedAt
    if (beat is not None and beat.text == text) or parse(text) is not None:
        return "The beat names its time."
    return Finding(
        "heartbeat_unreadable",
        Severity.INFO,
        None,
        f"heartbeat.v1.json says {text!r} where YYYY-MM-DDTHH:MM:SSZ is expected."
        if text
        else "heartbeat.v1.json has neither `timestamp` nor `updatedAt`.",
        text or "missing",
    )


_FAILED_LOOK_RULES = (
    Rule(("transport_unreachable",), unreachable),
    Rule(("service_unauthorized",), service_unauthorized),
    Rule(("service_certificate",), service_certificate),
    Rule(("artifacts_missing",), artifacts_missing),
    Rule(("artifacts_unreadable",), artifacts_unreadable),
    Rule(("invalid_transport_payload", "projection_failed", "reconcile_failed"), disbelieved),
)
FAILED_LOOKS = frozenset(code for rule in _FAILED_LOOK_RULES for code in rule.codes)
"""The codes that say why a look failed; each quotes the failure as its evidence."""

RULES = (
    *_FAILED_LOOK_RULES,
    Rule(("service_budget_spent",), budget_spent),
    Rule(("ordering_drift_detected",), drifted),
    Rule(("stream_truncated", "stream_replaced"), stream_changed, stream_news),
    Rule(("event_quarantined",), quarantined, quarantine_news),
    Rule(("ingest_backlog",), backlog, backlog_age),
    Rule(("file_unreadable",), file_unreadable),
    Rule(("heartbeat_unreadable",), heartbeat_unreadable),
)
