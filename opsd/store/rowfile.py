"""Small journals below `fleet/` of what operators set: on the disk before it holds. A few rows a year, never rotated.

What is lost here could let an intent execute that somebody wanted stopped, so that a line which makes no sense is no
line to pass over: the whole file counts as unreadable until somebody sets anew. What the rows mean is
`opsd.core.modes`, `opsd.core.switches` and `opsd.core.profiles`.
"""

import errno
from typing import Generic, TypeVar

import msgspec

from opsd.model.mode import ModeRow
from opsd.model.profile import ProfileRow
from opsd.model.switch import SwitchRow
from opsd.ports import Files
from opsd.store.aside import free_name
from opsd.store.codec import decode, encode
from opsd.store.faults import Corrupt, StoreError, in_words
from opsd.store.layout import Layout

_BYTES_MAX = 1 << 22

R = TypeVar("R", ModeRow, SwitchRow, ProfileRow)


class _Found(msgspec.Struct, Generic[R], frozen=True):
    """`data` is what lies there, `good` the lines of `rows` in it; `problem` says what is wrong with another line."""

    data: bytes = b""
    good: bytes = b""
    rows: tuple[R, ...] = ()
    problem: str | None = None


class RowFile(Generic[R]):
    """Belongs to the one writer of a home."""

    def __init__(self, layout: Layout, files: Files, path: str, record: type[R]) -> None:
        self._layout = layout
        self._path = path
        self._record: type[R] = record
        self._files = files

    def load(self) -> tuple[tuple[R, ...], str | None]:
        """The rows that can be read, oldest first; why that may not be all of them, or None.

        A last line without its end was never promised to anybody, and is not there.
        """
        try:
            found = self._read()
        except OSError as error:
            return (), f"{self._path}: {in_words(error)}"
        return found.rows, found.problem

    def append(self, row: R) -> None:
        """On the disk when this returns. What was unreadable is kept beside, and the file begins anew without it.

        Raises:
            StoreError: the file is as it was; the message names it and what to do.
        """
        try:
            self._append(row)
        except OSError as error:
            raise StoreError(
                f"{self._path} cannot be written: {in_words(error)}; make room on the disk or mend its permissions"
            ) from error

    def _append(self, row: R) -> None:
        found = self._read()
        if found.data == found.good:
            if not found.data:
                self._make_lasting()
            self._files.append(self._path, encode(row), sync=True)
            return
        self._files.replace(free_name(self._files, self._path, row.timestamp), found.data, sync=True)
        self._files.replace(self._path, found.good + encode(row), sync=True)

    def _make_lasting(self) -> None:
        """An empty file whose name and folders are flushed, so that only the row itself can still go wrong."""
        self._files.make_dirs(self._path.rpartition("/")[0])
        self._files.append(self._path, b"", sync=True)
        for folder in self._layout.folders_above(self._path):
            self._files.sync(folder)

    def _read(self) -> _Found[R]:
        try:
            stat, data = self._files.read(self._path, 0, _BYTES_MAX)
        except FileNotFoundError:
            return _Found()
        if stat.size_bytes > _BYTES_MAX:
            raise OSError(errno.EFBIG, f"{stat.size_bytes} bytes, and no such file is that large", self._path)
        rows, good, problem = [], [], None
        for number, line in enumerate(data.split(b"\n")[:-1], start=1):
            try:
                rows.append(decode(line, self._record, self._path))
                good.append(line + b"\n")
            except Corrupt as error:
                problem = problem or f"{self._path}, line {number}: {error.where}: {error.problem}"
        return _Found(data, b"".join(good), tuple(rows), problem)
