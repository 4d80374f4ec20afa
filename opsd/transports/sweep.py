"""The sweep: a regular look at the stats of all watched files, which finds every change that no notice told of.

It is the source of truth beside `opsd.transports.watch`, and carries the load alone where nothing can be watched. What
changed in a file is for the next pass to read. Plain and synchronous: the caller runs it in a worker thread, about once
a second.
"""

from collections.abc import Collection, Iterable, Mapping, Set

import msgspec

from opsd.model.ids import LoopId
from opsd.ports import Files, FileStat
from opsd.transports.artifacts import CHECKOUT_FILES, LOOP_FILES, loop_folder, runtime_folder
from opsd.transports.notices import EVENT_LOG, Notice


class Swept(msgspec.Struct, frozen=True):
    """`changed` names what to look at. `appeared` and `vanished` are loop folders, as notices with their ids.

    `moved` are checkouts whose folders are other ones than before, which a watcher does not notice.
    """

    changed: frozenset[Notice] = frozenset()
    appeared: frozenset[Notice] = frozenset()
    vanished: frozenset[Notice] = frozenset()
    moved: frozenset[str] = frozenset()


class Pace(msgspec.Struct, frozen=True):
    """Seconds. A folder is looked at every time while it is lively, else once in `idle_s`; it counts as lively for
    `lively_s` after a change. A change that was not told of within `grace_s` counts as missed."""

    idle_s: float = 10.0
    lively_s: float = 60.0
    grace_s: float = 0.5


STANDARD_PACE = Pace()
_LOOP_NAMES = (EVENT_LOG, *LOOP_FILES)
# Replaced by rename, which changes the folder's own time; or, for the configuration, in no hurry. They are not asked
# about while their folder stays as it is: stats are what a sweep costs.
_NOT_WRITTEN_IN_PLACE = frozenset({"run-summary.json", "config.json"})
_GOLDEN_RATIO = 0.6180339887


class Sweep:
    """Remembers how every folder looked last time. `missed_count` is how many changes came without any notice."""

    def __init__(self, files: Files, pace: Pace = STANDARD_PACE) -> None:
        self._files = files
        self._pace = pace
        self._folders: dict[Notice, _Folder] = {}
        self._unannounced: dict[Notice, float] = {}
        self.missed_count = 0

    def set_loops(self, loops: Mapping[str, Collection[LoopId]]) -> None:
        """Sweep these loops, given by checkout, from now on; what is known of those that stay is kept.

        The `loops` folders of their checkouts are listed as well, so that loops nobody named are reported.
        """
        folders: dict[Notice, _Folder] = {}
        for repo_path, loop_ids in loops.items():
            notice = Notice(repo_path)
            folders[notice] = self._folders.get(notice) or _Checkout(repo_path, loop_ids)
            for loop_id in loop_ids:
                notice = Notice(repo_path, loop_id)
                folders[notice] = self._folders.get(notice) or _Folder(loop_folder(repo_path, loop_id), _LOOP_NAMES)
        self._folders = folders  # in one step: a sweep may be under way in another thread

    def announced(self, notices: Iterable[Notice]) -> None:
        """A watcher told of these: changes found there are not missed ones."""
        for notice in notices:
            self._unannounced.pop(notice, None)
            if (folder := self._folders.get(notice)) is not None:
                folder.is_announced = True

    def look(self, now_s: float, lively: Set[Notice] = frozenset()) -> Swept:
        """Look at what is due at `now_s` (monotonic), and at all of `lively`: what runs or waits for somebody.

        What is seen for the first time counts as changed, though not as missed: nothing of it is known yet.
        """
        self._count_missed(now_s)
        found = _Findings()
        folders = self._folders
        for notice in lively | {Notice(notice.repo_path) for notice in lively}:
            if notice in folders:
                folders[notice].lively_until_s = max(folders[notice].lively_until_s, now_s)
        for index, (notice, folder) in enumerate(folders.items()):
            if folder.due_s > now_s and folder.lively_until_s < now_s:
                continue
            is_first = not folder.is_known
            # Idle folders take turns all over the interval instead of being looked at all at once.
            turn = (index * _GOLDEN_RATIO) % 1.0 if is_first else 1.0
            folder.due_s = now_s + self._pace.idle_s * turn
            is_announced, folder.is_announced = folder.is_announced, False
            if folder.look(self._files, notice, found) and not is_first:
                folder.lively_until_s = now_s + self._pace.lively_s
                if not is_announced:
                    self._unannounced.setdefault(notice, now_s)
        return found.swept()

    def _count_missed(self, now_s: float) -> None:
        """Only some time after the fact: a notice may be on its way while the sweep passes by."""
        for notice, found_s in list(self._unannounced.items()):
            if now_s - found_s >= self._pace.grace_s:
                self.missed_count += 1
                self._unannounced.pop(notice, None)


class _Findings:
    def __init__(self) -> None:
        self.changed: set[Notice] = set()
        self.appeared: set[Notice] = set()
        self.vanished: set[Notice] = set()
        self.moved: set[str] = set()

    def swept(self) -> Swept:
        changed, appeared, vanished = map(frozenset, (self.changed, self.appeared, self.vanished))
        return Swept(changed, appeared, vanished, frozenset(self.moved))


class _Folder:
    """One folder and the files in it that matter, as they were last seen.

    Files that were not there are only asked for again once the folder's own time changed, which it does whenever a
    name in it comes or goes; and once more after that, in case two names came within one tick of the clock.
    """

    __slots__ = (
        "_ask_again",
        "_names",
        "_path",
        "_seen",
        "_stat",
        "_usual",
        "due_s",
        "is_announced",
        "is_known",
        "lively_until_s",
    )

    def __init__(self, path: str, names: tuple[str, ...]) -> None:
        self.due_s = 0.0
        self.lively_until_s = 0.0
        self.is_announced = False
        self.is_known = False
        self._path = path
        self._names = names
        self._stat: FileStat | None = None
        self._ask_again = True
        self._seen: dict[str, FileStat] = {}
        self._usual: tuple[str, ...] = ()

    def look(self, files: Files, notice: Notice, found: _Findings) -> bool:
        """Whether any of the files changed since the last look; what did is added to `found`."""
        stat, before = _stat(files, self._path), self._stat
        if _is_another(stat, before):
            found.moved.add(notice.repo_path)
        all_names = stat != before or self._ask_again
        self._stat, self._ask_again = stat, stat != before
        is_changed = not self.is_known or (stat is None) != (before is None)
        for name in self._names if all_names else self._usual:
            is_changed |= self._differs(files, name)
        if all_names:
            self._usual = tuple(name for name in self._seen if name not in _NOT_WRITTEN_IN_PLACE)
        self.is_known = True
        if is_changed:
            found.changed.add(notice)
        return is_changed

    def _differs(self, files: Files, name: str) -> bool:
        stat = _stat(files, f"{self._path}/{name}") if self._stat is not None else None
        if stat == self._seen.get(name):
            return False
        if stat is None:
            del self._seen[name]
        else:
            self._seen[name] = stat
        return True


class _Checkout(_Folder):
    """A checkout's own folder, and which loop folders there are in it."""

    __slots__ = ("_list_again", "_listed", "_loops_stat")

    def __init__(self, repo_path: str, loop_ids: Collection[LoopId]) -> None:
        super().__init__(runtime_folder(repo_path), CHECKOUT_FILES)
        self._listed = frozenset[str](loop_ids)
        self._loops_stat: FileStat | None = None
        self._list_again = True

    def look(self, files: Files, notice: Notice, found: _Findings) -> bool:
        stat, before = _stat(files, f"{self._path}/loops"), self._loops_stat
        if _is_another(stat, before):
            found.moved.add(notice.repo_path)
        if stat != before or self._list_again:
            self._loops_stat, self._list_again = stat, stat != before
            listed = frozenset(_loop_names(files, f"{self._path}/loops"))
            found.appeared |= {Notice(notice.repo_path, name) for name in listed - self._listed}
            found.vanished |= {Notice(notice.repo_path, name) for name in self._listed - listed}
            self._listed = listed
        return super().look(files, notice, found)


def _stat(files: Files, path: str) -> FileStat | None:
    """None also for what may not be looked at: the pass will say so, and must not be told every second."""
    try:
        return files.stat(path)
    except OSError:
        return None


def _is_another(stat: FileStat | None, before: FileStat | None) -> bool:
    return stat is not None and before is not None and stat.inode != before.inode


def _loop_names(files: Files, folder: str) -> list[str]:
    try:
        return [name for name, kind in files.scan(folder) if kind == "dir"]
    except OSError:
        return []
