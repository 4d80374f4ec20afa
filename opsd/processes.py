"""The real side of the `Processes` port: what /proc says of a pid, and whether we are the ones to ask.

What follows from a process being gone is judged in `opsd.core.process`.
"""

import os
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from opsd.model.observation import ProcessSighting

# `active-run.json` is written in whole seconds by the process it names, a moment after that process began.
_WRITTEN_WITHIN = timedelta(seconds=2)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Fixed by the kernel for the first PID namespace of the machine; every other namespace has another number.
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
_KERNEL_THREAD = 0x00200000
_STAT_BYTES = 4096
# Longer ones are cut: the program's own words come first.
_COMMAND_LINE_BYTES = 64 * 1024


def boot_id() -> str:
    """A name for the host's present boot; empty where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def has_flock(pid: int, device: int, inode: int, *, proc: str = "/proc") -> bool | None:
    """Whether somebody holds an exclusive flock on this file; None where the kernel does not tell.

    Asking takes nothing and delays nobody, unlike trying to take it. `pid` is who should be the one: on some file
    systems the kernel lists another device than `stat` names, and then it is the process that counts.
    """
    try:
        with open(f"{proc}/locks", encoding="ascii", errors="replace") as file:
            rows = [line.split() for line in file]
    except OSError:
        return None
    for row in rows:
        # `1: FLOCK  ADVISORY  WRITE 4711 fe:00:2146329 0 EOF`; who waits has an arrow before the word.
        if len(row) < 6 or row[1] != "FLOCK" or row[3] != "WRITE":
            continue
        major, _, rest = row[5].partition(":")
        minor, _, number = rest.partition(":")
        if number == str(inode) and (
            row[4] == str(pid) or (major, minor) == (f"{os.major(device):02x}", f"{os.minor(device):02x}")
        ):
            return True
    return False


class Member(NamedTuple):
    """One process as /proc shows it; `state` is the kernel's letter, `started_ticks` what tells it from a later one."""

    pid: int
    state: str
    parent: int
    group: int
    started_ticks: int
    is_stopped: bool


class ProcFs:
    """`opsd.ports.Processes` over /proc."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._nested: dict[tuple[int, int], bool] = {}

    def sighting(self, pid: int, begun_by: datetime | None) -> ProcessSighting:
        """See the port. A zombie is absent; without `begun_by` the age of the process is not looked at.

        `unknown` is the answer where the number means another process than the one that wrote it down: in a PID
        namespace inside or outside of ours, or where /proc is not to be seen.
        """
        if pid <= 0:
            return ProcessSighting.UNKNOWN
        try:
            state, flags, started_ticks = self._stat(pid)
        except (FileNotFoundError, ProcessLookupError):
            return self._without_entry(pid)
        except (OSError, ValueError, IndexError):
            return ProcessSighting.UNKNOWN
        if flags & _KERNEL_THREAD or self._is_nested(pid, started_ticks):
            return ProcessSighting.UNKNOWN
        if state in "ZX":
            return ProcessSighting.ABSENT
        if begun_by is not None and _started_at(started_ticks) > begun_by + _WRITTEN_WITHIN:
            return ProcessSighting.ABSENT
        return ProcessSighting.STOPPED if self._stands_still(pid, state) else ProcessSighting.ALIVE

    def family(self, pid: int, pgid: int | None) -> Sequence[ProcessSighting]:
        """See the port. Processes that end meanwhile are left out."""
        return [
            ProcessSighting.STOPPED if member.is_stopped else ProcessSighting.ALIVE
            for member in self.members(pid, pgid)
        ]

    def members(self, pid: int, pgid: int | None) -> list[Member]:
        """The same processes, one by one and ordered by number; zombies are none. One walk over /proc.

        Descendants count whatever their group: `timeout` puts a role into one of its own, and the runtime writes its
        pid where it could not read its group.
        """
        if pid <= 0:
            return []
        try:
            names = os.listdir(self._proc)
        except OSError:
            return []
        found: dict[int, Member] = {}
        for name in names:
            if name.isdigit():
                try:
                    found[int(name)] = self._member(int(name))
                except (OSError, ValueError, IndexError):
                    continue
        ours = {each.pid for each in found.values() if pgid == pid and each.group == pgid} | {pid}
        grown = True
        while grown:
            born = {each.pid for each in found.values() if each.parent in ours} - ours
            ours |= born
            grown = bool(born)
        return [found[each] for each in sorted(ours) if each in found and found[each].state not in "ZX"]

    def command_line(self, pid: int) -> str | None:
        """The words of the process's command line with blanks between; None where it cannot be read."""
        try:
            with open(f"{self._proc}/{pid}/cmdline", "rb") as file:
                return file.read(_COMMAND_LINE_BYTES).replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            return None

    def is_member(self, member: Member) -> bool:
        """Whether the process of that number is still the very same one, and no zombie."""
        try:
            now = self._member(member.pid)
        except (OSError, ValueError, IndexError):
            return False
        return now.started_ticks == member.started_ticks and now.state not in "ZX"

    def _without_entry(self, pid: int) -> ProcessSighting:
        """No entry in /proc: gone, hidden from us, or never one of ours."""
        if not os.path.exists(f"{self._proc}/self/stat"):
            return ProcessSighting.UNKNOWN
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ProcessSighting.UNKNOWN if self._is_foreign(pid) else ProcessSighting.ABSENT
        except OverflowError:
            return ProcessSighting.ABSENT  # no process can have such a number
        except PermissionError:
            pass
        return ProcessSighting.ALIVE  # /proc hides other users' processes, and it is one of those

    def _stat(self, pid: int) -> tuple[str, int, int]:
        """(state, flags, start in clock ticks since boot) of `/proc/<pid>/stat`."""
        fields = self._fields(pid)
        return fields[0].decode("ascii"), int(fields[6]), int(fields[19])

    def _member(self, pid: int) -> Member:
        fields = self._fields(pid)
        state = fields[0].decode("ascii")
        stopped = self._stands_still(pid, state)
        return Member(pid, state, int(fields[1]), int(fields[2]), int(fields[19]), stopped)

    def _stands_still(self, pid: int, state: str) -> bool:
        """Whether it is stopped, or as good as that: it waits in the kernel, and has a stop before it when it is back.

        A shell waits so for a child that it just made and that was stopped before it became the other program.
        """
        if state != "D":
            return state in "Tt"
        waiting = int(self._status(pid, b"ShdPnd:") or b"0", 16)
        return bool(waiting >> (signal.SIGSTOP - 1) & 1)

    def _fields(self, pid: int) -> list[bytes]:
        """What follows the command's name in `/proc/<pid>/stat`: state, parent, group, ..."""
        fd = os.open(f"{self._proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The command name comes second, in brackets, and may itself hold brackets and blanks.
            return os.read(fd, _STAT_BYTES).rpartition(b")")[2].split()
        finally:
            os.close(fd)

    def _is_nested(self, pid: int, started_ticks: int) -> bool:
        """Whether the process lives in a PID namespace below ours, where it calls itself by another number."""
        key = (pid, started_ticks)
        if key not in self._nested:
            if len(self._nested) > 4096:
                self._nested.clear()
            self._nested[key] = self._pid_count(pid) > 1
        return self._nested[key]

    def _pid_count(self, pid: int) -> int:
        return len((self._status(pid, b"NSpid:") or b"1").split())

    def _status(self, pid: int, name: bytes) -> bytes | None:
        """One line of `/proc/<pid>/status`; None where there is no such line."""
        try:
            with open(f"{self._proc}/{pid}/status", "rb") as file:
                for line in file:
                    if line.startswith(name):
                        return line.removeprefix(name)
        except OSError:
            pass  # it just ended; the next look will say so
        return None

    def _is_foreign(self, pid: int) -> bool:
        """Whether no process of our namespace can have had this number, because it has not been given out yet.

        Only asked inside a container, where the number may come from outside; where numbers have wrapped around since,
        the answer errs to `unknown`.
        """
        try:
            if os.readlink(f"{self._proc}/self/ns/pid") == _FIRST_PID_NAMESPACE:
                return False
            with open(f"{self._proc}/loadavg", "rb") as file:
                return pid > int(file.read().split()[-1])
        except (OSError, ValueError, IndexError):
            return False


def _started_at(ticks: int) -> datetime:
    # The difference of the two clocks is the moment of boot on today's wall clock, which is how a stepped clock does
    # not make old processes look young.
    boot_s = time.clock_gettime(time.CLOCK_REALTIME) - time.clock_gettime(time.CLOCK_BOOTTIME)
    return datetime.fromtimestamp(boot_s + ticks / _TICKS_PER_S, UTC)
