"""The real side of the `Controls` port: this host's processes. Blocks, and belongs in a worker thread."""

import os
import shutil
from collections.abc import Mapping
from typing import Literal, assert_never

from opsd.controls import command
from opsd.controls.launch import launch_in_session, launch_under_systemd
from opsd.controls.signals import signal_run
from opsd.environ import for_others
from opsd.model.acts import RUNTIME_COMMAND, Act, ActResult, LaunchRun, RunCommand, SignalRun
from opsd.processes import ProcFs

Launcher = Literal["auto", "session", "systemd"]


class HostControls:
    """`opsd.ports.Controls` over the operating system.

    `superloop_bin` and `launcher` are the settings of these names. `under_systemd`: opsd is itself a service, whose
    end would take a run along that is not put elsewhere. `variables` is opsd's environment, of which others get all
    but what is meant for opsd alone.
    """

    def __init__(
        self, *, superloop_bin: str | None, launcher: Launcher, under_systemd: bool, variables: Mapping[str, str]
    ) -> None:
        self._superloop_bin = superloop_bin
        self._by_systemd = launcher == "systemd" or (launcher == "auto" and under_systemd)
        self._variables = variables
        self._processes = ProcFs()

    def carry_out(self, act: Act) -> ActResult:
        match act:
            case RunCommand(argv, cwd, timeout_s):
                return command.run(argv, cwd=cwd, variables=for_others(self._variables), timeout_s=timeout_s)
            case SignalRun():
                return signal_run(act, self._processes)
            case LaunchRun() if self._by_systemd:
                return launch_under_systemd(act, self._variables, uid=os.geteuid())
            case LaunchRun():
                return launch_in_session(act, self._variables)
            case _:
                assert_never(act)

    def command(self, repo_path: str) -> str | None:
        """The setting, else `superloop.sh` in the checkout, else on the PATH; None where that cannot be executed."""
        if self._superloop_bin is not None:
            return self._superloop_bin if _is_executable(self._superloop_bin) else None
        beside = os.path.join(repo_path, RUNTIME_COMMAND)
        if _is_executable(beside):
            return beside
        found = shutil.which(RUNTIME_COMMAND, path=self._variables.get("PATH", os.defpath))
        return None if found is None else os.path.abspath(found)


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
