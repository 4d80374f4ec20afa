"""The API as one ASGI application: the gate in front (who may do this?), the router, one form of error behind."""

from collections.abc import Mapping, Sequence

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from opsd.api import replies
from opsd.api.endpoint import Call, Endpoint, Services, read_body, read_query
from opsd.api.errors import ApiError, ErrorCode
from opsd.api.gate import Gate, peer_in
from opsd.api.peer import Access
from opsd.api.routes import ENDPOINTS
from opsd.api.seams import Afar, Desk, Fleet, OneShots, Queries
from opsd.ports import Clock, Offload


def build_app(
    fleet: Fleet,
    queries: Queries,
    access: Access,
    *,
    desk: Desk,
    offload: Offload,
    clock: Clock,
    afar: Afar | None = None,
    oneshots: OneShots | None = None,
) -> Starlette:
    """The application over `fleet`. `app.state.stopping` is an event that the server sets when it begins to stop."""
    services = Services(fleet, desk, queries, access, offload, clock, anyio.Event(), afar, oneshots)
    app = Starlette(
        routes=_routes(ENDPOINTS, services),
        middleware=[Middleware(Gate, services=services)],
        exception_handlers={ApiError: _refused, HTTPException: _no_route},
    )
    app.router.redirect_slashes = False
    app.state.stopping = services.stopping
    return app


def _routes(endpoints: Sequence[Endpoint], services: Services) -> list[Route]:
    """One route a path, so that a method which does not go there is told all of those that do."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [_route(path, by_method, services) for path, by_method in by_path.items()]


def _route(path: str, by_method: Mapping[str, Endpoint], services: Services) -> Route:
    async def serve(request: Request) -> Response:
        endpoint = by_method["GET" if request.method == "HEAD" else request.method]
        query = read_query(request.query_params, endpoint.query)
        body = await read_body(request, endpoint.body, endpoint.body_bytes_max) if endpoint.body is not None else None
        call = Call(request.path_params.get("id", ""), query, body, peer_in(request.scope), services.clock.now())
        answer = await endpoint.handle(services, call)
        return replies.ok(answer) if isinstance(answer, msgspec.Struct) else answer

    return Route(path, serve, methods=list(by_method), name=path)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return replies.refusal(error)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return replies.refusal(
            ApiError(
                ErrorCode.METHOD_NOT_ALLOWED, f"{request.method} does not go here; allowed: {allowed}", allowed=allowed
            ),
            headers={"Allow": allowed},
        )
    return replies.refusal(
        ApiError(ErrorCode.NOT_FOUND, f"there is no path {request.url.path}; GET /v1/openapi.json lists what there is")
    )
