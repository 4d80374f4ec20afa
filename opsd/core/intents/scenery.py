"""What the checkout's files show, in the words that the rules about intents ask in. Judges nothing.

By a close look, or by the look of the newest pass where nobody here can look closer (`Files` is either).
"""

from opsd.core.clues import on_file
from opsd.model.acts import Scene
from opsd.model.ids import LoopId
from opsd.model.observation import Artifacts, ProcessSighting
from opsd.model.runtime import ActiveRun

Files = Scene | Artifacts


def marked_loop(scene: Files) -> str | None:
    """The loop that `state.json` calls active; empty where it calls one active and names none."""
    state = on_file(scene.state)
    return (state.current_loop_id or "") if state is not None and state.active is True else None


def is_marked_active(scene: Files, loop_id: LoopId) -> bool:
    return marked_loop(scene) == loop_id


def other_marked(scene: Files, loop_id: LoopId) -> str | None:
    """Another loop that `state.json` calls active."""
    marked = marked_loop(scene)
    return marked if marked and marked != loop_id else None


def own_run(scene: Files, loop_id: LoopId) -> ActiveRun | None:
    """`active-run.json` where it names this loop."""
    active_run = on_file(scene.active_run)
    return active_run if active_run is not None and active_run.loop_id == loop_id else None


def is_surely_gone(scene: Scene) -> bool:
    """Whether the process that `active-run.json` names is gone; one that nobody can judge is not."""
    return scene.active_process is ProcessSighting.ABSENT


def is_left_over(scene: Scene) -> bool:
    """Whether a run has left the checkout marked: what the runtime's `cancel` would clear."""
    return marked_loop(scene) is not None or on_file(scene.active_run) is not None
