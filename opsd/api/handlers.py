"""What the endpoints do: each function takes a checked call and answers with a record. The table is `opsd.api.routes`.

Answers from memory are made on the spot; whatever reads files runs in a worker thread.
"""

import difflib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

import anyio
from starlette.responses import Response

from opsd.api import afar, metrics, replies
from opsd.api.endpoint import Call, Services
from opsd.api.errors import ApiError, ErrorCode
from opsd.app import view
from opsd.app.operator_status import StatusError
from opsd.model.explain import Explanation
from opsd.model.ids import LoopId
from opsd.model.operator_status import OperatorStatus
from opsd.model.run import Run
from opsd.model.wire import PageKind
from opsd.protocol import (
    EscalationPage,
    EscalationsQuery,
    EventPage,
    EventsQuery,
    FleetStatus,
    HealthReply,
    LogPage,
    LogsQuery,
    LoopStatus,
    NoQuery,
    OperatorStatusQuery,
    ReconcileReply,
    ReconcileRequest,
    RunHistory,
    VerificationReport,
    VerifyQuery,
    VersionReply,
)
from opsd.supervisor.fleet import FleetError, NotManaged

# How often a held-back answer looks again whether there is news: half of it is what `opsctl events -f` is late by.
LOOK_AGAIN_S = 0.2
RECONCILE_LIMIT_S = 60.0

P = TypeVar("P", EventPage, LogPage)
R = TypeVar("R")


async def fleet(services: Services, call: Call[NoQuery, None]) -> FleetStatus:
    return services.fleet.status(call.now)


async def loop(services: Services, call: Call[NoQuery, None]) -> LoopStatus:
    return view.status(known_run(services, call.id), call.now)


async def explain(services: Services, call: Call[NoQuery, None]) -> Explanation:
    run = known_run(services, call.id)
    return await from_files(services, lambda: services.queries.explain(run, call.now))


async def events(services: Services, call: Call[EventsQuery, None]) -> EventPage:
    query = call.query
    if query.tail is not None and query.offset is not None:
        raise ApiError(
            ErrorCode.BAD_REQUEST,
            "'tail' and 'offset' exclude each other: give 'tail' for the newest, or 'offset' to go on",
            parameter="tail",
        )
    run = known_run(services, call.id)
    if run.ref.is_remote:
        return await afar.page_of(services, run, PageKind.EVENTS, query, EventPage, wait_s=query.wait)
    return await _held_back(
        services,
        call.id,
        lambda run: services.queries.events(run, query),
        lambda page: bool(page.items) or page.restarted or page.next_offset != query.offset,
        query.wait,
    )


async def logs(services: Services, call: Call[LogsQuery, None]) -> LogPage:
    query, run = call.query, known_run(services, call.id)
    if run.ref.is_remote:
        return await afar.page_of(services, run, PageKind.LOGS, query, LogPage, wait_s=query.wait)
    return await _held_back(
        services,
        call.id,
        lambda run: services.queries.logs(run, query),
        lambda page: bool(page.text) or page.next_offset != query.offset,
        query.wait,
    )


async def operator_status(services: Services, call: Call[OperatorStatusQuery, None]) -> OperatorStatus:
    run = known_run(services, call.id)
    try:
        return await from_files(services, lambda: services.queries.operator_status(run, call.query, call.now))
    except StatusError as error:
        raise ApiError(ErrorCode.UNAVAILABLE, str(error), loop=call.id) from None


async def runs(services: Services, call: Call[NoQuery, None]) -> RunHistory:
    run = known_run(services, call.id)
    return await from_files(services, lambda: services.queries.runs(run, call.now))


async def escalations(services: Services, call: Call[EscalationsQuery, None]) -> EscalationPage:
    chosen = chosen_runs(services, call.query.loop, call.now)
    return await from_files(services, lambda: services.queries.escalations(chosen, call.query, call.now))


async def verify(services: Services, call: Call[VerifyQuery, None]) -> VerificationReport:
    every = chosen_runs(services, call.query.loop, call.now)
    chosen = [run for run in every if not run.ref.is_remote]
    report = await from_files(services, lambda: services.queries.verify(chosen, call.now))
    if len(chosen) < len(every):
        behind = [await afar.verification_of(services, run) for run in every if run.ref.is_remote]
        report = VerificationReport(report.at, (*report.loops, *behind))
    local = {run.ref.loop_id for run in chosen}
    doubted = [known_run(services, each.loop_id) for each in report.loops if not each.ok and each.loop_id in local]
    if not doubted:
        return report
    # The world may have moved on since the last pass (a process that just died): only what a new one leaves standing
    # is a difference.
    for run in doubted:
        with anyio.move_on_after(RECONCILE_LIMIT_S), suppress(NotManaged, FleetError):
            await services.fleet.reconcile(run.ref.loop_id, from_start=False)
    now = services.clock.now()
    again = [known_run(services, run.ref.loop_id) for run in doubted]
    second = await from_files(services, lambda: services.queries.verify(again, now))
    newest = {each.loop_id: each for each in second.loops}
    return VerificationReport(now, tuple(newest.get(each.loop_id, each) for each in report.loops))


async def reconcile(services: Services, call: Call[NoQuery, ReconcileRequest]) -> ReconcileReply:
    loop_id = known_run(services, call.id).ref.loop_id
    try:
        with anyio.move_on_after(RECONCILE_LIMIT_S):
            return await services.fleet.reconcile(loop_id, from_start=call.body.from_start)
    except NotManaged as error:
        raise ApiError(ErrorCode.LOOP_NOT_MANAGED, f"{error}; mend its registry entry", loop=loop_id) from None
    except FleetError as error:
        raise ApiError(ErrorCode.UNAVAILABLE, f"{error}; the daemon's log says more", loop=loop_id) from error
    raise ApiError(
        ErrorCode.TIMED_OUT,
        f"the pass over '{loop_id}' took longer than {RECONCILE_LIMIT_S:.0f} s and goes on; "
        f"look at it with 'opsctl status {loop_id}'",
        loop=loop_id,
    )


async def version(services: Services, call: Call[NoQuery, None]) -> VersionReply:
    daemon = services.fleet.daemon_status(call.now)
    return VersionReply(daemon.version, daemon.api_version, daemon.start_id, daemon.pid, daemon.started_at)


async def healthz(services: Services, call: Call[NoQuery, None]) -> Response:
    subsystems = services.fleet.daemon_status(call.now).subsystems
    well = all(subsystem.ok for subsystem in subsystems)
    return replies.ok(HealthReply(call.now, well, subsystems), status=200 if well else 503)


async def measured(services: Services, call: Call[NoQuery, None]) -> Response:
    return Response(metrics.exposition(services.fleet.metrics()), media_type=metrics.MEDIA_TYPE)


def known_run(services: Services, loop_id: str) -> Run:
    """The run of a loop in the fleet: only its own `ref` ever leads to a path.

    Raises:
        ApiError: no such loop; near names are in the message.
    """
    run = services.fleet.run(LoopId(loop_id))
    if run is not None:
        return run
    raise unknown_loop(loop_id, [summary.loop_id for summary in services.fleet.summaries(services.clock.now())])


def unknown_loop(loop_id: str, names: Sequence[str]) -> ApiError:
    near = difflib.get_close_matches(loop_id, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(name) for name in near)}?" if near else "'opsctl status' lists them"
    return ApiError(
        ErrorCode.UNKNOWN_LOOP,
        f"no loop '{loop_id}' in the fleet of {len(names)}; {hint}",
        loop=loop_id,
        near=",".join(near),
    )


def chosen_runs(services: Services, loop_id: str | None, now: datetime) -> list[Run]:
    """The run of this loop, or of every loop of the fleet. Raises ApiError as `known_run` does."""
    if loop_id is not None:
        return [known_run(services, loop_id)]
    found = (services.fleet.run(LoopId(summary.loop_id)) for summary in services.fleet.summaries(now))
    return [run for run in found if run is not None]


async def from_files(services: Services, ask: Callable[[], R]) -> R:
    """What `ask` finds, in a worker thread.

    Raises:
        ApiError: there is no such thing, or a file could not be read.
    """
    try:
        return await services.offload.run(ask)
    except LookupError as error:
        raise ApiError(ErrorCode.NOT_FOUND, str(error.args[0]) if error.args else "there is no such thing") from None
    except OSError as error:
        raise ApiError(
            ErrorCode.UNAVAILABLE,
            f"{error.filename or 'a file'} could not be read: {error.strerror or error}; try again",
            errno=str(error.errno or ""),
        ) from error


async def _held_back(
    services: Services, loop_id: str, ask: Callable[[Run], P], has_news: Callable[[P], bool], wait_s: float
) -> P:
    """The answer as soon as it has news, at the latest after `wait_s` seconds, at once when the daemon stops.

    Looking again is what makes it gapless: the position lies in the file, so nothing depends on hearing of a change.
    Each look is about the run as it is by then, since a pass may have found the file to be another one.
    """

    async def look() -> P:
        run = known_run(services, loop_id)
        return await from_files(services, lambda: ask(run))

    page = await look()
    with anyio.move_on_after(wait_s):
        while not has_news(page) and not services.stopping.is_set():
            with anyio.move_on_after(LOOK_AGAIN_S):
                await services.stopping.wait()
            page = await look()
    return page
