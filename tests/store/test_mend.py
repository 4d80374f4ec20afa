"""Log first, then what outside programs read: a crash anywhere in between is made good at the next start, once."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.disk import Disk
from opsd.model.effects import Journal
from opsd.model.intent import Intent, IntentStatus
from opsd.ports import Files
from opsd.store.codec import encode
from opsd.store.commit import LoopCommit
from opsd.store.journal import RETENTION, Line, Retention, newest_first
from opsd.store.layout import Layout, rotated
from opsd.store.mend import STEPS_MAX, Mended
from opsd.store.store import Store
from tests.doubles.files import FaultyFiles, MemoryFiles, R
from tests.store import intent_crashes
from tests.store.examples import LOOP, NOW
from tests.store.intent_crashes import SMALL, STORY
from tests.store.intents import TOLD, WORKED, an_intent, commits_of, life_of, must_be_told, told_ids

LAYOUT = Layout("/srv/app")
CONFIRMED, AMBIGUOUS, ACKNOWLEDGED = IntentStatus.CONFIRMED, IntentStatus.AMBIGUOUS, IntentStatus.ACKNOWLEDGED


def _store(files: Files, retention: Mapping[Journal, Retention] = RETENTION) -> Store:
    return Store(LAYOUT, files, retention)


def _write(store: Store, steps: Sequence[Intent], *, told: Sequence[Journal] = TOLD) -> None:
    """`told` are the files that the crash let have their rows of the last step."""
    commits = commits_of(steps)
    for commit in commits[:-1]:
        assert store.commit([commit], NOW).failures == ()
    effects = [each for each in commits[-1].effects if _journal(each) in (Journal.INTENT_LOG, *told)]
    assert store.commit([LoopCommit(LOOP, tuple(effects))], NOW).failures == ()


def _journal(effect: object) -> object:
    return getattr(effect, "journal", None)


def _told(files: Files, layout: Layout = LAYOUT) -> dict[Journal, list[tuple[str, str]]]:
    return {journal: told_ids(layout, files, journal) for journal in TOLD}


def _must(steps: Sequence[Intent]) -> dict[Journal, list[tuple[str, str]]]:
    return {journal: must_be_told(steps, journal) for journal in TOLD}


SETTLING = {
    "confirmed": life_of(an_intent(2), *WORKED, CONFIRMED),
    "ambiguous": life_of(an_intent(2), *WORKED, AMBIGUOUS),
    "settled later": life_of(an_intent(2), *WORKED, AMBIGUOUS, CONFIRMED),
    "acknowledged": life_of(an_intent(2), *WORKED, AMBIGUOUS, ACKNOWLEDGED),
    "failed": life_of(an_intent(2), IntentStatus.EXECUTING, IntentStatus.FAILED_COMMAND),
    "unconfirmed": life_of(an_intent(2), *WORKED, IntentStatus.EXECUTED_UNCONFIRMED),
    "refused": life_of(an_intent(2), IntentStatus.REFUSED)[1:],
    "expired": life_of(an_intent(2), IntentStatus.EXPIRED),
}
BEFORE = life_of(an_intent(1), *WORKED, CONFIRMED)


@pytest.mark.parametrize("reached", [(), TOLD[:1], TOLD[:2], TOLD], ids=["log", "intents", "control", "all"])
@pytest.mark.parametrize("how", SETTLING)
def test_what_a_crash_kept_from_the_three_files_is_written_once(how: str, reached: Sequence[Journal]) -> None:
    steps, files = [*BEFORE, *SETTLING[how]], MemoryFiles("/srv/app")
    store = _store(files)
    _write(store, steps, told=reached)
    missing = sum(len(rows) for journal, rows in _must(SETTLING[how][-1:]).items() if journal not in reached)
    if how in ("settled later", "acknowledged"):
        missing = 0 if reached else 1

    mended = store.mend_intents(LOOP, NOW)

    assert _told(files) == _must(steps)
    assert len(mended.rows) == missing
    assert (mended.left, len(mended.faults)) == ((), missing)
    assert store.mend_intents(LOOP, NOW) == Mended()


def test_rows_that_are_mended_are_those_that_would_have_been_written() -> None:
    whole, torn = _store(MemoryFiles("/srv/app")), _store(MemoryFiles("/srv/app"))
    _write(whole, BEFORE)
    _write(torn, BEFORE, told=())

    torn.mend_intents(LOOP, NOW)

    for journal in TOLD:
        assert torn.rows(LOOP, journal, limit=9).rows == whole.rows(LOOP, journal, limit=9).rows


def test_what_is_still_under_way_has_nothing_to_be_told() -> None:
    files = MemoryFiles("/srv/app")
    store = _store(files)
    _write(store, life_of(an_intent(1), *WORKED))

    assert store.mend_intents(LOOP, NOW) == Mended()
    assert all(files.stat(LAYOUT.journal(LOOP, journal)) is None for journal in TOLD)


def test_rows_of_other_managers_and_lines_that_are_none_are_passed_over() -> None:
    files = MemoryFiles("/srv/app")
    store = _store(files)
    steps = [*BEFORE, *SETTLING["confirmed"]]
    _write(store, steps, told=())
    foreign = b'{"timestamp":"2026-11-21T01:38:44Z","status":"confirmed","outcome":{"status":"confirmed"}}\n<<<<<<<\n'
    for journal in TOLD:
        files.append(LAYOUT.journal(LOOP, journal), foreign, sync=True)

    assert len(store.mend_intents(LOOP, NOW).rows) == 3
    for journal in TOLD:
        content = files.read(LAYOUT.journal(LOOP, journal), 0, 1 << 20)[1]
        assert content.count(b'"intent-1"') == content.count(b'"intent-2"') == 1


def test_what_somebody_took_out_of_the_middle_stays_out() -> None:
    """Existing readers judge by the last line: an old row put behind it would be believed."""
    files = MemoryFiles("/srv/app")
    store = _store(files)
    _write(store, [*BEFORE, *SETTLING["confirmed"]])
    path = LAYOUT.journal(LOOP, Journal.INTENTS)
    last = files.read(path, 0, 1 << 20)[1].splitlines(keepends=True)[-1]
    files.replace(path, last, sync=True)

    assert store.mend_intents(LOOP, NOW) == Mended()


def test_only_the_newest_steps_are_looked_after() -> None:
    files = MemoryFiles("/srv/app")
    store = _store(files)
    for n in range(1, STEPS_MAX + 20):
        _write(store, life_of(an_intent(n), IntentStatus.REFUSED)[1:])
    files.remove(LAYOUT.journal(LOOP, Journal.INVOCATIONS))

    store.mend_intents(LOOP, NOW)

    ids = [id_ for id_, _ in told_ids(LAYOUT, files, Journal.INVOCATIONS)]
    assert ids == [f"intent-{n}" for n in range(20, STEPS_MAX + 20)]


def test_a_copy_that_a_rotation_carried_on_is_no_step_of_its_own() -> None:
    """The ambiguous intent stands again in front of a new log, behind what has settled since."""
    files = MemoryFiles("/srv/app")
    store = _store(files, SMALL)
    ambiguous = life_of(an_intent(1), *WORKED, AMBIGUOUS)
    steps = [*ambiguous, *life_of(an_intent(2, note="n" * 2_500), *WORKED, CONFIRMED)]
    _write(store, [*steps, an_intent(3)])
    log = LAYOUT.journal(LOOP, Journal.INTENT_LOG)
    assert b'"ambiguous"' in files.read(log, 0, 1 << 20)[1]
    assert b'"ambiguous"' in files.read(rotated(log, 2), 0, 1 << 20)[1]

    assert _store(files, SMALL).mend_intents(LOOP, NOW) == Mended()
    assert _told(files) == _must(steps)


def test_a_copy_whose_step_is_too_far_back_to_be_seen_is_told_already() -> None:
    retention = {**RETENTION, Journal.INTENT_LOG: Retention(100_000)}
    files = MemoryFiles("/srv/app")
    store = _store(files, retention)
    refused = [step for n in range(2, STEPS_MAX + 40) for step in life_of(an_intent(n), IntentStatus.REFUSED)[1:]]
    steps = [*life_of(an_intent(1), *WORKED, AMBIGUOUS), *refused]
    _write(store, steps)
    _rotate(store, files, an_intent(STEPS_MAX + 40, note="n" * 10_000))

    assert _store(files, retention).mend_intents(LOOP, NOW) == Mended()
    assert _told(files) == _must(steps)


def test_a_copy_hides_nothing_that_settled_before_the_log_was_rotated() -> None:
    """The disk refused one of the files for a while, until the crash."""
    retention = {**RETENTION, Journal.INTENT_LOG: Retention(20_000)}
    files = MemoryFiles("/srv/app")
    store = _store(files, retention)
    ambiguous = life_of(an_intent(1), *WORKED, AMBIGUOUS)
    untold = life_of(an_intent(2), IntentStatus.EXECUTING, IntentStatus.FAILED_COMMAND)
    refused = life_of(an_intent(3), IntentStatus.REFUSED)[1:]
    _write(store, ambiguous)
    _write(store, untold, told=(Journal.CONTROL, Journal.INVOCATIONS))
    _write(store, refused)
    _rotate(store, files, an_intent(4, note="n" * 3_000))

    (row,) = _store(files, retention).mend_intents(LOOP, NOW).rows

    assert row.journal is Journal.INTENTS
    assert _told(files) == _must([*ambiguous, *untold, *refused])


def _rotate(store: Store, files: MemoryFiles, step: Intent) -> None:
    log = LAYOUT.journal(LOOP, Journal.INTENT_LOG)
    assert files.stat(rotated(log, 1)) is None
    while files.stat(rotated(log, 1)) is None:
        _write(store, [step])


def test_a_disk_that_refuses_again_is_told_and_what_is_left_is_handed_back() -> None:
    memory = MemoryFiles("/srv/app")
    _write(_store(memory), BEFORE, told=())
    files = FaultyFiles(memory)
    trouble = files.fail("append", errno.ENOSPC, path="/control.jsonl")
    store = _store(files)

    mended = store.mend_intents(LOOP, NOW)

    assert trouble.fired
    assert [each.journal for each in mended.left] == [Journal.CONTROL, Journal.INVOCATIONS]
    assert [(fault.code, fault.path.rpartition("/")[2]) for fault in mended.faults] == [
        ("store_unwritable", "control.jsonl"),
        ("store_corrupt", "intents.jsonl"),
    ]
    files.heal()
    assert store.commit([LoopCommit(LOOP, mended.left)], NOW).failures == ()
    assert _told(memory) == _must(BEFORE)


def test_a_log_that_a_killed_process_left_unflushed_is_flushed_before_it_is_told_of() -> None:
    memory = MemoryFiles("/srv/app")
    store = _store(memory)
    _write(store, BEFORE[:-1])
    memory.append(LAYOUT.journal(LOOP, Journal.INTENT_LOG), encode(BEFORE[-1]), sync=False)

    _store(memory).mend_intents(LOOP, NOW)

    left = memory.after_power_cut()
    assert _told(left) == _must(BEFORE)
    assert _store(left).intents(LOOP, settled_max=9) == (BEFORE[-1],)


def test_what_could_not_be_told_for_an_unflushed_log_waits_until_the_log_is_flushed() -> None:
    memory = MemoryFiles("/srv/app")
    log = LAYOUT.journal(LOOP, Journal.INTENT_LOG)
    _write(_store(memory), BEFORE[:-1])
    memory.append(log, encode(BEFORE[-1]), sync=False)
    files = FaultyFiles(memory)
    trouble = files.fail("sync", errno.EIO, path="/intent-log.jsonl")
    store = _store(files)

    mended = store.mend_intents(LOOP, NOW)
    still = store.commit([LoopCommit(LOOP, mended.left)], NOW)

    assert trouble.fired
    assert [(fault.code, fault.path) for fault in mended.faults] == [("store_unwritable", log)]
    assert [(failure.path, failure.rest) for failure in still.failures] == [(log, mended.left)]
    assert _told(memory) == _must(BEFORE[:-1])
    files.heal()
    assert store.commit([LoopCommit(LOOP, mended.left)], NOW).failures == ()
    assert _told(memory.after_power_cut()) == _must(BEFORE)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["between", "torn"])
@pytest.mark.parametrize("scenario", intent_crashes.SCENARIOS)
def test_a_desk_killed_anywhere_leaves_files_that_agree_once_they_are_mended(
    scenario: str, how: str, tmp_path: Path
) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.store.intent_crashes", scenario, how, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    outcomes = [json.loads(line) for line in child.stdout.splitlines()]
    assert [outcome["killed"] for outcome in outcomes] == [True] * (len(outcomes) - 1) + [False]
    assert len(outcomes) > 30, "the sweep must really have met the writes"

    begin, retention = intent_crashes.SCENARIOS[scenario]
    reached = set()
    for outcome in outcomes:
        layout = Layout(str(tmp_path / str(outcome["n"])))
        taken = _assert_goes_on(lambda: Store(layout, Disk(), retention), layout, Disk())  # noqa: B023  called here
        assert taken >= begin, outcome
        reached.add(taken)
    assert reached == set(range(begin, begin + intent_crashes.STEPS_SWEPT + 1))


class PowerCut(BaseException):
    """Not an error that anybody could handle."""


class _MainsFiles(FaultyFiles):
    """Runs until `calls_left` calls are made; then the power goes before the next one."""

    def __init__(self, inner: Files, calls_left: int) -> None:
        super().__init__(inner)
        self.calls_left = calls_left

    def _try(self, operation: str, path: str, act: Callable[[], R]) -> R:
        if self.calls_left == 0:
            raise PowerCut
        self.calls_left -= 1
        return super()._try(operation, path, act)


def _until_the_cut(calls: int, retention: Mapping[Journal, Retention]) -> tuple[MemoryFiles, int]:
    """The story told until the power went: what lay in memory, and how many steps were promised."""
    memory, promised = MemoryFiles("/srv/app"), 0
    store = _store(_MainsFiles(memory, calls), retention)
    try:
        for commit in commits_of(STORY):
            assert store.commit([commit], NOW).failures == ()
            promised += 1
    except PowerCut:
        pass
    return memory, promised


@pytest.mark.parametrize("retention", [RETENTION, SMALL], ids=["no-rotation", "rotations"])
def test_after_a_power_cut_anywhere_what_was_promised_is_there_and_the_files_agree(
    retention: Mapping[Journal, Retention],
) -> None:
    for calls in range(1_000):
        memory, promised = _until_the_cut(calls, retention)
        files = memory.after_power_cut()

        taken = _assert_goes_on(lambda: _store(files, retention), LAYOUT, files)  # noqa: B023  called here

        assert promised <= taken <= promised + 1, calls
        if promised == len(STORY):
            assert calls > 50
            return
    pytest.fail("no run was long enough")


@given(calls=st.integers(0, 250), seed=st.integers(0, 2**32), retention=st.sampled_from([RETENTION, SMALL]))
def test_with_any_part_of_the_rest_surviving_the_files_agree_as_well(
    calls: int, seed: int, retention: Mapping[Journal, Retention]
) -> None:
    memory, promised = _until_the_cut(calls, retention)
    files = memory.after_power_cut(Random(seed))

    assert promised <= _assert_goes_on(lambda: _store(files, retention), LAYOUT, files) <= promised + 1


def _assert_goes_on(store_of: Callable[[], Store], layout: Layout, files: Files) -> int:
    """What a start finds agrees once it is mended, and the rest of the story can be told; how far it had come."""
    store = store_of()
    store.load([LOOP], NOW)
    store.mend_intents(LOOP, NOW)
    taken = _steps_taken(layout, files)
    newest = {step.id: step for step in STORY[:taken]}
    (found,) = store.load([LOOP], NOW)
    assert {intent.id: intent for intent in found.intents} == newest
    assert _told(files, layout) == _must(STORY[:taken])
    assert store_of().mend_intents(LOOP, NOW) == Mended()

    again = store_of()
    for commit in commits_of(STORY)[taken:]:
        assert again.commit([commit], NOW).failures == ()
    assert _told(files, layout) == _must(STORY)
    (found,) = store_of().load([LOOP], NOW)
    assert found.intents == tuple(sorted({step.id: step for step in STORY}.values(), key=lambda one: one.ordinal))
    assert found.faults == ()
    return taken


def _steps_taken(layout: Layout, files: Files) -> int:
    """How many steps of the story stand in the log; no later one without all before it."""
    log = layout.journal(LOOP, Journal.INTENT_LOG)
    paths = [log, *(rotated(log, age) for age in range(1, 31))]
    rows = [json.loads(line.data) for line in newest_first(files, paths) if isinstance(line, Line)]
    there = {(row["id"], row["status"]) for row in rows}
    steps = [(step.id, step.status.value) for step in STORY]
    taken = len(there)
    assert there == set(steps[:taken])
    return taken
