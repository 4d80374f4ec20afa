"""One small file that another program rewrites: looked at cheaply, and believed only once it is whole.

The runtime truncates and writes in place, so that whoever looks in between finds a file empty or half there. Such a
file is `settling`: never gone, never broken, until it has stayed that way for longer than a writer can take.
Which files there are, and what is in them, is `opsd.transports.artifacts`.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from opsd.model.observation import Artifact
from opsd.model.runtime import Presence
from opsd.ports import Files, FileStat

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNPARSABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# A file system's clock may tick as rarely as every few hundredths of a second: what is rewritten at the same size
# within one tick looks unchanged, so that a file is believed unchanged only if it was already older when read.
_TICK = timedelta(milliseconds=50)


class NotAnObjectError(ValueError):
    """The file is whole JSON, and not what it must be: no writer at work explains that."""


class SmallFile(Generic[T]):
    """Follows one file. `parse` turns its bytes into the value.

    Raises (parse): NotAnObjectError, or any of msgspec's decoding errors for what may be half written.
    """

    __slots__ = ("_kept", "_parse", "_path", "_size_bytes_max")

    def __init__(self, path: str, parse: Callable[[bytes], T | None], *, size_bytes_max: int = 1024 * 1024) -> None:
        self._path = path
        self._parse = parse
        self._size_bytes_max = size_bytes_max
        # The stat that proves the artifact current (None: look again), and the artifact: of the file, or of the folder
        # where there is no file. They change in one step, because loops of one checkout share its files and may be
        # looked at in several threads.
        self._kept: tuple[FileStat | None, Artifact[T]] = (None, Artifact())

    def look(self, files: Files, now: datetime, settle_s: float, *, folder: FileStat | None = None) -> Artifact[T]:
        """What the file says now; one stat where it has not changed. `settle_s` is how long settling may take.

        A file that was not there still is not as long as its folder's own time stands still: then not even that stat.
        """
        proof, artifact = self._kept
        if proof is not None and artifact.presence is Presence.ABSENT and proof == folder:
            return artifact
        try:
            # The stat comes before the read: a change in between makes the next stat differ.
            stat = files.stat(self._path)
            if stat is None:
                self._kept = folder if folder is not None and is_clean(folder, now) else None, Artifact()
            elif stat != proof:
                artifact = self._read(files, stat, artifact, now)
                self._kept = stat if is_clean(stat, now) else None, artifact
        except FileNotFoundError:
            self._kept = None, Artifact()  # removed since the stat
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            self._kept = None, self._unreadable(problem, artifact, now)
        return self._given_up_on(self._kept[1], now, settle_s)

    def _read(self, files: Files, stat: FileStat, before: Artifact[T], now: datetime) -> Artifact[T]:
        if stat.kind != "file":
            return self._unreadable("is not a regular file", before, now)
        if stat.size_bytes > self._size_bytes_max:
            problem = f"is {stat.size_bytes} bytes long, more than {self._size_bytes_max}"
            return self._unreadable(problem, before, now)
        mtime = written_at(stat)
        _, data = files.read(self._path, 0, self._size_bytes_max)
        try:
            return Artifact(Presence.PRESENT, self._parse(data), mtime=mtime)
        except NotAnObjectError as error:
            return self._unreadable(str(error), before, now, mtime)
        except _UNPARSABLE:
            return Artifact(Presence.SETTLING, before.value, _since(Presence.SETTLING, before, now), mtime=mtime)

    def _given_up_on(self, artifact: Artifact[T], now: datetime, settle_s: float) -> Artifact[T]:
        """A file that has been settling for too long is broken. It keeps being looked at like any other.

        At exactly `settle_s` it is: that is the moment for which another look is asked (`opsd.core.wake`).
        """
        if artifact.presence is not Presence.SETTLING or artifact.since is None:
            return artifact
        if now - artifact.since < timedelta(seconds=settle_s):
            return artifact
        problem = f"{self._path} has been empty or no JSON for {settle_s:g} s"
        return Artifact(Presence.UNREADABLE, artifact.value, artifact.since, problem, artifact.mtime)

    def _unreadable(self, what: str, before: Artifact[T], now: datetime, mtime: datetime | None = None) -> Artifact[T]:
        since = _since(Presence.UNREADABLE, before, now)
        return Artifact(Presence.UNREADABLE, before.value, since, f"{self._path} {what}", mtime)


def _since(presence: Presence, before: Artifact[T], now: datetime) -> datetime:
    return before.since if before.presence is presence and before.since is not None else now


def is_clean(stat: FileStat, now: datetime) -> bool:
    """Whether a later stat equal to this one proves that nothing was written after a read at `now`."""
    return written_at(stat) < now - _TICK


def written_at(stat: FileStat) -> datetime:
    """The file's own time of last writing."""
    return _EPOCH + timedelta(microseconds=stat.mtime_ns // 1000)
