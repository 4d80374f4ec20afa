"""Look at one loop once: ingest what is new, judge it, and write down what follows.

Prints the state, or the health of a loop that could not be looked at, which is exit code 1. Source: loop-core 5.
"""

import argparse
import os
from collections.abc import Mapping
from typing import Final, get_args

from opsd.app.oneshot import Passed, one_pass, rules_for, written
from opsd.app.restore import restore
from opsd.app.tuning import Telemetry
from opsd.batch import thresholds
from opsd.batch.command import (
    CommandError,
    Outcome,
    Outside,
    Parser,
    add_loop,
    add_pretty,
    loop_of,
    one_of,
    printed,
    repo_of,
    trace_id_of,
    whole_number,
)
from opsd.batch.home import HeldByDaemon, cannot_honour, claim, forwarded
from opsd.batch.told import check_replaceable
from opsd.batch.whereabouts import ref_of
from opsd.model.effects import Document, Journal
from opsd.model.ids import LoopId
from opsd.model.oneshot import DriftOptions, PassOptions, ServiceWay
from opsd.model.thresholds import ProfileCatalog
from opsd.model.transport import TransportMode
from opsd.model.tuning import Confidence
from opsd.ports import Transport
from opsd.processes import boot_id
from opsd.store.faults import StoreError
from opsd.store.layout import Layout
from opsd.store.store import Store
from opsd.transports.local import LocalTransport

MOVABLE: Final[Mapping[str, Document | Journal]] = {
    "cursor_file": Document.CURSOR,
    "state_file": Document.STATE,
    "drift_state_file": Document.PROFILE_DRIFT,
    "drift_history_file": Journal.PROFILE_DRIFT,
    "sequence_state_file": Document.SEQUENCE,
    "sequence_telemetry_file": Journal.SEQUENCE,
    "heartbeat_state_file": Document.HEARTBEAT,
    "heartbeat_telemetry_file": Journal.HEARTBEAT,
}
"""The flags with which a file of the loop can lie elsewhere."""
ALERT_FLAGS: Final = ("alert_config_file", "alert_dispatch_state_file", "alert_dispatch_telemetry_file")
_ANSWER_WITHIN_S: Final = 120.0


def add_arguments(parser: Parser) -> None:
    add_loop(parser)
    parser.add_argument("--transport", default="local", metavar="MODE", help="local (default) or sprite_service")
    parser.add_argument("--service-base-url", metavar="URL", help="required for sprite_service")
    parser.add_argument("--service-token", metavar="TOKEN", help="OPS_MANAGER_SERVICE_TOKEN by default")
    parser.add_argument("--trace-id", metavar="ID", help="OPS_MANAGER_TRACE_ID, else a new one, by default")
    parser.add_argument("--retry-attempts", default="3", metavar="N", help="of one request of the service (3)")
    parser.add_argument("--retry-backoff-seconds", default="1", metavar="N", help="the first pause between them (1)")
    parser.add_argument(
        "--max-events", default="0", metavar="N", help="how far the cursor moves at most (0: to the end)"
    )
    parser.add_argument("--from-start", action="store_true", help="read the log again from its first line")
    parser.add_argument("--threshold-profile", metavar="NAME", help=f"{thresholds.PROFILE_VARIABLE} by default")
    parser.add_argument("--thresholds-file", metavar="FILE", help=f"{thresholds.CATALOG_VARIABLE} by default")
    thresholds.add_limits(parser)
    parser.add_argument("--drift-min-confidence", metavar="LEVEL", help="low, medium (default) or high")
    parser.add_argument("--drift-required-streak", metavar="N", help="windows in a row until drift is active (3)")
    parser.add_argument("--drift-summary-window", metavar="N", help="telemetry rows that are looked at (200)")
    parser.add_argument("--alerts-enabled", metavar="BOOL", help="true (default) or false")
    for name in (*MOVABLE, *ALERT_FLAGS):
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="FILE", help="instead of the loop's own file")
    add_pretty(parser)


def run(given: argparse.Namespace, outside: Outside) -> Outcome:
    repo, loop_id = repo_of(given), loop_of(given)
    options = options_of(given, outside, repo, loop_id)
    moved = _moved(given, outside)
    layout = Layout(repo, moved)
    try:
        with claim(layout, outside):
            passed = _pass(layout, loop_id, options, outside, moved)
    except HeldByDaemon as held:
        named = [f"--{name.replace('_', '-')}" for name in (*MOVABLE, *ALERT_FLAGS) if getattr(given, name)]
        if named:
            raise cannot_honour(held, named) from None
        reply = forwarded(held, _where(loop_id), options, limit_s=_ANSWER_WITHIN_S)
        if reply.error is not None:
            raise CommandError(reply.error, reply.exit_code) from None
        return Outcome(printed(reply.document, pretty=given.pretty), reply.exit_code)
    return Outcome(printed(passed.document, pretty=given.pretty), passed.exit_code)


def options_of(given: argparse.Namespace, outside: Outside, repo: str, loop_id: LoopId) -> PassOptions:
    """Every flag judged before anything is done. Source: loop-core 5.4, paths A to C."""
    mode = TransportMode(one_of("--transport", given.transport, tuple(TransportMode)))
    retry_attempts = whole_number("--retry-attempts", given.retry_attempts, least=1)
    backoff = whole_number("--retry-backoff-seconds", given.retry_backoff_seconds)
    max_events = whole_number("--max-events", given.max_events)
    if given.alerts_enabled is not None:
        one_of("--alerts-enabled", given.alerts_enabled, ("true", "false"))
    catalog = thresholds.read_catalog(thresholds.catalog_path(given.thresholds_file, outside), outside)
    return PassOptions(
        trace_id=trace_id_of(given, outside),
        transport=mode,
        service=_service(given, outside) if mode is TransportMode.SPRITE_SERVICE else None,
        from_start=given.from_start,
        max_events=max_events,
        retry_attempts=retry_attempts,
        retry_backoff_seconds=backoff,
        thresholds=thresholds.in_force(given, outside, catalog, Layout(repo), loop_id),
        drift=_drift(given, outside, catalog),
    )


def _service(given: argparse.Namespace, outside: Outside) -> ServiceWay:
    if not given.service_base_url:
        raise CommandError("--service-base-url is required when --transport sprite_service")
    token = given.service_token or outside.variable("OPS_MANAGER_SERVICE_TOKEN")
    return ServiceWay(given.service_base_url.removesuffix("/"), token)


def _moved(given: argparse.Namespace, outside: Outside) -> dict[Document | Journal, str]:
    """Where files lie that a flag names, from the root: what is no file there is not put away for one."""
    moved = {}
    for name, what in MOVABLE.items():
        if path := getattr(given, name):
            moved[what] = os.path.abspath(path)
            check_replaceable(f"--{name.replace('_', '-')}", moved[what], outside)
    return moved


def _drift(given: argparse.Namespace, outside: Outside, catalog: ProfileCatalog) -> DriftOptions:
    """A flag wins over its variable. Source: status-and-tuning 3.6."""
    told: dict[str, str] = {}
    for name, default in (("min_confidence", "medium"), ("required_streak", "3"), ("summary_window", "200")):
        flag = getattr(given, f"drift_{name}")
        told[name] = flag or outside.variable(f"OPS_MANAGER_DRIFT_{name.upper()}") or default
    confidence = one_of("--drift-min-confidence", told["min_confidence"], get_args(Confidence))
    return DriftOptions(
        confidence,  # type: ignore[arg-type]  # one of them, as was just seen
        whole_number("--drift-required-streak", told["required_streak"], least=1),
        whole_number("--drift-summary-window", told["summary_window"], least=1),
        tuple(sorted(catalog.profiles)),
    )


def _pass(
    layout: Layout, loop_id: LoopId, options: PassOptions, outside: Outside, moved: Mapping[Document | Journal, str]
) -> Passed:
    store, now = Store(layout, outside.files), outside.now()
    ref = ref_of(layout, loop_id, options, outside)
    boot = boot_id()
    (loop,), _ = restore(store, [ref], now, boot_id=boot)
    rules = rules_for(options, home=layout.home, boot_id=boot, moved=moved)

    def look(transport: Transport) -> Passed:
        return one_pass(
            transport,
            loop.run,
            options,
            rules,
            Telemetry(layout, outside.files),
            cursor_line=loop.cursor_line,
            now=now,
            monotonic=outside.monotonic,
            later=outside.later,
        )

    if options.service is None:
        passed = look(LocalTransport(outside.files, outside.processes, one_shot=True))
    else:
        from opsd.batch.services import through_service  # takes longer to load than a local pass does as a whole

        passed = through_service(options.service.token, outside, look)
    try:
        written(store, passed, now)
    except StoreError as error:
        raise CommandError(str(error)) from None
    return passed


def _where(loop_id: LoopId) -> str:
    from opsctl.client import loop_path

    return loop_path(loop_id, "oneshot", "reconcile")
