"""Change notice: the operating system tells within milliseconds that a file of some loop has changed.

It is fast and not to be relied upon: watchers lose changes silently (full queues, exhausted limits, new folders, roots
that were moved), so what it says are hints, and `opsd.transports.sweep` is the truth. One watcher serves all folders of
all checkouts, since each takes an inotify instance and a thread. It watches them one by one, not recursively: what the
roles write below them (logs, evidence) would only wake us up, and one odd name among it would end the watcher.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Set
from functools import partial

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec
import watchfiles
from anyio.abc import TaskGroup

from opsd.ports import Files
from opsd.transports.artifacts import runtime_folder
from opsd.transports.notices import Notice, notice_of

Heard = Callable[[Set[Notice]], None]
Folders = Mapping[str, tuple[int, int]]
"""Folders to watch, with device and inode: the same path may come to be another folder."""


class WatchStatus(msgspec.Struct, frozen=True):
    """`armed` while a watcher runs; `reason` says why not. `armed_count` grows with every (re-)arming."""

    armed: bool = False
    reason: str | None = "not started"
    armed_count: int = 0
    folder_count: int = 0


class Watch:
    """One source of notices over any number of checkouts, which may come and go while it runs.

    `debounce_ms` bounds how late a notice is on a busy fleet, `step_ms` how often an idle watcher wakes up.
    `retry_s` is the pause after a failure, which doubles up to `retry_s_max`, and how often a checkout without runtime
    folders is looked at again. `settle_s` is how long changes of folders are gathered before arming anew.
    """

    def __init__(
        self,
        files: Files,
        *,
        debounce_ms: int = 20,
        step_ms: int = 5,
        retry_s: float = 1.0,
        retry_s_max: float = 60.0,
        settle_s: float = 0.05,
    ) -> None:
        self._files = files
        self._debounce_ms = debounce_ms
        self._step_ms = step_ms
        self._retry_s = retry_s
        self._retry_s_max = retry_s_max
        self._settle_s = settle_s
        self._roots: frozenset[str] = frozenset()
        self._again = anyio.Event()
        self._live: set[_Watcher] = set()
        self.status = WatchStatus()

    def set_roots(self, repo_paths: Iterable[str]) -> None:
        """Watch these checkouts from now on."""
        roots = frozenset(repo_paths)
        if roots != self._roots:
            self._roots = roots
            self._again.set()

    def rearm(self) -> None:
        """Start a new watcher: what is watched is not what is there any more, or changes were missed."""
        self._again.set()

    async def run(self, heard: Heard) -> None:
        """Tell `heard` what may have changed, for ever; it is called on the event loop and must not block.

        What becomes watched is told at that moment: nobody knows what happened to it before.
        """
        pause_s = self._retry_s
        current: _Watcher | None = None
        async with anyio.create_task_group() as tasks:
            try:
                while True:
                    self._again = anyio.Event()
                    watcher = await self._arm(tasks, heard)
                    if watcher.fault is None:
                        # The old watcher goes only now that the new one is in place: no change falls in between.
                        heard(watcher.news_since(current))
                        _stop(current)
                        current = watcher
                        self.status = WatchStatus(True, None, self.status.armed_count + 1, len(watcher.folders))
                        await self._until_again(watcher)
                    if watcher.fault is None:
                        pause_s = self._retry_s
                        await anyio.sleep(self._settle_s)
                    else:
                        _stop(current)  # it may be what fills the limit that the new one ran into
                        current = None
                        await self._pause(watcher.fault, pause_s)
                        pause_s = min(pause_s * 2, self._retry_s_max)
            finally:
                for live in self._live:
                    live.stop.set()
                self.status = WatchStatus(False, "not running", self.status.armed_count)

    async def _arm(self, tasks: TaskGroup, heard: Heard) -> "_Watcher":
        """A watcher over what there is: in place, or with the fault that kept it from that."""
        roots = self._roots
        folders = await anyio.to_thread.run_sync(_find, self._files, roots)
        watcher = _Watcher(roots, folders, heard)
        tasks.start_soon(self._follow, watcher, name="watch folders")
        await watcher.settled.wait()
        if watcher.fault is None and await anyio.to_thread.run_sync(_find, self._files, roots) != folders:
            self._again.set()  # one came or went while the watcher was being put in place
        return watcher

    async def _until_again(self, watcher: "_Watcher") -> None:
        """Until a new watcher is needed; checkouts without their folders are looked at meanwhile."""
        missing = tuple(folder for folder in _fixed_folders(watcher.roots) if folder not in watcher.folders)
        while not self._again.is_set():
            with anyio.move_on_after(self._retry_s if missing else None):
                await self._again.wait()
            came = await anyio.to_thread.run_sync(partial(_any_there, missing)) if missing else False
            if came:
                return

    async def _pause(self, fault: str, pause_s: float) -> None:
        self.status = WatchStatus(False, f"file changes cannot be watched: {fault}", self.status.armed_count)
        self._again = anyio.Event()
        with anyio.move_on_after(pause_s):
            await self._again.wait()

    async def _follow(self, watcher: "_Watcher") -> None:
        self._live.add(watcher)
        try:
            # Not abandoned on cancellation: the thread ends within one step of `stop`, and must not outlive us.
            watcher.fault = await anyio.to_thread.run_sync(self._listen, watcher, limiter=anyio.CapacityLimiter(1))
        finally:
            self._live.discard(watcher)
        watcher.settled.set()
        if watcher.fault is not None:
            self._again.set()

    def _listen(self, watcher: "_Watcher") -> str | None:
        """Runs in a thread of its own: arming may take a second, and the waiting is done in native code.

        Ends when told to stop, or with the reason why it cannot go on.
        """
        batches = watchfiles.watch(
            *watcher.folders,
            watch_filter=None,
            debounce=self._debounce_ms,
            step=self._step_ms,
            stop_event=watcher.stop,
            rust_timeout=20 * self._step_ms,
            yield_on_timeout=True,
            raise_interrupt=False,
            force_polling=False,
            recursive=False,
            ignore_permission_denied=False,  # true would pass over an exhausted limit as well
        )
        while True:
            try:
                changes = next(batches, None)
            except (OSError, RuntimeError) as error:  # the library's own errors are RuntimeErrors
                return str(error)
            if changes is None:
                return None
            if not watcher.settled.is_set():  # changes or a timeout: either way the watcher is in place
                anyio.from_thread.run_sync(watcher.settled.set)
            if notices := {notice for _, path in changes if (notice := notice_of(path, watcher.roots))}:
                anyio.from_thread.run_sync(watcher.heard, notices)
            if any(watcher.is_unsettled_by(kind, path) for kind, path in changes):
                anyio.from_thread.run_sync(self.rearm)


class _Watcher:
    """One watcher, from being armed to its end. Apart from `stop`, what changes in it changes on the event loop."""

    def __init__(self, roots: frozenset[str], folders: Folders, heard: Heard) -> None:
        self.roots = roots
        self.folders = folders
        self.heard = heard
        self.stop = threading.Event()
        self.settled = anyio.Event()
        """In place, or failed to be."""
        self.fault: str | None = None

    def news_since(self, before: "_Watcher | None") -> set[Notice]:
        known = before.folders if before is not None else {}
        news = {folder for folder, identity in self.folders.items() if known.get(folder) != identity}
        return {notice for folder in news if (notice := notice_of(folder, self.roots))} | {
            Notice(root) for root in self.roots if runtime_folder(root) in news
        }

    def is_unsettled_by(self, kind: watchfiles.Change, path: str) -> bool:
        """Whether a watched folder is gone, or there is a new one to watch."""
        if kind is watchfiles.Change.deleted:
            return path in self.folders
        folder, _, name = path.rpartition("/")
        return (
            kind is watchfiles.Change.added
            and folder in self.folders
            and (folder.endswith("/loops") or name == "loops")
        )


def _stop(watcher: _Watcher | None) -> None:
    if watcher is not None:
        watcher.stop.set()


def _fixed_folders(roots: Iterable[str]) -> list[str]:
    """What each checkout has if a runtime ever ran in it."""
    return [folder for root in sorted(roots) for folder in (runtime_folder(root), f"{runtime_folder(root)}/loops")]


def _find(files: Files, roots: frozenset[str]) -> Folders:
    """Every folder whose files are watched; one that may not be read is left to the sweep."""
    found: dict[str, tuple[int, int]] = {}
    for folder in _fixed_folders(roots):
        try:
            stat = files.stat(folder)
            if stat is None or stat.kind != "dir" or not os.access(folder, os.R_OK | os.X_OK):
                continue
            found[folder] = (stat.device, stat.inode)
            names = files.scan(folder) if folder.endswith("/loops") else []
        except OSError:
            continue
        for name, kind in names:
            loop = f"{folder}/{name}"
            if kind == "dir" and os.access(loop, os.R_OK | os.X_OK) and (stat := files.stat(loop)) is not None:
                found[loop] = (stat.device, stat.inode)
    return found


def _any_there(folders: tuple[str, ...]) -> bool:
    return any(os.path.isdir(folder) for folder in folders)
