"""The endpoints of one-shot commands that found their home held by this daemon. The table is `opsd.api.routes`.

What a command would print and end with is the answer, also where that is an error of the command's own; an error of
this API means that nothing was done.
"""

from collections.abc import Awaitable
from typing import Final

import anyio

from opsd.api.endpoint import Call, Services
from opsd.api.errors import ApiError, ErrorCode
from opsd.api.intents import actor_of
from opsd.api.seams import OneShots
from opsd.model.ids import LoopId, loop_id_fault
from opsd.model.oneshot import ControlCommand, DriftRequest, OneShotReply, PassOptions, ProjectRequest
from opsd.protocol import NoQuery
from opsd.supervisor.fleet import FleetError, NotManaged, UnknownLoop

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Envelopes carry parts of a runtime's documents, which nobody bounds."""
LIMIT_S: Final = 110.0
"""Before the command itself stops waiting."""


async def reconcile(services: Services, call: Call[NoQuery, PassOptions]) -> OneShotReply:
    return await _answered(_oneshots(services).reconcile(_named(call.id), call.body))


async def project_state(services: Services, call: Call[NoQuery, ProjectRequest]) -> OneShotReply:
    return await _answered(_oneshots(services).project_state(_named(call.id), call.body))


async def profile_drift(services: Services, call: Call[NoQuery, DriftRequest]) -> OneShotReply:
    return await _answered(_oneshots(services).profile_drift(_named(call.id), call.body))


async def control(services: Services, call: Call[NoQuery, ControlCommand]) -> OneShotReply:
    """It bounds itself, by the window that its caller gives it."""
    actor = await actor_of(services, call.peer)
    return await _answered(_oneshots(services).control(_named(call.id), call.body, actor), limit_s=None)


def _oneshots(services: Services) -> OneShots:
    if services.oneshots is None:
        raise ApiError(
            ErrorCode.UNAVAILABLE, "no one-shot command is worked on here; run it where nobody holds the home"
        )
    return services.oneshots


def _named(loop_id: str) -> LoopId:
    """The loop, which need not be one of the fleet; ids travel into paths.

    Raises:
        ApiError: it cannot name a loop.
    """
    if fault := loop_id_fault(loop_id):
        problem = f"{loop_id[:200]!a} cannot name a loop: letters, digits and _@+=,:~%.- only"
        raise ApiError(ErrorCode.BAD_REQUEST, problem, why=fault)
    return LoopId(loop_id)


async def _answered(work: Awaitable[OneShotReply], *, limit_s: float | None = LIMIT_S) -> OneShotReply:
    try:
        with anyio.move_on_after(limit_s):
            return await work
    except UnknownLoop as error:
        raise ApiError(ErrorCode.UNKNOWN_LOOP, f"{error}; 'opsctl status' lists those that there are") from None
    except NotManaged as error:
        raise ApiError(ErrorCode.LOOP_NOT_MANAGED, f"{error}; mend its registry entry") from None
    except FleetError as error:
        raise ApiError(ErrorCode.UNAVAILABLE, f"{error}") from None
    raise ApiError(ErrorCode.TIMED_OUT, f"it is not done after {LIMIT_S:g} s, and goes on; look again in a moment")
