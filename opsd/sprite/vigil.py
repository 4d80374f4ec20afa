"""What is done while a run lives: beats, a look at what it prints, signals passed on, and the record of its end.

Nothing here may disturb the run: whatever cannot be written or read is tried again later. What a beat says is
`opsd.sprite.beat`.
"""

import os
import signal
import time
from typing import Final

from opsd.sprite import beat
from opsd.sprite.beat import Beat
from opsd.sprite.hold import Hold
from opsd.sprite.log import OutputLog
from opsd.sprite.plan import Plan
from opsd.sprite.trace import Trace

SIGNALLED: Final = 128
"""Plus the signal's number: the exit code for a run that a signal ended, as a shell has it."""

PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HEEDED: Final = frozenset({signal.SIGCHLD, *PASSED_ON})
"""Whoever keeps a vigil has these blocked, and takes them one by one."""

LAST_BEAT_WITHIN_S: Final = 60.0
"""How long the last beat is tried where it cannot be written: it is the record of how the run ended."""

_LOOK_EVERY_S: Final = 1.0
# While a run begins, somebody waits to see that it does.
_LOOK_OFTEN_S: Final = 0.1
_BEGINNING_S: Final = 10.0


class Vigil:
    """What is done while the run lives."""

    def __init__(self, plan: Plan, log: OutputLog | None, trace: Trace, pid: int, begun_s: float, hold: Hold) -> None:
        self._plan = plan
        self._log = log
        self._trace = trace
        self._pid = pid
        self._hold = hold
        self._beat = Beat(
            timestamp="",
            status="running",
            pid=pid,
            pid_started=beat.second(begun_s),
            launcher_pid=os.getpid(),
            loop_id=plan.loop_id,
            boot_id=beat.boot_id(),
            launch_id=plan.launch_id,
        )
        self._due_s = 0.0
        self._eager_until_s = time.monotonic() + _BEGINNING_S
        self._complained: str | None = None

    def keep(self) -> int:
        """Until the runtime ends; the exit code."""
        while True:
            look_every_s = _LOOK_OFTEN_S if self._begins else _LOOK_EVERY_S
            got = signal.sigtimedwait(HEEDED, min(look_every_s, self._plan.interval_s))
            if got is not None and got.si_signo in PASSED_ON:
                self._pass_on(got.si_signo)
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if ended:
                self._last_words(status)
                self._hold.let_go()
                return exit_code(status)
            if self._look() or time.monotonic() >= self._due_s:
                self.beat()
            if (problem := self._hold.keep()) is not None:
                say(problem)

    def beat(self) -> bool:
        """Whether it could be written. One that could not is due again at the next look."""
        now_s = time.time()
        printed_s = self._log.last_output_s if self._log is not None else None
        self._beat = self._beat._replace(
            timestamp=beat.second(now_s),
            stage=self._trace.stage,
            run_id=self._trace.run_id,
            last_output_at=None if printed_s is None else beat.second(printed_s),
        )
        try:
            beat.write(self._plan.folder, self._beat)
        except FileNotFoundError:
            self._due_s = 0.0  # a loop that never ran has no folder before the runtime makes it
            return False
        except OSError as error:
            self._complain(f"the heartbeat cannot be written: {error.strerror or error}")
            self._due_s = 0.0
            return False
        self._complained = None
        self._due_s = time.monotonic() + self._plan.interval_s
        return True

    @property
    def _begins(self) -> bool:
        return self._trace.run_id is None and time.monotonic() < self._eager_until_s

    def _look(self) -> bool:
        """Whether something was learnt that readers wait for."""
        if self._log is not None:
            try:
                self._log.look()
            except OSError as error:
                self._complain(f"the log cannot be looked after: {error.strerror or error}")
        return self._trace.look()

    def _pass_on(self, number: int) -> None:
        """To all of the run, as the runtime's own cancel does; a paused one has to go on to hear of it."""
        os.killpg(self._pid, number)
        os.killpg(self._pid, signal.SIGCONT)

    def _last_words(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._look()
        self._beat = self._beat._replace(
            status="exited",
            exit_code=code if code >= 0 else None,
            exit_signal=-code if code < 0 else None,
            exited_at=beat.second(time.time()),
        )
        try:
            # A run that ended before it made its loop's folder would else leave no record of its end.
            os.makedirs(self._plan.folder, exist_ok=True)
        except OSError:
            pass  # writing the beat says what is wrong
        until_s = time.monotonic() + LAST_BEAT_WITHIN_S
        while not self.beat() and time.monotonic() < until_s:
            got = signal.sigtimedwait(HEEDED, _LOOK_EVERY_S)
            if got is not None and got.si_signo in PASSED_ON:
                return

    def _complain(self, sentence: str) -> None:
        """Once, until it is well again."""
        if sentence != self._complained:
            self._complained = sentence
            say(sentence)


def exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else SIGNALLED - code


def say(sentence: str) -> None:
    try:
        os.write(2, f"opsd launch: {sentence}\n".encode(errors="backslashreplace"))
    except OSError:
        pass  # nobody listens, or the disk is full; the run goes on
