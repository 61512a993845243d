"""The whole HTTP face: what stands beside the FHIR bases here, what stands below one in `interactions.py`."""

from starlette.routing import Route, WebSocketRoute

from broker.api import bundles, health
from broker.api.interactions import allowed, find_handler
from broker.api.responses import Call, Reply, failure
from broker.api.websockets import websocket
from broker.errors import Issue, MethodNotAllowed


async def interact(call: Call) -> Reply:
    """Answers a request to a FHIR base."""
    if not call.path:
        if call.method == "POST":
            return await bundles.receive(call)
        text = "a base takes batches and transactions by POST; it has neither a search nor a history"
        return failure(MethodNotAllowed(Issue("not-supported", text)))._replace(headers={"Allow": "POST"})
    try:
        handler, params = find_handler(call.method, call.path)
        return await handler(call._replace(params=params))
    except MethodNotAllowed as error:
        # who answers a method may still refuse it at this base
        others = (method for method in allowed(call.path) if method != call.method)
        return failure(error)._replace(headers={"Allow": ", ".join(others)})


HEALTH = [
    Route("/livez", health.livez),
    Route("/readyz", health.readyz),
    Route("/metrics", health.prometheus),
]
ROUTES = [*HEALTH, WebSocketRoute("/ws", websocket)]
