"""Two stand-ins for the disk: one that forgets what was never flushed, and one that fails when told to.

`MemoryFiles` is held to the same tests as `opsd.disk.Disk`; `FaultyFiles` wraps either.
"""

import copy
import errno
import os
from collections.abc import Callable, Iterator
from random import Random
from typing import TypeVar

from opsd.ports import Files, FileStat

R = TypeVar("R")


class _File:
    kind = "file"

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.data = b""
        self.flushed = b""
        self.mtime_ns = 0

    def after_power_cut(self, luck: Random | None) -> "_File":
        """What was flushed; with luck a part of what was written since, but never anything that was not."""
        survivor = _File(self.inode)
        survivor.data = survivor.flushed = self.flushed
        survivor.mtime_ns = self.mtime_ns
        if luck is not None and self.data.startswith(self.flushed):
            survivor.data = survivor.flushed = self.data[: luck.randint(len(self.flushed), len(self.data))]
        return survivor


class _Folder:
    kind = "dir"

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.entries: dict[str, _File | _Folder] = {}
        self.mtime_ns = 0
        # Every state of the folder since its last flush: a crash leaves one of them, since names change in order.
        self.possible: list[dict[str, _File | _Folder]] = [{}]

    def put(self, changes: dict[str, "_File | _Folder | None"], mtime_ns: int) -> None:
        self.mtime_ns = mtime_ns
        merged = self.entries | changes
        self.entries = {name: node for name, node in merged.items() if node is not None}
        self.possible.append(self.entries)

    def after_power_cut(self, luck: Random | None) -> "_Folder":
        survivor = _Folder(self.inode)
        survivor.mtime_ns = self.mtime_ns
        left = luck.choice(self.possible) if luck is not None else self.possible[0]
        survivor.entries = {name: node.after_power_cut(luck) for name, node in left.items()}
        survivor.possible = [survivor.entries]
        return survivor


class MemoryFiles:
    """`opsd.ports.Files` in memory; `after_power_cut` is what a machine finds that lost power at this moment.

    Without luck nothing survives that was not flushed. With luck each folder goes back to some state since its last
    flush and each file keeps some part of what was appended since its own.
    """

    def __init__(self, *folders: str) -> None:
        self._count = 0
        self._root = _Folder(0)
        for folder in folders:
            self.make_dirs(folder)
            for above in _above(folder + "/."):
                self.sync(above)

    def after_power_cut(self, luck: Random | None = None) -> "MemoryFiles":
        survivor = copy.copy(self)
        survivor._root = self._root.after_power_cut(luck)
        return survivor

    def flush(self) -> None:
        """All that was ever written is safe now, as some while after any write it is."""
        _flush(self._root)

    def stat(self, path: str) -> FileStat | None:
        try:
            return _stat(self._find(path))
        except FileNotFoundError:
            return None

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        file = self._file(path)
        return _stat(file), file.data[offset : offset + size_bytes]

    def scan(self, path: str) -> list[tuple[str, str]]:
        return [(name, node.kind) for name, node in self._folder(path).entries.items()]

    def real(self, path: str) -> str:
        return os.path.normpath(path)

    def make_dirs(self, path: str) -> None:
        folder = self._root
        for name in path.strip("/").split("/"):
            if name not in folder.entries:
                folder.put({name: _Folder(self._next())}, self._stamp())
            node = folder.entries[name]
            if not isinstance(node, _Folder):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            folder = node

    def append(self, path: str, data: bytes, *, sync: bool) -> int:
        folder, name = self._parent(path)
        new = name not in folder.entries
        if new:
            folder.put({name: _File(self._next())}, self._stamp())
        file = self._file(path)
        file.data += data
        file.mtime_ns = self._stamp()
        if sync:
            self.sync(path)
            if new:
                self.sync(path.rpartition("/")[0])
        return len(file.data)

    def replace(self, path: str, data: bytes, *, sync: bool) -> None:
        folder, name = self._parent(path)
        if isinstance(folder.entries.get(name), _Folder):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        file = _File(self._next())
        file.data = data
        file.mtime_ns = self._stamp()
        folder.put({f".{name}.tmp": file}, file.mtime_ns)
        folder.put({f".{name}.tmp": None, name: file}, file.mtime_ns)
        if sync:
            file.flushed = data
            self.sync(path.rpartition("/")[0])

    def sync(self, path: str) -> None:
        node = self._find(path)
        if isinstance(node, _File):
            node.flushed = node.data
        else:
            node.possible = [node.entries]

    def truncate(self, path: str, size_bytes: int) -> None:
        file = self._file(path)
        file.data = file.data[:size_bytes].ljust(size_bytes, b"\0")
        file.mtime_ns = self._stamp()

    def rename(self, path: str, to: str) -> None:
        (source, name), (target, new_name) = self._parent(path), self._parent(to)
        if name not in source.entries:
            raise _missing(path)
        node = source.entries[name]
        if source is target:
            source.put({name: None, new_name: node}, self._stamp())
        else:
            target.put({new_name: node}, self._stamp())
            source.put({name: None}, self._stamp())

    def remove(self, path: str) -> None:
        folder, name = self._parent(path)
        self._file(path)
        folder.put({name: None}, self._stamp())

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _stamp(self) -> int:
        """The time of a write; here each is later than the one before, and that is all."""
        return self._next()

    def _find(self, path: str) -> "_File | _Folder":
        node: _File | _Folder = self._root
        for name in filter(None, path.split("/")):
            if not isinstance(node, _Folder) or name not in node.entries:
                raise _missing(path)
            node = node.entries[name]
        return node

    def _file(self, path: str) -> _File:
        node = self._find(path)
        if not isinstance(node, _File):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return node

    def _folder(self, path: str) -> _Folder:
        node = self._find(path)
        if not isinstance(node, _Folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return node

    def _parent(self, path: str) -> tuple[_Folder, str]:
        folder, _, name = path.rpartition("/")
        return self._folder(folder), name


class Trouble:
    """One kind of failure that was asked for; `fired` counts how often it struck, for the test to insist on."""

    def __init__(self, operation: str, error: int, path: str, skip: int, times: int) -> None:
        self.operation = operation
        self.error = error
        self.path = path
        self._skip = skip
        self._times = times
        self.fired = 0

    def meets(self, operation: str, path: str) -> bool:
        if operation != self.operation or self.path not in path or self.fired >= self._times:
            return False
        if self._skip:
            self._skip -= 1
            return False
        self.fired += 1
        return True


class FaultyFiles:
    """`opsd.ports.Files` over another one. Trouble strikes before the operation does anything; `calls` lists them."""

    def __init__(self, inner: Files) -> None:
        self._inner = inner
        self._troubles: list[Trouble] = []
        self.calls: list[tuple[str, str]] = []

    def fail(self, operation: str, error: int, *, path: str = "", skip: int = 0, times: int = 1 << 30) -> Trouble:
        """From now on `operation` on paths containing `path` raises `error`, after `skip` good ones, `times` times."""
        trouble = Trouble(operation, error, path, skip, times)
        self._troubles.append(trouble)
        return trouble

    def heal(self) -> None:
        self._troubles.clear()

    def stat(self, path: str) -> FileStat | None:
        return self._try("stat", path, lambda: self._inner.stat(path))

    def read(self, path: str, offset: int, size_bytes: int) -> tuple[FileStat, bytes]:
        return self._try("read", path, lambda: self._inner.read(path, offset, size_bytes))

    def scan(self, path: str) -> list[tuple[str, str]]:
        return self._try("scan", path, lambda: self._inner.scan(path))

    def real(self, path: str) -> str:
        return self._try("real", path, lambda: self._inner.real(path))

    def make_dirs(self, path: str) -> None:
        self._try("make_dirs", path, lambda: self._inner.make_dirs(path))

    def append(self, path: str, data: bytes, *, sync: bool) -> int:
        return self._try("append", path, lambda: self._inner.append(path, data, sync=sync))

    def replace(self, path: str, data: bytes, *, sync: bool) -> None:
        self._try("replace", path, lambda: self._inner.replace(path, data, sync=sync))

    def sync(self, path: str) -> None:
        self._try("sync", path, lambda: self._inner.sync(path))

    def truncate(self, path: str, size_bytes: int) -> None:
        self._try("truncate", path, lambda: self._inner.truncate(path, size_bytes))

    def rename(self, path: str, to: str) -> None:
        self._try("rename", path, lambda: self._inner.rename(path, to))

    def remove(self, path: str) -> None:
        self._try("remove", path, lambda: self._inner.remove(path))

    def _try(self, operation: str, path: str, act: Callable[[], R]) -> R:
        self.calls.append((operation, path))
        for trouble in self._troubles:
            if trouble.meets(operation, path):
                raise OSError(trouble.error, os.strerror(trouble.error), path)
        return act()


def _stat(node: _File | _Folder) -> FileStat:
    if isinstance(node, _Folder):
        return FileStat(kind="dir", device=1, inode=node.inode, size_bytes=0, mtime_ns=node.mtime_ns)
    return FileStat(kind="file", device=1, inode=node.inode, size_bytes=len(node.data), mtime_ns=node.mtime_ns)


def _flush(node: _File | _Folder) -> None:
    if isinstance(node, _File):
        node.flushed = node.data
        return
    node.possible = [node.entries]
    for below in node.entries.values():
        _flush(below)


def _missing(path: str) -> OSError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _above(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path
