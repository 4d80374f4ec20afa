"""What the launcher beside a run writes, on a virtual clock: beats of its heart, and what the runtime printed."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from opsd.sim import documents
from opsd.sim.steps import Document, Replace
from opsd.sim.tree import Tree, pretty

BEAT_S = 15.0
KILLED, TERMINATED = 137, 143


class Launch(NamedTuple):
    """A run that is asked for. `printed` takes what the runtime prints; `doom` is what it says when it dies at once."""

    launch_id: str
    loop_id: str
    printed: Callable[[str], None] = lambda text: None
    doom: str | None = None


class Heart:
    """The launcher of one run. `due_s` is the monotonic time of its next beat."""

    def __init__(self, launch: Launch, tree: Tree, pid: int) -> None:
        self.launch = launch
        self.due_s = 0.0
        self._tree, self._pid = tree, pid

    def beat(self, now: datetime, monotonic_s: float, *, ended: int | None = None) -> None:
        """Say that the run is alive or, with the exit code that a shell would give it, that it is gone."""
        at, gone = now.strftime("%Y-%m-%dT%H:%M:%SZ"), ended is not None
        document: Document = {
            "schemaVersion": "v1",
            "timestamp": at,
            "source": "opsd launch",
            "status": "exited" if gone else "running",
            "stage": "run",
            "pid": self._pid,
            "loop_id": self.launch.loop_id,
            "launch_id": self.launch.launch_id,
        }
        if ended is not None:
            document |= {"exited_at": at} | ({"exit_signal": 9} if ended == KILLED else {"exit_code": ended})
        path = f"{documents.folder(self.launch.loop_id)}/heartbeat.v1.json"
        self._tree.perform(Replace(path, pretty(document)))
        self.due_s = float("inf") if gone else monotonic_s + BEAT_S
