"""How many subscriptions each client of a tenant owns. `register_subscription.lua` keeps the counts."""

from collections import Counter
from typing import NamedTuple

from broker.model.change import Tenant
from broker.store import keys
from broker.store.protocol import Store
from broker.store.subscription_ids import SubscriptionIds


class Owned(NamedTuple):
    """The subscriptions of a client, and of its whole tenant."""

    by_client: int
    by_tenant: int


async def read_owned(store: Store, tenant: Tenant, owner: str) -> Owned:
    """One round trip. What is being registered at the moment may be missing."""
    shards = range(store.layout.shards)
    by_client = [("HGET", keys.owned(shard, tenant), owner) for shard in shards]
    by_tenant = [("ZCARD", keys.members(shard, tenant)) for shard in shards]
    replies = [int(reply or 0) for reply in await store.send([*by_client, *by_tenant])]
    return Owned(sum(replies[: len(shards)]), sum(replies[len(shards) :]))


async def count_owners(store: Store) -> None:
    """Counts the subscriptions of each client again."""
    ids = SubscriptionIds(store)
    for shard in range(store.layout.shards):
        (tenants,) = await store.send([("SMEMBERS", keys.tenants(shard))])
        for name in tenants:
            tenant = Tenant(name.decode())
            owners: Counter[bytes] = Counter()
            async for page in ids.in_shard(shard, [tenant]):
                reads = [("HGET", keys.subscription(shard, *each), "owner") for each in page]
                owners.update(owner or b"" for owner in await store.send(reads))
            counted = [value for item in owners.items() for value in item]
            key = keys.owned(shard, tenant)
            await store.send([("DEL", key), *([("HSET", key, *counted)] if counted else [])])
