"""The simulated `superloop.sh`: one call of it as a process, with its exit code. Source: runtime-artifacts 7.

What each command does is in `opsd.sim.script` and `opsd.sim.control`. Started by the hundred, so nothing but the
standard library is imported, and of that little.
"""

import os
import signal
import stat
import sys
import time
from collections.abc import Sequence

from opsd.sim import control, faults, ledger
from opsd.sim.checkout import loops_in
from opsd.sim.commandline import COMMANDS, USAGE, VERSION, Answer, Options, complaint, options_of
from opsd.sim.outside import Host
from opsd.sim.part import Part, read_part
from opsd.sim.player import Ending, end_on_signals, keeper_of, play
from opsd.sim.script import look, run_script
from opsd.sim.tree import DiskTree


def main(argv: Sequence[str]) -> int:
    """Carry one command out; returns the exit code."""
    if argv[:1] == ["--version"]:
        return _say(Answer(0, VERSION))
    if not argv or argv[0] not in COMMANDS:
        return _say(Answer(1, USAGE))
    command, rest = argv[0], list(argv[1:])
    if "--help" in rest:
        return _say(Answer(0, USAGE))
    options = options_of(rest)
    if isinstance(options, Answer):
        return _say(options)
    if "--hosted" in options.values:
        from opsd.sim.host import host  # only the one process that hosts pays for it

        return host(options.values["--hosted"])
    repo = os.path.abspath(options.values.get("--repo", "."))
    if not os.path.isdir(repo):
        return _say(complaint(f"no such repository: {repo}"))
    ledger.record(repo, ledger.now("called", command, rest))
    try:
        code = _with_faults(repo, command, options)
    except Ending as ending:
        code = ending.code
    ledger.record(repo, ledger.now("ended", command, rest, code))
    return code


def _say(answer: Answer) -> int:
    for text, stream in ((answer.out, sys.stdout), (answer.err, sys.stderr)):
        if text:
            print(text, file=stream, flush=True)
    return answer.code


def _with_faults(repo: str, command: str, options: Options) -> int:
    part, keeper = read_part(repo), keeper_of(dict(os.environ))
    fault = faults.fault_of(part, command, ledger.place(repo, command))
    faults.before(fault, keeper=keeper)
    code = _say(faults.answer_with(fault, command, options, lambda: _perform(repo, part, command, options, fault.kind)))
    if fault.kind == "late-hang":
        faults.hang(keeper)
    return code


def _perform(repo: str, part: Part, command: str, options: Options, fault: str) -> Answer:
    tree, loop_id = DiskTree(repo), options.values.get("--loop")
    host, partial = Host(tree, poll_s=part.cancel_poll_s), fault == "partial"
    if command == "cancel":
        return control.cancel(tree, part, host, partial=partial)
    if command == "approve":
        user = os.environ.get("USER") or "unknown"
        return control.approve(tree, part, host, options, user=user, partial=partial, other=fault == "other")
    if command == "status":
        return control.status(tree, loop_id=loop_id or _first_loop(repo), summary="--summary" in options.plain)
    return _run(tree, part, loop_id, dry="--dry-run" in options.plain, fault=fault)


def _first_loop(repo: str) -> str | None:
    try:
        return next(iter(loops_in(repo)), None)
    except (FileNotFoundError, ValueError):
        return None


def _run(tree: DiskTree, part: Part, only: str | None, *, dry: bool, fault: str) -> Answer:
    config = f"{tree.repo}/.superloop/config.json"
    try:
        loop_ids = loops_in(tree.repo)
    except FileNotFoundError:
        return complaint(f"no config at {config}; run init first")
    except ValueError as error:
        return complaint(f"config {config} is not valid: {error}")
    if only is not None and only not in loop_ids:
        return complaint(f"loop '{only}' not found in config")
    if dry:
        lines = (control.status(tree, loop_id=loop_id, summary=True).out for loop_id in loop_ids)
        told = [line for loop_id, line in zip(loop_ids, lines, strict=True) if only in (None, loop_id)]
        return Answer(0, "\n".join(told))
    end_on_signals()
    if fault == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    script = run_script(
        part,
        repo=tree.repo,
        loop_ids=loop_ids,
        only=only,
        found=look(tree, loop_ids),
        pid=os.getpid(),
        pgid=os.getpgid(0),
        start_s=time.time(),
    )
    until = "running" if fault == "partial" else ""
    return Answer(play(script, tree, keeper=keeper_of(dict(os.environ)), until=until))


# The first two lines are shell, and a string to Python. After `exec` the kernel shows the interpreter, this file and
# the arguments as the command line, so it contains `superloop.sh run`: that is how the runtime knows its own.
# -I and -S: no site-packages and no user settings, for a quick start that nothing around can disturb.
_SCRIPT = """#!/bin/sh
''':'
exec "{python}" -IS "$0" "$@"
'''
import sys

sys.path.insert(0, {package!r})
from opsd.sim.runtime import main

sys.exit(main(sys.argv[1:]))
"""


def write_command(folder: str) -> str:
    """Write an executable `superloop.sh` into `folder`; returns its path. It needs this interpreter and package."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.path.join(folder, "superloop.sh")
    os.makedirs(folder, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(_SCRIPT.format(python=sys.executable, package=package))
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path
