"""Liveness, readiness and metrics. Every process answers these, whatever its role."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.errors import StoreUnavailable
from broker.services.health import Health
from broker.telemetry import metrics, store_metrics

_METRICS_TIMEOUT_S = 5


async def livez(_request: Request) -> Response:
    """200 while the process runs, whatever the state of the store."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """200 when every part works, else 503 with the state of each part. Warnings change no status."""
    health: Health = request.app.state.health
    report = await health.report()
    return JSONResponse(
        {"status": "ready" if report.is_ready else "not ready", "parts": report.parts}
        | ({"warnings": report.warnings} if report.warnings else {}),
        200 if report.is_ready else 503,
    )


async def prometheus(request: Request) -> Response:
    """Metrics in Prometheus's text format; those of the store are absent while it is unavailable."""
    health: Health = request.app.state.health
    try:
        async with asyncio.timeout(_METRICS_TIMEOUT_S):
            of_store = store_metrics.render(await health.counters.read())
    except (StoreUnavailable, TimeoutError):
        metrics.store_errors.inc()
        of_store = b""
    return Response(metrics.render() + of_store, media_type="text/plain; version=0.0.4; charset=utf-8")
