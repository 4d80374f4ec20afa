"""The endpoints of intents, of what waits for a decision, and of what operators set: modes, ways to loops, profiles.

The table is `opsd.api.routes`.

Who asks is the kernel's word, put beside the name that is claimed. What a request comes to, the control desk decides.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from msgspec.structs import replace
from starlette.responses import Response

from opsd.api import replies
from opsd.api.endpoint import Call, Services
from opsd.api.errors import ApiError, ErrorCode
from opsd.api.handlers import chosen_runs, from_files, known_run
from opsd.api.peer import Peer, user_name
from opsd.app import inbox
from opsd.app.desk import (
    CannotRecord,
    CannotSwitch,
    DeskError,
    IdempotencyConflict,
    NotAmbiguous,
    UnknownIntent,
    UnknownProfile,
    UnusableProfile,
)
from opsd.app.profiles import tuning_of
from opsd.core.intents.advice import next_step
from opsd.model.ids import LoopId
from opsd.model.intent import Actor, Intent, IntentKind, IntentStatus
from opsd.model.mode import Mode
from opsd.protocol import (
    AckRequest,
    ApprovalPage,
    IntentPage,
    IntentQuery,
    IntentReply,
    IntentRequest,
    IntentsQuery,
    ModePage,
    ModeRequest,
    NoQuery,
    ProfilePage,
    ProfileReply,
    ProfileRequest,
    TransportReply,
    TransportRequest,
    TuningReply,
    WaitFor,
)
from opsd.supervisor.fleet import FleetError, NotManaged, UnknownLoop


async def submit(services: Services, call: Call[NoQuery, IntentRequest]) -> Response:
    return await submitted(services, call.id, call.body, await actor_of(services, call.peer))


async def submitted(services: Services, loop_id: str, wanted: IntentRequest, actor: Actor) -> Response:
    """202 while the intent is in flight, 200 once it is settled, and for a dry run."""
    _check(wanted)
    loop_id = known_run(services, loop_id).ref.loop_id
    request = replace(wanted, by=wanted.by or actor.user)
    with _refusals_told():
        taken = await services.desk.submit(loop_id, request, actor)
    intent = taken.intent
    if request.dry_run:
        reply = IntentReply(services.clock.now(), intent, would=taken.would, next=_next_after_dry_run(intent))
        return replies.ok(reply)
    if intent.is_in_flight:
        intent = await _awaited(services, intent, WaitFor.SETTLED, request.wait_s)
    reply = _reply(services, intent)
    return replies.ok(replace(reply, replayed=taken.replayed), status=202 if intent.is_in_flight else 200)


async def intents(services: Services, call: Call[IntentsQuery, None]) -> IntentPage:
    chosen = chosen_runs(services, call.query.loop, call.now)
    return await from_files(services, lambda: services.queries.intents(chosen, call.query, call.now))


async def intent(services: Services, call: Call[IntentQuery, None]) -> IntentReply:
    return await shown(services, call.id, call.query)


async def shown(services: Services, intent_id: str, query: IntentQuery) -> IntentReply:
    found = services.desk.intent(intent_id)
    if found is None:
        return _reply(services, await _in_files(services, intent_id))
    return _reply(services, await _awaited(services, found, query.until, query.wait))


async def acknowledge(services: Services, call: Call[NoQuery, AckRequest]) -> IntentReply:
    return await acknowledged(services, call.id, call.body, await actor_of(services, call.peer))


async def acknowledged(services: Services, intent_id: str, wanted: AckRequest, actor: Actor) -> IntentReply:
    if not wanted.reason.strip():
        raise _bad("reason", "say why the intent counts as settled")
    request = replace(wanted, by=wanted.by or actor.user)
    with _refusals_told():
        try:
            settled = await services.desk.acknowledge(intent_id, request, actor)
        except UnknownIntent:
            # What only the files still have was settled long ago.
            raise NotAmbiguous((await _in_files(services, intent_id)).status) from None
    return _reply(services, settled)


async def approvals(services: Services, call: Call[NoQuery, None]) -> ApprovalPage:
    return inbox.approvals(chosen_runs(services, None, call.now), call.now)


async def modes(services: Services, call: Call[NoQuery, None]) -> ModePage:
    return services.desk.modes(call.now)


async def set_mode(services: Services, call: Call[NoQuery, ModeRequest]) -> ModePage:
    if call.body.mode is Mode.NORMAL and call.body.for_s is not None:
        raise _bad("forS", "normal mode has no end; it lasts until another is set")
    if call.body.loop_id is not None and call.body.mode is not Mode.NORMAL:
        known_run(services, call.body.loop_id)  # what was set for a loop that has left can still be ended
    actor = await actor_of(services, call.peer)
    with _refusals_told():
        return await services.desk.set_mode(replace(call.body, by=call.body.by or actor.user), actor)


async def transport(services: Services, call: Call[NoQuery, None]) -> TransportReply:
    with _refusals_told():
        return services.desk.transport(known_run(services, call.id).ref.loop_id)


async def set_transport(services: Services, call: Call[NoQuery, TransportRequest]) -> TransportReply:
    loop_id = known_run(services, call.id).ref.loop_id
    actor = await actor_of(services, call.peer)
    with _refusals_told():
        return await services.desk.set_transport(loop_id, replace(call.body, by=call.body.by or actor.user), actor)


async def profiles(services: Services, call: Call[NoQuery, None]) -> ProfilePage:
    return services.desk.profiles()


async def profile(services: Services, call: Call[NoQuery, None]) -> ProfileReply:
    with _refusals_told():
        return services.desk.profile(known_run(services, call.id).ref.loop_id)


async def tuning(services: Services, call: Call[NoQuery, None]) -> TuningReply:
    run = known_run(services, call.id)
    with _refusals_told():
        return tuning_of(run, services.desk.profile(run.ref.loop_id), services.desk.profiles())


async def set_profile(services: Services, call: Call[NoQuery, ProfileRequest]) -> ProfileReply:
    if not call.body.reason.strip():
        raise _bad("reason", "say why; it is recorded, and shown to everybody who looks")
    if call.body.profile is not None:
        known_run(services, call.id)  # what was chosen for a loop that has left can still be ended
    actor = await actor_of(services, call.peer)
    with _refusals_told():
        return await services.desk.set_profile(
            LoopId(call.id), replace(call.body, by=call.body.by or actor.user), actor
        )


def _check(request: IntentRequest) -> None:
    """What no single member shows.

    Raises:
        ApiError: an option without what it needs, or on an intent that has no use for it.
    """
    if request.override_divergence and not request.reason.strip():
        raise _bad("reason", "acting although the files contradict each other needs a reason; it is recorded")
    if request.clear_stale and request.intent is not IntentKind.START:
        raise _bad("clearStale", f"only a start clears what a run left behind, and this is '{request.intent}'")
    if request.pause_for_s is not None and request.intent is not IntentKind.PAUSE:
        raise _bad("pauseForS", f"only a pause has a length, and this is '{request.intent}'")


def _bad(member: str, problem: str) -> ApiError:
    return ApiError(ErrorCode.BAD_REQUEST, f"body member '{member}': {problem}", member=member)


async def actor_of(services: Services, peer: Peer) -> Actor:
    return Actor(peer.uid, await services.offload.run(lambda: user_name(peer.uid)), peer.pid)


async def _in_files(services: Services, intent_id: str) -> Intent:
    """
    Raises:
        ApiError: no loop of the fleet ever had such an intent, or its files cannot be read.
    """
    every = chosen_runs(services, None, services.clock.now())
    found = await from_files(services, lambda: services.queries.intent(intent_id, every))
    if found is not None:
        return found
    raise ApiError(
        ErrorCode.UNKNOWN_INTENT,
        f"no loop of the fleet has an intent '{intent_id}'; 'opsctl intents' lists those that there are",
        intent=intent_id,
    )


async def _awaited(services: Services, intent: Intent, until: WaitFor, wait_s: float) -> Intent:
    """The intent when it has come that far, when the time is up or when the daemon stops."""
    if wait_s > 0:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_stopping, services, tasks.cancel_scope, name="intents: stop")
            intent = await services.desk.wait(intent.id, until, wait_s) or intent
            tasks.cancel_scope.cancel()
    return services.desk.intent(intent.id) or intent


async def _cancel_when_stopping(services: Services, scope: anyio.CancelScope) -> None:
    await services.stopping.wait()
    scope.cancel()


def _reply(services: Services, intent: Intent) -> IntentReply:
    return IntentReply(services.clock.now(), intent, next=next_step(intent))


def _next_after_dry_run(intent: Intent) -> str:
    if intent.status is IntentStatus.REFUSED:
        return next_step(intent)
    return "Nothing was done or recorded; the same request without the dry run does it."


@contextmanager
def _refusals_told() -> Iterator[None]:
    """What the desk and the fleet refuse, in the API's words."""
    try:
        yield
    except UnknownLoop:
        raise ApiError(
            ErrorCode.UNKNOWN_LOOP, "the loop left the fleet meanwhile; 'opsctl status' lists those that there are"
        ) from None
    except NotManaged as error:
        raise ApiError(ErrorCode.LOOP_NOT_MANAGED, f"{error}; mend its registry entry") from None
    except IdempotencyConflict as error:
        raise ApiError(
            ErrorCode.IDEMPOTENCY_CONFLICT,
            f"{error}; see it with 'opsctl intent show {error.intent_id}', and use a key of its own for this one",
            intent=error.intent_id,
        ) from None
    except NotAmbiguous as error:
        raise ApiError(ErrorCode.NOT_AMBIGUOUS, str(error), status=error.status) from None
    except CannotSwitch as error:
        raise ApiError(ErrorCode.CANNOT_SWITCH, f"{error} It is reached as before.") from None
    except UnknownProfile as error:
        raise ApiError(ErrorCode.UNKNOWN_PROFILE, f"{error}; nothing was changed") from None
    except UnusableProfile as error:
        raise ApiError(ErrorCode.UNUSABLE_PROFILE, f"{error}; nothing was changed") from None
    except CannotRecord as error:
        raise ApiError(
            ErrorCode.STORE_UNWRITABLE,
            f"nothing was changed, because it could not be written down: {error.problem}; make room on the disk or "
            "mend its permissions, then repeat it",
        ) from None
    except (DeskError, FleetError) as error:
        raise ApiError(ErrorCode.UNAVAILABLE, f"{error}; the daemon's log says more") from error
