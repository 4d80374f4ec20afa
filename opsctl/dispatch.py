"""From parsed arguments to the command that they name. Commands are imported when asked for, to start quickly."""

import argparse
import os

from opsctl import environ
from opsctl.arguments import build_parser
from opsctl.client import ANSWER_LIMIT_S, Client
from opsctl.discovery import find_socket
from opsctl.exits import Exit
from opsctl.output import TABLE, Output


def dispatch() -> Exit:
    """Carry out the command line of this process.

    Raises:
        OpsctlError: there is nothing to show; it knows its exit code.
    """
    parser = build_parser()
    args = parser.parse_args()
    out = Output(getattr(args, "output", TABLE), headers=not getattr(args, "no_headers", False))
    if args.command == "completion":
        from opsctl.commands import completion

        return completion.run(parser, out, args.shell)
    path = find_socket(args.socket, environ.socket_path(), os.curdir)
    client = Client(path, limit_s=args.answer_within or ANSWER_LIMIT_S)
    return _ask(args, client, out)


def _ask(args: argparse.Namespace, client: Client, out: Output) -> Exit:
    match args.command:
        case "status":
            from opsctl.commands import status

            return status.run(client, out, args.loop)
        case "explain":
            from opsctl.commands import explain

            return explain.run(client, out, args.loop)
        case "events":
            from opsctl.commands import events

            return events.run(
                client,
                out,
                args.loop,
                follow=args.follow,
                since=args.since,
                names=tuple(args.name),
                count=args.lines,
            )
        case "logs":
            from opsctl.commands import logs

            return logs.run(
                client, out, args.loop, args.role, follow=args.follow, iteration=args.iteration, count=args.lines
            )
        case "runs":
            from opsctl.commands import runs

            return runs.run(client, out, args.loop)
        case "verify":
            from opsctl.commands import verify

            return verify.run(client, out, args.loop)
        case "escalations":
            from opsctl.commands import escalations

            return escalations.run(client, out, args.loop, follow=args.follow, count=args.lines)
        case "watch":
            from opsctl.commands import watch

            return watch.run(client, out, tuple(args.loops))
        case "wait":
            from opsctl.commands import wait

            words = tuple(args.words)
            return wait.run(client, out, tuple(args.loops), words, needs_all=args.needs_all, limit_s=args.timeout)
        case "cancel" | "approve" | "reject" | "start" | "pause" | "resume":
            from opsctl.commands import act

            return act.run(client, out, args)
        case "intents":
            from opsctl.commands import intents

            return intents.run(client, out, args.loop, follow=args.follow, open_only=args.open, count=args.lines)
        case "intent":
            from opsctl.commands import intent

            if args.verb == "show":
                return intent.show(client, out, args.id)
            return intent.ack(client, out, args.id, reason=args.reason, by=args.by)
        case "approvals":
            from opsctl.commands import approvals

            return approvals.run(client, out)
        case "transport":
            from opsctl.commands import transport

            return transport.run(client, out, args.loop, args.way, events=args.events, reason=args.reason, by=args.by)
        case "tuning":
            from opsctl.commands import tuning

            return tuning.run(client, out, args.loop)
        case "profile":
            from opsctl.commands import profile

            return profile.run(
                client,
                out,
                args.loop,
                args.wanted,
                clear=args.clear,
                listing=args.listing,
                reason=args.reason,
                by=args.by,
            )
        case "mode":
            from opsctl.commands import mode

            return mode.run(client, out, args.mode, args.loop, reason=args.reason, for_s=args.for_s, by=args.by)
        case "reconcile":
            from opsctl.commands import reconcile

            return reconcile.run(client, out, args.loop, from_start=args.from_start)
        case "version":
            from opsctl.commands import version

            return version.run(client, out)
        case unknown:
            raise AssertionError(f"the command {unknown} has no function")
