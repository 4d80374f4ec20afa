"""Print what the contract's health rules make of the given documents, whatever it is. Nothing is written.

A file that is not there, or is empty, counts as no document. Source: loop-core 8.
"""

import argparse
from datetime import datetime
from typing import TypeVar

import msgspec

from opsd.batch import thresholds
from opsd.batch.command import CommandError, Outcome, Outside, Parser, add_pretty, one_of, printed
from opsd.batch.told import read_told
from opsd.core.contract_health import Given, HeartbeatGiven, SequenceGiven, StateGiven, TransportGiven, evaluate
from opsd.core.instants import parse
from opsd.model.thresholds import Thresholds
from opsd.model.transport import TransportMode
from opsd.transports.lenient import decode_object
from opsd.transports.small import NotAnObjectError

R = TypeVar("R", bound=msgspec.Struct)

_UNPARSABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _IntentStatus(msgspec.Struct):
    status: str | None = None


def add_arguments(parser: Parser) -> None:
    for name in ("state", "heartbeat-state", "sequence-state", "transport-health", "intents"):
        parser.add_argument(f"--{name}-file", metavar="FILE", help="none by default")
    parser.add_argument("--trace-id", metavar="ID", help="null by default")
    parser.add_argument("--transport", default="local", metavar="MODE", help="a label: local (default), sprite_service")
    parser.add_argument("--threshold-profile", metavar="NAME", help="a label, null by default")
    parser.add_argument("--ingest-status", default="success", metavar="STATUS", help="success (default) or failed")
    parser.add_argument("--failure-code", metavar="CODE", help="why ingest failed")
    thresholds.add_limits(parser)
    parser.add_argument("--now", metavar="TIME", help="YYYY-MM-DDTHH:MM:SSZ; the present by default")
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    mode = one_of("--transport", given.transport, tuple(TransportMode))
    failed = one_of("--ingest-status", given.ingest_status, ("success", "failed")) == "failed"
    limits, now = _limits(given), _now(given, outside)
    what = Given(
        thresholds=limits,
        mode=mode,
        ingest_failed=failed,
        failure_code=given.failure_code if failed else None,
        state=_document(given.state_file, StateGiven, "state", outside),
        heartbeat=_document(given.heartbeat_state_file, HeartbeatGiven, "heartbeat state", outside),
        sequence=_document(given.sequence_state_file, SequenceGiven, "sequence state", outside),
        transport=_document(given.transport_health_file, TransportGiven, "transport health", outside),
        last_control_status=_last_control(given.intents_file, outside),
    )
    return Outcome(printed(evaluate(what, trace_id=given.trace_id or None, now=now), pretty=given.pretty))


def _limits(given: argparse.Namespace) -> Thresholds:
    try:
        return Thresholds(given.threshold_profile or None, **thresholds.overrides(given))
    except ValueError as error:
        raise CommandError(f"{error}; see --degraded-... and --critical-...") from None


def _now(given: argparse.Namespace, outside: Outside) -> datetime:
    if not given.now:
        return outside.now()
    if (at := parse(given.now)) is None:
        raise CommandError(f"--now must be a timestamp like 2026-11-21T01:57:40Z, not {given.now!r}")
    return at


def _document(path: str | None, record: type[R], what: str, outside: Outside) -> R:
    data = read_told(path, outside) if path else None
    if not data:
        return record()
    try:
        return decode_object(data, record)
    except (NotAnObjectError, *_UNPARSABLE) as error:
        raise CommandError(f"invalid {what} JSON: {path} ({error})") from None


def _last_control(path: str | None, outside: Outside) -> str | None:
    """Of the very last line, which may say nothing: blank, or no intent. Source: loop-core 8.2."""
    data = read_told(path, outside) if path else None
    if not data:
        return None
    last = data.removesuffix(b"\n").rpartition(b"\n")[2]
    try:
        return decode_object(last, _IntentStatus).status
    except (NotAnObjectError, *_UNPARSABLE):
        return None
