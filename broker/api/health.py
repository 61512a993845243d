"""Is the process alive, is it ready, and its figures. Every process answers these, whatever its role."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.errors import StoreUnavailable
from broker.store.changes import Changes
from broker.store.dead_letters import DeadLetters
from broker.store.protocol import Store
from broker.store.subscriptions import Subscriptions
from broker.telemetry import metrics


@dataclass(slots=True)
class Health:
    """What is looked at: whether there is room for changes where the process `takes_changes`, and what `workers` say of each loop
    of this process.
    """

    store: Store
    changes: Changes
    subscriptions: Subscriptions
    dead_letters: DeadLetters
    takes_changes: bool
    workers: Mapping[str, Callable[[], str]] = field(default_factory=dict)


async def livez(_request: Request) -> Response:
    """200 while the process runs, whatever the store does."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """200 when every part works; else 503, and the part that does not."""
    health: Health = request.app.state.health
    parts = {"store": "ok"}
    try:
        async with asyncio.timeout(1.5):
            if not await health.store.has_room():
                parts["store"] = "out of memory: it takes nothing more"
            if health.takes_changes:
                parts["intake"] = await _intake(health)
    except (StoreUnavailable, TimeoutError):
        parts["store"] = "does not answer"
    parts |= {name: state() for name, state in health.workers.items()}
    is_ready = all(state == "ok" for state in parts.values())
    return JSONResponse(
        {"status": "ready" if is_ready else "not ready", "parts": parts}, 200 if is_ready else 503
    )


async def _intake(health: Health) -> str:
    full = await health.changes.fullest()
    return "ok" if full is None else f"full: too many changes of partition {full} wait to be matched"


async def prometheus(request: Request) -> Response:
    """Metrics in Prometheus's text format; the gauges that describe the store are read now."""
    health: Health = request.app.state.health
    try:
        async with asyncio.timeout(5):
            await metrics.observe_store(
                health.subscriptions.depths, health.changes.backlog, health.dead_letters.counts
            )
    except (StoreUnavailable, TimeoutError):
        metrics.store_errors.inc()
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
