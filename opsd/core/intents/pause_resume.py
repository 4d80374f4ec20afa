"""What proves that a run was paused, or goes on again: the state of its processes, all of them."""

from opsd.core.intents.beyond import NOT_A_RUNS, is_beyond, quoted
from opsd.core.intents.scenery import own_run
from opsd.core.intents.verdict import (
    PROCESS_GONE,
    PROCESSES_RUNNING,
    PROCESSES_STOPPED,
    Outcome,
    Verdict,
    confirmed,
    contrary,
    not_yet,
)
from opsd.model.acts import Scene
from opsd.model.intent import Evidence, Intent, Watermark
from opsd.model.lifecycle import EventMark, Fold
from opsd.model.observation import ProcessSighting
from opsd.model.run import Run


def paused(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    """Every process of the run is stopped, and there is at least one."""
    return _astray(mark, run, scene) or _all_are(ProcessSighting.STOPPED, PROCESSES_STOPPED, mark, scene)


def resumed(intent: Intent, mark: Watermark, run: Run, scene: Scene) -> Verdict:
    """No process of the run is stopped any more; or it has gone on since, and come to its end."""
    astray = _astray(mark, run, scene)
    if astray is None:
        return _all_are(ProcessSighting.ALIVE, PROCESSES_RUNNING, mark, scene)
    last = _own_word_since(mark, run.fold)
    if astray.outcome is Outcome.CONTRARY and last is not None:
        return confirmed(PROCESSES_RUNNING, quoted(last), *astray.evidence)
    return astray


def _own_word_since(mark: Watermark, fold: Fold) -> EventMark | None:
    """The newest event, if the run of the watermark logged it since."""
    last, facts = fold.last, fold.run
    if last is None or last.name == NOT_A_RUNS or facts is None or facts.run_id != mark.run_id:
        return None
    return last if is_beyond(last, mark, fold) else None


def _all_are(wanted: ProcessSighting, reason: str, mark: Watermark, scene: Scene) -> Verdict:
    if not scene.family:
        return not_yet(f"The processes of the run (process {mark.pid}) could not be seen.")
    others = sum(process is not wanted for process in scene.family)
    if others:
        return not_yet(f"{others} of the run's {len(scene.family)} processes are not {wanted}.")
    count = len(scene.family)
    whole = "The run's only process is" if count == 1 else f"All {count} processes of the run are"
    return confirmed(reason, Evidence("process", f"{whole} {wanted}."))


def _astray(mark: Watermark, run: Run, scene: Scene) -> Verdict | None:
    """Where the process that was signalled is gone, or is not the one on file any more, or nobody can say."""
    if scene.watched is ProcessSighting.ABSENT:
        gone = Evidence("process", f"Process {mark.pid}, begun {mark.begun}, is gone.")
        return contrary(PROCESS_GONE, "The run's process has ended.", gone)
    if scene.watched not in (ProcessSighting.ALIVE, ProcessSighting.STOPPED):
        return not_yet(f"Nobody here can say what process {mark.pid} does.")
    active_run = own_run(scene, run.ref.loop_id)
    if active_run is None or active_run.pid != mark.pid:
        return not_yet(f"active-run.json does not name process {mark.pid} any more.")
    return None
