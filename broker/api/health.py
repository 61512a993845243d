"""Liveness, readiness and metrics. Every process answers these, whatever its role."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.errors import StoreUnavailable
from broker.store.change_log import ChangeLog
from broker.store.counters import Counters
from broker.store.disk_space import read_disk_space
from broker.store.protocol import Store
from broker.telemetry import metrics, store_metrics

_READY_TIMEOUT_S = 1.5
_METRICS_TIMEOUT_S = 5


@dataclass(slots=True)
class Health:
    """What readiness and metrics look at.

    A process that `takes_changes` is ready only while there is room for them. `workers` gives the state of
    each loop of this process, "ok" or what is wrong with it.
    """

    store: Store
    change_log: ChangeLog
    counters: Counters
    takes_changes: bool
    workers: dict[str, Callable[[], str]] = field(default_factory=dict)


async def livez(_request: Request) -> Response:
    """200 while the process runs, whatever the state of the store."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """200 when every part works, else 503 with the state of each part. Warnings change no status."""
    health: Health = request.app.state.health
    parts, warnings = {"store": "ok"}, {}
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            if not await health.store.has_room():
                parts["store"] = "out of memory: it accepts no more writes"
            if health.takes_changes:
                parts["intake"] = await _intake(health)
            if (disk := await read_disk_space(health.store)) and disk.is_low:
                warnings["disk"] = (
                    f"{disk.free} bytes are free, and a rewrite of the store's file needs {disk.needed}; "
                    "free space on the disk"
                )
    except (StoreUnavailable, TimeoutError):
        parts["store"] = "does not answer"
    parts |= {name: state() for name, state in health.workers.items()}
    is_ready = all(state == "ok" for state in parts.values())
    return JSONResponse(
        {"status": "ready" if is_ready else "not ready", "parts": parts}
        | ({"warnings": warnings} if warnings else {}),
        200 if is_ready else 503,
    )


async def _intake(health: Health) -> str:
    partition = await health.change_log.fullest()
    if partition is None:
        return "ok"
    return f"full: too many changes of partition {partition} wait to be matched"


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
