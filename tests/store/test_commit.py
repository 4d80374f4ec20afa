"""A commit of many loops: in what order the disk sees it, and what a disk that refuses costs whom."""

import errno
from pathlib import Path

import pytest

from opsd.disk import Disk
from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.ids import LoopId
from opsd.ports import Files
from opsd.store.commit import Committed, LoopCommit
from opsd.store.layout import Layout
from opsd.store.store import Store
from tests.doubles.files import FaultyFiles, MemoryFiles
from tests.doubles.mounts import make_read_only, make_writable, small_disk
from tests.store.examples import LOOP, NOW, a_cursor, an_escalation, pass_
from tests.store.findings import cursor_line, escalation_ids, sampled, state_line

LAYOUT = Layout("/srv/app")
LOOPS = [LoopId("first"), LoopId("second"), LoopId("third")]
WRITES = ("append", "replace", "sync", "truncate", "rename")


def _home() -> FaultyFiles:
    return FaultyFiles(MemoryFiles("/srv/app"))


def _lines(files: Files, loop_id: LoopId) -> tuple[int, int, int, int]:
    """The number of the pass that each kind of file tells of: escalations, telemetry, state, cursor."""
    store = Store(LAYOUT, files)
    (stored,) = store.load([loop_id], NOW, mend=False)
    assert stored.faults == ()
    begun = [int(id_.removeprefix("on-")) for id_ in escalation_ids(store, loop_id) if id_.startswith("on-")]
    return (
        max(begun, default=0),
        max(sampled(store, loop_id), default=0),
        state_line(stored),
        cursor_line(stored),
    )


def test_everything_reaches_the_disk_and_folders_are_made_as_needed() -> None:
    files = _home()

    assert Store(LAYOUT, files).commit([pass_(1, loop_id) for loop_id in LOOPS], NOW) == Committed()

    for loop_id in LOOPS:
        assert _lines(files, loop_id) == (1, 1, 1, 1)


def test_the_escalations_of_all_loops_are_flushed_before_anything_else_is_written_and_each_cursor_comes_last() -> None:
    """What someone must hear of survives a power cut; what says that it was dealt with never does so alone."""
    files = _home()
    store = Store(LAYOUT, files)
    store.commit([pass_(1, loop_id) for loop_id in LOOPS], NOW)
    files.calls.clear()

    store.commit([pass_(2, loop_id) for loop_id in LOOPS], NOW)

    def names(*operations: str) -> list[tuple[str, str]]:
        return [(what, path.removeprefix(LAYOUT.root + "/")) for what, path in files.calls if what in operations]

    assert names(*WRITES) == [
        *(("append", f"{loop_id}/escalations.jsonl") for loop_id in LOOPS),
        *(("sync", f"{loop_id}/escalations.jsonl") for loop_id in LOOPS),
        *(
            (what, f"{loop_id}/{name}")
            for loop_id in LOOPS
            for what, name in (
                ("append", "telemetry/reconcile.jsonl"),
                ("replace", "state.json"),
                ("replace", "health.json"),
                ("replace", "cursor.json"),
            )
        ),
    ]
    assert len(files.calls) == len(names(*WRITES)), "no look at the disk that nobody needs"


def test_a_new_escalation_journal_is_flushed_with_the_folders_that_name_it_each_only_once() -> None:
    files = _home()

    Store(LAYOUT, files).commit([pass_(1, loop_id) for loop_id in LOOPS], NOW)

    flushed = [path for what, path in files.calls if what == "sync"]
    above = ["/srv/app/.superloop/ops-manager", "/srv/app/.superloop", "/srv/app"]
    assert sorted(flushed) == sorted(
        [*above, *(f"{LAYOUT.root}/{loop_id}{end}" for loop_id in LOOPS for end in ("", "/escalations.jsonl"))]
    )


def test_of_two_versions_of_a_document_the_later_counts() -> None:
    """So that what a failed commit left can be put in front of what came since."""
    files = _home()

    Store(LAYOUT, files).commit(
        [LoopCommit(LOOP, (Replace(Document.CURSOR, a_cursor(1)), Replace(Document.CURSOR, a_cursor(2))))], NOW
    )

    assert _lines(files, LOOP)[3] == 2


def test_rows_that_follow_each_other_are_one_write() -> None:
    files = _home()
    store = Store(LAYOUT, files)
    store.commit([pass_(1)], NOW)
    files.calls.clear()
    rows = tuple(Append(Journal.ESCALATIONS, an_escalation(f"on-{n}", n=n), durable=True) for n in range(2, 7))

    store.commit([LoopCommit(LOOP, rows)], NOW)

    assert [what for what, _ in files.calls] == ["append", "sync"]
    assert escalation_ids(Store(LAYOUT, files), LOOP) == [f"on-{n}" for n in range(1, 7)]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("operation", ["append", "sync", "replace"])
def test_at_whichever_write_a_loop_fails_the_rest_can_be_done_later_without_loss_or_repetition(
    operation: str, error: int
) -> None:
    """The failing write is moved on until a whole commit has none left to fail."""
    fired = 0
    for skip in range(100):
        files = _home()
        store = Store(LAYOUT, files)
        store.commit([pass_(1, loop_id) for loop_id in LOOPS], NOW)
        trouble = files.fail(operation, error, path="/second", skip=skip)

        done = store.commit([pass_(2, loop_id) for loop_id in LOOPS], NOW)

        if not trouble.fired:
            assert done.failures == ()
            break
        fired += 1
        (failure,) = done.failures
        assert (failure.loop_id, failure.code, failure.errno_name) == (
            "second",
            "store_unwritable",
            errno.errorcode[error],
        )
        assert f"{LAYOUT.root}/second/" in failure.path
        assert errno.errorcode[error] in failure.problem
        assert _lines(files, LOOPS[0]) == _lines(files, LOOPS[2]) == (2, 2, 2, 2), "neighbours are not held up"
        escalated, sampled, state, cursor = _lines(files, LOOPS[1])
        assert cursor <= min(escalated, sampled, state)
        assert store.commit([LoopCommit(LOOPS[1], failure.rest)], NOW).failures, "the trouble lasts"

        files.heal()
        retry = LoopCommit(LOOPS[1], failure.rest + pass_(3, LOOPS[1]).effects)
        assert store.commit([retry], NOW) == Committed()
        assert _lines(files, LOOPS[1]) == (3, 3, 3, 3)
        assert escalation_ids(Store(LAYOUT, files), LOOPS[1]) == ["on-1", "end-1", "on-2", "end-2", "on-3"]
    assert fired == {"append": 2, "sync": 1, "replace": 3}[operation]


def test_a_home_on_a_disk_that_turned_read_only_refuses_and_recovers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "home", size_kib=1024) as home:
        store = Store(Layout(str(home)), Disk())
        assert store.commit([pass_(1)], NOW) == Committed()
        make_read_only(home)

        (failure,) = store.commit([pass_(2)], NOW).failures
        (stored,) = store.load([LOOP], NOW)

        assert failure.errno_name == "EROFS"
        assert failure.rest == tuple(sorted(pass_(2).effects, key=lambda effect: _rank(effect)))
        assert stored.faults == ()
        make_writable(home)
        assert store.commit([LoopCommit(LOOP, failure.rest)], NOW) == Committed()
        (stored,) = store.load([LOOP], NOW)
        assert stored.cursor == a_cursor(2)


def _rank(effect: Append | Replace) -> int:
    match effect:
        case Append():
            return 0 if effect.durable else 1
        case Replace():
            return 3 if effect.document is Document.CURSOR else 2


def test_a_really_full_disk_stops_the_loops_and_not_the_store(tmp_path: Path) -> None:
    with small_disk(tmp_path / "home", size_kib=128) as home:
        store = Store(Layout(str(home)), Disk())
        assert store.commit([pass_(1)], NOW) == Committed()
        filler = home / "filler"
        with pytest.raises(OSError):
            filler.write_bytes(b"x" * 1_000_000)

        (failure,) = store.commit([pass_(2)], NOW).failures

        assert failure.errno_name == "ENOSPC"
        (stored,) = store.load([LOOP], NOW)
        assert (stored.cursor, stored.faults) == (a_cursor(1), ())
        filler.unlink()
        assert store.commit([LoopCommit(LOOP, failure.rest)], NOW) == Committed()
        assert [each.id for each in store.load([LOOP], NOW)[0].open_escalations] == ["on-2"]
