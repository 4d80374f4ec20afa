"""The intent log: the newest row of each intent, across rotations, however long ago somebody asked for it."""

import errno
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from opsd.core.intents.book import Book, book_of
from opsd.model.effects import Append, Journal
from opsd.model.ids import LoopId
from opsd.model.intent import NEXT, Intent, IntentKind, IntentStatus, Stage
from opsd.ports import FileStat
from opsd.store.commit import Committed, LoopCommit
from opsd.store.journal import RETENTION, Retention
from opsd.store.layout import Layout, rotated
from opsd.store.load import SETTLED_MAX, LastControl, StoredLoop
from opsd.store.store import Store
from tests.doubles.files import FaultyFiles, MemoryFiles
from tests.store.examples import LOOP, NOW
from tests.store.intents import (
    EXECUTING,
    TOLD,
    WORKED,
    an_intent,
    commits_of,
    effects_of,
    life_of,
    must_be_told,
    told_ids,
)

LAYOUT = Layout("/srv/app")
LOG = LAYOUT.journal(LOOP, Journal.INTENT_LOG)
SMALL: Mapping[Journal, Retention] = {journal: Retention(6_000, kept=3) for journal in Journal}
"""Some eight rows, then the log is rotated."""

CONFIRMED, AMBIGUOUS, ACKNOWLEDGED = IntentStatus.CONFIRMED, IntentStatus.AMBIGUOUS, IntentStatus.ACKNOWLEDGED
REFUSED, EXPIRED, FAILED = IntentStatus.REFUSED, IntentStatus.EXPIRED, IntentStatus.FAILED_COMMAND


def _write(store: Store, steps: Sequence[Intent]) -> None:
    for commit in commits_of(steps):
        assert store.commit([commit], NOW) == Committed()


def _home(*steps: Intent, retention: Mapping[Journal, Retention] = RETENTION) -> tuple[MemoryFiles, Store]:
    files = MemoryFiles("/srv/app")
    store = Store(LAYOUT, files, retention)
    _write(store, steps)
    return files, store


def _load(files: MemoryFiles | FaultyFiles, retention: Mapping[Journal, Retention] = RETENTION) -> StoredLoop:
    (found,) = Store(LAYOUT, files, retention).load([LOOP], NOW)
    return found


def _refused(first: int, last: int) -> list[Intent]:
    """Intents that came to nothing, to fill the log with."""
    return [step for n in range(first, last + 1) for step in life_of(an_intent(n), REFUSED)[1:]]


def test_a_loop_that_was_never_asked_anything_costs_one_stat() -> None:
    files = FaultyFiles(MemoryFiles("/srv/app"))
    store = Store(LAYOUT, files)

    (found,) = store.load([LOOP], NOW)

    assert found.intents == ()
    assert [what for what, path in files.calls if "intent-log" in path] == ["stat"]
    files.calls.clear()
    assert store.find_intent(LOOP, "key") is None
    assert store.intents(LOOP, settled_max=10) == ()
    assert [what for what, _ in files.calls] == ["stat", "stat"]


def test_the_newest_row_of_each_intent_is_loaded_oldest_intent_first() -> None:
    first = life_of(an_intent(1), *WORKED, AMBIGUOUS, ACKNOWLEDGED)
    second = life_of(an_intent(2), *WORKED, CONFIRMED)
    third = life_of(an_intent(3), EXECUTING)
    files, _ = _home(*first[:4], *second, *third, first[4])

    found = _load(files)

    assert found.intents == (first[4], second[-1], third[-1])
    assert found.faults == ()


def test_open_intents_and_the_newest_settled_ones_are_loaded_and_older_ones_are_found_again() -> None:
    ambiguous = life_of(an_intent(1, key="mine"), *WORKED, AMBIGUOUS)
    files, store = _home(*ambiguous, *_refused(2, SETTLED_MAX + 50))

    intents = _load(files).intents

    assert [intent.ordinal for intent in intents] == [1, *range(51, SETTLED_MAX + 51)]
    old = store.find_intent_by_id(LOOP, "intent-2")
    assert old is not None
    assert (old.status, old.ordinal) == (REFUSED, 2)
    assert store.find_intent_by_id(LOOP, "intent-9999") is None
    assert store.find_intent_by_id(LoopId("other"), "intent-2") is None


@pytest.mark.parametrize("key", ["mine", 'with "quotes" and \\', "ключ", "two words"])
def test_an_intent_is_found_by_its_key_in_any_generation(key: str) -> None:
    asked = life_of(an_intent(1, key=key), EXECUTING, FAILED)
    files, store = _home(*asked, *_refused(2, 25), retention=SMALL)

    assert asked[-1].id not in {intent.id for intent in store.intents(LOOP, settled_max=5)}
    assert files.stat(rotated(LOG, 2)) is not None, "it is no longer in the youngest file"
    assert store.find_intent(LOOP, key) == asked[-1]
    assert store.find_intent(LOOP, key + "x") is None


def test_under_a_key_that_became_free_again_the_intent_that_was_carried_out_is_found() -> None:
    refused = life_of(an_intent(1, key="mine"), REFUSED)[1:]
    done = life_of(an_intent(2, key="mine"), *WORKED, CONFIRMED)

    assert _home(*refused)[1].find_intent(LOOP, "mine") == refused[-1]
    assert _home(*refused, *done)[1].find_intent(LOOP, "mine") == done[-1]


def test_a_note_that_says_the_same_as_a_key_or_an_id_is_not_mistaken_for_it() -> None:
    _, store = _home(*life_of(an_intent(1, note="mine"), REFUSED), an_intent(2, note="intent-7"))

    assert store.find_intent(LOOP, "mine") is None
    assert store.find_intent_by_id(LOOP, "intent-7") is None


def test_a_line_of_the_log_that_makes_no_sense_is_told_and_costs_no_other_line() -> None:
    first, second = life_of(an_intent(1), *WORKED, CONFIRMED), an_intent(2)
    files, store = _home(*first)
    files.append(LOG, b'<<<<<<< HEAD\n{"id":"intent-1","status":"confirmed"}\n', sync=True)
    _write(store, [second])
    files.append(LOG, b'{"id":"intent-3', sync=True)

    found = _load(files)

    assert found.intents == (first[-1], second)
    (fault,) = found.faults
    assert (fault.path, fault.code) == (LOG, "store_corrupt")
    assert fault.problem.startswith("2 line(s) passed over, the first at byte ")


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        ((), LastControl()),
        (life_of(an_intent(1), *WORKED, CONFIRMED), LastControl("confirmed", ours=True)),
        (life_of(an_intent(1), *WORKED, AMBIGUOUS, ACKNOWLEDGED), LastControl("executed_unconfirmed", ours=True)),
        (life_of(an_intent(1), REFUSED), LastControl()),
    ],
)
def test_the_last_intent_that_others_read_of_is_known_as_ours(steps: list[Intent], last: LastControl) -> None:
    assert _load(_home(*steps)[0]).last_control == last


def test_a_row_of_another_manager_or_of_a_log_that_is_lost_is_not_ours() -> None:
    files, _ = _home(*life_of(an_intent(1), *WORKED, CONFIRMED))
    files.append(LAYOUT.journal(LOOP, Journal.INTENTS), b'{"status":"ambiguous"}\n', sync=True)
    assert _load(files).last_control == LastControl("ambiguous")

    files, _ = _home(*life_of(an_intent(1), *WORKED, AMBIGUOUS))
    files.remove(LOG)
    assert _load(files).last_control == LastControl("ambiguous")


# Rotation


def test_what_is_open_what_paused_the_run_and_the_decision_on_its_way_outlive_every_rotation() -> None:
    pause = life_of(an_intent(1, kind=IntentKind.PAUSE), *WORKED, CONFIRMED)
    decision = life_of(an_intent(2, kind=IntentKind.APPROVE), *WORKED, CONFIRMED)
    ambiguous = life_of(an_intent(3), *WORKED, AMBIGUOUS)
    busy = life_of(an_intent(4), EXECUTING)
    files, _ = _home(*pause, *decision, *ambiguous, *busy, *_refused(5, 200), retention=SMALL)

    book = book_of(_load(files, SMALL).intents)

    assert b"intent-5" not in b"".join(files.read(path, 0, 1 << 20)[1] for path in _generations(files))
    assert [intent.id for intent in book.open] == ["intent-3", "intent-4"]
    assert book.open == (ambiguous[-1], busy[-1])
    assert (book.turn, book.decision, book.ordinal) == (pause[-1], decision[-1], 200)
    assert book.pause is not None
    assert book.pause.intent_id == "intent-1"


def test_the_highest_ordinal_outlives_rotations_although_the_newest_row_is_of_an_older_intent() -> None:
    ambiguous = life_of(an_intent(1, note="x" * 3_000), *WORKED, AMBIGUOUS, ACKNOWLEDGED)
    newest = life_of(an_intent(9), REFUSED)[1:]
    files, store = _home(*ambiguous[:4], *newest, ambiguous[4], retention=SMALL)
    _write(store, _refused(2, 3))

    assert files.stat(rotated(LOG, 1)) is not None
    assert book_of(store.intents(LOOP, settled_max=0)).ordinal == 9


def test_a_pause_that_was_ended_is_not_brought_back_by_a_rotation() -> None:
    pause = life_of(an_intent(1, kind=IntentKind.PAUSE), *WORKED, CONFIRMED)
    resume = life_of(an_intent(2, kind=IntentKind.RESUME), *WORKED, CONFIRMED)
    for count in range(3, 120):
        files, _ = _home(*pause, *_refused(3, count), retention=SMALL)
        _write(Store(LAYOUT, files, SMALL), resume)
        _write(Store(LAYOUT, files, SMALL), _refused(count + 1, count + 5))
        assert book_of(_load(files, SMALL).intents).pause is None, count


def test_a_log_that_cannot_be_rotated_grows_and_its_generations_are_not_used_up() -> None:
    """A disk with room for a copy and none for the rest must not push the oldest rows over the edge by retrying."""
    memory, store = _home(*_refused(1, 20), retention=SMALL)
    before = [memory.read(path, 0, 1 << 20)[1] for path in _generations(memory)[1:]]
    files = FaultyFiles(memory)
    files.fail("replace", errno.ENOSPC, path="/intent-log.jsonl")
    for n in range(21, 60):
        done = Store(LAYOUT, files, SMALL).commit([LoopCommit(LOOP, effects_of(_refused(n, n)[0], None))], NOW)
        assert done.failures == ()
        assert all(fault.code == "store_unwritable" for fault in done.faults)

    after = [memory.read(path, 0, 1 << 20)[1] for path in _generations(memory)[1:]]
    assert before[0] in after
    files.heal()
    _write(Store(LAYOUT, files, SMALL), _refused(60, 60))
    assert [intent.ordinal for intent in store.intents(LOOP, settled_max=40)] == list(range(21, 61))


def test_a_reader_whose_log_is_rotated_under_his_hands_misses_nothing_that_is_open() -> None:
    """Queries read in a thread of their own."""
    retention = {**RETENTION, Journal.INTENT_LOG: Retention(300_000)}
    memory = MemoryFiles("/srv/app")
    writer = Store(LAYOUT, memory, retention)
    ambiguous = life_of(an_intent(1), *WORKED, AMBIGUOUS)
    _write(writer, [*ambiguous, *_refused(2, 400)])
    assert memory.stat(rotated(LOG, 1)) is None

    class Hands(FaultyFiles):
        def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
            found = super().read(path, offset, size_bytes)
            if len(self.calls) == 3:
                n = 401
                while memory.stat(rotated(LOG, 1)) is None:
                    _write(writer, _refused(n, n))
                    n += 1
            return found

    hands = Hands(memory)
    found = Store(LAYOUT, hands, retention).intents(LOOP, settled_max=0)

    assert memory.stat(rotated(LOG, 1)) is not None
    assert [intent for intent in found if intent.is_open] == ambiguous[-1:]


def _generations(files: MemoryFiles) -> list[str]:
    paths = [LOG, *(rotated(LOG, age) for age in range(1, 4))]
    return [path for path in paths if files.stat(path) is not None]


_KINDS = st.sampled_from(list(IntentKind))
_PERHAPS = st.booleans()


def _next(status: IntentStatus) -> st.SearchStrategy[IntentStatus]:
    return st.sampled_from(sorted(NEXT[status]))


@st.composite
def _histories(draw: st.DrawFn) -> list[Intent]:
    """Steps of many intents as one loop may see them: at most one in flight, ambiguous ones settling at any time."""
    steps: list[Intent] = []
    unsettled: list[Intent] = []
    for n in range(1, draw(st.integers(1, 40)) + 1):
        intent = an_intent(n, kind=draw(_KINDS), note="n" * draw(st.sampled_from([0, 300])))
        steps.append(intent)
        while intent.is_in_flight and draw(st.integers(0, 20)):
            intent = life_of(intent, draw(_next(intent.status)))[-1]
            steps.append(intent)
        if intent.is_in_flight:
            return steps  # nothing follows while it is under way
        if intent.stage is not None and draw(_PERHAPS):
            steps.append(replace(intent, stage=draw(st.sampled_from([Stage.CONSUMED, Stage.COMPLETED]))))
        if intent.status is AMBIGUOUS:
            unsettled.append(intent)
        if draw(_PERHAPS) and unsettled:
            late = unsettled.pop(draw(st.integers(0, len(unsettled) - 1)))
            steps.append(life_of(late, draw(_next(AMBIGUOUS)))[-1])
    return steps


@given(steps=_histories(), size=st.integers(800, 20_000))
def test_however_small_the_files_a_restart_has_the_book_that_was_kept_step_by_step(
    steps: list[Intent], size: int
) -> None:
    retention = {journal: Retention(size, kept=3) for journal in Journal}
    files, _ = _home(*steps, retention=retention)
    newest = {step.id: step for step in steps}
    kept = book_of(sorted(newest.values(), key=lambda intent: intent.ordinal))

    found = _load(files, retention)

    assert found.faults == ()
    assert _standing(book_of(found.intents)) == _standing(kept)
    assert {intent.id: intent for intent in found.intents}.items() <= newest.items()


def _standing(book: Book) -> tuple[object, ...]:
    """Keys are looked up in the log; a decision that was carried through matters to nobody."""
    return book.ordinal, book.open, book.last, book.turn, book.tracked


# Commits


def test_the_log_is_on_the_disk_before_anything_that_follows_from_it_is_written() -> None:
    files = FaultyFiles(MemoryFiles(*(f"{LAYOUT.folder(LoopId(name))}/telemetry" for name in (LOOP, "other"))))
    store = Store(LAYOUT, files)
    first, other = (life_of(an_intent(1, loop_id=loop_id), *WORKED, CONFIRMED) for loop_id in (LOOP, LoopId("other")))
    for commit, another in zip(commits_of(first)[:-1], commits_of(other)[:-1], strict=True):
        store.commit([commit, another], NOW)
    earlier = commits_of(life_of(an_intent(0), REFUSED)[1:])[0].effects[1:]
    files.calls.clear()

    # As after a disk that was full: what is left of an earlier intent comes first.
    last, another = commits_of(first)[-1], commits_of(other)[-1]
    store.commit([LoopCommit(LOOP, (*earlier, *last.effects)), another], NOW)

    writes = [(what, path.rpartition("/")[2]) for what, path in files.calls if what in ("append", "sync")]
    logs = [("append", "intent-log.jsonl")] * 2 + [("sync", "intent-log.jsonl")] * 2
    assert writes[:4] == logs
    assert "intent-log.jsonl" not in {name for _, name in writes[4:]}
    appended, flushed = ([name for what, name in writes[4:] if what == which] for which in ("append", "sync"))
    assert appended[-3:] == ["intents.jsonl", "control.jsonl", "control-invocations.jsonl"]
    assert sorted(appended) == sorted(appended[-3:] * 2)
    assert {name: flushed.count(name) for name in appended} == dict.fromkeys(appended, 2)


@pytest.mark.parametrize("operation", ["append", "sync"])
def test_a_log_row_that_the_disk_refuses_is_not_there_and_nothing_of_its_commit_is(operation: str) -> None:
    memory, store = _home(*life_of(an_intent(1), *WORKED))
    files = FaultyFiles(memory)
    trouble = files.fail(operation, errno.ENOSPC, path="/intent-log.jsonl")
    steps = life_of(an_intent(1), *WORKED, CONFIRMED)
    commit = commits_of(steps)[-1]

    done = Store(LAYOUT, files).commit([commit], NOW)

    assert trouble.fired
    (failure,) = done.failures
    assert (failure.path, failure.errno_name, failure.rest) == (LOG, "ENOSPC", commit.effects)
    assert "No space left on device" in failure.problem
    assert store.intents(LOOP, settled_max=9) == (steps[-2],)
    assert memory.stat(LAYOUT.journal(LOOP, Journal.INTENTS)) is None


@pytest.mark.parametrize("journal", TOLD)
@pytest.mark.parametrize("operation", ["append", "sync"])
def test_a_row_for_others_that_the_disk_refuses_is_left_over_alone(operation: str, journal: Journal) -> None:
    memory, store = _home()
    files = FaultyFiles(memory)
    trouble = files.fail(operation, errno.ENOSPC, path=f"/{journal.value}")
    steps = life_of(an_intent(1), *WORKED, CONFIRMED)
    for commit in commits_of(steps)[:-1]:
        store.commit([commit], NOW)
    commit = commits_of(steps)[-1]

    done = Store(LAYOUT, files).commit([commit], NOW)

    assert trouble.fired
    (failure,) = done.failures
    left = [each.journal for each in failure.rest if isinstance(each, Append)]
    assert journal in left
    assert Journal.INTENT_LOG not in left
    assert store.intents(LOOP, settled_max=9) == (steps[-1],)
    files.heal()
    assert Store(LAYOUT, files).commit([LoopCommit(LOOP, failure.rest)], NOW).failures == ()
    assert [told_ids(LAYOUT, memory, each) for each in TOLD] == [must_be_told(steps, each) for each in TOLD]


def test_what_a_commit_promised_survives_a_power_cut() -> None:
    steps = life_of(an_intent(1), *WORKED, CONFIRMED)
    for count in range(1, len(steps) + 1):
        files, _ = _home(*steps[:count])

        survivor = files.after_power_cut()

        assert _load(survivor).intents == (steps[count - 1],)
        for journal in TOLD:
            assert told_ids(LAYOUT, survivor, journal) == must_be_told(steps[:count], journal)
