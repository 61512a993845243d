"""Makes redis-py clients, with which the connection modules connect, administer a node and subscribe."""

from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

MAX_CONNECTIONS = 1_200
"""redis-py refuses a connection beyond this number; many durable writes may run at the same moment."""
CLIENT_NAME = "broker"


def client_at(url: str, *, timeout_s: float | None, retries: bool) -> redis.Redis:
    """A client of the server at `url`. With `retries` it repeats failed commands as redis-py does."""
    # redis-py looks up its own name in the package metadata for each connection: most of the cost of
    # connecting
    options: dict[str, Any] = {"driver_info": None}
    if not url.startswith("unix"):
        options["socket_keepalive"] = True
    if not retries:
        options["retry"] = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(
        url,
        protocol=2,
        max_connections=MAX_CONNECTIONS,
        client_name=CLIENT_NAME,
        socket_timeout=timeout_s,
        socket_connect_timeout=5.0,
        **options,
    )


def pool_at(url: str) -> redis.ConnectionPool:
    """A pool that only makes connections: `Batcher` sets its own time limits and decides what to repeat."""
    return client_at(url, timeout_s=None, retries=False).connection_pool
