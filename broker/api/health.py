"""Liveness, readiness and metrics. Every process answers these, whatever its role."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.errors import StoreUnavailable
from broker.services.health import Health
from broker.telemetry import exposition, metrics
from broker.telemetry.store_metrics import StoreCounts

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
    """Metrics for Prometheus; those of the store are absent while it is unavailable."""
    health: Health = request.app.state.health
    counts: StoreCounts | None = None
    try:
        async with asyncio.timeout(_METRICS_TIMEOUT_S):
            counts = await health.counters.read()
    except (StoreUnavailable, TimeoutError):
        metrics.store_errors.inc()
    page, media_type = exposition.render(request.headers.get("accept", ""), counts)
    return Response(page, media_type=media_type)
