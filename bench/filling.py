"""Fills a store with copies of a real reading: its resource, its change and its event, as the broker stores
them.

The copies are matched and delivered already. No broker may run meanwhile: a matcher whose positions move
without it takes the store for one that was rolled back. The server makes the copies in scripts: a million in
seconds.
"""

from typing import Any

import redis.asyncio as redis

from broker.model.change import DEFAULT_TENANT
from broker.store import keys

PARTITIONS = 16
_COPIES_PER_SCRIPT = 2_000
_SCRIPT = """
local change = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][2]
local event = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1][2]
local reading = redis.call('GET', KEYS[3])
for n = ARGV[2], ARGV[3] - 1 do
  redis.call('SET', ARGV[1] .. n, reading)
  redis.call('XADD', KEYS[1], '*', unpack(change))
  redis.call('XADD', KEYS[4], (n + 1) .. '-0', unpack(event))
end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1]
local copies = ARGV[3] - ARGV[2]
redis.call('HSET', KEYS[5], 'position', last)
redis.call('HINCRBY', KEYS[5], 'matched', copies)
redis.call('HINCRBY', KEYS[6], 'changes_accepted:create', copies)
"""


async def fill(store: redis.Redis, count: int) -> None:
    """Adds about `count` readings. The store must have a delivered reading."""
    resource = await _only(store, b"{p??}:resource:*:Observation/*")
    outbox = await _only(store, b"{s??}:outbox:*")
    changes = resource.partition(b":")[0] + b":changes"
    each = count // PARTITIONS
    for partition in range(PARTITIONS):
        target = keys.changes(partition)
        if target.encode() != changes:
            newest: Any = await store.xrevrange(changes, count=1)
            await store.xadd(target, newest[0][1])
            await store.hincrby(keys.matching(partition), "matched", 1)
            await store.hincrby(keys.partition_counters(partition), "changes_accepted:create", 1)
        copies = f"{keys.partition_tag(partition)}:resource:{DEFAULT_TENANT}:Observation/copy-"
        # the outbox of a subscription that does not exist: nobody numbers events in it
        events = keys.outbox(partition, DEFAULT_TENANT, "copies")
        for start in range(0, each, _COPIES_PER_SCRIPT):
            end = min(each, start + _COPIES_PER_SCRIPT)
            names = (target, outbox, resource, events, keys.matching(partition))
            counters = keys.partition_counters(partition)
            await store.eval(_SCRIPT, 6, *names, counters, copies, str(start), str(end))


async def _only(store: redis.Redis, pattern: bytes) -> bytes:
    async for key in store.scan_iter(match=pattern, count=10_000):
        return bytes(key)
    raise ValueError(f"the store has no key like {pattern.decode()}")
