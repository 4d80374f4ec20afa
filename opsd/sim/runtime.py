"""The simulated `superloop.sh`: command line, exit codes and words of the runtime 0.6.1. Source: runtime-artifacts 7.

What each command does is in `opsd.sim.script` and `opsd.sim.control`. Started by the hundred, so nothing but the
standard library is imported, and of that little.
"""

import os
import signal
import stat
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from opsd.sim import control, ledger
from opsd.sim.checkout import loops_in
from opsd.sim.part import Part, read_part
from opsd.sim.player import end_on_signals, keeper_of, play, wait_until
from opsd.sim.script import look, run_script
from opsd.sim.tree import DiskTree

VERSION = "0.6.1"
USAGE = """Usage: superloop.sh <command> [options]

Commands: run, cancel, approve, status
Options:  --repo DIR  --config FILE  --loop ID  --by NAME  --note TEXT  --reject  --summary
          --fast  --dry-run  --skip-validate  --help  --version"""
_VALUED = ("--repo", "--config", "--loop", "--by", "--note", "--hosted")
_PLAIN = ("--fast", "--dry-run", "--skip-validate", "--reject", "--summary")
_COMMANDS = ("run", "cancel", "approve", "status")


class Options(NamedTuple):
    """What was said on the command line: values by flag, and the plain flags."""

    values: dict[str, str]
    plain: frozenset[str]


def main(argv: Sequence[str]) -> int:
    """Carry one command out; returns the exit code."""
    if argv[:1] == ["--version"]:
        print(VERSION)
        return 0
    if not argv or argv[0] not in _COMMANDS:
        print(USAGE)
        return 1
    command, rest = argv[0], list(argv[1:])
    if "--help" in rest:
        print(USAGE)
        return 0
    options = _options(rest)
    if isinstance(options, str):
        return control.complain(options)
    if "--hosted" in options.values:
        from opsd.sim.host import host  # only the one process that hosts pays for it

        return host(options.values["--hosted"])
    repo = os.path.abspath(options.values.get("--repo", "."))
    if not os.path.isdir(repo):
        return control.complain(f"no such repository: {repo}")
    ledger.record(repo, ledger.now("called", command, rest))
    code = _with_faults(repo, command, options)
    ledger.record(repo, ledger.now("ended", command, rest, code))
    return code


def _options(rest: Sequence[str]) -> Options | str:
    values: dict[str, str] = {}
    plain: set[str] = set()
    words = iter(rest)
    for word in words:
        if word in _PLAIN:
            plain.add(word)
        elif word in _VALUED:
            value = next(words, None)
            if value is None:
                return f"{word}: needs a value"
            values[word] = value
        else:
            return f"unknown argument: {word}"
    return Options(values, frozenset(plain))


def _with_faults(repo: str, command: str, options: Options) -> int:
    part = read_part(repo)
    fault = ledger.fault_of(part, command, ledger.executions(repo, command))
    if fault.kind == "fail":
        print("error: simulated failure", file=sys.stderr)
        return fault.code
    if fault.kind == "lie":
        print(_boast(command, options))
        return 0
    if fault.kind == "slow":
        wait_until(time.monotonic() + fault.seconds, keeper=None)
    code = _perform(repo, part, command, options, fault.kind)
    return fault.code if fault.kind == "late-fail" else code


def _boast(command: str, options: Options) -> str:
    loop_id = options.values.get("--loop", "")
    verdict = "rejected" if "--reject" in options.plain else "approved"
    return {
        "cancel": "Cancelled loop state and stopped active run process.",
        "approve": f"Recorded approval decision ({verdict}) for loop '{loop_id}'.",
    }.get(command, "")


def _perform(repo: str, part: Part, command: str, options: Options, fault: str) -> int:
    tree, loop_id = DiskTree(repo), options.values.get("--loop")
    partial = fault == "partial"
    if command == "cancel":
        return control.cancel(tree, part, partial=partial)
    if command == "status":
        summary = "--summary" in options.plain
        return control.status(tree, loop_id=loop_id or _first_loop(repo), summary=summary)
    if command == "approve":
        return control.approve(
            tree,
            part,
            loop_id=loop_id,
            by=options.values.get("--by") or os.environ.get("USER") or "unknown",
            note=options.values.get("--note"),
            reject="--reject" in options.plain,
            partial=partial,
        )
    return _run(tree, part, loop_id, dry="--dry-run" in options.plain, fault=fault)


def _first_loop(repo: str) -> str | None:
    try:
        return next(iter(loops_in(repo)), None)
    except FileNotFoundError:
        return None


def _run(tree: DiskTree, part: Part, only: str | None, *, dry: bool, fault: str) -> int:
    try:
        loop_ids = loops_in(tree.repo)
    except FileNotFoundError:
        return control.complain(f"no config at {tree.repo}/.superloop/config.json; run init first")
    if only is not None and only not in loop_ids:
        return control.complain(f"loop '{only}' not found in config")
    if dry:
        for loop_id in loop_ids if only is None else (only,):
            control.status(tree, loop_id=loop_id, summary=True)
        return 0
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
    return play(script, tree, keeper=keeper_of(dict(os.environ)), until="running" if fault == "partial" else "")


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
