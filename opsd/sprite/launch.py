"""`opsd launch`: begins a run, in such a way that it outlives us, and keeps watch over it until it ends.

The runtime leads a session of its own and prints into a file of its own. What is asked for is `opsd.sprite.plan`, the
watch is `opsd.sprite.vigil`.
"""

import argparse
import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from opsd.environ import for_others, variables
from opsd.sprite.hold import Hold
from opsd.sprite.log import OutputLog
from opsd.sprite.plan import MISSING, NOT_EXECUTABLE, Plan, Refused, plan_of
from opsd.sprite.trace import Trace
from opsd.sprite.vigil import HEEDED, Vigil, exit_code, say


def run(args: argparse.Namespace) -> int:
    """The runtime's exit code, 128 and the number of the signal that ended it, or one of our own."""
    try:
        plan = plan_of(args)
        return _detached(plan) if plan.detach else _live(plan, began=_tell_systemd)
    except Refused as refused:
        return _refuse(refused, args.log)


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
    return exit_code(status)


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
        say(f"{type(error).__name__}: {error}")
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
    signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
    begun_s = time.time()
    pid = _begin(plan, log)
    vigil = Vigil(plan, log, trace, pid, begun_s, Hold(plan.platform_socket, plan.loop_id))
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
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGQUIT, *HEEDED),
        )
    except (OSError, ValueError) as error:
        says, code = getattr(error, "strerror", None) or str(error), NOT_EXECUTABLE
        if isinstance(error, FileNotFoundError):
            if os.path.exists(plan.argv[0]):
                says = "the interpreter that its first line names is not there"
            else:
                says, code = "there is no such command", MISSING
        raise Refused(f"{plan.argv[0]} cannot be begun: {says}", code) from error


def _tell_systemd(_: OutputLog | None) -> None:
    told = {name: value for name, value in variables().items() if name == "NOTIFY_SOCKET"}
    if told:
        from opsd.systemd import Systemd  # only a unit pays for it

        Systemd(told).notify("READY=1")


def _refuse(refused: Refused, log: str | None) -> int:
    """The exit code. Said in the log as well, which is where whoever asked for the run will look."""
    say(str(refused))
    try:
        if log is not None:
            fd = OutputLog(log).fd
            os.write(fd, f"opsd launch: {refused}\n".encode(errors="backslashreplace"))
    except OSError:
        pass  # that may be just why
    return refused.code
