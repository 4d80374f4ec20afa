"""What carries an intent out: the few things that opsd does to a run, and what came of one. Data only.

Which act an intent needs is decided in `opsd.core.intents.acts`; carrying it out is the `Controls` port. Nothing here
is ever given to a shell. Source: control-and-service 2.2, runtime-artifacts 7.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from opsd.model.observation import Artifact, ProcessSighting
from opsd.model.runtime import ActiveRun, Approval, Heartbeat, RuntimeState

RUNTIME_COMMAND: Final = "superloop.sh"
"""What the runtime's command is called, wherever it lies."""


class ActProblem(StrEnum):
    """Why an act did not do what it should. From `command_missing` to `service_refused`: surely nothing was done."""

    COMMAND_MISSING = "command_missing"
    COMMAND_NOT_EXECUTABLE = "command_not_executable"
    PROCESS_CHANGED = "process_changed"
    """The process is not (or no longer) the run's: gone, another one under its number, or no `superloop.sh run`."""
    NOT_PERMITTED = "not_permitted"
    START_UNAVAILABLE = "start_unavailable"
    SERVICE_UNREACHED = "service_unreached"
    """No request reached the service that the loop is behind."""
    SERVICE_REFUSED = "service_refused"
    """The service answered that it does not take the request, or did not carry it out."""
    COMMAND_FAILED = "command_failed"
    COMMAND_TIMED_OUT = "command_timed_out"


class SignalWord(StrEnum):
    STOP = "stop"
    CONTINUE = "continue"


class RunCommand(msgspec.Struct, frozen=True):
    """Run one of the runtime's own commands to its end, at most `timeout_s` long."""

    argv: tuple[str, ...]
    cwd: str
    timeout_s: float


class SignalRun(msgspec.Struct, frozen=True):
    """Stop or continue the run of process `pid`: it, its descendants, and its group when `pgid` equals `pid`.

    `begun_by` is when the process wrote its `active-run.json`: one that began later is another.
    """

    pid: int
    pgid: int | None
    begun_by: datetime | None
    word: SignalWord


class LaunchRun(msgspec.Struct, frozen=True):
    """Start `argv` under the launcher, outside of opsd's own lifetime. `log` is where what it prints goes."""

    argv: tuple[str, ...]
    repo: str
    loop_id: str
    launch_id: str
    log: str


Act = RunCommand | SignalRun | LaunchRun


class ActResult(msgspec.Struct, frozen=True):
    """`exit_code` is None where there is none (a signal was sent, a command was killed at its time limit).

    `output` is the end of what was printed: at most 40 lines and 16 KiB, control characters defused.
    """

    exit_code: int | None = None
    output: str = ""
    problem: ActProblem | None = None
    detail: str | None = None


class Scene(msgspec.Struct, frozen=True):
    """What the control desk sees when it looks closely: the files that an intent is about, read at once, uncached.

    `active_process` is that of the process which `active-run.json` names, whichever loop it belongs to; `watched` that
    of an intent's watermark; `family` of every process of the run on file (see `SignalRun`). `command` is the path of
    the runtime's command, None where there is none. `launch_output` is the end of what a launched run printed.
    """

    at: datetime
    state: Artifact[RuntimeState] = Artifact()
    active_run: Artifact[ActiveRun] = Artifact()
    approval: Artifact[Approval] = Artifact()
    heartbeat: Artifact[Heartbeat] = Artifact()
    active_process: ProcessSighting = ProcessSighting.NONE
    watched: ProcessSighting = ProcessSighting.NONE
    family: tuple[ProcessSighting, ...] = ()
    command: str | None = None
    launch_output: str = ""
