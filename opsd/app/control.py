"""The close look: what an intent is about, read from the runtime's files at once, and who is running, asked at once.

A pass may have looked a second ago, and between that and an act a second is long. What follows from a scene is judged
in `opsd.core.intents`.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from opsd.core import instants
from opsd.model.acts import Scene
from opsd.model.defuse import defuse_lines
from opsd.model.ids import LoopId, loop_id_fault
from opsd.model.intent import Watermark
from opsd.model.observation import Artifact, ProcessSighting
from opsd.model.run import LoopRef
from opsd.model.runtime import ActiveRun, Presence
from opsd.ports import Controls, Files, Processes
from opsd.store.layout import Layout
from opsd.transports.artifacts import CheckoutFiles, LoopFiles, loop_folder
from opsd.transports.confine import is_within
from opsd.transports.local import SETTLE_S
from opsd.transports.small import SmallFile

T = TypeVar("T")

LAUNCH_OUTPUT_BYTES: Final = 4096
LAUNCHES_KEPT: Final = 20
_LOOKS_MAX: Final = 6
_PAUSE_S: Final = 0.02
_NOT_ENDED = (ProcessSighting.ALIVE, ProcessSighting.STOPPED)


def _wait(seconds: float) -> None:
    """In a worker thread: nobody tells us that a writer is done, so there is nothing to wait for but time."""
    threading.Event().wait(seconds)


def look(
    files: Files,
    processes: Processes,
    controls: Controls,
    ref: LoopRef,
    now: datetime,
    *,
    watermark: Watermark | None = None,
    log: str | None = None,
    pause: Callable[[float], None] = _wait,
) -> Scene:
    """What there is to see of loop `ref` at this moment. Blocks for as long as the disk does.

    A file that is caught while its writer rewrites it is read again, for about 100 ms in all, before it is left
    `settling`; its value is then None. `watermark` names the process to be `watched`, `log` the file whose end is the
    scene's `launch_output`.

    Raises:
        ValueError: the loop's id may not be part of a path.
    """
    if fault := loop_id_fault(ref.loop_id):
        raise ValueError(f"loop id {ref.loop_id!r} cannot name a folder: {fault}")
    folder = loop_folder(ref.repo_path, ref.loop_id)
    checkout = CheckoutFiles(ref.repo_path)
    own = LoopFiles(folder, ref.loop_id, checkout)
    patience = _Patience(files, now, pause)
    # A run that begins names its process before it marks its state, and one that ends clears its state first: read in
    # this order no process is missed.
    state = patience.read(checkout.state)
    active_run = patience.read(checkout.active_run)
    if is_within(files, folder, ref.repo_path):
        approval, heartbeat = patience.read(own.approval), patience.read(own.heartbeat)
    else:
        problem = f"{folder} leads out of {ref.repo_path} through a link"
        approval = Artifact(Presence.UNREADABLE, since=now, problem=problem)
        heartbeat = Artifact(Presence.UNREADABLE, since=now, problem=problem)
    active_process = _sighted(processes, active_run)
    run = active_run.value
    return Scene(
        at=now,
        state=state,
        active_run=active_run,
        approval=approval,
        heartbeat=heartbeat,
        active_process=active_process,
        watched=_watched(processes, watermark),
        family=tuple(processes.family(run.pid, run.pgid))
        if run is not None and run.pid is not None and active_process in _NOT_ENDED
        else (),
        command=controls.command(ref.repo_path),
        launch_output=_end_of(files, log) if log is not None else "",
    )


def make_room_for_launch(files: Files, layout: Layout, loop_id: LoopId) -> None:
    """The folder for the output of one more launch; of earlier launches the newest stay, so that with the new one
    there are `LAUNCHES_KEPT`.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = layout.launches(loop_id)
    files.make_dirs(folder)
    logs = []
    for name, kind in files.scan(folder):
        found = files.stat(f"{folder}/{name}") if kind == "file" and name.endswith(".log") else None
        if found is not None:
            logs.append((found.mtime_ns, name))
    for _, name in sorted(logs, reverse=True)[LAUNCHES_KEPT - 1 :]:
        try:
            files.remove(f"{folder}/{name}")
        except OSError:
            continue  # one log too many harms nobody; the next launch tries again


class _Patience:
    """Reads small files, and shares what time there is for waiting among those that are being rewritten."""

    def __init__(self, files: Files, now: datetime, pause: Callable[[float], None]) -> None:
        self._files = files
        self._now = now
        self._pause = pause
        self._left = _LOOKS_MAX - 1

    def read(self, file: SmallFile[T]) -> Artifact[T]:
        artifact = file.look(self._files, self._now, SETTLE_S)
        while artifact.presence is Presence.SETTLING and self._left:
            self._left -= 1
            self._pause(_PAUSE_S)
            artifact = file.look(self._files, self._now, SETTLE_S)
        return artifact


def _sighted(processes: Processes, active_run: Artifact[ActiveRun]) -> ProcessSighting:
    """Of the process on file, whichever loop it is of."""
    if active_run.presence is Presence.ABSENT:
        return ProcessSighting.NONE
    run = active_run.value
    if active_run.presence is not Presence.PRESENT or run is None or run.pid is None:
        return ProcessSighting.UNKNOWN
    return processes.sighting(run.pid, instants.parse(run.updated_at))


def _watched(processes: Processes, watermark: Watermark | None) -> ProcessSighting:
    if watermark is None or watermark.pid is None:
        return ProcessSighting.NONE
    return processes.sighting(watermark.pid, instants.parse(watermark.begun))


def _end_of(files: Files, path: str) -> str:
    """The end of the file, in whole characters; nothing where it cannot be read."""
    try:
        found, _ = files.read(path, 0, 0)
        start = max(0, found.size_bytes - LAUNCH_OUTPUT_BYTES)
        _, data = files.read(path, start, LAUNCH_OUTPUT_BYTES)
    except OSError:
        return ""
    text = data.decode("utf-8", "replace")
    return defuse_lines(text.lstrip("\ufffd") if start else text)
