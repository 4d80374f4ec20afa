"""The machine that everything runs on: one disk in memory that ticks by the virtual clock, fails and is killed.

Our own files and the runtime's lie on different disks, so that a power cut takes only what we promised to keep, and so
that a write of ours into the runtime's files is caught in the act.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

from opsd.disk import temporary_name
from opsd.ports import Files, FileStat
from tests.doubles.clock import VirtualClock
from tests.doubles.files import MemoryFiles, R

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WRITES = frozenset({"make_dirs", "append", "replace", "sync", "truncate", "rename", "remove"})


class Killed(BaseException):
    """The process is gone: nothing in it could catch this."""


class ClockedFiles(MemoryFiles):
    """A disk whose files bear the time of the virtual clock."""

    def __init__(self, clock: VirtualClock, *folders: str) -> None:
        self._clock = clock
        super().__init__(*folders)

    def _stamp(self) -> int:
        return (self._clock.now() - _EPOCH) // timedelta(microseconds=1) * 1000


class Machine:
    """`opsd.ports.Files` as opsd is given it. `own` holds what lies below `root`, `others` everything else."""

    def __init__(self, own: MemoryFiles, others: Files, root: str) -> None:
        self.own = own
        self.others = others
        self.fired: Counter[str] = Counter()
        """How often each kind of refused operation struck."""
        self._root = root
        self._refusals: dict[str, tuple[int, str]] = {}
        self._calls_left: int | None = None
        self._torn = False

    def refuse(self, operation: str, error: int, path: str = "") -> None:
        """From now on `operation` on paths containing `path` fails, before it has done anything."""
        self._refusals[operation] = error, path

    @property
    def refuses(self) -> bool:
        return bool(self._refusals)

    def heal(self) -> None:
        self._refusals.clear()
        self._calls_left = None

    def kill_at(self, call: int, *, torn: bool) -> None:
        """Die at the `call`-th write from now, counted from 1; `torn`, with half of its bytes written."""
        self._calls_left, self._torn = call - 1, torn

    def lose_power(self, luck: Random | None) -> None:
        self.own = self.own.after_power_cut(luck)

    def stat(self, path: str) -> FileStat | None:
        return self._try("stat", path, lambda disk: disk.stat(path))

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        return self._try("read", path, lambda disk: disk.read(path, offset, size_bytes))

    def scan(self, path: str) -> list[tuple[str, str]]:
        return self._try("scan", path, lambda disk: disk.scan(path))

    def real(self, path: str) -> str:
        return self._try("real", path, lambda disk: disk.real(path))

    def make_dirs(self, path: str) -> None:
        self._try("make_dirs", path, lambda disk: disk.make_dirs(path))

    def append(self, path: str, data: bytes, *, sync: bool) -> int:
        def half(disk: Files) -> None:
            disk.append(path, data[: len(data) // 2], sync=False)

        return self._try("append", path, lambda disk: disk.append(path, data, sync=sync), half)

    def replace(self, path: str, data: bytes, *, sync: bool) -> None:
        def half(disk: Files) -> None:
            disk.append(temporary_name(path), data[: len(data) // 2], sync=False)

        self._try("replace", path, lambda disk: disk.replace(path, data, sync=sync), half)

    def sync(self, path: str) -> None:
        if self._root.startswith(path):
            self.own.sync(path)  # a folder above our own: flushing its names changes nothing in it
        else:
            self._try("sync", path, lambda disk: disk.sync(path))

    def truncate(self, path: str, size_bytes: int) -> None:
        self._try("truncate", path, lambda disk: disk.truncate(path, size_bytes))

    def rename(self, path: str, to: str) -> None:
        self._try("rename", path, lambda disk: disk.rename(path, to))

    def remove(self, path: str) -> None:
        self._try("remove", path, lambda disk: disk.remove(path))

    def _try(
        self, operation: str, path: str, act: Callable[[Files], R], half: Callable[[Files], None] | None = None
    ) -> R:
        ours = path.startswith(self._root)
        disk: Files = self.own if ours else self.others
        if operation in _WRITES:
            assert ours, f"{operation} of {path}, which is not our file"
            if self._calls_left is not None:
                if self._calls_left == 0:
                    if self._torn and half is not None:
                        half(disk)
                    raise Killed
                self._calls_left -= 1
        if self._refusals and (refusal := self._refusals.get(operation)) is not None and refusal[1] in path:
            self.fired[f"{operation} {errno.errorcode[refusal[0]]}"] += 1
            raise OSError(refusal[0], os.strerror(refusal[0]), path)
        return act(disk)
