"""A restart takes what it finds: our own files, those of the reference manager, and the remains of accidents."""

import errno
import json
from typing import Any

import pytest

from opsd.model.effects import Document, Journal, Replace
from opsd.model.heartbeat import Freshness
from opsd.model.ids import LoopId
from opsd.model.lifecycle import Lifecycle, Phase
from opsd.model.transport import TransportHealth, TransportMode
from opsd.store.codec import RECORDS, encode
from opsd.store.commit import LoopCommit
from opsd.store.layout import Layout
from opsd.store.load import LastControl, StoredLoop
from opsd.store.store import Store
from tests.doubles.files import FaultyFiles, MemoryFiles
from tests.store.examples import LOOP, NOW, a_cursor, a_health, a_state, at, pass_

LAYOUT = Layout("/srv/app")
ASIDE = "unreadable-20261121T013844Z"


def _home(**documents: bytes) -> MemoryFiles:
    """Documents by the name of their member of `Document`, as they lie on the disk."""
    files = MemoryFiles(f"{LAYOUT.folder(LOOP)}/telemetry")
    for name, data in documents.items():
        files.replace(LAYOUT.document(LOOP, Document[name]), data, sync=True)
    return files


def _load(files: MemoryFiles | FaultyFiles, *, mend: bool = True) -> StoredLoop:
    (found,) = Store(LAYOUT, files).load([LOOP], NOW, mend=mend)
    return found


def _names(files: MemoryFiles) -> list[str]:
    return sorted(name for name, kind in files.scan(LAYOUT.folder(LOOP)) if kind == "file")


def test_a_loop_never_seen_before_has_nothing_stored() -> None:
    assert Store(LAYOUT, MemoryFiles("/srv/app")).load([LOOP], NOW) == [StoredLoop(LOOP)]


def test_a_loop_that_is_only_listed_has_nothing_stored_either() -> None:
    """One bad id in the registry must not keep the others from being loaded."""
    store = Store(LAYOUT, _home(CURSOR=encode(a_cursor(3))))

    found = store.load([LoopId("fleet"), LOOP, LoopId("../x")], NOW)

    assert [bool(each.cursor) for each in found] == [False, True, False]


def test_what_was_committed_is_loaded() -> None:
    files = MemoryFiles("/srv/app")
    transport = TransportHealth(at(3), "trace-3", TransportMode.LOCAL, "success", 0, last_success_at=at(3))
    store = Store(LAYOUT, files)
    store.commit([pass_(2), pass_(2, LoopId("other"))], NOW)
    store.commit([pass_(3), LoopCommit(LoopId("other"), ())], NOW)
    store.commit([LoopCommit(LOOP, (Replace(Document.TRANSPORT_HEALTH, transport),))], NOW)

    found, other = Store(LAYOUT, files).load([LOOP, LoopId("other")], NOW)

    assert (found.cursor, found.state, found.health) == (a_cursor(3), a_state(3), a_health(3))
    assert found.transport_health == transport
    assert [each.id for each in found.open_escalations] == ["on-3"]
    assert found.escalation_counts == {"health_degraded||line:2": 1, "health_degraded||line:3": 1}
    assert other.cursor == a_cursor(2, LoopId("other"))
    assert found.faults == other.faults == ()


def test_every_document_has_its_record() -> None:
    assert set(RECORDS) == set(Document)


REFERENCE_STATE: dict[str, Any] = {
    "schemaVersion": "v1",
    "generatedAt": "2026-11-21T01:43:11Z",
    "source": {"repoPath": "/srv/app", "loopId": "demo-loop"},
    "run": {"runId": "2026-11-21T01:42:36Z", "iteration": 1},
    "transition": {
        "previousState": "running",
        "triggeringSignal": "event:role_end",
        "currentState": "unknown",
        "confidence": "low",
    },
    "projection": {
        "status": "unknown",
        "hasPendingApproval": False,
        "completionOk": False,
        "gates": {"tests": "ok", "approval": "skipped"},
        "stuck": {"streak": 1, "threshold": 3},
        "active": None,
        "lastEventName": "role_end",
        "lastEventAt": "2026-11-21T01:43:09Z",
    },
    "cursor": {"eventLineOffset": 4, "eventLineCount": 4},
    "divergence": {
        "any": True,
        "flags": {"activeMismatch": True, "approvalCompletionConflict": False, "cursorRegression": False},
    },
    "evidence": {
        "snapshotFile": "/tmp/x/snapshot.json",
        "eventsFile": "/tmp/x/events.ndjson",
        "snapshotEnvelope": {"runStatus": "unknown", "lastEventName": "role_end", "hasPendingApproval": False},
        "lastEventEnvelope": None,
    },
}


def test_documents_of_the_reference_manager_are_taken_over() -> None:
    """Its additions (drift, tuning) are ignored, ours are missing, and some members are spelt `null`."""
    health = json.loads(encode(a_health(3)))
    for ours in ("overallStatus", "findings"):
        del health[ours]
    for ours in ("eventAgeSeconds", "backlogBytes"):
        del health["metrics"][ours]
    state = REFERENCE_STATE | {"health": health, "trace": {"reconcileTraceId": "t6"}, "drift": {}, "tuning": {}}
    cursor = {
        "schemaVersion": "v1",
        "repoPath": "/srv/app",
        "loopId": "demo-loop",
        "eventsFile": ".superloop/loops/demo-loop/events.jsonl",
        "eventLineOffset": 3,
        "eventLineCount": 3,
        "updatedAt": "2026-11-21T01:57:44Z",
    }
    heartbeat = {
        "schemaVersion": "v1",
        "updatedAt": "2026-11-21T01:57:45Z",
        "loopId": "demo-loop",
        "traceId": "trace-ex-1",
        "transport": "local",
        "lastHeartbeatAt": "2026-11-21T01:55:09Z",
        "heartbeatLagSeconds": 156,
        "freshnessStatus": "degraded",
        "reasonCode": "runtime_heartbeat_stale",
        "thresholds": {"degradedHeartbeatLagSeconds": 120, "criticalHeartbeatLagSeconds": 300},
        "heartbeat": {"timestamp": "2026-11-21T01:55:09Z"},
    }
    files = _home(
        STATE=json.dumps(state).encode(),
        HEALTH=json.dumps(health).encode(),
        CURSOR=json.dumps(cursor, indent=2).encode(),
        HEARTBEAT=json.dumps(heartbeat).encode(),
    )
    row = b'{"timestamp":"2026-11-21T01:43:11Z","loopId":"demo-loop","traceId":"t6","category":"divergence_detected"}\n'
    files.append(LAYOUT.journal(LOOP, Journal.ESCALATIONS), row, sync=True)

    found = _load(files)

    assert found.faults == ()
    assert found.state is not None
    assert found.state.transition.current_state is Lifecycle.UNKNOWN
    assert (found.state.memory, found.state.phase) == (None, Phase.UNKNOWN)
    assert found.cursor is not None
    assert (found.cursor.event_line_offset, found.cursor.stream) == (3, None)
    assert found.heartbeat is not None
    assert found.heartbeat.freshness_status is Freshness.DEGRADED
    assert (found.foreign_escalations, found.open_escalations) == (1, ())


def test_a_projection_whose_pass_never_got_further_is_taken_over() -> None:
    """The projection command leaves no health in it, nor does a reference pass that was killed in its midst."""
    found = _load(_home(STATE=json.dumps(REFERENCE_STATE).encode()))

    assert found.faults == ()
    assert found.state is not None
    assert found.state.transition.current_state is Lifecycle.UNKNOWN


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "$: not JSON"),
        (b"\0" * 4096, "$: not JSON"),
        (b" \n", "$: empty"),
        (b"[]", "$: Expected `object`, got `array`"),
        (encode(a_cursor(3)).replace(b'"v1"', b'"v9"'), "$.schemaVersion: 'v9'"),
        (encode(a_cursor(3)).replace(b'"eventLineOffset":3', b'"eventLineOffset":-3'), "$.eventLineOffset"),
    ],
)
def test_what_cannot_be_read_is_set_aside_under_a_name_that_says_when_and_why(data: bytes, problem: str) -> None:
    files = _home(CURSOR=data, STATE=encode(a_state(3)))

    found = _load(files)

    (fault,) = found.faults
    path = LAYOUT.document(LOOP, Document.CURSOR)
    assert (fault.loop_id, fault.path, fault.code, fault.set_aside) == (
        LOOP,
        path,
        "store_corrupt",
        f"{path}.{ASIDE}",
    )
    assert fault.problem.startswith(problem)
    assert (found.cursor, found.state) == (None, a_state(3))
    assert files.read(f"{path}.{ASIDE}", 0, 1 << 20)[1] == data
    assert _load(files).faults == (), "once set aside it is not met again"


def test_two_accidents_in_one_second_keep_two_remains() -> None:
    files = _home(CURSOR=b"first")
    _load(files)
    files.replace(LAYOUT.document(LOOP, Document.CURSOR), b"second", sync=True)
    _load(files)

    assert _names(files) == [f"cursor.json.{ASIDE}", f"cursor.json.{ASIDE}-2"]


def test_a_reader_without_the_lock_moves_nothing() -> None:
    files = _home(CURSOR=b"{")

    (fault,) = _load(files, mend=False).faults

    assert fault.set_aside is None
    assert _names(files) == ["cursor.json"]


def test_an_empty_document_counts_as_absent_and_is_reported() -> None:
    """The reference manager truncates and writes in place: a crash in between leaves nothing to keep."""
    files = _home(STATE=b"")

    found = _load(files)

    assert found.state is None
    assert [(fault.problem, fault.set_aside) for fault in found.faults] == [
        ("the file is empty and counts as absent", None)
    ]


def test_a_folder_in_the_place_of_a_document_is_moved_out_of_the_way() -> None:
    files = _home()
    path = LAYOUT.document(LOOP, Document.STATE)
    files.make_dirs(path)

    (fault,) = _load(files).faults

    assert (fault.problem, fault.set_aside) == ("not a regular file (EINVAL)", f"{path}.{ASIDE}")
    assert files.stat(path) is None


def test_a_disk_that_lets_us_neither_read_nor_move_is_reported_and_stops_nothing() -> None:
    files = FaultyFiles(_home(STATE=encode(a_state(3)), CURSOR=encode(a_cursor(3))))
    unreadable = files.fail("read", errno.EIO, path="/state.json")
    immovable = files.fail("rename", errno.EROFS)

    found = _load(files)

    assert unreadable.fired
    assert immovable.fired
    assert found.cursor == a_cursor(3)
    (fault,) = found.faults
    assert fault.set_aside is None
    assert "EIO" in fault.problem
    assert "EROFS" in fault.problem


def test_bad_lines_of_a_journal_are_one_fault_and_cost_no_good_line() -> None:
    files = MemoryFiles("/srv/app")
    store = Store(LAYOUT, files)
    store.commit([pass_(1)], NOW)
    path = LAYOUT.journal(LOOP, Journal.ESCALATIONS)
    files.append(path, b"<<<<<<<\n=======\n", sync=True)

    found = _load(files)

    assert [each.id for each in found.open_escalations] == ["on-1"]
    (fault,) = found.faults
    assert (fault.path, fault.code, fault.set_aside) == (path, "store_corrupt", None)
    assert fault.problem.startswith("2 line(s) passed over, the first at byte ")


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        (b"", None),
        (b'{"status":"confirmed"}\n', "confirmed"),
        (b'{"status":"confirmed"}\n{"status":"ambiguous"}\n', "ambiguous"),
        (b'{"status":"confirmed"}\n{"status":"ambig', "confirmed"),
        (b'{"status":"confirmed"}\n{"intent":"cancel"}\n', None),
        (b'{"status":7}\n', None),
    ],
)
def test_the_last_intent_is_the_last_whole_line(rows: bytes, status: str | None) -> None:
    files = _home()
    files.append(LAYOUT.journal(LOOP, Journal.INTENTS), rows, sync=True)

    assert _load(files).last_control == LastControl(status)
