"""The whole HTTP face: what stands beside the FHIR bases here, what stands below one in `interactions.py`."""

from dataclasses import replace

from starlette.routing import Route, WebSocketRoute

from broker.api import bundles, health
from broker.api.interactions import find_handler
from broker.api.responses import Call, Reply, fhir
from broker.api.websockets import websocket

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


async def _interact(call: Call) -> Reply:
    if not call.path and call.method == "POST":
        return await bundles.receive(call)
    handler, params = find_handler(call.method, call.path)
    return await handler(replace(call, params=params))


HEALTH = [
    Route("/livez", health.livez),
    Route("/readyz", health.readyz),
    Route("/metrics", health.prometheus),
]
ROUTES = [
    *HEALTH,
    WebSocketRoute("/ws", websocket),
    Route("/{release}", fhir(_interact), methods=_METHODS),
    Route("/{release}/{path:path}", fhir(_interact), methods=_METHODS),
    Route("/", fhir(_interact), methods=_METHODS),
]
