"""`opsd launch`: begins a run, beats for it while it lives, and writes down how it ended.

The runtime leads a session of its own and prints into a file of its own, so it outlives its launcher. What a beat says
is `opsd.sprite.beat`. Nothing here may disturb the run: whatever cannot be written or read is tried again later.
"""

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn

from opsd.environ import for_others, variables
from opsd.sprite import beat
from opsd.sprite.beat import Beat
from opsd.sprite.log import OutputLog
from opsd.sprite.trace import Trace

REFUSED: Final = 2
NOT_EXECUTABLE: Final = 126
MISSING: Final = 127
SIGNALLED: Final = 128
"""Exit codes of our own, as a shell has them; any other is the runtime's."""

BEAT_EVERY_S: Final = 15.0
LAST_BEAT_WITHIN_S: Final = 60.0
"""How long the last beat is tried where it cannot be written: it is the record of how the run ended."""

_LOOK_EVERY_S: Final = 1.0
# While a run begins, somebody waits to see that it does.
_LOOK_OFTEN_S: Final = 0.1
_BEGINNING_S: Final = 10.0
_PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HEEDED: Final = frozenset({signal.SIGCHLD, *_PASSED_ON})
_RUN: Final = "superloop.sh run"


class Plan(NamedTuple):
    """What was asked for, and found to make sense. Paths are absolute."""

    repo: str
    loop_id: str
    launch_id: str | None
    log: str | None
    interval_s: float
    detach: bool
    argv: tuple[str, ...]

    @property
    def folder(self) -> str:
        return f"{self.repo}/.superloop/loops/{self.loop_id}"


class Refused(Exception):  # noqa: N818  an answer, not an error
    """Nothing was begun; the message says why and `code` is what to exit with."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.code = code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `opsd launch` to `parser`."""
    parser.add_argument("--repo", required=True, metavar="DIR", help="the checkout")
    parser.add_argument("--loop", required=True, metavar="ID", help="the loop that is run")
    parser.add_argument("--launch-id", metavar="ID", help="named in the heartbeat: which launch this is")
    parser.add_argument("--log", metavar="FILE", help="where the run prints to, at most 8 MiB (default: where we do)")
    parser.add_argument(
        "--interval", type=_seconds, default=BEAT_EVERY_S, metavar="S", help="seconds between two beats (default 15)"
    )
    parser.add_argument("--detach", action="store_true", help="return as soon as the run has begun")
    parser.add_argument("argv", nargs="+", metavar="COMMAND", help="after --: superloop.sh run --repo DIR --loop ID")


def run(args: argparse.Namespace) -> int:
    """The runtime's exit code, 128 and the number of the signal that ended it, or one of our own."""
    try:
        plan = plan_of(args)
        return _detached(plan) if plan.detach else _live(plan, began=_tell_systemd)
    except Refused as refused:
        return _refuse(refused, args.log)


def plan_of(args: argparse.Namespace) -> Plan:
    """
    Raises:
        Refused: there is no such loop, or the command is no run of it.
    """
    repo, loop_id, argv = os.path.abspath(args.repo), args.loop, tuple(args.argv)
    if "/" in argv[0]:
        argv = (os.path.abspath(argv[0]), *argv[1:])
    if not os.path.isdir(f"{repo}/.superloop"):
        raise Refused(f"{repo} is no checkout of a loop: there is no folder .superloop in it; give another --repo")
    if loop_id in ("", ".", "..") or "/" in loop_id or not _is_known(repo, loop_id):
        raise Refused(f"{repo} has no loop {loop_id!r}: neither a folder nor a line in its config.json; mend --loop")
    if len(argv) < 2 or not argv[0].endswith("superloop.sh") or argv[1] != "run":
        # By these words the runtime's own cancel knows a run; any other would go on when it was cancelled.
        raise Refused(f"what is to be begun must read `{_RUN} ...`, and it reads {' '.join(argv)!r}")
    for flag, given in (("--repo", repo), ("--loop", loop_id)):
        if flag in argv[:-1]:
            said = argv[argv.index(flag) + 1]
            if (os.path.abspath(said) if flag == "--repo" else said) != given:
                raise Refused(f"{flag} is {given!r}, and of the run it is {said!r}: beats would tell of another loop")
    log = None if args.log is None else os.path.abspath(args.log)
    return Plan(repo, loop_id, args.launch_id, log, args.interval, args.detach, argv)


def _is_known(repo: str, loop_id: str) -> bool:
    """A loop that never ran has no folder yet: then the checkout's configuration names it."""
    if os.path.isdir(f"{repo}/.superloop/loops/{loop_id}"):
        return True
    try:
        with open(f"{repo}/.superloop/config.json", "rb") as file:
            loops = json.load(file)["loops"]
        return any(loop["id"] == loop_id for loop in loops)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _detached(plan: Plan) -> int:
    """Live on as nobody's child, in a session of its own; back here, say how it began: 0, or why it did not."""
    listening, telling = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(listening)
        os.setsid()
        _live_on(plan, telling)
    os.close(telling)
    if os.read(listening, 1):
        return 0
    _, status = os.waitpid(child, 0)
    return _exit_code(status)


def _live_on(plan: Plan, telling: int) -> NoReturn:
    """The rest of the life of the process that was made for it."""

    def began(log: OutputLog | None) -> None:
        # Who waits for us reads until nobody holds these open.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd, to in ((0, nowhere), (1, log.fd if log else nowhere), (2, log.fd if log else nowhere)):
            os.dup2(to, fd)
        os.write(telling, b"1")
        os.close(telling)

    code = 1
    try:
        code = _live(plan, began=began)
    except Refused as refused:
        code = _refuse(refused, plan.log)
    except Exception as error:  # noqa: BLE001  the end of the process: nobody further out could say it
        _say(f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)


def _live(plan: Plan, *, began: Callable[[OutputLog | None], None]) -> int:
    """
    Raises:
        Refused: it could not be begun.
    """
    log = _open_log(plan)
    trace = Trace(plan.repo, plan.loop_id)
    # Waited for by name from here on. A parent that ignored the ends of its children has taught us that, too.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
    begun_s = time.time()
    pid = _begin(plan, log)
    vigil = _Vigil(plan, log, trace, pid, begun_s)
    vigil.beat()
    began(log)
    return vigil.keep()


def _open_log(plan: Plan) -> OutputLog | None:
    try:
        return None if plan.log is None else OutputLog(plan.log)
    except OSError as error:
        raise Refused(f"the log {plan.log} cannot be opened: {error.strerror}") from error


def _begin(plan: Plan, log: OutputLog | None) -> int:
    """The pid of the runtime: leader of a session and a group, so that a signal reaches all of it and nobody else.

    In a session, since the end of the launcher would otherwise leave a group without a parent, and those that are
    paused then are ended by the kernel.
    """
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]]
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    if log is not None:
        actions += [(os.POSIX_SPAWN_DUP2, log.fd, 1), (os.POSIX_SPAWN_DUP2, log.fd, 2)]
    try:
        os.chdir(plan.repo)
        return os.posix_spawnp(
            plan.argv[0],
            plan.argv,
            for_others(variables()),
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            # What Python ignores, and what whoever began us may have ignored.
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGQUIT, *_HEEDED),
        )
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError) and not os.path.exists(plan.argv[0])
        says = "there is no such command" if missing else getattr(error, "strerror", None) or str(error)
        if not missing and isinstance(error, FileNotFoundError):
            says = "the interpreter that its first line names is not there"
        raise Refused(f"{plan.argv[0]} cannot be begun: {says}", MISSING if missing else NOT_EXECUTABLE) from error


class _Vigil:
    """What is done while the run lives."""

    def __init__(self, plan: Plan, log: OutputLog | None, trace: Trace, pid: int, begun_s: float) -> None:
        self._plan = plan
        self._log = log
        self._trace = trace
        self._pid = pid
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
            got = signal.sigtimedwait(_HEEDED, _LOOK_OFTEN_S if self._begins else _LOOK_EVERY_S)
            if got is not None and got.si_signo in _PASSED_ON:
                self._pass_on(got.si_signo)
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if ended:
                self._last_words(status)
                return _exit_code(status)
            if self._look() or time.monotonic() >= self._due_s:
                self.beat()

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
        until_s = time.monotonic() + LAST_BEAT_WITHIN_S
        while not self.beat() and time.monotonic() < until_s:
            got = signal.sigtimedwait(_HEEDED, _LOOK_EVERY_S)
            if got is not None and got.si_signo in _PASSED_ON:
                return

    def _complain(self, sentence: str) -> None:
        """Once, until it is well again."""
        if sentence != self._complained:
            self._complained = sentence
            _say(sentence)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else SIGNALLED - code


def _tell_systemd(_: OutputLog | None) -> None:
    told = {name: value for name, value in variables().items() if name == "NOTIFY_SOCKET"}
    if told:
        from opsd.systemd import Systemd  # only a unit pays for it

        Systemd(told).notify("READY=1")


def _refuse(refused: Refused, log: str | None) -> int:
    """The exit code. Said in the log as well, which is where whoever asked for the run will look."""
    _say(str(refused))
    try:
        if log is not None:
            fd = OutputLog(log).fd
            os.write(fd, f"opsd launch: {refused}\n".encode(errors="backslashreplace"))
    except OSError:
        pass  # that may be just why
    return refused.code


def _say(sentence: str) -> None:
    try:
        os.write(2, f"opsd launch: {sentence}\n".encode(errors="backslashreplace"))
    except OSError:
        pass  # nobody listens, or the disk is full; the run goes on


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(f"needs seconds, more than 0 and at most 3600, got {text}")
    return number
