"""Starting `opsd launch`, so that it outlives us, and waiting until it says that the run has begun.

What the launcher does then is `opsd.sprite`. Why a transient unit is one of opsd's own user:
docs/decisions/0012-runs-under-the-user-manager.md.
"""

import os
import pwd
import re
import shutil
import sys
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from opsd.controls import command
from opsd.environ import for_others
from opsd.model.acts import ActProblem, ActResult, LaunchRun

BEGIN_WITHIN_S: Final = 10.0
"""A launcher begins in a fraction of a second; a host may be busy."""

_REFUSED: Final = 2
"""The launcher's own exit code where it found something wrong before it did anything."""

_NAME_LENGTH_MAX: Final = 200
"""Of a unit, without `.service`: systemd takes 255."""

_PROBLEMS: Final = {
    _REFUSED: ActProblem.START_UNAVAILABLE,
    command.NOT_EXECUTABLE: ActProblem.COMMAND_NOT_EXECUTABLE,
    command.MISSING: ActProblem.COMMAND_MISSING,
}


def launch_in_session(act: LaunchRun, variables: Mapping[str, str]) -> ActResult:
    """In a session of its own, and nobody's child: a stop or a kill of opsd does not reach it."""
    done = command.run(
        [*_launcher(act), "--detach", "--", *act.argv],
        cwd=None,
        variables=for_others(variables),
        timeout_s=BEGIN_WITHIN_S,
        holds_reader=False,  # it would pass it on to the run
    )
    if done.problem is not ActProblem.COMMAND_FAILED or done.exit_code is None:
        return done
    problem = _PROBLEMS.get(done.exit_code, ActProblem.COMMAND_FAILED)
    return replace(done, problem=problem, detail=done.output or done.detail)


def launch_under_systemd(act: LaunchRun, variables: Mapping[str, str], *, uid: int) -> ActResult:
    """As a transient unit: of the system where opsd is root, else of its user's own manager.

    `start_unavailable` where there is no systemd-run, no such manager, or it declines.
    """
    tool = shutil.which("systemd-run", path=variables.get("PATH", os.defpath))
    if tool is None:
        return _unavailable("There is no systemd-run on the PATH.")
    given, scope = for_others(variables), ["--system"]
    if uid != 0:
        folder = given.setdefault("XDG_RUNTIME_DIR", f"/run/user/{uid}")
        scope = ["--user"]
        if not any(os.path.exists(f"{folder}/{socket}") for socket in ("systemd/private", "bus")):
            user = _user(uid)
            return _unavailable(f"No systemd manager of user {user} runs; `loginctl enable-linger {user}` keeps one.")
    argv = [
        tool,
        *scope,
        "--no-ask-password",
        # A unit that failed is forgotten as well: what became of the run is in its last heartbeat.
        "--collect",
        f"--unit={unit_name(act)}",
        f"--description=Superloop run of {act.loop_id} in {act.repo}",
        # The command returns once the launcher says that it has begun.
        "--service-type=notify",
        # The launcher passes a stop on to the runtime, and writes down how that ended.
        "--property=KillMode=mixed",
        # A test that took too much memory is the run's affair, not its end.
        "--property=OOMPolicy=continue",
        "--",
        *_launcher(act),
        "--",
        *act.argv,
    ]
    done = command.run(argv, cwd=None, variables=given, timeout_s=BEGIN_WITHIN_S)
    if done.problem in (None, ActProblem.COMMAND_TIMED_OUT):
        return done
    return replace(done, problem=ActProblem.START_UNAVAILABLE, detail=done.output or done.detail)


def unit_name(act: LaunchRun) -> str:
    """`opsd-run-<loop>-<launch>`; what a unit's name cannot hold is written as systemd-escape writes it."""
    loop, launch = (_escaped(name) for name in (act.loop_id, act.launch_id))
    room = max(1, _NAME_LENGTH_MAX - len(launch))
    return f"opsd-run-{loop[:room]}-{launch}"


def _escaped(name: str) -> str:
    data = name.encode("utf-8", "surrogateescape")
    return re.sub(rb"[^\w.-]", lambda found: b"\\x%02x" % found.group()[0], data).decode("ascii")


def _launcher(act: LaunchRun) -> list[str]:
    # -P: a checkout that lies where we stand may have a folder `opsd` of its own.
    return [
        sys.executable, "-P", "-m", "opsd", "launch",
        "--repo", act.repo, "--loop", act.loop_id, "--launch-id", act.launch_id, "--log", act.log,
    ]  # fmt: skip


def _unavailable(detail: str) -> ActResult:
    return ActResult(None, "", ActProblem.START_UNAVAILABLE, detail)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
