"""What carrying an intent out takes: the watermark taken just before, the acts, and how they read.

Doing them is the `Controls` port. Source: control-and-service 2.2, runtime-artifacts 7.
"""

import shlex
from datetime import datetime

from opsd.core.clues import on_file
from opsd.core.instants import parse
from opsd.core.intents.scenery import Files, is_left_over, is_marked_active
from opsd.model.acts import RUNTIME_COMMAND, Act, LaunchRun, RunCommand, Scene, SignalRun, SignalWord
from opsd.model.intent import Intent, IntentKind, Watermark
from opsd.model.observation import ProcessSighting
from opsd.model.run import Run


def watermark(run: Run, scene: Files, now: datetime) -> Watermark:
    """What is true now: only what is found beyond it is evidence of what is done next.

    The place in the log is where the last pass stood, so that pass should have come just before.
    """
    active_run, approval = on_file(scene.active_run), on_file(scene.approval)
    facts, projection = run.fold.run, run.projection
    return Watermark(
        at=now,
        epoch=run.fold.epoch,
        line=run.fold.line,
        run_id=facts.run_id if facts is not None else projection.run_id if projection is not None else None,
        iteration=facts.iteration if facts is not None else projection.iteration if projection is not None else 0,
        pid=active_run.pid if active_run is not None else None,
        pgid=active_run.pgid if active_run is not None else None,
        begun=active_run.updated_at if active_run is not None else None,
        marked_active=is_marked_active(scene, run.ref.loop_id),
        candidate=approval.digest if approval is not None else None,
        candidate_run_id=approval.run_id if approval is not None else None,
        candidate_iteration=approval.iteration if approval is not None else None,
        approval_status=approval.status if approval is not None else None,
    )


def acts_for(intent: Intent, scene: Scene, *, repo: str, log: str, timeout_s: float) -> tuple[Act, ...]:
    """What is to be done in the checkout `repo`, in order; an act that fails ends it.

    `log` is where a launched run's output goes, `timeout_s` how long one of the runtime's commands may take. A run that
    is stopped is continued before its cancel: the runtime's TERM does not reach it otherwise, and it would be killed
    ten seconds later in the midst of its work.

    Raises:
        ValueError: the gate should have refused it: there is no runtime command, or no process to signal.
    """

    def command(*words_: str) -> RunCommand:
        return RunCommand((_command(intent, scene), *words_), cwd=repo, timeout_s=timeout_s)

    match intent.intent:
        case IntentKind.CANCEL:
            cancel = command("cancel", "--repo", repo)
            if ProcessSighting.STOPPED in (scene.active_process, *scene.family):
                return _signal(scene, SignalWord.CONTINUE), cancel
            return (cancel,)
        case IntentKind.APPROVE | IntentKind.REJECT:
            rejecting = ("--reject",) if intent.intent is IntentKind.REJECT else ()
            noting = ("--note", intent.note) if intent.note else ()
            by = ("--by", intent.requested_by)
            return (command("approve", "--repo", repo, "--loop", intent.loop_id, *by, *rejecting, *noting),)
        case IntentKind.START:
            argv = (_command(intent, scene), "run", "--repo", repo, "--loop", intent.loop_id)
            launch = LaunchRun(argv, repo=repo, loop_id=intent.loop_id, launch_id=intent.id, log=log)
            if intent.options.clear_stale and is_left_over(scene):
                return command("cancel", "--repo", repo), launch
            return (launch,)
        case IntentKind.PAUSE:
            return (_signal(scene, SignalWord.STOP),)
        case IntentKind.RESUME:
            return (_signal(scene, SignalWord.CONTINUE),)


def words(act: Act) -> str:
    """The act as people read it: argv quoted for a shell, or the signal and whom it goes to."""
    match act:
        case RunCommand() | LaunchRun():
            return shlex.join(act.argv)
        case SignalRun():
            whom = f"process group {act.pgid}" if act.pgid == act.pid else f"process {act.pid} and its descendants"
            return f"signal {act.word.upper()} to {whom}"


def _command(intent: Intent, scene: Scene) -> str:
    """To the contract's callers a command that is not there is one that failed, with a shell's exit code for it."""
    if scene.command is not None:
        return scene.command
    if intent.options.as_contract:
        return RUNTIME_COMMAND
    raise ValueError("there is no runtime command to run: the gate should have refused the intent")


def _signal(scene: Scene, word: SignalWord) -> SignalRun:
    active_run = on_file(scene.active_run)
    if active_run is None or active_run.pid is None:
        raise ValueError("there is no process to signal: the gate should have refused the intent")
    return SignalRun(active_run.pid, active_run.pgid, parse(active_run.updated_at), word)
