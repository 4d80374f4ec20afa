"""Serve one repository's snapshots, events and control over HTTP until SIGTERM. Source: control-and-service 9.

It supervises nothing and holds no lock; `opsd sprite-service` is the service for a manager that follows runs closely.
"""

import argparse
import ipaddress
import sys

from opsd.batch.command import CommandError, Outcome, Outside, Parser, repo_of

TOKEN_VARIABLE = "OPS_MANAGER_SERVICE_TOKEN"
_PORT_MAX = 65_535


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--repo", required=True, metavar="PATH", help="the repository that is served")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", default="8787", metavar="PORT", help="0 takes any free one (8787)")
    parser.add_argument("--token", metavar="TOKEN", help=f"what callers must send; {TOKEN_VARIABLE} by default")
    parser.add_argument("--scripts-dir", metavar="DIR", help="taken for the sake of older callers; nothing is there")


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    repo, port = repo_of(given), _port(given.port)
    token = given.token if given.token is not None else outside.variable(TOKEN_VARIABLE)
    if not token and not _is_loopback(given.host):
        raise CommandError(
            f"--host {given.host} is for others to reach, and there is no token; give one with --token or "
            f"{TOKEN_VARIABLE}, or listen on 127.0.0.1"
        )
    from opsd.listener import ListenerError
    from opsd.sprite.service.alone import serve_alone
    from opsd.sprite.service.token import TokenUnusable

    if not token:
        sys.stderr.write(f"warning: no token: everybody on this host may use the service at {given.host}\n")
    try:
        serve_alone(repo, given.host, port, token or None, outside.variables)
    except (ListenerError, TokenUnusable) as error:
        raise CommandError(str(error)) from None
    return Outcome()


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) <= _PORT_MAX:
        return int(text)
    raise CommandError(f"--port must be an integer from 0 to {_PORT_MAX}, not {text!r}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
