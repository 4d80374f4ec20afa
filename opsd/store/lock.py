"""One writer per home: a lock that ends with its process.

The lock is the kernel's (flock), so a stale file means nothing; its content only tells people who the holder is, which
is read in `holder`.
"""

import fcntl
import os
import threading
from types import TracebackType

from opsd.store.codec import encode
from opsd.store.faults import StoreError
from opsd.store.holder import Holder, read_holder

_POLL_S = 0.05


class HomeLocked(StoreError):  # noqa: N818  it names a state of the home, as its siblings do
    """Another process writes in this home. `holder` is None if it has not yet said who it is."""

    def __init__(self, path: str, holder: Holder | None) -> None:
        if holder is None:
            who, remedy = "another process", "try again in a moment"
        elif holder.socket_path is None:
            who = f"the command with pid {holder.pid} since {holder.started_at.isoformat()}"
            remedy = f"wait for it to end, or stop pid {holder.pid}"
        else:
            who = f"the opsd with pid {holder.pid} since {holder.started_at.isoformat()}"
            remedy = f"ask it over {holder.socket_path}, or stop pid {holder.pid}"
        super().__init__(f"{path} is held by {who}; {remedy}")
        self.path = path
        self.holder = holder


class HomeLock:
    """Held from `acquire` until `release`, the end of the `with` block, or the end of the process."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def acquire(cls, path: str, holder: Holder, *, wait_s: float = 0.0) -> "HomeLock":
        """Become the writer of the home whose lock file is at `path`, trying again for about `wait_s` seconds.

        Raises:
            HomeLocked: still held by another when the wait is over.
            StoreError: the lock file cannot be made or opened.
        """
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except OSError as error:
            raise StoreError(f"{os.path.dirname(path)} cannot be made: {error.strerror}") from error
        for attempt in range(max(0, round(wait_s / _POLL_S)) + 1):
            if attempt:
                # flock knows no timeout, and nobody tells us of a release: there is nothing to wait for but time.
                threading.Event().wait(_POLL_S)
            fd = _try(path)
            if fd is not None:
                os.ftruncate(fd, 0)
                os.pwrite(fd, encode(holder), 0)
                return cls(path, fd)
        raise HomeLocked(path, read_holder(path))

    def still_ours(self) -> bool:
        """False once somebody removed or replaced the file: another process may then hold a lock of its own."""
        return _is_file_at(self._fd, self.path)

    def release(self) -> None:
        """The file stays, emptied: removing it would let two processes lock two files of the same name."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            # Said aloud: closing alone would leave the lock to a child that is between its fork and its exec.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "HomeLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _try(path: str) -> int | None:
    """The locked file, or None while another process holds it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened for writing: {error.strerror}; who owns the folder?") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_file_at(fd, path):
            return fd
    except BlockingIOError:
        pass
    except OSError as error:
        os.close(fd)
        raise StoreError(f"{path} cannot be locked: {error.strerror}") from error
    os.close(fd)
    return None


def _is_file_at(fd: int, path: str) -> bool:
    try:
        ours, there = os.fstat(fd), os.stat(path)
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
