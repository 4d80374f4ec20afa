"""The command line: every command that reads and follows, and the whole. What they do is `opsctl.commands`.

What changes something is in `opsctl.acting`, the pieces of every parser in `opsctl.parsing`.
"""

import argparse

from opsctl.acting import add_acting
from opsctl.discovery import SYSTEM_SOCKET
from opsctl.exits import SAYS
from opsctl.output import JSON, JSONL, NAME, TABLE, YAML
from opsctl.parsing import Help, Parser, add_general, command, count, seconds

_EPILOG = f"""\
the socket is the first of:
  --socket PATH
  OPSD_SOCKET
  .superloop/ops-manager/opsd.sock in this folder or one above it
  {SYSTEM_SOCKET}

exit codes:
{chr(10).join(f"  {code.value:>3}  {says}" for code, says in SAYS.items())}

examples:
  opsctl status                              the fleet, what needs attention first
  opsctl status LOOP                         one loop, and what to do about it
  opsctl watch                               every change as it happens
  opsctl approvals                           what waits for a human, and the command to type
  opsctl cancel LOOP                         shows what would end, asks, and waits for the proof
  opsctl wait LOOP --for complete --timeout 2h && echo done
  opsctl status -o json | jq '.loops[] | select(.needsHuman) | .loopId'
"""


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="opsctl",
        description="Ask opsd about the loop runs that it supervises, and to act on them.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_general(parser, default=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands", prog="opsctl")
    _add_reading(commands)
    _add_following(commands)
    add_acting(commands)
    _add_own(commands)
    return parser


def _add_reading(commands: "argparse._SubParsersAction[Parser]") -> None:
    status = command(
        commands,
        "status",
        "show the fleet, or one loop in full",
        "  opsctl status\n  opsctl status docs-17\n  opsctl status -o name\n  opsctl status docs-17 -o json",
    )
    status.add_argument("loop", metavar="LOOP", nargs="?")

    explain = command(
        commands,
        "explain",
        "show from what the verdict on a loop follows, rule by rule",
        "  opsctl explain docs-17",
        (TABLE, JSON, YAML),
    )
    explain.add_argument("loop", metavar="LOOP")

    events = command(
        commands,
        "events",
        "show a loop's own event log",
        "  opsctl events docs-17 -n 50\n  opsctl events docs-17 --since 10m --name role_end --name tests_end\n"
        "  opsctl events docs-17 -f -o jsonl | jq -r .event",
        (TABLE, JSON, JSONL, YAML),
    )
    events.add_argument("loop", metavar="LOOP")
    events.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    events.add_argument("--since", metavar="WHEN", help="10m, 2h, 3d ago, or 2026-01-31T12:00:00Z")
    events.add_argument("--name", metavar="EVENT", action="append", default=[], help="only events of this name")
    events.add_argument("-n", "--lines", metavar="N", type=count, help="the newest N (20, unless --since is given)")

    logs = command(
        commands,
        "logs",
        "show what a role wrote; the role that wrote last, unless one is named",
        "  opsctl logs docs-17\n  opsctl logs docs-17 tester --iteration 3 -n 200\n  opsctl logs docs-17 -f",
        (TABLE, JSON),
    )
    logs.add_argument("loop", metavar="LOOP")
    logs.add_argument("role", metavar="ROLE", nargs="?")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    logs.add_argument("--iteration", metavar="N", type=int, help="of this iteration; by default the newest")
    logs.add_argument("-n", "--lines", metavar="N", type=count, default=50, help="the newest N lines (50)")

    runs = command(commands, "runs", "list a loop's runs and how each ended", "  opsctl runs docs-17")
    runs.add_argument("loop", metavar="LOOP")

    tuning = command(
        commands,
        "tuning",
        "show what telemetry advises for a loop's thresholds, and for how long that was not followed",
        "  opsctl tuning docs-17\n  opsctl tuning docs-17 -o json",
        (TABLE, JSON, YAML),
    )
    tuning.add_argument("loop", metavar="LOOP")

    verify = command(
        commands,
        "verify",
        "recompute verdicts from the files; exit 1 where memory or disk differ",
        "  opsctl verify\n  opsctl verify docs-17",
    )
    verify.add_argument("loop", metavar="LOOP", nargs="?")


def _add_following(commands: "argparse._SubParsersAction[Parser]") -> None:
    escalations = command(
        commands,
        "escalations",
        "list what somebody had to hear of, and its end",
        "  opsctl escalations\n  opsctl escalations docs-17 -n 10\n  opsctl escalations -f -o jsonl",
    )
    escalations.add_argument("loop", metavar="LOOP", nargs="?")
    escalations.add_argument("-f", "--follow", action="store_true", help="go on with what comes from now on")
    escalations.add_argument("-n", "--lines", metavar="N", type=count, default=50, help="the newest N (50)")

    watch = command(
        commands,
        "watch",
        "show the fleet, then every change until Ctrl-C; a restart of opsd loses and repeats nothing",
        "  opsctl watch\n  opsctl watch docs-17 api-03\n  opsctl watch -o jsonl | jq -c 'select(.loop)'",
        (TABLE, JSONL),
    )
    watch.add_argument("loops", metavar="LOOP", nargs="*")

    wait = command(
        commands,
        "wait",
        "wait until loops are in a state, phase or health, or have a finding; exit 7 when the time is up",
        "  opsctl wait docs-17 --for complete --for failed --timeout 2h\n"
        "  opsctl wait docs-17 api-03 --for awaiting_approval --any\n"
        "  opsctl wait docs-17 --for finding:ingest_stale --timeout 15m",
        (TABLE, NAME),
    )
    wait.add_argument("loops", metavar="LOOP", nargs="+")
    wait.add_argument(
        "--for",
        dest="words",
        metavar="WORD",
        action="append",
        required=True,
        help="a lifecycle state, phase, health, or finding:CODE; given repeatedly, one of them",
    )
    some = wait.add_mutually_exclusive_group()
    some.add_argument("--all", dest="needs_all", action="store_true", default=True, help="all of the loops (default)")
    some.add_argument("--any", dest="needs_all", action="store_false", help="one of the loops")
    wait.add_argument(
        "--timeout", metavar="TIME", type=seconds, default=300.0, help="for all together: 90, 10m, 2h (5m)"
    )


def _add_own(commands: "argparse._SubParsersAction[Parser]") -> None:
    command(commands, "version", "show the client's and the daemon's version", "  opsctl version\n  opsctl --version")

    completion = commands.add_parser(
        "completion",
        help="write a completion script for a shell",
        description="Write a completion script; loop names are completed with the live ones.",
        epilog="examples:\n  opsctl completion bash > ~/.local/share/bash-completion/completions/opsctl\n"
        "  opsctl completion zsh > ~/.zfunc/_opsctl",
        formatter_class=Help,
    )
    completion.add_argument("shell", choices=("bash", "zsh"))
