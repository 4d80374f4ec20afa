"""Stopping and continuing a run: only the process that is meant, and then all of its family.

A pid says little, because numbers are given out again. So a process is first held by a pidfd, which names it for good,
then looked at, and only then signalled through what holds it. Source: runtime-artifacts 7.2 for how a run is known.
"""

import os
import select
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, assert_never

from opsd.model.acts import ActProblem, ActResult, SignalRun, SignalWord
from opsd.model.observation import ProcessSighting
from opsd.processes import Member, ProcFs

RUN_WORDS: Final = "superloop.sh run"
"""By these words in a command line the runtime knows its own processes."""

# A family that still grows after so many walks over it is not going to stand still.
_WALKS_MAX: Final = 50


class _Changed(Exception):  # noqa: N818  the way out to an answer, not an error
    """The process is not the run's; the sentence says what it is instead. Nothing was signalled."""


def signal_run(act: SignalRun, processes: ProcFs) -> ActResult:
    """Carry `act` out. A detail without a problem: some of the family could not be signalled."""
    try:
        with _held(act.pid) as leader:
            _check(act, leader, processes)
            match act.word:
                case SignalWord.STOP:
                    return _stop(act, leader, processes)
                case SignalWord.CONTINUE:
                    return _continue(act, leader, processes)
                case _:
                    assert_never(act.word)
    except _Changed as changed:
        return ActResult(None, "", ActProblem.PROCESS_CHANGED, str(changed))
    except ProcessLookupError:
        return ActResult(None, "", ActProblem.PROCESS_CHANGED, f"There is no process {act.pid}.")
    except OSError as error:
        says = f"Process {act.pid} may not be signalled: {error.strerror}."
        return ActResult(None, "", ActProblem.NOT_PERMITTED, says)


@contextmanager
def _held(pid: int) -> Iterator[int]:
    """A descriptor that means this process and no later one of its number.

    Raises:
        ProcessLookupError: there is none.
        OSError: none can be had; without one nothing is signalled.
    """
    if pid <= 0:
        raise ProcessLookupError
    try:
        fd = os.pidfd_open(pid)
    except OverflowError:
        raise ProcessLookupError from None  # no process can have such a number
    try:
        yield fd
    finally:
        os.close(fd)


def _check(act: SignalRun, leader: int, processes: ProcFs) -> None:
    """
    Raises:
        _Changed: what `leader` holds is not the run.
        OSError: it is, and may not be signalled.
    """
    sighting = processes.sighting(act.pid, act.begun_by)
    if sighting is ProcessSighting.UNKNOWN:
        raise _Changed(f"From here nobody can say what process {act.pid} is.")
    if sighting is ProcessSighting.ABSENT:
        raise _Changed(f"Process {act.pid} has ended, or began after the run that is on file.")
    words = processes.command_line(act.pid)
    if words is None or RUN_WORDS not in words:
        raise _Changed(f"The command line of process {act.pid} has no `{RUN_WORDS}`, so that it is none of a run.")
    # What was read just now was this process's only if it still lives: numbers are given out again after the end.
    if _has_ended(leader):
        raise _Changed(f"Process {act.pid} ended while it was looked at.")
    signal.pidfd_send_signal(leader, 0)  # only asks whether we may


def _stop(act: SignalRun, leader: int, processes: ProcFs) -> ActResult:
    """The leader first: it begins no work any more, and as long as it stands still its number is nobody else's."""
    signal.pidfd_send_signal(leader, signal.SIGSTOP)
    if _has_ended(leader):
        raise _Changed(f"Process {act.pid} ended just then.")
    if _leads_group(act):
        _signal_group(act.pid, signal.SIGSTOP)
    # Whoever was signalled begins no process any more, so that a walk which finds nobody new has found everybody.
    signalled, denied = {act.pid}, set[Member]()
    for _ in range(_WALKS_MAX):
        new = [
            member
            for member in processes.members(act.pid, act.pgid)
            if member.pid not in signalled and not member.is_stopped
        ]
        if not new:
            break
        denied |= _signal_each(new, signal.SIGSTOP, processes)
        signalled |= {member.pid for member in new}
    return _answer(denied)


def _continue(act: SignalRun, leader: int, processes: ProcFs) -> ActResult:
    """The leader last: until then it stands still, cannot end, and so nothing of its family can become another's.

    It also meets its workers as it left them, going on, and takes none of them for hung.
    """
    others = [member for member in processes.members(act.pid, act.pgid) if member.pid != act.pid]
    denied = _signal_each(others, signal.SIGCONT, processes)
    if _leads_group(act) and not _has_ended(leader):
        _signal_group(act.pid, signal.SIGCONT)
    signal.pidfd_send_signal(leader, signal.SIGCONT)
    return _answer(denied)


def _leads_group(act: SignalRun) -> bool:
    """Whether it really does: the runtime writes the pid where it could not read the group."""
    return act.pgid == act.pid and os.getpgid(act.pid) == act.pid


def _signal_group(pid: int, number: signal.Signals) -> None:
    """All at once, so that nobody in it is born in between."""
    try:
        os.killpg(pid, number)
    except PermissionError:
        pass  # whom it does not reach is signalled, and named, one by one


def _signal_each(members: Iterable[Member], number: signal.Signals, processes: ProcFs) -> set[Member]:
    """Those that may not be signalled. Who has ended since he was found needs no signal, and his heir gets none."""
    denied = set()
    for member in members:
        try:
            with _held(member.pid) as fd:
                if processes.is_member(member):
                    signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            denied.add(member)
    return denied


def _has_ended(held: int) -> bool:
    poll = select.poll()
    poll.register(held, select.POLLIN)
    return bool(poll.poll(0))


def _answer(denied: set[Member]) -> ActResult:
    if not denied:
        return ActResult()
    numbers = ", ".join(str(member.pid) for member in sorted(denied))
    return ActResult(detail=f"Of the run's processes these belong to another user and were not signalled: {numbers}.")
