"""When the power goes, what was not flushed may be gone; what a commit promised is there, the rest can be redone."""

from collections.abc import Callable, Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsd.model.effects import Journal
from opsd.model.ids import LoopId
from opsd.ports import Files
from opsd.store.commit import Committed, LoopCommit
from opsd.store.journal import RETENTION, Retention
from opsd.store.layout import Layout
from opsd.store.load import StoredLoop
from opsd.store.store import Store
from tests.doubles.files import FaultyFiles, MemoryFiles, R
from tests.store.examples import NOW, pass_
from tests.store.findings import cursor_line, escalation_ids, once_more, state_line

LAYOUT = Layout("/srv/app")
LOOPS = (LoopId("first"), LoopId("second"))
SMALL: Mapping[Journal, Retention] = {journal: Retention(1_000, kept=20) for journal in Journal}
LAST_PASS = 5


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


def _run_until_the_cut(calls: int, retention: Mapping[Journal, Retention]) -> tuple[MemoryFiles, int, bool]:
    """Passes 1, 2, ... of two loops: what lay in memory, the last pass whose commit returned, whether it was cut."""
    memory = MemoryFiles("/srv/app")
    store = Store(LAYOUT, _MainsFiles(memory, calls), retention)
    promised = 0
    try:
        for number in range(1, LAST_PASS + 1):
            assert store.commit([pass_(number, loop_id) for loop_id in LOOPS], NOW) == Committed()
            promised = number
    except PowerCut:
        return memory, promised, True
    return memory, promised, False


@pytest.mark.parametrize("retention", [RETENTION, SMALL], ids=["no-rotation", "rotations"])
def test_with_everything_gone_that_was_not_flushed_each_promise_is_kept(retention: Mapping[Journal, Retention]) -> None:
    """Before every single call of five commits, until one run of them is not cut."""
    for calls in range(1_000):
        memory, promised, cut = _run_until_the_cut(calls, retention)
        files = memory.after_power_cut()

        for loop_id in LOOPS:
            store = Store(LAYOUT, files, retention)
            (found,) = store.load([loop_id], NOW)
            # A rotation flushes the names of documents whose content never was: they are reported, and replayed.
            assert all("empty" in fault.problem for fault in found.faults), calls
            assert cursor_line(found) <= state_line(found) or found.state is None, calls
            _assert_promises(store, found, promised)
        if not cut:
            print(f"cut before each of {calls} calls")
            assert promised == LAST_PASS
            assert calls > 50
            return
    pytest.fail("no run was long enough")


@given(calls=st.integers(0, 120), seed=st.integers(0, 2**32), retention=st.sampled_from([RETENTION, SMALL]))
def test_with_any_part_of_the_rest_surviving_the_store_goes_on(
    calls: int, seed: int, retention: Mapping[Journal, Retention]
) -> None:
    """Folders keep some earlier state, files some part of their end: the survivors need not fit together."""
    memory, promised, _ = _run_until_the_cut(calls, retention)
    files = memory.after_power_cut(Random(seed))
    store = Store(LAYOUT, files, retention)

    for found in store.load(LOOPS, NOW):
        assert cursor_line(found) <= state_line(found) or found.state is None
        assert all(fault.code == "store_corrupt" for fault in found.faults)
        _assert_promises(store, found, promised)

        again = once_more(LAST_PASS, found.loop_id, escalation_ids(store, found.loop_id))
        assert store.commit([LoopCommit(found.loop_id, again)], NOW).failures == ()
        (now,) = store.load([found.loop_id], NOW)
        assert (cursor_line(now), state_line(now), now.faults) == (LAST_PASS, LAST_PASS, ())
        assert escalation_ids(store, found.loop_id).count(f"on-{LAST_PASS}") == 1


def _assert_promises(store: Store, found: StoredLoop, promised: int) -> None:
    told = set(escalation_ids(store, found.loop_id))
    assert told >= {f"on-{n}" for n in range(1, promised + 1)}
    assert told >= {f"end-{n}" for n in range(1, promised)}
    assert {each.id for each in found.open_escalations} <= {f"on-{promised}", f"on-{promised + 1}"}
