"""The table of contents of everything but the FHIR bases: health, metrics, websockets, and what is mounted.

Every route has an access, which is checked before its endpoint runs. `build_routes_app` makes the Starlette
application that `Application` passes requests to which are not below a FHIR base.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.api import clients, health, jwks, oauth, readings
from broker.api.failures import failure, response_to
from broker.api.login_audit import LoginAudit, address_of
from broker.api.media import FHIR_JSON
from broker.api.messages import headers_of, send_response
from broker.api.websockets import websocket
from broker.errors import BrokerError, Issue, MethodNotAllowed, NotFound
from broker.model.access import Access, authorize
from broker.model.principal import ANONYMOUS, PrincipalRole
from broker.model.release import Release
from broker.telemetry import current_request


class HttpRoute(NamedTuple):
    """One row: a path, the kind of Starlette route, the endpoint or mounted application, what a principal
    needs, and the method of a `Route`.
    """

    path: str
    route: Callable[..., BaseRoute]
    endpoint: Any
    access: Access
    method: str = "GET"


HEALTH: Sequence[HttpRoute] = (
    HttpRoute("/livez", Route, health.livez, Access.PUBLIC),
    HttpRoute("/readyz", Route, health.readyz, Access.PUBLIC),
    HttpRoute("/metrics", Route, health.prometheus, Access(role=PrincipalRole.OPERATOR)),
)
"""Every process has these, whatever its role."""
# a browser sends no credentials with a websocket: the binding token that it sends next is the access check
ROUTES: Sequence[HttpRoute] = (
    *HEALTH,
    HttpRoute("/ws", WebSocketRoute, websocket, Access.PUBLIC),
    HttpRoute(jwks.PATH, Route, jwks.jwks, Access.PUBLIC),
    HttpRoute(jwks.TENANT_PATH, Route, jwks.jwks, Access.PUBLIC),
    HttpRoute(readings.PATH, Route, readings.Endpoint(), Access(scope="system/Observation.c"), "POST"),
)
"""The routes of a process that serves the API."""
_ADMIN = Access(role=PrincipalRole.ADMIN)
OAUTH: Sequence[HttpRoute] = (
    # the client authenticates by the assertion in the form
    HttpRoute(oauth.TOKEN_PATH, Route, oauth.token, Access.PUBLIC, "POST"),
    HttpRoute(oauth.INTROSPECT_PATH, Route, oauth.introspect, Access.AUTHENTICATED, "POST"),
    HttpRoute(oauth.REVOKE_PATH, Route, oauth.revoke, Access.PUBLIC, "POST"),
    HttpRoute(clients.CLIENTS_PATH, Route, clients.list_clients, _ADMIN),
    HttpRoute(clients.CLIENTS_PATH, Route, clients.add_client, _ADMIN, "POST"),
    HttpRoute(clients.CLIENT_PATH, Route, clients.show_client, _ADMIN),
    HttpRoute(clients.CLIENT_PATH, Route, clients.replace_client, _ADMIN, "PUT"),
    HttpRoute(clients.CLIENT_PATH, Route, clients.remove_client, _ADMIN, "DELETE"),
)
"""The further routes of a process that serves the API with access control."""


def mounted(path: str, app: ASGIApp, access: Access) -> HttpRoute:
    """A row for an application below a path, such as a console or static files."""
    return HttpRoute(path, Mount, app, access)


def build_routes_app(rows: Sequence[HttpRoute], login: LoginAudit) -> Starlette:
    """The application of the rows. An unknown path gets a 404 with an OperationOutcome that names the FHIR
    bases.
    """
    routes = [_guarded(row, login) for row in rows]
    return Starlette(routes=routes, exception_handlers={404: _not_found, 405: _method_not_allowed})


def direct_endpoints(app: Starlette) -> Mapping[tuple[str, str], ASGIApp]:
    """The guarded endpoints that are called without a search for their route, by method and path: what
    devices call for every reading.
    """
    return {
        ("POST", route.path): route.app
        for route in app.routes
        if isinstance(route, Route) and route.path == readings.PATH
    }


def _guarded(row: HttpRoute, login: LoginAudit) -> BaseRoute:
    if row.route is Mount:
        return Mount(row.path, app=Guard(row.endpoint, row.access, login, f"{row.path}/*"))
    methods = {"methods": [row.method]} if row.route is Route else {}
    route = row.route(row.path, row.endpoint, **methods)
    assert isinstance(route, Route | WebSocketRoute)  # noqa: S101 Starlette's other kinds have no endpoint
    route.app = Guard(route.app, row.access, login, row.path)
    return route


class Guard:
    """Passes a connection on if its principal has the access, else refuses it: by 401 or 403, or by closing a
    websocket. Where the access is public, nobody is authenticated.

    The application behind it finds the principal and the headers in `scope["state"]`. `name` is that of the
    row in metrics and spans.
    """

    def __init__(self, app: ASGIApp, access: Access, login: LoginAudit, name: str) -> None:
        self._name = name
        self._app = app
        self._access = access
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current_request.name_route(self._name)
        try:
            principal, headers = ANONYMOUS, headers_of(scope)
            if not self._access.is_public:
                principal = await self._login.principal_of(headers, address_of(scope))
                authorize(principal, self._access)
        except BrokerError as error:
            refusal = response_to(error, scope.get("method", "GET"), scope["path"])
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": "access denied"})
                return
            await send_response(refusal, send)
            return
        scope.setdefault("state", {}).update(principal=principal, headers=headers)
        await self._app(scope, receive, send)


async def _not_found(request: Request, _error: Exception) -> Response:
    name = request.url.path.split("/", 2)[1]
    bases = ", ".join(f"/{release}" for release in Release)
    text = f"There is no FHIR base /{name}. Use one of the bases {bases}."
    response = failure(NotFound(Issue("not-found", text)))
    return Response(response.body, response.status, media_type=FHIR_JSON)


async def _method_not_allowed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 Starlette raises no other for a 405
    text = f"{request.method} is not supported here. Use a method of the Allow header."
    response = failure(MethodNotAllowed(Issue("not-supported", text)))
    return Response(response.body, response.status, dict(error.headers or {}), media_type=FHIR_JSON)
