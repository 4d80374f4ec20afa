"""What must hold between a pass that wants something written and the disk that has it."""

from hypothesis import given
from hypothesis import strategies as st

from opsd.model.effects import Append, Document, Journal, Replace
from opsd.model.ids import LoopId
from opsd.store.commit import CommitFailure, LoopCommit
from opsd.supervisor.backoff import Backoff
from opsd.supervisor.pending import Pending
from tests.supervisor.effects import a_document, a_row, named

A, B, C = LoopId("a"), LoopId("b"), LoopId("c")


def a_pending(rows_max: int = 1_000) -> Pending:
    return Pending(retry=Backoff(first_s=1.0, longest_s=8.0), jitter=lambda: 0.999, rows_max=rows_max)


def refused(commit: LoopCommit, rest: tuple[Append | Replace, ...] | None = None) -> CommitFailure:
    return CommitFailure(commit.loop_id, "/x", "ENOSPC", "ENOSPC: full", commit.effects if rest is None else rest)


def test_rows_keep_their_order_and_the_newest_document_replaces_the_older() -> None:
    pending = a_pending()
    pending.add(A, [a_row("row-1"), a_document(Document.STATE, "old"), a_document(Document.CURSOR, "old")])
    pending.add(A, [a_row("row-2"), a_document(Document.STATE, "new")])

    (commit,) = pending.take(10, 0.0)

    assert named(commit.effects) == ["row-1", "row-2", "state.json=new", "cursor.json=old"]


def test_a_commit_takes_a_bounded_number_of_loops_longest_waiting_first() -> None:
    pending = a_pending()
    for loop_id in (C, A, B):
        pending.add(loop_id, [a_row("row")])
    pending.add(C, [a_row("another")])

    assert [commit.loop_id for commit in pending.take(2, 0.0)] == [C, A]
    pending.settle([], 0.0)
    assert [commit.loop_id for commit in pending.take(2, 0.0)] == [B]


def test_what_a_failure_left_goes_in_front_of_what_came_meanwhile() -> None:
    pending = a_pending()
    pending.add(A, [a_row("row-1"), a_row("row-2"), a_document(Document.STATE, "old")])
    (commit,) = pending.take(10, 0.0)
    pending.add(A, [a_row("row-3"), a_document(Document.STATE, "new")])

    pending.settle([refused(commit, commit.effects[1:])], 0.0)

    (again,) = pending.take(10, 100.0)
    assert named(again.effects) == ["row-2", "row-3", "state.json=new"]


def test_a_failed_loop_waits_out_its_backoff_and_holds_up_nobody() -> None:
    pending = a_pending()
    pending.add(A, [a_row("row")])
    pending.settle([refused(commit) for commit in pending.take(10, 0.0)], 0.0)
    pending.add(B, [a_row("row")])

    assert [commit.loop_id for commit in pending.take(10, 0.5)] == [B]
    pending.settle([], 0.5)
    assert pending.next_s(0.5) == 0.999
    assert [commit.loop_id for commit in pending.take(10, 1.0)] == [A]


def test_the_first_loop_that_can_be_written_again_ends_the_backoff_of_all() -> None:
    """Room was made on the disk: nobody waits for a moment that was chosen while it was full."""
    pending = a_pending()
    pending.add(A, [a_row("row")])
    pending.add(B, [a_row("row")])
    pending.settle([refused(commit) for commit in pending.take(10, 0.0)], 0.0)
    pending.settle([refused(commit) for commit in pending.take(10, 1.0)], 1.0)
    pending.take(1, 3.0)

    pending.settle([], 3.0)

    assert [commit.loop_id for commit in pending.take(10, 3.0)] == [B]


def test_a_full_disk_costs_samples_first_then_what_can_be_found_again() -> None:
    pending = a_pending(rows_max=3)
    pending.add(A, [a_row("run", Journal.RUNS), a_row("bad line", Journal.QUARANTINE)])
    pending.add(A, [a_row("sample-1", Journal.RECONCILE), a_row("sample-2", Journal.HEARTBEAT)])
    pending.add(A, [a_row("escalation-1", Journal.ESCALATIONS), a_row("escalation-2", Journal.ESCALATIONS)])

    (commit,) = pending.take(10, 0.0)

    assert named(commit.effects) == ["run", "escalation-1", "escalation-2"]
    assert pending.dropped_rows == {Journal.RECONCILE: 1, Journal.HEARTBEAT: 1, Journal.QUARANTINE: 1}


def test_escalations_are_never_given_up() -> None:
    pending = a_pending(rows_max=2)
    pending.add(A, [a_row(f"escalation-{n}", Journal.ESCALATIONS) for n in range(10)])

    (commit,) = pending.take(10, 0.0)

    assert len(commit.effects) == 10
    assert pending.dropped_rows == {}


def test_whoever_waits_for_the_disk_hears_of_it_only_once_everything_is_there() -> None:
    pending = a_pending()
    heard: list[str] = []
    pending.call_when_written(A, lambda: heard.append("nothing to write"))
    pending.add(A, [a_row("row")])
    pending.call_when_written(A, lambda: heard.append("written"))
    (commit,) = pending.take(10, 0.0)
    pending.call_when_written(A, lambda: heard.append("came while it was written"))
    pending.settle([refused(commit)], 0.0)
    assert heard == ["nothing to write"]

    pending.take(10, 100.0)
    pending.settle([], 100.0)

    assert heard == ["nothing to write", "written", "came while it was written"]


def test_whoever_waits_for_durable_rows_hears_of_them_though_documents_are_refused() -> None:
    pending = a_pending()
    heard: list[str] = []
    pending.call_when_flushed(A, lambda: heard.append("nothing to write"))
    pending.add(A, [a_row("escalation-1"), a_document(Document.STATE, "old")])
    pending.call_when_flushed(A, lambda: heard.append("first"))
    (commit,) = pending.take(10, 0.0)
    pending.add(A, [a_row("escalation-2")])
    pending.call_when_flushed(A, lambda: heard.append("second"))
    pending.settle([refused(commit)], 0.0)
    assert heard == ["nothing to write"]

    (commit,) = pending.take(10, 100.0)
    pending.settle([refused(commit, commit.effects[1:])], 100.0)
    assert heard == ["nothing to write"]

    (commit,) = pending.take(10, 200.0)
    pending.settle([refused(commit, commit.effects[1:])], 200.0)

    assert named(commit.effects) == ["escalation-2", "state.json=old"]
    assert heard == ["nothing to write", "first", "second"]


@given(
    history=st.lists(
        st.tuples(st.sampled_from([A, B, C]), st.integers(1, 3), st.sampled_from(["add", "commit", "refuse"])),
        max_size=60,
    )
)
def test_no_row_is_lost_repeated_or_reordered_whatever_the_disk_does(history: list[tuple[LoopId, int, str]]) -> None:
    """A disk that takes none, some or all of a loop's rows, at any point, with news coming in between."""
    pending = a_pending()
    wanted: dict[LoopId, list[str]] = {A: [], B: [], C: []}
    on_disk: dict[LoopId, list[str]] = {A: [], B: [], C: []}

    def write(accepted: int) -> None:
        failures = []
        for commit in pending.take(2, 1e9):
            taken = commit.effects[:accepted]
            on_disk[commit.loop_id] += named(taken)
            if taken != commit.effects:
                failures.append(refused(commit, commit.effects[accepted:]))
        pending.settle(failures, 0.0)

    for step, (loop_id, number, act) in enumerate(history):
        if act == "add":
            names = [f"{loop_id}-{step}-{n}" for n in range(number)]
            wanted[loop_id] += names
            pending.add(loop_id, [a_row(name) for name in names])
        else:
            write(accepted=number if act == "refuse" else 1_000)
    while pending.loop_count:
        write(accepted=1_000)

    assert on_disk == wanted
    assert pending.row_count == 0
