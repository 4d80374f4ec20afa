"""The real side of the `Files` port: reading without blocking, appending whole rows, replacing whole files.

Nothing here knows what the bytes mean or where a file belongs: our own paths are `opsd.store.layout`, the runtime's are
the transports' business. Each path has one writer at a time; that is the caller's to see to.
"""

import errno
import os
import stat

from opsd.exchange import Exchanger, claim
from opsd.ports import FileStat

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir"}
# Readable by the repository's group like every neighbour in `.superloop`; the umask may take more away.
_FILE_MODE = 0o644
_FOLDER_MODE = 0o755


class Disk:
    """`opsd.ports.Files` over the operating system."""

    def __init__(self) -> None:
        self._exchanger = Exchanger()

    def stat(self, path: str) -> FileStat | None:
        try:
            return _file_stat(os.stat(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        fd = _open_to_read(path)
        try:
            found = _file_stat(os.fstat(fd))
            if found.kind != "file":
                raise _not_a_file(path)
            # What grew since the stat is left for the next read, so that bytes and stat tell the same story.
            wanted = min(size_bytes, max(0, found.size_bytes - offset))
            return found, os.pread(fd, wanted, offset) if wanted else b""
        finally:
            os.close(fd)

    def scan(self, path: str) -> list[tuple[str, str]]:
        with os.scandir(path) as entries:
            return [(entry.name, _entry_kind(entry)) for entry in entries if _is_utf8(entry.name)]

    def real(self, path: str) -> str:
        return os.path.realpath(path)

    def make_dirs(self, path: str) -> None:
        os.makedirs(path, _FOLDER_MODE, exist_ok=True)

    def append(self, path: str, data: bytes, *, sync: bool) -> int:
        # Non-blocking, or a FIFO put in the file's place would hold the writer for ever.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, _FILE_MODE)
        try:
            found = _file_stat(os.fstat(fd))
            if found.kind != "file":
                raise _not_a_file(path)
            try:
                _write_all(fd, data)
                if sync:
                    os.fdatasync(fd)
            except OSError:
                # A failed flush is cut off as well: the kernel may have dropped the pages, and only rows written
                # anew would ever be flushed again.
                _cut_off(fd, found.size_bytes)
                raise
        finally:
            os.close(fd)
        if sync and found.size_bytes == 0:
            self.sync(_folder(path))
        return found.size_bytes + len(data)

    def replace(self, path: str, data: bytes, *, sync: bool) -> None:
        beside = temporary_name(path)
        # What must survive a power cut is a new file: an old copy written over could come back half old, half new.
        claimed = None if sync else claim(beside)
        fd = _create(beside) if claimed is None else claimed
        try:
            try:
                _write_all(fd, data)
                if claimed is not None:
                    os.ftruncate(fd, len(data))
                if sync:
                    os.fsync(fd)
            finally:
                os.close(fd)
            if sync or not self._exchanger.swap(beside, path):
                os.replace(beside, path)
        except OSError:
            _remove_if_there(beside)
            raise
        if sync:
            # A power cut can undo a rename that was never flushed.
            self.sync(_folder(path))

    def sync(self, path: str) -> None:
        fd = _open_to_read(path)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def truncate(self, path: str, size_bytes: int) -> None:
        os.truncate(path, size_bytes)

    def rename(self, path: str, to: str) -> None:
        os.replace(path, to)

    def remove(self, path: str) -> None:
        os.unlink(path)


def temporary_name(path: str) -> str:
    """Where `replace` writes first; what lies there is a former version or a crash's leftover, and means nothing."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.tmp"


def _open_to_read(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        # What opening a Unix socket answers; to our caller it is one more thing that is no regular file.
        if error.errno == errno.ENXIO:
            raise _not_a_file(path) from error
        raise


def _create(path: str) -> int:
    """A new file at `path`, never what a link there points to; the leftover of a crash gives way."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, _FILE_MODE)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, flags, _FILE_MODE)


def _write_all(fd: int, data: bytes) -> None:
    """One write; after a short one the rest is tried as well, because only then the kernel says what is wrong."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def _cut_off(fd: int, size_bytes: int) -> None:
    try:
        os.ftruncate(fd, size_bytes)
    except OSError:
        pass  # the error that brought us here is the one to report; readers pass over a torn tail


def _remove_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # the error that brought us here is the one to report, and a leftover is harmless


def _file_stat(found: os.stat_result) -> FileStat:
    return FileStat(
        kind=_KINDS.get(stat.S_IFMT(found.st_mode), "other"),
        device=found.st_dev,
        inode=found.st_ino,
        size_bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
    )


def _entry_kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "dir"
        return "file" if entry.is_file() else "other"
    except OSError:
        return "other"  # a link in a circle, or to where we may not look: its neighbours are listed all the same


def _is_utf8(name: str) -> bool:
    # Bytes that are no UTF-8 reach us as lone surrogates, which no JSON document could carry on.
    return not any("\udc80" <= letter <= "\udcff" for letter in name)


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _not_a_file(path: str) -> OSError:
    return OSError(errno.EINVAL, "not a regular file", path)
