"""A fleet that plays every scenario live, and the operators who approve, cancel, kill, stop and start again.

What may be told of each is `STORIES`; cues are what an operator does once a certain thing was told.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from opsd.sim.fleet import Checkout, Fleet, FleetPlay, make_fleet
from opsd.sim.part import Part, read_part, write_part
from opsd.sim.scenarios import SCENARIOS
from opsd.sim.tree import DiskTree, read_document
from tests.doubles.process import LIMIT_S, wait_until
from tests.endtoend.audience import Audience, untold

SPEED = 60.0
HURRY = {"OPSD_DEGRADED_INGEST_LAG_SECONDS": "5", "OPSD_CRITICAL_INGEST_LAG_SECONDS": "8"}
"""A silent role is given minutes in life; here nobody has that long."""

RUNNING = "running/running healthy"
STARTS = ("?starting/running healthy", RUNNING)
QUICKLY = ("?starting/running healthy", "?running/running healthy")
BEFORE = ("?unknown/unknown healthy", "unknown/unknown degraded artifacts_missing")
BEGINS = (*BEFORE, *STARTS)
WAITS = "awaiting_approval/awaiting_approval healthy approval_pending"
COMPLETE = "complete/complete healthy"
CRASHED = "crashed/failed critical runtime_process_missing"
LONG_CRASHED = "?crashed/failed critical ingest_stale runtime_process_missing"
PAUSED = "paused/running healthy run_paused"
CANCELLED = "cancelled/stopped healthy run_cancelled"
AT_ITS_LIMIT = "stopped/stopped degraded max_iterations_reached"
CUT = "divergence_detected ordering_drift_detected stream_truncated"

KILLED_BY_HAND, PAUSED_BY_HAND = "killed by hand", "paused by hand"

STORIES: Mapping[str, tuple[str, ...]] = {
    "complete": (*BEGINS, COMPLETE),
    "approval": (*BEGINS, WAITS),
    "approved": (*BEGINS, WAITS, "approved_not_taken_up/idle healthy decision_not_taken_up", *QUICKLY, COMPLETE),
    "rejected": (*BEGINS, WAITS, "rejected_not_taken_up/idle healthy decision_not_taken_up", *STARTS, WAITS),
    "cancelled": (*BEFORE, *QUICKLY, CANCELLED),
    "killed": (*BEGINS, CRASHED, LONG_CRASHED, CANCELLED, *STARTS, COMPLETE),
    "stuck": (*BEGINS, "stuck/stopped degraded run_stuck"),
    "no-progress": (*BEGINS, "stuck/stopped degraded no_progress"),
    "max-iterations": (*BEGINS, AT_ITS_LIMIT),
    "tests-failing": (*BEGINS, "?running/running healthy tests_failing", AT_ITS_LIMIT),
    "role-timeout": (*BEGINS, "?busy/running healthy", "failed/failed degraded role_timed_out"),
    "role-error": (*BEGINS, CRASHED, LONG_CRASHED),
    "rate-limited": (*BEGINS, "rate_limited/stopped degraded run_rate_limited"),
    "usage-limited": (*BEGINS, "failed/failed degraded usage_limited"),
    "lifecycle-failed": (*BEGINS, "stopped/stopped degraded lifecycle_gate_failed"),
    "two-loops": (*BEGINS, COMPLETE),
    "silent-stall": (
        *BEGINS,
        "?busy/running healthy",  # what the role wrote is a moment younger than what was logged
        "running/running degraded ingest_stale",
        "running/running critical ingest_stale",
    ),
    "torn-lines": (*BEGINS, COMPLETE),
    "rotated": (
        *BEGINS,
        f"?running/running degraded {CUT}",
        "running/running degraded stream_truncated",
        "?running/running degraded ordering_drift_detected stream_replaced",
        "running/running degraded stream_replaced",
        "complete/complete degraded stream_replaced",
    ),
    "recovery": (
        *BEGINS,
        "?running/running degraded recovery_waiting",
        "stopped/stopped degraded max_iterations_reached recovery_waiting",
    ),
    "steady": BEGINS,
    KILLED_BY_HAND: (*BEGINS, CRASHED, LONG_CRASHED),
    PAUSED_BY_HAND: (*BEGINS, "paused/running healthy run_paused", RUNNING),
}


class Cast(NamedTuple):
    """A made fleet: each checkout by the name of its story."""

    fleet: Fleet
    checkouts: Mapping[str, Checkout]

    def loops(self) -> list[tuple[str, str]]:
        """(story, loop id) of every loop."""
        return [(story, loop) for story, checkout in self.checkouts.items() for loop in checkout.loops]


def cast(root: Path) -> Cast:
    """A checkout for every scenario, and two whose runs are at work on something long when a signal finds them."""
    mix = (*SCENARIOS, "steady", "steady")
    fleet = make_fleet(root, len(mix), seed=3, speed=SPEED, mix=mix, part=Part(role_s=15.0, cancel_poll_s=0.2))
    checkouts = dict(zip((*SCENARIOS, KILLED_BY_HAND, PAUSED_BY_HAND), fleet.checkouts, strict=True))
    # Some runs would be over before a busy machine has a look; and a process must have been seen alive for its death to
    # be believed at once.
    for story, role_s in {
        "killed": 60.0,
        "rate-limited": 60.0,
        "usage-limited": 240.0,
        KILLED_BY_HAND: 3_600.0,
    }.items():
        repo = checkouts[story].repo
        write_part(repo, read_part(repo)._replace(role_s=role_s))
    return Cast(fleet, checkouts)


class Operators:
    """Do what their cues say, each once, and let the play go on until every story is told."""

    def __init__(self, cast: Cast, play: FleetPlay, audience: Audience) -> None:
        self._cast, self._play, self._audience = cast, play, audience
        self._runs: list[subprocess.Popen[bytes]] = []
        self._cues: dict[str, list[tuple[str, Callable[[Checkout], None]]]] = {
            "approved": [(WAITS, self._approve)],
            "rejected": [(WAITS, self._reject)],
            "killed": [(CRASHED, self._cancel), (CANCELLED, self._run)],
            KILLED_BY_HAND: [(RUNNING, self._kill)],
            PAUSED_BY_HAND: [(RUNNING, self._stop), ("paused/running healthy run_paused", self._go_on)],
        }

    def play_on(self) -> None:
        """Until everything is told, or something that is not right."""
        wait_until(self._is_over, "every story is told to its end")

    def end_runs(self) -> None:
        for run in self._runs:
            if run.poll() is None:
                run.kill()
            run.wait(LIMIT_S)

    def _is_over(self) -> bool:
        self._play.poll()
        for story, cues in self._cues.items():
            told = self._audience.told(self._cast.checkouts[story].loops[0])
            if cues and told and told[-1] == cues[0][0]:
                cues.pop(0)[1](self._cast.checkouts[story])
        try:
            return not any(untold(self._audience.told(loop), STORIES[story]) for story, loop in self._cast.loops())
        except AssertionError:
            return True  # whoever tests that story will say what was wrong

    def _superloop(self, command: str, checkout: Checkout, *more: str) -> subprocess.Popen[bytes]:
        words = [self._cast.fleet.command, command, "--repo", checkout.repo, *more]
        run = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        self._runs.append(run)
        return run

    def _approve(self, checkout: Checkout, *how: str) -> None:
        assert self._superloop("approve", checkout, "--loop", checkout.loops[0], *how).wait(LIMIT_S) == 0

    def _reject(self, checkout: Checkout) -> None:
        self._approve(checkout, "--reject", "--note", "tests too thin")

    def _cancel(self, checkout: Checkout) -> None:
        assert self._superloop("cancel", checkout).wait(LIMIT_S) == 0

    def _run(self, checkout: Checkout) -> None:
        self._superloop("run", checkout, "--loop", checkout.loops[0])

    def _kill(self, checkout: Checkout) -> None:
        os.killpg(_pid(checkout), signal.SIGKILL)

    def _stop(self, checkout: Checkout) -> None:
        os.killpg(_pid(checkout), signal.SIGSTOP)

    def _go_on(self, checkout: Checkout) -> None:
        os.killpg(_pid(checkout), signal.SIGCONT)


def _pid(checkout: Checkout) -> int:
    run = read_document(DiskTree(checkout.repo), ".superloop/active-run.json")
    assert run is not None, f"{checkout.repo} has no run"
    return int(run["pid"])
