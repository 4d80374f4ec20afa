"""Called on a tree as it was recorded, the simulated command leaves the tree that was recorded next.

Which files a call creates, removes, lengthens and rewrites was taken from runs of the real runtime
(`record_digests.py`); everything else must stay byte for byte.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from opsd.sim.story import DEAD_PID
from opsd.sim.trees import lay_down
from tests.sim.checkouts import LOOP, QUICK, Sandbox
from tests.sim.record_digests import Changes, changes, files_of, load_changes

UNCHANGED = Changes([], [], [], [])
RUN = ("run", "--loop", LOOP)


class Laid(Sandbox):
    """A checkout as `scenario` leaves it at the moment `until`, a minute ago."""

    def __init__(self, root: Path, scenario: str, until: str | None, *, pid: int = DEAD_PID) -> None:
        super().__init__(root, QUICK)
        at = datetime.now(UTC) - timedelta(minutes=1)
        self.loops = lay_down(scenario, self.repo, at=at, until=until, loop_id=LOOP, part=QUICK, pid=pid)


class Recorded(NamedTuple):
    """A call between two recorded steps; `after` is None where none was recorded.

    `adds` are the events it appends; None for a whole run, whose events `test_digest` holds to the recordings.
    """

    scenario: str
    before: str
    words: tuple[str, ...]
    after: str | None
    code: int
    adds: tuple[str, ...] | None = ()

    @property
    def id(self) -> str:
        return f"{self.scenario} {self.before}: {self.words[0]}"


CALLS = (
    Recorded("killed", "2-killed", RUN, None, 1),
    Recorded("killed", "2-killed", ("cancel",), "3-cleared", 0),
    Recorded("approved", "1-pending", RUN, "2-still-pending", 0, ("loop_start", "approval_wait")),
    Recorded(
        "approved",
        "2-still-pending",
        ("approve", "--loop", LOOP, "--by", "alex", "--note", "looks right"),
        "3-approved",
        0,
        ("approval_decision",),
    ),
    Recorded("approved", "3-approved", RUN, "4-complete", 0, ("loop_start", "approval_consumed", "loop_complete")),
    Recorded(
        "rejected",
        "1-pending",
        ("approve", "--loop", LOOP, "--by", "alex", "--reject", "--note", "tests too thin"),
        "2-rejected",
        0,
        ("approval_decision",),
    ),
    Recorded("killed", "3-cleared", RUN, "4-complete", 0, None),
    Recorded("rejected", "2-rejected", RUN, "3-pending-again", 0, None),
    Recorded("role-error", "1-failed", RUN, "2-refused", 1),
    Recorded("stuck", "1-stuck", RUN, "2-refused", 1),
)


@contextmanager
def living() -> Iterator[int]:
    """The pid of a process that looks like a run and leads a group of its own."""
    process = subprocess.Popen(["superloop.sh run", "60"], executable="/bin/sleep", start_new_session=True)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("recorded", CALLS, ids=lambda recorded: recorded.id)
def test_a_call_changes_what_it_was_recorded_to_change(recorded: Recorded, tmp_path: Path) -> None:
    box = Laid(tmp_path, recorded.scenario, recorded.before)
    before, told = files_of(box.repo), box.names()

    done = box.call(*recorded.words)

    assert done.returncode == recorded.code
    after = load_changes(recorded.scenario)[recorded.after] if recorded.after else UNCHANGED
    assert changes(before, files_of(box.repo)) == after
    if recorded.adds is not None:
        assert box.names() == [*told, *recorded.adds]


def test_a_cancel_of_a_living_run_changes_what_it_was_recorded_to_change(tmp_path: Path) -> None:
    with living() as pid:
        box = Laid(tmp_path, "cancelled", "1-running", pid=pid)
        before = files_of(box.repo)

        done = box.call("cancel")

    assert done.stdout == f"Cancelled loop: {LOOP}\nCancelled loop state and stopped active run process.\n"
    assert changes(before, files_of(box.repo)) == load_changes("cancelled")["2-cancelled"]


@pytest.mark.parametrize(
    ("scenario", "until", "last_event", "named"),
    [
        ("killed", "killed", "role_start", True),
        ("role-error", "failed", "role_start", False),
        ("rate-limited", "rate-limited", "rate_limit_stop", False),
    ],
)
def test_a_stale_state_refuses_every_run_until_it_is_cancelled(
    scenario: str, until: str, last_event: str, named: bool, tmp_path: Path
) -> None:
    box = Laid(tmp_path, scenario, until)
    state = box.document("state.json")
    assert state is not None
    assert (state["active"], state["current_loop_id"], box.names()[-1]) == (True, LOOP, last_event)
    assert (box.document("active-run.json") is not None) is named

    refused = [box.call(*RUN), box.call("run")]
    told = box.names()
    cleared = box.call("cancel")
    box.call(*RUN)

    assert [done.returncode for done in refused] == [1, 1]
    assert "reentrant run blocked" in refused[0].stderr
    assert "already running" in refused[1].stderr
    assert cleared.stdout.endswith("Cancelled loop state.\n")
    assert box.names()[len(told)] == "loop_start"
    assert told[-1] == last_event
