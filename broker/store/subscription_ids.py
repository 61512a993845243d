"""The ids of a tenant's subscriptions in order, by pages. Nothing here reads a document.

Each shard has its part in a sorted set, so a page costs the same whatever the number of subscriptions.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from broker.model.change import Tenant
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.store import keys
from broker.store.protocol import Store

PAGE = 100
"""Ids of a shard in one page: their records are read and processed in a few milliseconds."""
_START, _END = "-", "+"


@dataclass(frozen=True, slots=True)
class IdPage:
    """Ids in order. `total` counts all of the tenant, `others` those on the other side of the bound."""

    ids: Sequence[SubscriptionId]
    total: int
    others: int


class SubscriptionIds:
    """Reads the sorted sets."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def after(self, tenant: Tenant, bound: str | None, count: int) -> IdPage:
        """The first `count` ids after the bound, or of all; one round trip."""
        low, others = (_START, None) if bound is None else (f"({bound}", (_START, f"[{bound}"))
        total, number, parts = await self._read(tenant, ("ZRANGEBYLEX", low, _END), count, others)
        return IdPage(list(islice(merge(*parts), count)), total, number)

    async def before(self, tenant: Tenant, bound: str | None, count: int) -> IdPage:
        """The last `count` ids before the bound, or of all; one round trip."""
        high, others = (_END, None) if bound is None else (f"({bound}", (f"[{bound}", _END))
        total, number, parts = await self._read(tenant, ("ZREVRANGEBYLEX", high, _START), count, others)
        return IdPage(list(islice(merge(*parts, reverse=True), count))[::-1], total, number)

    async def _read(
        self, tenant: Tenant, command: tuple[str, str, str], count: int, others: tuple[str, str] | None
    ) -> tuple[int, int, list[list[SubscriptionId]]]:
        name, first, last = command
        low, high = others or ("(", "(")
        commands = []
        for shard in range(self._store.layout.shards):
            members = keys.members(shard, tenant)
            commands += [
                ("ZCARD", members),
                ("ZLEXCOUNT", members, low, high),
                (name, members, first, last, "LIMIT", 0, count),
            ]
        replies = await self._store.send(commands)
        parts = [[SubscriptionId(each.decode()) for each in ids] for ids in replies[2::3]]
        return sum(replies[::3]), sum(replies[1::3]), parts

    async def in_shard(
        self, shard: int, tenants: Sequence[Tenant] | None = None
    ) -> AsyncIterator[Sequence[SubscriptionKey]]:
        """Pages of the subscriptions of some tenants in a shard, by tenant and id; None: of every tenant that
        has any there.

        Those that are registered meanwhile may be left out.
        """
        if tenants is None:
            (reply,) = await self._store.send([("SMEMBERS", keys.tenants(shard))])
            tenants = [Tenant(tenant.decode()) for tenant in sorted(reply)]
        for tenant in tenants:
            low = _START
            while True:
                command = ("ZRANGEBYLEX", keys.members(shard, tenant), low, _END, "LIMIT", 0, PAGE)
                (ids,) = await self._store.send([command])
                if ids:
                    yield [(tenant, SubscriptionId(each.decode())) for each in ids]
                if len(ids) < PAGE:
                    break
                low = f"({ids[-1].decode()}"
