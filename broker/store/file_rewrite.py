"""Rewrites the append-only file of the embedded store, so that it holds nothing that was removed."""

import asyncio

import redis.asyncio as redis

from broker.errors import ConfigurationError

_POLL_S = 0.1


async def rewrite_file(url: str) -> None:
    """Rewrites the file of the server at `url`, and waits until that is done. Raises `ConfigurationError`."""
    async with redis.Redis.from_url(url, protocol=2) as client:
        await _until_no_rewrite(client)  # one that runs began before the removal
        await client.bgrewriteaof()
        await _until_no_rewrite(client)
        if (await client.info("persistence"))["aof_last_bgrewrite_status"] != "ok":
            raise ConfigurationError("The append-only file could not be rewritten. See valkey.log.")


async def _until_no_rewrite(client: redis.Redis) -> None:
    while True:
        info = await client.info("persistence")
        if not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]):
            return
        await asyncio.sleep(_POLL_S)
