"""`opsd.ports.Controls` on a virtual clock: acts on simulated checkouts, by the simulator's own rules, and counts them.

What opsd says it did is one thing; what was done stands in `done`. How a call misbehaves is asked of `fault_of`.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from opsd.model.acts import Act, ActProblem, ActResult, LaunchRun, RunCommand, SignalRun, SignalWord
from opsd.ports import Files
from opsd.sim import control, documents
from opsd.sim.commandline import Answer, Options, complaint, options_of
from opsd.sim.faults import Fault, answer_with
from opsd.sim.steps import Delete, Die, Exit, Mark, Step
from tests.doubles.clock import VirtualClock
from tests.simulation.checkouts import Checkout
from tests.simulation.launches import Launch
from tests.simulation.machine import Killed

POLL_S = 1.0
"""How often `cancel` looks whether the process is gone."""
SLACK = timedelta(seconds=2)
"""A process that began so much later than its run is another one. Source: `opsd.ports.Processes`."""

FaultOf = Callable[[str, str, int], Fault]
"""Of the checkout's path, the word of `Done`, and which call of that word in that checkout this is, counted from 1."""


class Done(NamedTuple):
    """One execution, written down before it began, as the simulated command's own ledger does.

    `word` is `cancel`, `approve` (a rejection too), `start`, `stop` or `continue`. `loop_id` is None where the act
    names no loop.
    """

    at: datetime
    repo: str
    word: str
    loop_id: str | None
    act: Act


def no_fault(repo: str, word: str, nth: int) -> Fault:
    return Fault()


class VirtualControls:
    """`disk` is opsd's own, where what a launched run prints goes. A cancel takes a second of virtual time, or eleven.

    Faults are those of `opsd.sim.faults`, as far as they make sense without processes (`hang` and `late-hang` take all
    of the call's time), and two more: `die` and `late-die` kill opsd itself (`Killed`) before and after the act. For a
    `start`: `fail` lets the run die at once with what it says, `lie` launches nothing, `unavailable` cannot launch. A
    `cancel` that `survives` clears the files and leaves the process alone.
    """

    def __init__(
        self,
        checkouts: Sequence[Checkout],
        clock: VirtualClock,
        disk: Files,
        *,
        fault_of: FaultOf = no_fault,
    ) -> None:
        self.done: list[Done] = []
        self.fault_of = fault_of
        self.missing: set[str] = set()
        """Checkouts for which there is no runtime command."""
        self._checkouts = {checkout.repo: checkout for checkout in checkouts}
        self._clock, self._disk = clock, disk

    def executions(self, word: str, *, repo: str | None = None, loop_id: str | None = None) -> int:
        """How often that was really done: everywhere, or in one checkout, or by naming one loop."""
        return sum(
            done.word == word and repo in (None, done.repo) and loop_id in (None, done.loop_id) for done in self.done
        )

    def command(self, repo_path: str) -> str | None:
        return None if repo_path in self.missing else f"{repo_path}/superloop.sh"

    def carry_out(self, act: Act) -> ActResult:
        match act:
            case RunCommand():
                return self._run_command(act)
            case SignalRun():
                return self._signal(act)
            case LaunchRun():
                return self._launch(act)

    def _begin(self, repo: str, word: str, loop_id: str | None, act: Act) -> Fault:
        self.done.append(Done(self._clock.now(), repo, word, loop_id, act))
        fault = self.fault_of(repo, word, self.executions(word, repo=repo))
        if fault.kind == "die":
            raise Killed
        return fault

    def _run_command(self, act: RunCommand) -> ActResult:
        word, options = act.argv[1], options_of(act.argv[2:])
        if isinstance(options, Answer):
            return _result(options)
        repo = options.values.get("--repo", act.cwd)
        if repo in self.missing or act.argv[0] != self.command(repo):
            return ActResult(127, problem=ActProblem.COMMAND_MISSING)
        fault = self._begin(repo, word, options.values.get("--loop"), act)
        outside = _Outside(self._checkouts[repo], self._clock, act.timeout_s)
        try:
            if fault.kind in ("slow", "hang"):
                outside.spend(fault.seconds if fault.kind == "slow" else act.timeout_s)
            answer = answer_with(fault, word, options, lambda: self._perform(word, options, outside, fault))
            if fault.kind == "late-hang":
                outside.spend(act.timeout_s)
        except _OutOfTime:
            return ActResult(problem=ActProblem.COMMAND_TIMED_OUT)
        if fault.kind == "late-die":
            raise Killed
        return _result(answer)

    def _perform(self, word: str, options: Options, outside: "_Outside", fault: Fault) -> Answer:
        tree, part, partial = outside.checkout.tree, outside.checkout.part, fault.kind == "partial"
        if fault.kind == "survives":
            # Started under another name, the process is not recognised. Source: runtime-artifacts 9.
            tree.perform(Delete(documents.STATE))
            tree.perform(Delete(documents.ACTIVE_RUN))
            return Answer(0, "Cancelled loop state.")
        match word:
            case "cancel":
                return control.cancel(tree, part, outside, partial=partial)
            case "approve":
                other = fault.kind == "other"
                return control.approve(tree, part, outside, options, user="opsd", partial=partial, other=other)
        return complaint(f"unknown command: {word}")

    def _signal(self, act: SignalRun) -> ActResult:
        checkout = next((each for each in self._checkouts.values() if each.pid == act.pid), None)
        if checkout is None:
            return ActResult(problem=ActProblem.PROCESS_CHANGED, detail=f"no run has the pid {act.pid}")
        if act.begun_by is not None and checkout.begun > act.begun_by + SLACK:
            return ActResult(problem=ActProblem.PROCESS_CHANGED, detail=f"{act.pid} began at {checkout.begun}")
        fault = self._begin(checkout.repo, act.word, None, act)
        if fault.kind == "fail":
            return ActResult(problem=ActProblem.NOT_PERMITTED)
        if fault.kind != "lie":
            if act.word is SignalWord.STOP:
                checkout.hold(float("inf"))
            else:
                checkout.release()
        if fault.kind == "late-die":
            raise Killed
        return ActResult()

    def _launch(self, act: LaunchRun) -> ActResult:
        fault = self._begin(act.repo, "start", act.loop_id, act)
        if fault.kind == "unavailable":
            return ActResult(problem=ActProblem.START_UNAVAILABLE, detail=fault.says)

        def printed(text: str) -> None:
            self._disk.make_dirs(act.log.rpartition("/")[0])
            self._disk.append(act.log, text.encode(), sync=False)

        doom = f"error: {fault.says}" if fault.kind == "fail" else None
        if fault.kind != "lie":
            self._checkouts[act.repo].start(Launch(act.launch_id, act.loop_id, printed, doom))
        if fault.kind == "late-die":
            raise Killed
        return ActResult(0)


class _OutOfTime(Exception):  # noqa: N818 -- how a call ends whose time is up
    pass


class _Outside:
    """What a command meets in a simulated checkout, and how much of its time is left."""

    def __init__(self, checkout: Checkout, clock: VirtualClock, timeout_s: float) -> None:
        self.checkout = checkout
        self._clock, self._ends_s = clock, clock.monotonic() + timeout_s

    def spend(self, seconds: float) -> None:
        """Time passes. Raises _OutOfTime at the moment when none is left."""
        left_s = self._ends_s - self._clock.monotonic()
        self._clock.pass_by(min(seconds, left_s))
        if seconds >= left_s:
            raise _OutOfTime

    def now_s(self) -> float:
        return self._clock.now().timestamp()

    def play(self, steps: Iterator[Step]) -> None:
        for step in steps:
            if not isinstance(step.op, Mark | Exit | Die):
                self.checkout.tree.perform(step.op)

    def is_run(self, pid: int) -> bool:
        return self.checkout.pid == pid

    def end(self, pid: int, *, grouped: bool) -> str:
        if not self.checkout.held:
            self.checkout.end("term")
            self.spend(POLL_S)
            return control.STOPPED
        # A stopped process is not told to end before somebody continues it; only being killed needs no telling.
        self.spend(POLL_S * control.POLLS_MAX)
        self.checkout.end("kill")
        self.spend(POLL_S)
        return control.FORCED


def _result(answer: Answer) -> ActResult:
    problem = ActProblem.COMMAND_FAILED if answer.code else None
    return ActResult(answer.code, answer.err or answer.out, problem)
