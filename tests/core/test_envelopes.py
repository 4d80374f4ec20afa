"""The word that a snapshot has for a run, rule by rule. Source: loop-core 2.4."""

from datetime import UTC, datetime

import msgspec
import pytest

from opsd.core import envelopes
from opsd.core.envelopes import NULL, NewestEntry, Sources
from opsd.model.envelopes import ArtifactRef, EnvelopeSource, SnapshotArtifacts, SnapshotRuntime
from opsd.model.runtime import Approval, EventLine, RuntimeState

NOW = datetime(2026, 11, 4, 9, 30, 5, 250_000, tzinfo=UTC)
NONE = ArtifactRef("x")


def sources(
    *,
    last: EventLine | None = None,
    state: RuntimeState | None = None,
    approval: Approval | None = None,
    entry: NewestEntry | None = None,
    updated_at: str | None = None,
) -> Sources:
    return Sources(
        repo_path="/srv/app",
        loop_id="demo",
        line_count=7,
        last=last,
        state=state,
        approval=approval,
        entry=entry,
        summary_updated_at=updated_at,
        runtime=SnapshotRuntime(NULL, NULL, NULL, NULL),
        artifacts=SnapshotArtifacts(NONE, NONE, NONE, NONE, NONE, NONE),
    )


def event(name: str = "role_end", status: str | None = None) -> EventLine:
    return EventLine("2026-11-04T09:30:00Z", name, status=status)


RUNNING = RuntimeState(active=True, current_loop_id="demo")
IDLE = RuntimeState(active=False)
PENDING = Approval(status="pending")
DONE = NewestEntry(completion_ok=True)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (sources(approval=PENDING, entry=DONE, state=RUNNING), "awaiting_approval"),
        (sources(approval=Approval(status="PENDING"), entry=DONE), "complete"),
        (sources(entry=DONE, state=RUNNING), "complete"),
        (sources(state=RUNNING, last=event("loop_stop")), "running"),
        (sources(state=RuntimeState(active=True, current_loop_id="other"), last=event("loop_stop")), "stopped"),
        (sources(last=event("rate_limit_stop", status="rate_limited")), "stopped"),
        (sources(last=event("no_progress_stop")), "stopped"),
        (sources(last=event(status="timeout"), state=IDLE, entry=NewestEntry()), "failed"),
        (sources(last=event(status="ok"), state=IDLE, entry=NewestEntry()), "idle"),
        (sources(state=RuntimeState(), entry=NewestEntry()), "idle"),
        (sources(state=RuntimeState(active=True, current_loop_id="other"), entry=NewestEntry()), "unknown"),
        (sources(state=IDLE), "unknown"),
        (sources(entry=NewestEntry()), "unknown"),
        (sources(), "unknown"),
    ],
)
def test_the_first_rule_that_holds_gives_the_word(given: Sources, status: str) -> None:
    assert envelopes.run_status(given) == status


def test_the_newest_entry_names_the_run_before_the_last_event_does() -> None:
    entry = NewestEntry(run_id="r-2", iteration=4)
    last = EventLine("2026-11-04T09:30:00Z", "role_end", run_id="r-1", iteration=3)

    both = envelopes.snapshot(sources(entry=entry, last=last), None, NOW)
    one = envelopes.snapshot(sources(last=last), None, NOW)
    none = envelopes.snapshot(sources(state=RuntimeState(iteration=9)), None, NOW)

    assert [(each.run.run_id, each.run.iteration) for each in (both, one, none)] == [
        ("r-2", 4),
        ("r-1", 3),
        ("unknown", 9),
    ]


def test_the_summary_is_dated_by_itself_or_by_its_newest_entry() -> None:
    entry = NewestEntry(ended_at="2026-11-04T09:00:00Z")

    assert envelopes.snapshot(sources(entry=entry, updated_at="2026-11-04T09:01:00Z"), None, NOW).health.last_summary_at
    assert envelopes.snapshot(sources(entry=entry), None, NOW).health.last_summary_at == "2026-11-04T09:00:00Z"
    assert envelopes.snapshot(sources(), None, NOW).health.last_summary_at is None


def test_an_event_that_says_nothing_of_role_status_or_message_has_nulls() -> None:
    made = envelopes.event(
        event(),
        b'{"event":"role_end"}',
        line=3,
        line_count=7,
        source=EnvelopeSource("/r", "demo"),
        trace_id=None,
        at=NOW,
    )
    told = msgspec.json.decode(msgspec.json.encode(made))["event"]

    assert (told["role"], told["status"], told["message"], told["payload"]) == (None, None, None, None)
    assert told["raw"] == {"event": "role_end"}
