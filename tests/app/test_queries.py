"""Intents asked for from the files: of one loop or of all, the newest, or one that was settled long ago."""

from collections.abc import Sequence

import pytest

from opsd.app.queries import FileQueries
from opsd.core.reconcile import Rules
from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.model.intent import Intent, IntentStatus
from opsd.model.run import LoopRef, Run
from opsd.protocol import IntentsQuery, OperatorStatusQuery
from opsd.store.journal import RETENTION, Retention
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.transports.local import LocalTransport
from tests.doubles.files import MemoryFiles
from tests.store.examples import NOW
from tests.store.intents import WORKED, an_intent, commits_of, life_of
from tests.transports.trees import Table

HOME = "/srv/app"
FIRST, SECOND = LoopId("first"), LoopId("second")
LOOPS = [Run(LoopRef(FIRST, HOME)), Run(LoopRef(SECOND, HOME))]
CONFIRMED, AMBIGUOUS, REFUSED = IntentStatus.CONFIRMED, IntentStatus.AMBIGUOUS, IntentStatus.REFUSED


def _queries(*steps: Intent) -> FileQueries:
    files = MemoryFiles(HOME)
    store = Store(Layout(HOME), files, {**RETENTION, Journal.INTENT_LOG: Retention(6_000)})
    for commit in commits_of(steps):
        assert store.commit([commit], NOW).failures == ()
    return _queries_over(files, store)


def _queries_over(files: MemoryFiles, store: Store | None = None) -> FileQueries:
    return FileQueries(
        store or Store(Layout(HOME), files),
        files,
        rules=lambda: Rules(home=HOME),
        transport=lambda: LocalTransport(files, Table()),
        monotonic=float,
    )


def _life(n: int, loop_id: LoopId, *statuses: IntentStatus) -> list[Intent]:
    return life_of(an_intent(n, loop_id=loop_id), *statuses)


def _ids(queries: FileQueries, query: IntentsQuery, runs: Sequence[Run] = LOOPS) -> list[tuple[str, str]]:
    page = queries.intents(runs, query, NOW)
    assert page.at == NOW
    return [(intent.id, intent.status.value) for intent in page.intents]


def test_intents_of_all_loops_come_by_the_time_at_which_they_were_recorded_each_once() -> None:
    steps = [
        *_life(4, FIRST, *WORKED, CONFIRMED),
        *_life(3, SECOND, *WORKED, AMBIGUOUS),
        *_life(9, SECOND, IntentStatus.EXECUTING),
        *_life(7, FIRST, REFUSED)[1:],
    ]

    queries = _queries(*steps)

    assert _ids(queries, IntentsQuery()) == [
        ("intent-3", "ambiguous"),
        ("intent-4", "confirmed"),
        ("intent-7", "refused"),
        ("intent-9", "executing"),
    ]
    assert _ids(queries, IntentsQuery(tail=2)) == [("intent-7", "refused"), ("intent-9", "executing")]
    assert _ids(queries, IntentsQuery(open=True)) == [("intent-3", "ambiguous"), ("intent-9", "executing")]
    assert _ids(queries, IntentsQuery(open=True, tail=1)) == [("intent-9", "executing")]
    assert _ids(queries, IntentsQuery(), LOOPS[:1]) == [("intent-4", "confirmed"), ("intent-7", "refused")]


def test_a_tail_reaches_over_rotations() -> None:
    queries = _queries(*[step for n in range(1, 31) for step in _life(n, FIRST, REFUSED)[1:]])

    assert [id_ for id_, _ in _ids(queries, IntentsQuery(tail=25))] == [f"intent-{n}" for n in range(6, 31)]


def test_a_loop_that_is_only_listed_has_no_intents() -> None:
    queries = _queries(*_life(1, FIRST, REFUSED))
    faulty = Run(LoopRef(LoopId("../x"), HOME, fault="loop_id_unsafe"))

    assert _ids(queries, IntentsQuery(), [faulty, *LOOPS]) == [("intent-1", "refused")]
    assert queries.intent("intent-1", [faulty]) is None


@pytest.mark.parametrize("loop_id", [FIRST, SECOND])
def test_an_intent_is_found_by_its_id_however_old_and_whosever(loop_id: LoopId) -> None:
    asked = _life(1, loop_id, IntentStatus.EXECUTING, IntentStatus.FAILED_COMMAND)
    queries = _queries(*asked, *[step for n in range(2, 25) for step in _life(n, loop_id, REFUSED)[1:]])

    assert queries.intent("intent-1", LOOPS) == asked[-1]
    assert queries.intent("intent-99", LOOPS) is None


def test_the_operator_status_is_read_from_the_home_s_files() -> None:
    files = MemoryFiles(HOME)
    queries = _queries_over(files)
    folder = f"{HOME}/.superloop/ops-manager/first"
    files.make_dirs(folder)
    files.replace(f"{folder}/state.json", b'{"transition":{"currentState":"idle"}}', sync=False)

    status = queries.operator_status(LOOPS[0], OperatorStatusQuery(summary_window=7), NOW)

    assert (status.lifecycle.state, status.source.repo_path, status.tuning.summary_window) == ("idle", HOME, 7)
    with pytest.raises(LookupError, match="nothing is known of loop 'second'"):
        queries.operator_status(LOOPS[1], OperatorStatusQuery(), NOW)


def test_of_a_loop_that_may_name_no_folder_there_is_no_operator_status() -> None:
    listed = Run(LoopRef(LoopId("../x"), HOME, fault="loop_id_unsafe", fault_detail="its name leads out of the folder"))

    with pytest.raises(LookupError, match="listed, not managed: its name leads out of the folder"):
        _queries().operator_status(listed, OperatorStatusQuery(), NOW)
