"""Sum up the newest telemetry of a loop, and say which threshold profile it speaks for.

Advice only: no profile is changed. Source: status-and-tuning, Part 2.
"""

import argparse
from collections.abc import Sequence
from typing import Final

from opsd.app.samples import Odd, Read, read_controls, read_samples
from opsd.batch.command import (
    CommandError,
    Outcome,
    Outside,
    Parser,
    add_loop,
    add_pretty,
    loop_of,
    printed,
    repo_of,
    whole_number,
)
from opsd.core import tuning
from opsd.model.effects import Journal
from opsd.model.tuning import SummarySource
from opsd.store.journal import RETENTION, generations
from opsd.store.layout import Layout

_NOT_JSON: Final = 2
_NO_OBJECT: Final = 5
"""With what the command ends at such a line. Source: status-and-tuning 2.1."""


def add_arguments(parser: Parser) -> None:
    add_loop(parser)
    parser.add_argument("--reconcile-telemetry-file", metavar="FILE", help="instead of the loop's own")
    parser.add_argument("--control-telemetry-file", metavar="FILE", help="instead of the loop's own; may be missing")
    parser.add_argument("--window", default="200", metavar="N", help="rows taken from the end of each file (200)")
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    repo, loop_id = repo_of(given), loop_of(given)
    size = whole_number("--window", given.window, least=1)
    told = {Journal.RECONCILE: given.reconcile_telemetry_file, Journal.CONTROL: given.control_telemetry_file}
    layout = Layout(repo, {journal: path for journal, path in told.items() if path})
    rows = _files(layout.journal(loop_id, Journal.RECONCILE), Journal.RECONCILE, told)
    if all(outside.files.stat(path) is None for path in rows):
        raise CommandError(
            f"reconcile telemetry file not found: {rows[0]}; run ops-manager reconcile first, or name another with "
            "--reconcile-telemetry-file"
        )
    samples = _believed(read_samples(outside.files, rows, size))
    acts = _files(layout.journal(loop_id, Journal.CONTROL), Journal.CONTROL, told)
    controls = _believed(read_controls(outside.files, acts, size))
    summary = tuning.summarize(samples.places, controls.ambiguous_count)
    source = SummarySource(repo, loop_id, rows[0], acts[0], size)
    document = tuning.document(summary, source, outside.now())
    return Outcome(printed(document, pretty=given.pretty))


def _files(path: str, journal: Journal, told: dict[Journal, str | None]) -> Sequence[str]:
    """The loop's own file goes on in those that were rotated; one that was named is that file alone."""
    return [path] if told[journal] else generations(path, RETENTION[journal])


def _believed(read: Read) -> Read:
    """
    Raises:
        CommandError: a line in the window is no row, so that the summary would be of something else.
    """
    if read.fault is not None:
        raise CommandError(f"{read.fault}; mend its permissions")
    if read.odd:
        raise _no_row(read.odd[0])
    return read


def _no_row(odd: Odd) -> CommandError:
    what, code = ("no JSON object", _NO_OBJECT) if odd.is_json else ("not JSON", _NOT_JSON)
    return CommandError(
        f"{odd.path}: the line at byte {odd.offset} is {what} ({odd.problem}); mend or remove it, or choose a --window "
        "that does not reach it",
        code,
    )
