"""The virtual controls do what the simulated command does, no more and no less, and count what they did."""

from collections.abc import Sequence
from random import Random

import pytest

from opsd.model.acts import ActProblem, ActResult, LaunchRun, RunCommand, SignalRun, SignalWord
from opsd.model.observation import ProcessSighting
from opsd.ports import Controls
from opsd.sim import documents
from opsd.sim.faults import Fault
from opsd.sim.tree import read_document
from tests.doubles.clock import VirtualClock
from tests.doubles.controls import VirtualControls
from tests.doubles.files import MemoryFiles
from tests.simulation.checkouts import Checkout
from tests.simulation.machine import ClockedFiles, Killed
from tests.transports.trees import Table

REPO, LOOP = "/srv/b", "billing"
COMMAND = f"{REPO}/superloop.sh"
APPROVAL = f"{documents.folder(LOOP)}/approval.json"
HEARTBEAT = f"{documents.folder(LOOP)}/heartbeat.v1.json"
LOG = "/srv/home/.superloop/ops-manager/billing/runs/7.log"


class Stage:
    """One unattended checkout, and what is needed to act on it."""

    def __init__(self, scenario: str) -> None:
        self.clock, self.table, self.own = VirtualClock(), Table(), MemoryFiles("/srv/home")
        self.checkout = Checkout(
            ClockedFiles(self.clock), self.clock, self.table, REPO, (LOOP,), Random(1),
            scenarios=(scenario,), attended=False,
        )  # fmt: skip
        self.controls = VirtualControls([self.checkout], self.clock, self.own)

    def fault(self, kind: str, seconds: float = 0.0) -> None:
        """The next execution shows it, whatever it is of."""
        nth = len(self.controls.done) + 1
        self.controls.fault_of = lambda *_: Fault(kind, seconds) if len(self.controls.done) == nth else Fault()

    def pass_by(self, seconds: float) -> None:
        end_s = self.clock.monotonic() + seconds
        while self.checkout.due_s <= end_s:
            self.clock.pass_by(max(0.0, self.checkout.due_s - self.clock.monotonic()))
            self.checkout.go_on()
        self.clock.pass_by(max(0.0, end_s - self.clock.monotonic()))

    def runs(self) -> "Stage":
        """A run is under way, its implementer at work."""
        self.checkout.start()
        self.pass_by(300.0)
        assert self.checkout.running
        return self

    def asks(self) -> "Stage":
        """The loop waits for an approval."""
        self.checkout.start()
        self.pass_by(86_400.0)
        assert self.status() == "pending"
        return self

    def call(self, *words: str, timeout_s: float = 30.0) -> ActResult:
        argv = (COMMAND, words[0], "--repo", REPO, *words[1:])
        return self.controls.carry_out(RunCommand(argv, REPO, timeout_s))

    def signal(self, word: SignalWord) -> ActResult:
        assert self.checkout.pid is not None
        return self.controls.carry_out(SignalRun(self.checkout.pid, self.checkout.pid, None, word))

    def launch(self) -> ActResult:
        argv = (COMMAND, "run", "--repo", REPO, "--loop", LOOP)
        return self.controls.carry_out(LaunchRun(argv, REPO, LOOP, "int-7", LOG))

    def status(self) -> object:
        return (read_document(self.checkout.tree, APPROVAL) or {}).get("status")

    def events(self) -> list[str]:
        text = self.checkout.tree.read(self.checkout.log(LOOP)) or ""
        return [line.split('"event":"')[1].split('"')[0] for line in text.splitlines()]

    def left(self) -> Sequence[str]:
        """Which of the checkout's own two files there are."""
        files = (documents.STATE, documents.ACTIVE_RUN)
        return [path.rpartition("/")[2] for path in files if self.checkout.tree.read(path) is not None]

    def heartbeat(self) -> dict[str, object]:
        return read_document(self.checkout.tree, HEARTBEAT) or {}


def test_they_are_controls() -> None:
    controls: Controls = Stage("complete").controls

    assert controls.command(REPO) == COMMAND


def test_a_cancel_ends_the_run_and_writes_no_event() -> None:
    stage = Stage("silent-stall").runs()
    pid, before = stage.checkout.pid, stage.events()
    assert pid is not None

    result = stage.call("cancel")

    assert (result.exit_code, result.problem) == (0, None)
    assert result.output == f"Cancelled loop: {LOOP}\nCancelled loop state and stopped active run process."
    assert stage.left() == []
    assert stage.table.sighting(pid, None) is ProcessSighting.ABSENT
    assert stage.events() == before
    assert stage.controls.executions("cancel", repo=REPO) == 1


def test_a_stopped_run_is_forced_and_that_takes_its_time() -> None:
    stage = Stage("silent-stall").runs()
    stage.signal(SignalWord.STOP)
    begin_s = stage.clock.monotonic()

    result = stage.call("cancel")

    assert result.output.endswith("force-stopped active run process.")
    assert stage.clock.monotonic() - begin_s == 11.0
    assert not stage.checkout.running
    assert stage.left() == []


def test_a_cancel_whose_time_is_up_leaves_the_run_alive_and_its_state_deleted() -> None:
    stage = Stage("silent-stall").runs()
    stage.signal(SignalWord.STOP)

    result = stage.call("cancel", timeout_s=5.0)

    assert (result.exit_code, result.problem) == (None, ActProblem.COMMAND_TIMED_OUT)
    assert stage.checkout.held
    assert stage.left() == ["active-run.json"]


def test_nothing_happens_to_a_stopped_run_until_it_is_continued() -> None:
    stage = Stage("complete").runs()
    stage.signal(SignalWord.STOP)
    assert stage.checkout.pid is not None
    before, sighting = stage.events(), stage.table.sighting(stage.checkout.pid, None)

    stage.pass_by(86_400.0)
    meanwhile = stage.events()
    stage.signal(SignalWord.CONTINUE)
    stage.pass_by(86_400.0)

    assert sighting is ProcessSighting.STOPPED
    assert meanwhile == before
    assert stage.events()[-1] == "loop_complete"


def test_no_two_runs_ever_have_the_same_process() -> None:
    """What ends in one checkout must not look as if something had died in another."""
    stage = Stage("complete").runs()
    other = Checkout(ClockedFiles(stage.clock), stage.clock, stage.table, "/srv/c", ("c",), Random(1), attended=False)
    pids = [stage.checkout.pid]
    for _ in range(3):
        other.start()
        pids.append(other.pid)
        other.end("kill")

    assert len(set(pids)) == 4
    assert stage.table.sighting(pids[0] or 0, None) is ProcessSighting.ALIVE


def test_a_process_that_is_no_run_is_not_signalled() -> None:
    result = Stage("complete").controls.carry_out(SignalRun(4_711, None, None, SignalWord.STOP))

    assert result.problem is ActProblem.PROCESS_CHANGED


@pytest.mark.parametrize(("more", "status"), [((), "approved"), (("--reject",), "rejected")])
def test_a_decision_is_recorded_and_completes_nothing(more: tuple[str, ...], status: str) -> None:
    stage = Stage("approval").asks()

    result = stage.call("approve", "--loop", LOOP, "--by", "alex", *more)
    again = stage.call("approve", "--loop", LOOP, "--by", "alex")

    assert result.exit_code == 0
    assert stage.status() == status
    assert stage.events()[-1] == "approval_decision"
    assert (again.exit_code, again.problem) == (1, ActProblem.COMMAND_FAILED)
    assert again.output == f"error: approval request is not pending (status={status})"
    assert stage.controls.executions("approve", loop_id=LOOP) == 2


def test_a_launched_run_takes_the_decision_up_and_its_heart_beats_until_it_ends() -> None:
    stage = Stage("approval").asks()
    stage.call("approve", "--loop", LOOP, "--by", "alex")

    assert stage.launch() == ActResult(0)
    begun = stage.heartbeat()
    stage.pass_by(60.0)

    assert (begun["status"], begun["launch_id"]) == ("running", "int-7")
    assert stage.events()[-2:] == ["approval_consumed", "loop_complete"]
    assert (stage.heartbeat()["status"], stage.heartbeat()["exit_code"]) == ("exited", 0)
    assert b"complete (approved)" in stage.own.read(LOG, 0, 1_000)[1]


def test_a_long_launched_run_beats_every_quarter_of_a_minute() -> None:
    stage = Stage("silent-stall")
    stage.launch()
    stamps = set()
    for _ in range(60):
        stage.pass_by(1.0)
        stamps.add(stage.heartbeat()["timestamp"])

    assert len(stamps) == 5


def test_a_launch_over_a_stale_state_is_refused_in_the_runtimes_words_until_it_is_cleared() -> None:
    stage = Stage("role-error")
    stage.checkout.start()
    stage.pass_by(86_400.0)
    assert stage.checkout.pid is None

    stage.launch()
    refused = stage.heartbeat()
    stage.call("cancel")
    stage.launch()

    assert (refused["status"], refused["exit_code"]) == ("exited", 1)
    assert b"reentrant run blocked" in stage.own.read(LOG, 0, 1_000)[1]
    assert stage.checkout.running
    assert stage.controls.executions("start", loop_id=LOOP) == 2


def test_a_second_launch_beside_a_run_leaves_that_alone() -> None:
    stage = Stage("silent-stall").runs()
    pid = stage.checkout.pid

    stage.launch()

    assert stage.checkout.pid == pid
    assert (stage.heartbeat()["status"], stage.heartbeat()["exit_code"]) == ("exited", 1)


@pytest.mark.parametrize(
    ("kind", "code", "problem", "status", "told"),
    [
        ("", 0, None, "approved", True),
        ("fail", 1, ActProblem.COMMAND_FAILED, "pending", False),
        ("lie", 0, None, "pending", False),
        ("partial", 0, None, "approved", False),
        ("late-fail", 1, ActProblem.COMMAND_FAILED, "approved", True),
        ("slow", None, ActProblem.COMMAND_TIMED_OUT, "pending", False),
        ("hang", None, ActProblem.COMMAND_TIMED_OUT, "pending", False),
        ("late-hang", None, ActProblem.COMMAND_TIMED_OUT, "approved", True),
    ],
)
def test_a_call_misbehaves_as_it_is_told_and_is_counted_all_the_same(
    kind: str, code: int | None, problem: ActProblem | None, status: str, told: bool
) -> None:
    stage = Stage("approval").asks()
    stage.fault(kind, seconds=60.0)

    result = stage.call("approve", "--loop", LOOP, "--by", "alex")

    assert (result.exit_code, result.problem) == (code, problem)
    assert stage.status() == status
    assert ("approval_decision" in stage.events()) is told
    assert stage.controls.executions("approve") == 1


def test_another_request_may_slip_under_the_decision() -> None:
    stage = Stage("approval").asks()
    asked = read_document(stage.checkout.tree, APPROVAL)
    stage.fault("other")

    stage.call("approve", "--loop", LOOP, "--by", "alex")

    decided = read_document(stage.checkout.tree, APPROVAL)
    assert asked is not None
    assert decided is not None
    assert decided["status"] == "approved"
    assert (decided["run_id"], decided["iteration"]) != (asked["run_id"], asked["iteration"])


@pytest.mark.parametrize(("kind", "status"), [("die", "pending"), ("late-die", "approved")])
def test_opsd_may_be_killed_before_and_after_the_act(kind: str, status: str) -> None:
    stage = Stage("approval").asks()
    stage.fault(kind)

    with pytest.raises(Killed):
        stage.call("approve", "--loop", LOOP, "--by", "alex")

    assert stage.status() == status
    assert stage.controls.executions("approve") == 1


@pytest.mark.parametrize(
    ("kind", "problem", "status"),
    [("fail", None, "exited"), ("lie", None, None), ("unavailable", ActProblem.START_UNAVAILABLE, None)],
)
def test_a_launch_may_fail_in_three_ways(kind: str, problem: ActProblem | None, status: str | None) -> None:
    stage = Stage("complete")
    stage.fault(kind)

    result = stage.launch()

    assert result.problem is problem
    assert stage.heartbeat().get("status") == status
    assert not stage.checkout.running


def test_without_a_command_nothing_is_done() -> None:
    stage = Stage("approval").asks()
    stage.controls.missing.add(REPO)

    result = stage.call("approve", "--loop", LOOP)

    assert stage.controls.command(REPO) is None
    assert (result.exit_code, result.problem) == (127, ActProblem.COMMAND_MISSING)
    assert stage.controls.done == []
