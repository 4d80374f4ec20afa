"""One program, run to its end or to its time limit: never through a shell, never twice, whatever it prints or leaves.

Which program, and what its exit code means for an intent, is not known here.
"""

import errno
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from opsd.controls.output import Tail
from opsd.model.acts import ActProblem, ActResult

NOT_EXECUTABLE: Final = 126
MISSING: Final = 127
"""The exit codes by which a shell says that a program was never begun."""

TERM_GRACE_S: Final = 2.0
"""How long a program whose time is up may take to end by itself, before it is killed."""
_KILL_GRACE_S: Final = 5.0
# What the program itself printed is in the pipe when it ends; this is for helpers of its that end a moment later.
_LATE_OUTPUT_S: Final = 0.2
_LOOK_S: Final = 0.02
_READ_BYTES: Final = 64 * 1024
_NO_ROOM: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


def run(
    argv: Sequence[str],
    *,
    cwd: str | None,
    variables: Mapping[str, str],
    timeout_s: float,
    holds_reader: bool = True,
) -> ActResult:
    """Run `argv` with no input and the environment `variables`; blocks for at most `timeout_s` and a few seconds.

    The program leads a session of its own, so that its time limit ends its children with it. One that ends by itself
    leaves them alone, and is not waited for beyond its own end because they hold its output open.

    `holds_reader`: it has the end that we read from as well. Were we killed, its next word would else be its last, and
    what it does half done.
    """
    with ExitStack() as stack:
        try:
            reading, writing = os.pipe()
            stack.callback(os.close, reading)
            with os.fdopen(writing, "wb"):
                process = subprocess.Popen(
                    argv,
                    cwd=cwd,
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=writing,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(reading,) if holds_reader else (),
                )
        except (OSError, ValueError) as error:
            return _never_begun(argv[0], cwd, error)
        output = _Output(reading)
        in_time = output.follow(process.pid, timeout_s)
        how = "" if in_time else _end(process.pid, output, timeout_s)
        output.follow(None, _LATE_OUTPUT_S)
    # Reaped only now: until then the number is nobody else's, and signals to its group reach whom they are meant for.
    code = process.poll()
    if not in_time:
        return ActResult(None, output.tail.text(), ActProblem.COMMAND_TIMED_OUT, how)
    if code == 0:
        return ActResult(0, output.tail.text())
    return ActResult(code, output.tail.text(), ActProblem.COMMAND_FAILED, _ending(code))


class _Output:
    """What comes out of the pipe `fd`, for as long as somebody holds its other end."""

    def __init__(self, fd: int) -> None:
        self.tail = Tail()
        self._fd = fd
        os.set_blocking(fd, False)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._open = True

    def follow(self, pid: int | None, for_s: float) -> bool:
        """Read until the process `pid` has ended (True), or for `for_s` seconds (False).

        Without a pid until the pipe ends, which is True as well.
        """
        until_s = time.monotonic() + for_s
        while True:
            if (not self._open) if pid is None else _has_ended(pid):
                return True
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return False
            # No call waits for a pipe and for a process that somebody else may not reap: hence a look now and then.
            if self._poll.poll(1000 * min(left_s, _LOOK_S)):
                self._read()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        self.tail.add(data)
        if not data:
            self._open = False
            self._poll.unregister(self._fd)  # the end of a pipe is always ready


def _has_ended(pid: int) -> bool:
    """Whether our child `pid` has; it stays to be reaped."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _end(pid: int, output: _Output, timeout_s: float) -> str:
    """End the program and its group; a sentence on how that went."""
    _signal_group(pid, signal.SIGTERM)
    _signal_group(pid, signal.SIGCONT)  # one that is stopped does not hear the first
    listened = output.follow(pid, TERM_GRACE_S)
    _signal_group(pid, signal.SIGKILL)  # in any case: its children may be deaf where it was not
    if listened:
        return f"It did not end within {timeout_s:g} s, and was ended with SIGTERM."
    if output.follow(pid, _KILL_GRACE_S):
        return f"It did not end within {timeout_s:g} s nor at SIGTERM, and was killed."
    return f"It did not end within {timeout_s:g} s, and process {pid} is still there after SIGKILL."


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # there is nobody left, or only such as became another user


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"It was ended by {_name(-code)}."
    return f"It ended with exit code {code}."


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _never_begun(program: str, cwd: str | None, error: OSError | ValueError) -> ActResult:
    """Why nothing was begun. A script whose interpreter is missing is as absent to the kernel as a missing one."""
    if isinstance(error, ValueError):
        return ActResult(NOT_EXECUTABLE, "", ActProblem.COMMAND_NOT_EXECUTABLE, f"{program} cannot be run: {error}.")
    if error.errno in _NO_ROOM:
        return ActResult(None, "", ActProblem.START_UNAVAILABLE, f"No process can be started: {error.strerror}.")
    if cwd is not None and not os.path.isdir(cwd):
        return ActResult(NOT_EXECUTABLE, "", ActProblem.COMMAND_NOT_EXECUTABLE, f"There is no folder {cwd}.")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if not os.path.exists(os.path.join(cwd or "", program)):
            return ActResult(MISSING, "", ActProblem.COMMAND_MISSING, f"There is no {program}.")
        says = f"{program} is there, and the interpreter that its first line names is not."
        return ActResult(NOT_EXECUTABLE, "", ActProblem.COMMAND_NOT_EXECUTABLE, says)
    says = f"{program} cannot be executed: {error.strerror}."
    return ActResult(NOT_EXECUTABLE, "", ActProblem.COMMAND_NOT_EXECUTABLE, says)
