"""Show all that is known of a loop: state, health, the last pass and control, telemetry's advice, alerts, trace ids.

Reads files only. `manager` says whether anybody still looks at the loop, and `ages` how old the rest is by now.
Source: status-and-tuning, Part 1.
"""

import argparse
import os
from collections.abc import Mapping
from functools import partial
from typing import Final

from opsd.app.operator_status import SUMMARY_WINDOW, NothingKnown, StatusError, files_of, read_status
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
from opsd.core.operator_status import Recommendation, recommended
from opsd.model.operator_status import StatusFiles
from opsd.store.layout import Layout

SUMMARY_VARIABLE: Final = "OPS_MANAGER_TELEMETRY_SUMMARY_SCRIPT"
MOVABLE: Final[Mapping[str, str]] = {
    "state_file": "the projected state",
    "cursor_file": "the event cursor",
    "health_file": "the newest health",
    "intents_file": "the log of control attempts",
    "heartbeat_state_file": "the newest heartbeat",
    "heartbeat_telemetry_file": "its history",
    "sequence_state_file": "the newest sequence diagnostics",
    "sequence_telemetry_file": "their history",
    "control_invocations_file": "the audit of control attempts",
    "drift_state_file": "the newest evaluation of profile drift",
    "drift_history_file": "its history; told on, never read",
    "alert_dispatch_state_file": "the newest dispatch of alerts",
    "alert_dispatch_telemetry_file": "their deliveries",
}
"""The files that can be read elsewhere, and what is in them."""
_ANSWER_WITHIN_S: Final = 60


def add_arguments(parser: Parser) -> None:
    add_loop(parser)
    for name, what in MOVABLE.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="FILE", help=what)
    parser.add_argument(
        "--summary-window",
        default=SUMMARY_WINDOW,
        metavar="N",
        help=f"telemetry rows that the advice on thresholds rests on ({SUMMARY_WINDOW})",
    )
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    layout, loop_id = Layout(repo_of(given)), loop_of(given)
    window = whole_number("--summary-window", given.summary_window, least=1)
    moved = {name: os.path.abspath(path) for name in MOVABLE if (path := getattr(given, name))}
    where = files_of(layout, loop_id, moved)
    program = outside.variable(SUMMARY_VARIABLE)
    try:
        status = read_status(
            outside.files,
            layout,
            loop_id,
            where,
            summary_window=window,
            now=outside.now(),
            advise=None if program is None else partial(_advice_by, program, layout, loop_id, where, window),
        )
    except (NothingKnown, StatusError) as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be read: {error.strerror}; mend its permissions") from None
    return Outcome(printed(status, pretty=given.pretty))


def _advice_by(program: str, layout: Layout, loop_id: str, where: StatusFiles, window: int) -> Recommendation:
    """What another program makes of the telemetry. One that fails gives no advice, and the rest of the status stands.

    It is called with the flags of `telemetry-summary`. Source: status-and-tuning 1.1.
    """
    import subprocess

    words = [program, "--repo", layout.home, "--loop", loop_id, "--window", str(window)]
    words += ["--reconcile-telemetry-file", where.reconcile_telemetry_file]
    words += ["--control-telemetry-file", where.control_telemetry_file]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return Recommendation()
    return recommended(done.stdout) if done.returncode == 0 else Recommendation()
