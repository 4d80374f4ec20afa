"""The newest believable beat is remembered, and judged by the contract's thresholds."""

from typing import Any

import msgspec
import pytest

from opsd.core.heartbeat import believe, document, fault_row, freshness, row
from opsd.model.heartbeat import Beat, Freshness
from opsd.model.observation import Artifact
from opsd.model.runtime import ActiveRun, Heartbeat, Presence
from opsd.model.thresholds import Thresholds
from tests.core.builders import LOOP, moment, on_file, stamp

OURS = ActiveRun(pid=4711, loop_id=LOOP)
WHERE: dict[str, Any] = {"loop_id": LOOP, "trace_id": "t", "transport": "local"}


def a_file(after_s: float = 0, **members: Any) -> Artifact[Heartbeat]:
    found: dict[str, Any] = {"timestamp": stamp(after_s), "status": "running", "pid": 4711}
    return on_file(Heartbeat(**{**found, **members}), after_s)


BEAT, _ = believe(None, a_file(), OURS)


def test_a_beat_is_believed_as_its_file_says_it() -> None:
    assert Beat(at=moment(0), text=stamp(0), status="running", pid=4711, exited=False) == BEAT


def test_the_older_member_names_the_time_too() -> None:
    beat, fault = believe(None, a_file(timestamp=None, updatedAt=stamp(5)), OURS)

    assert fault is None
    assert beat is not None
    assert beat.at == moment(5)


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        (a_file(timestamp=None), "missing_heartbeat_timestamp"),
        (a_file(timestamp="2026-11-21T02:00:09.5Z"), "invalid_heartbeat_timestamp"),
        (Artifact[Heartbeat](), None),
        (Artifact[Heartbeat](Presence.UNREADABLE, problem="no permission"), None),
        (a_file(9, pid=12), None),
    ],
)
def test_what_cannot_be_believed_leaves_the_last_beat_standing(file: Artifact[Heartbeat], fault: str | None) -> None:
    """Its lag goes on growing, which is what a dead launcher looks like. Another process's beat is not ours."""
    assert believe(BEAT, file, OURS) == (BEAT, fault)


def test_without_an_active_run_any_beat_is_the_runs() -> None:
    """The last beat of a process says how it ended, and is read after its active run is gone."""
    beat, _ = believe(BEAT, a_file(9, pid=12, status="exited"), None)

    assert beat is not None
    assert (beat.pid, beat.exited) == (12, True)


def test_a_beat_that_names_no_process_is_believed() -> None:
    beat, _ = believe(None, a_file(9, pid=None), OURS)

    assert beat is not None
    assert beat.at == moment(9)


def test_the_files_word_holds_even_if_its_clock_went_back() -> None:
    """Otherwise one beat from the future would look fresh for as long as the clock was wrong."""
    ahead, _ = believe(None, a_file(9000), OURS)
    beat, _ = believe(ahead, a_file(5), OURS)

    assert beat is not None
    assert beat.at == moment(5)


@pytest.mark.parametrize(
    ("after_s", "expected"),
    [
        (119.9, Freshness.FRESH),
        (120, Freshness.DEGRADED),
        (299.9, Freshness.DEGRADED),
        (300, Freshness.CRITICAL),
        (-60, Freshness.FRESH),
    ],
)
def test_lateness_begins_exactly_at_the_threshold(after_s: float, expected: Freshness) -> None:
    assert BEAT is not None
    assert freshness(BEAT, Thresholds(), moment(after_s)) is expected


def test_an_exited_beat_is_never_late() -> None:
    beat, _ = believe(None, a_file(status="exited"), OURS)

    assert beat is not None
    assert freshness(beat, Thresholds(), moment(9999)) is Freshness.FRESH


def test_document_and_row_carry_the_contracts_members() -> None:
    assert BEAT is not None
    raw = msgspec.Raw(b'{"timestamp":"2026-11-21T02:00:00Z","source":"runtime","extra":{"kept":null}}')
    late = document(BEAT, raw, Thresholds(), **WHERE, now=moment(156.4))

    assert msgspec.json.decode(msgspec.json.encode(late)) == {
        "schemaVersion": "v1",
        "updatedAt": stamp(156),
        "loopId": "demo-loop",
        "traceId": "t",
        "transport": "local",
        "lastHeartbeatAt": "2026-11-21T02:00:00Z",
        "heartbeatLagSeconds": 156,
        "freshnessStatus": "degraded",
        "reasonCode": "runtime_heartbeat_stale",
        "thresholds": {"degradedHeartbeatLagSeconds": 120, "criticalHeartbeatLagSeconds": 300},
        "heartbeat": msgspec.json.decode(raw),
    }
    assert msgspec.json.decode(msgspec.json.encode(row(late))) == {
        "timestamp": stamp(156),
        "loopId": "demo-loop",
        "traceId": "t",
        "transport": "local",
        "category": "runtime_heartbeat",
        "status": "degraded",
        "reasonCode": "runtime_heartbeat_stale",
        "heartbeatAt": "2026-11-21T02:00:00Z",
        "heartbeatLagSeconds": 156,
        "heartbeat": msgspec.json.decode(raw),
    }


def test_a_fresh_document_gives_no_reason() -> None:
    assert BEAT is not None
    fresh = document(BEAT, msgspec.Raw(b"{}"), Thresholds(), **WHERE, now=moment(5))

    assert "reasonCode" not in msgspec.json.decode(msgspec.json.encode(fresh))
    assert "reasonCode" not in msgspec.json.decode(msgspec.json.encode(row(fresh)))


@pytest.mark.parametrize(
    ("fault", "text"), [("missing_heartbeat_timestamp", None), ("invalid_heartbeat_timestamp", "soon")]
)
def test_an_unusable_beat_leaves_a_row_that_shows_it(fault: str, text: str | None) -> None:
    raw = msgspec.Raw(b'{"status":"running"}')
    line = fault_row(fault, Heartbeat(timestamp=text, verbatim=raw), **WHERE, now=moment(5))
    said = msgspec.json.decode(msgspec.json.encode(line))

    assert (said["status"], said["reasonCode"], said.get("heartbeatAt")) == ("failed", fault, text)
    assert "heartbeatLagSeconds" not in said
