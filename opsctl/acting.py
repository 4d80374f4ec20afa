"""The command line of what changes something: intents, their acknowledgement, modes. Reading is `opsctl.arguments`."""

import argparse
from collections.abc import Callable
from typing import TypeAlias

from opsctl.output import JSON, JSONL, TABLE, YAML
from opsctl.parsing import Help, Parser, command, count, seconds

SETTLED, CONSUMED, COMPLETE = "settled", "consumed", "complete"
"""What can be waited for, as the daemon has it too (`opsd.protocol.WaitFor`)."""

_Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
_DAY_S = 86_400.0


def add_acting(commands: _Commands) -> None:
    _add_intents_to_ask(commands)
    _add_intents_to_see(commands)
    _add_mode(commands)
    _add_transport(commands)
    _add_profile(commands)
    reconcile = command(
        commands,
        "reconcile",
        "look at a loop now, rather than at its next change",
        "  opsctl reconcile docs-17\n  opsctl reconcile docs-17 --from-start",
        (TABLE, JSON, YAML),
    )
    reconcile.add_argument("loop", metavar="LOOP")
    reconcile.add_argument("--from-start", action="store_true", help="read its event log again from line 1")


def _add_intents_to_ask(commands: _Commands) -> None:
    _intent(
        commands,
        "cancel",
        "end the run of loops",
        "  opsctl cancel docs-17\n  opsctl cancel docs-17 api-03 --yes --timeout 2m\n  opsctl cancel docs-17 --dry-run",
    )
    for name, says in (
        ("approve", "approve what loops ask to be approved; nothing runs by it until the next start"),
        ("reject", "reject what loops ask to be approved; the next start goes on working"),
    ):
        decision = _intent(
            commands,
            name,
            says,
            f"  opsctl approvals\n  opsctl {name} docs-17 --note 'read it'\n  opsctl {name} docs-17 --then-start\n"
            f"  opsctl {name} docs-17 --wait=consumed --timeout 1h",
            (SETTLED, CONSUMED, COMPLETE),
            note="goes into the runtime's record of the decision",
        )
        decision.add_argument(
            "--then-start", action="store_true", help="once the decision is confirmed, start the loop as well"
        )
    start = _intent(
        commands,
        "start",
        "begin a run of loops",
        "  opsctl start docs-17\n  opsctl start docs-17 --clear-stale\n"
        "  opsctl start docs-17 --yes --wait=complete --timeout 4h",
        (SETTLED, COMPLETE),
    )
    start.add_argument(
        "--clear-stale", action="store_true", help="first clear what a run that is gone has left marked as active"
    )
    pause = _intent(
        commands,
        "pause",
        "stop the processes of running loops until they are resumed",
        "  opsctl pause docs-17 --for 2h --reason 'the disk is exchanged'",
    )
    pause.add_argument(
        "--for", dest="pause_for", metavar="TIME", type=_at_most(30 * _DAY_S), help="how long that is expected to last"
    )
    _intent(commands, "resume", "let paused loops go on", "  opsctl resume docs-17")


def _intent(
    commands: _Commands,
    name: str,
    says: str,
    examples: str,
    waits: tuple[str, ...] = (SETTLED,),
    note: str = "is recorded with the intent",
) -> argparse.ArgumentParser:
    """A command that asks one thing of some loops."""
    parser = command(commands, name, says, examples)
    parser.add_argument("loops", metavar="LOOP", nargs="+")
    parser.add_argument("--note", metavar="TEXT", default="", help=note)
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; is recorded with the intent")
    _add_by(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask back")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done; nothing is done or recorded")
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument(
        "--wait",
        nargs="?",
        const=SETTLED,
        default=SETTLED,
        choices=waits,
        type=_stage,
        help="for what to wait; by default until it is settled",
    )
    waiting.add_argument("--wait-for", dest="wait", choices=waits, default=SETTLED, help="the same")
    waiting.add_argument("--no-wait", dest="wait", action="store_const", const=None, help="only until it is recorded")
    parser.add_argument(
        "--timeout", metavar="TIME", type=seconds, help="how long to wait for all together: 90, 10m, 2h (5m)"
    )
    parser.add_argument(
        "--confirm-within",
        metavar="TIME",
        type=_at_most(3_600.0),
        default=30.0,
        help="how long opsd looks for the effect before it calls the outcome ambiguous (30s)",
    )
    parser.add_argument("--no-confirm", action="store_true", help="carried out is enough: look for no effect")
    parser.add_argument("--if-run", metavar="RUN", help="only if this is the loop's run; else the one that was shown")
    parser.add_argument("--override-divergence", action="store_true", help="act although files contradict each other")
    parser.add_argument(
        "--idempotency-key", metavar="KEY", help="asked for again under the same key, it is not done again"
    )
    return parser


def _add_intents_to_see(commands: _Commands) -> None:
    intents = command(
        commands,
        "intents",
        "list what was asked of loops, and what became of it",
        "  opsctl intents\n  opsctl intents docs-17 --open\n  opsctl intents -f",
    )
    intents.add_argument("loop", metavar="LOOP", nargs="?")
    intents.add_argument("-f", "--follow", action="store_true", help="go on with every step from now on")
    intents.add_argument("--open", action="store_true", help="only those that are not settled")
    intents.add_argument("-n", "--lines", metavar="N", type=count, default=50, help="the newest N (50)")

    intent = commands.add_parser(
        "intent",
        help="show one intent in full, or settle an ambiguous one by one's word",
        description="Show one intent in full, or settle an ambiguous one by one's word.",
        formatter_class=Help,
    )
    verbs = intent.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs", prog="opsctl intent")
    show = command(
        verbs,
        "show",
        "show everything about one intent, with the evidence for its outcome",
        "  opsctl intent show ID",
        (TABLE, JSON, YAML),
    )
    show.add_argument("id", metavar="ID")
    ack = command(
        verbs,
        "ack",
        "settle an ambiguous intent by one's word, after a look at what is true",
        "  opsctl intent ack ID --reason 'the run is gone, seen on the host'",
        (TABLE, JSON, YAML),
    )
    ack.add_argument("id", metavar="ID")
    ack.add_argument("--reason", metavar="TEXT", required=True, help="what was seen; is recorded")
    _add_by(ack)

    command(
        commands,
        "approvals",
        "list what waits for a human, oldest first, with the command to type",
        "  opsctl approvals\n  opsctl approvals -o name",
    )


def _add_transport(commands: _Commands) -> None:
    transport = command(
        commands,
        "transport",
        "show how a loop is reached, or have it reached otherwise",
        "  opsctl transport docs-17\n  opsctl transport docs-17 local --reason 'the service is down'\n"
        "  opsctl transport docs-17 --events off --reason 'too many events'\n"
        "  opsctl transport docs-17 declared --reason 'all is well again'",
        (TABLE, JSON, YAML),
    )
    transport.add_argument("loop", metavar="LOOP")
    transport.add_argument(
        "way", choices=("local", "sprite_service", "declared"), nargs="?", help="`declared` is what the registry says"
    )
    transport.add_argument("--events", choices=("on", "off"), help="off: a service is asked for snapshots only")
    transport.add_argument("--reason", metavar="TEXT", default="", help="why; recorded, and needed for a switch")
    _add_by(transport)


def _add_profile(commands: _Commands) -> None:
    profile = command(
        commands,
        "profile",
        "show by which thresholds a loop is judged, or choose a profile of them for it",
        "  opsctl profile docs-17\n  opsctl profile --list\n"
        "  opsctl profile docs-17 --set relaxed --reason 'its roles take an hour'\n"
        "  opsctl profile docs-17 --clear --reason 'no longer'",
    )
    profile.add_argument("loop", metavar="LOOP", nargs="?")
    what = profile.add_mutually_exclusive_group()
    what.add_argument(
        "--set", dest="wanted", metavar="PROFILE", help="one of the catalog's; `default` is the same as --clear"
    )
    what.add_argument("--clear", action="store_true", help="end the choice: judged as all others are")
    what.add_argument("--list", dest="listing", action="store_true", help="name the catalog's profiles")
    profile.add_argument("--reason", metavar="TEXT", default="", help="why; recorded, and needed for a choice")
    _add_by(profile)


def _add_mode(commands: _Commands) -> None:
    mode = command(
        commands,
        "mode",
        "show or set whether intents are carried out: for the fleet, or for one loop",
        "  opsctl mode\n  opsctl mode observe --reason 'migration of the disks' --for 2h\n"
        "  opsctl mode observe docs-17\n  opsctl mode normal",
        (TABLE, JSON, JSONL, YAML),
    )
    mode.add_argument("mode", choices=("observe", "normal"), nargs="?", help="without it, the modes in force are shown")
    mode.add_argument("loop", metavar="LOOP", nargs="?")
    mode.add_argument("--reason", metavar="TEXT", default="", help="why; is shown to everybody who looks")
    mode.add_argument("--for", dest="for_s", metavar="TIME", type=_at_most(30 * _DAY_S), help="until it ends by itself")
    _add_by(mode)


def _add_by(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", metavar="NAME", help="in whose name; the account that asks is recorded as well")


def _stage(text: str) -> str:
    """A loop's name behind a bare `--wait` would be taken for its value: that is said, rather than `invalid choice`."""
    if text not in (SETTLED, CONSUMED, COMPLETE):
        raise argparse.ArgumentTypeError(f"'{text}' cannot be waited for; write --wait={SETTLED}, or --wait last")
    return text


def _at_most(limit_s: float) -> Callable[[str], float]:
    """A time that the daemon would not take if it were longer."""

    def read(text: str) -> float:
        value_s = seconds(text)
        if value_s > limit_s:
            raise argparse.ArgumentTypeError(f"'{text}' is too long; at most {limit_s:.0f} s")
        return value_s

    return read
