"""Print a loop's artifacts as they are at this moment, in one envelope. Nothing is written.

The trace id is the flag's, or none. Source: loop-core 2.
"""

import argparse

from msgspec.structs import replace

from opsd.app import envelopes
from opsd.batch.command import CommandError, Outcome, Outside, Parser, add_loop, add_pretty, loop_of, printed, repo_of


def add_arguments(parser: Parser) -> None:
    add_loop(parser)
    parser.add_argument("--run-id", metavar="ID", help="instead of the one that the files tell")
    parser.add_argument("--trace-id", metavar="ID", help="null by default")
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    repo, loop_id = repo_of(given), loop_of(given)
    try:
        found = envelopes.snapshot(outside.files, repo, loop_id, outside.now(), trace_id=given.trace_id or None)
    except envelopes.EnvelopeError as error:
        raise CommandError(str(error)) from None
    if given.run_id:
        found = replace(found, run=replace(found.run, run_id=given.run_id))
    return Outcome(printed(found, pretty=given.pretty))
