"""Is the process alive, is it ready, and its figures."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.api.services import Services
from broker.errors import StoreUnavailable
from broker.telemetry import metrics


async def livez(_request: Request) -> Response:
    """200 while the process runs, whatever the store does."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """200 when every part works; else 503, and the part that does not."""
    services: Services = request.app.state.services
    parts = {"store": "ok"} | {name: "ok" for name in request.app.state.workers}
    try:
        async with asyncio.timeout(1.5):
            await services.server.ping()
    except (StoreUnavailable, TimeoutError):
        parts["store"] = "does not answer"
    for name, task in request.app.state.workers.items():
        if task.done():
            parts[name] = "has ended"
    is_ready = all(state == "ok" for state in parts.values())
    return JSONResponse({"status": "ready" if is_ready else "not ready", "parts": parts}, 200 if is_ready else 503)


async def prometheus(request: Request) -> Response:
    """Metrics in Prometheus's text format; the gauges that describe the store are read now."""
    services: Services = request.app.state.services
    try:
        async with asyncio.timeout(5):
            await metrics.observe_store(services.subscriptions.depths, request.app.state.changes.backlog)
    except (StoreUnavailable, TimeoutError):
        metrics.store_errors.inc()
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
