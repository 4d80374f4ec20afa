"""What a crash left in a journal is mended before the first row; what has grown too large makes room without loss."""

import errno
import json
from collections.abc import Mapping

import pytest

from opsd.model.effects import Append, Journal
from opsd.model.ids import EscalationId
from opsd.store.commit import LoopCommit
from opsd.store.journal import Retention
from opsd.store.layout import Layout
from opsd.store.store import Store
from tests.doubles.files import FaultyFiles, MemoryFiles
from tests.store.examples import LOOP, NOW, a_sample, an_escalation

LAYOUT = Layout("/srv/app")
ESCALATIONS = LAYOUT.journal(LOOP, Journal.ESCALATIONS)
RECONCILE = LAYOUT.journal(LOOP, Journal.RECONCILE)
SMALL: Mapping[Journal, Retention] = {journal: Retention(2_000, kept=3) for journal in Journal}


def _files() -> MemoryFiles:
    return MemoryFiles(f"{LAYOUT.folder(LOOP)}/telemetry")


def _escalate(id_: str, *, resolves: str | None = None, n: int = 0) -> LoopCommit:
    return LoopCommit(LOOP, (Append(Journal.ESCALATIONS, an_escalation(id_, resolves=resolves, n=n), durable=True),))


def _ids(store: Store) -> list[str]:
    return [json.loads(row)["id"] for row in store.rows(LOOP, Journal.ESCALATIONS, limit=10_000).rows]


def _sample(n: int) -> LoopCommit:
    return LoopCommit(LOOP, (Append(Journal.RECONCILE, a_sample(n)),))


@pytest.mark.parametrize("before", [b"", b'{"timestamp":"2026-11-21T01:38:44Z","id":"a"}\n'])
@pytest.mark.parametrize("torn", [b'{"timest', b"\0" * 4096, b"x" * 300_000, b"{}"])
def test_a_torn_tail_is_cut_off_aloud_and_kept_aside(before: bytes, torn: bytes) -> None:
    """A row appended behind it would be lost with it, and silently."""
    files = _files()
    files.append(ESCALATIONS, before + torn, sync=True)
    store = Store(LAYOUT, files)

    done = store.commit([_escalate("b")], NOW)

    (fault,) = done.faults
    assert (fault.loop_id, fault.path, fault.code) == (LOOP, ESCALATIONS, "store_corrupt")
    assert fault.set_aside == f"{ESCALATIONS}.torn-20261121T013844Z"
    assert files.read(fault.set_aside, 0, 1 << 20)[1] == torn
    assert files.read(ESCALATIONS, 0, 1 << 20)[1].startswith(before + b'{"timestamp"')
    assert _ids(store)[-1] == "b"
    assert store.commit([_escalate("c")], NOW).faults == ()


def test_nothing_is_appended_to_a_torn_tail_that_cannot_be_cut_off() -> None:
    files = FaultyFiles(_files())
    files.append(ESCALATIONS, b'{"timest', sync=True)
    trouble = files.fail("truncate", errno.EPERM)
    store = Store(LAYOUT, files)

    (failure,) = store.commit([_escalate("b")], NOW).failures

    assert trouble.fired
    assert failure.errno_name == "EPERM"
    assert files.read(ESCALATIONS, 0, 100)[1] == b'{"timest'
    files.heal()
    assert store.commit([LoopCommit(LOOP, failure.rest)], NOW).failures == ()
    assert _ids(store) == ["b"]


def test_a_journal_is_looked_at_once_and_then_trusted() -> None:
    files = FaultyFiles(_files())
    store = Store(LAYOUT, files)
    for n in range(5):
        store.commit([_sample(n)], NOW)

    assert [path for operation, path in files.calls if operation in ("stat", "read")] == [RECONCILE]


def test_after_a_failure_a_journal_is_not_trusted_any_more() -> None:
    """A disk that refuses a write may also refuse to take back the half that it took."""
    memory = _files()
    files = FaultyFiles(memory)
    store = Store(LAYOUT, files)
    store.commit([_escalate("a")], NOW)
    files.fail("append", errno.ENOSPC, times=1)
    (failure,) = store.commit([_escalate("b")], NOW).failures
    memory.append(ESCALATIONS, b'{"timestamp":"20', sync=False)

    done = store.commit([LoopCommit(LOOP, failure.rest)], NOW)

    assert [fault.path for fault in done.faults] == [ESCALATIONS]
    assert _ids(store) == ["a", "b"]


def test_telemetry_is_rotated_and_the_oldest_is_let_go() -> None:
    files = _files()
    store = Store(LAYOUT, files, SMALL)
    for n in range(100):
        assert store.commit([_sample(n)], NOW).faults == ()

    names = sorted(name for name, _ in files.scan(f"{LAYOUT.folder(LOOP)}/telemetry"))
    assert names == ["reconcile.1.jsonl", "reconcile.2.jsonl", "reconcile.3.jsonl", "reconcile.jsonl"]
    rows = [json.loads(row)["cursorOffsetAfter"] for row in store.rows(LOOP, Journal.RECONCILE, limit=10_000).rows]
    assert rows == list(range(rows[0], 100))
    assert 4 * 3 <= len(rows) < 100
    for name in names:
        found = files.stat(f"{LAYOUT.folder(LOOP)}/telemetry/{name}")
        assert found is not None
        assert found.size_bytes < 2_000 + 1_000


def test_a_gap_left_by_a_crash_within_a_rotation_is_filled_first() -> None:
    """Shifting past the gap would push the oldest rows over the edge a rotation too early."""
    files = _files()
    folder = f"{LAYOUT.folder(LOOP)}/telemetry"
    for name, content in (("reconcile.2", b"two\n"), ("reconcile.3", b"three\n"), ("reconcile", b"x" * 3_000 + b"\n")):
        files.append(f"{folder}/{name}.jsonl", content, sync=True)

    Store(LAYOUT, files, SMALL).commit([_sample(1)], NOW)

    assert files.read(f"{folder}/reconcile.1.jsonl", 0, 10)[1] == b"x" * 10
    assert files.read(f"{folder}/reconcile.2.jsonl", 0, 10)[1] == b"two\n"
    assert files.read(f"{folder}/reconcile.3.jsonl", 0, 10)[1] == b"three\n"


def test_open_conditions_outlive_every_rotation() -> None:
    files = _files()
    store = Store(LAYOUT, files, SMALL)
    store.commit([_escalate("for-ever")], NOW)
    for n in range(100):
        store.commit([_escalate(f"on-{n}", n=n)], NOW)
        store.commit([_escalate(f"off-{n}", resolves=f"on-{n}", n=n)], NOW)

    (loaded,) = Store(LAYOUT, files, SMALL).load([LOOP], NOW)

    assert "on-0" not in _ids(store)
    assert [each.id for each in loaded.open_escalations] == [EscalationId("for-ever")]


def test_a_rotation_that_a_crash_kept_from_carrying_is_made_good_by_the_next() -> None:
    files = _files()
    store = Store(LAYOUT, files, SMALL)
    store.commit([_escalate("for-ever")], NOW)
    files.rename(ESCALATIONS, ESCALATIONS.replace(".jsonl", ".1.jsonl"))
    store = Store(LAYOUT, files, SMALL)
    for n in range(100):
        store.commit(
            [
                _escalate(f"on-{n}", n=n),
            ],
            NOW,
        )
        store.commit([_escalate(f"off-{n}", resolves=f"on-{n}", n=n)], NOW)

    (loaded,) = store.load([LOOP], NOW)

    assert [each.id for each in loaded.open_escalations] == [EscalationId("for-ever")]


def test_the_last_intent_stays_the_last_line_that_readers_judge_by() -> None:
    path = LAYOUT.journal(LOOP, Journal.INTENTS)
    files = _files()
    files.append(path, b"x" * 3_000 + b"\n" + b'{"status":"ambiguous"}\n', sync=True)
    store = Store(LAYOUT, files, SMALL)
    # Any row will do to make the journal rotate; only what was carried in front of it matters here.
    store.commit([LoopCommit(LOOP, (Append(Journal.INTENTS, a_sample(1), durable=True),))], NOW)

    assert files.read(path, 0, 1 << 20)[1].splitlines()[0] == b'{"status":"ambiguous"}'


def test_a_rotation_that_fails_loses_no_row_and_says_so() -> None:
    files = FaultyFiles(_files())
    files.append(RECONCILE, b"{}\n" * 1_000, sync=True)
    trouble = files.fail("rename", errno.EACCES, times=1)
    store = Store(LAYOUT, files, SMALL)

    done = store.commit([_sample(1)], NOW)

    assert trouble.fired == 1
    assert done.failures == ()
    assert [(fault.code, fault.problem) for fault in done.faults] == [
        ("store_unwritable", "not rotated: Permission denied (EACCES)")
    ]
    assert store.commit([_sample(2)], NOW).faults == ()
    assert files.stat(RECONCILE.replace(".jsonl", ".1.jsonl")) is not None
    assert len(store.rows(LOOP, Journal.RECONCILE, limit=10_000).rows) == 1_002
