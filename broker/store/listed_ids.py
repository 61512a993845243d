"""The ids of a tenant's subscriptions that have a label: a status, an error, or an owner.

Scripts write the labels in the same step as what they stand for: `list_under` in
`lua/shared/subscription.lua`. Each shard has its part in a sorted set, so a page or a count costs the same
whatever the number of subscriptions. Nothing here reads a document.
"""

from collections.abc import AsyncIterator, Sequence
from heapq import merge
from itertools import islice

from broker.model.change import Tenant
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.store import keys
from broker.store.protocol import Command, Store
from broker.store.subscription_ids import PAGE, SubscriptionIds

WITH_ERROR = "error"
"""The label of subscriptions that have a text of why delivery failed."""
_SEPARATOR, _AFTER_SEPARATOR = "\x1f", "\x20"
_FIELDS = ("status", "error_text", "owner")


def with_status(status: SubscriptionStatus) -> str:
    """The label of subscriptions with that status."""
    return f"status:{status}"


def owned_by(owner: str) -> str:
    """The label of the subscriptions of a client."""
    return f"owner:{owner}"


class ListedIds:
    """Reads the sorted sets."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def after(
        self, tenant: Tenant, label: str, bound: SubscriptionId | None, count: int
    ) -> list[SubscriptionId]:
        """The first `count` ids with the label after the bound, or of all, in order; one round trip."""
        prefix = f"{label}{_SEPARATOR}"
        low, high = f"({prefix}{bound or ''}", f"({label}{_AFTER_SEPARATOR}"
        replies = await self._store.send(
            [
                ("ZRANGEBYLEX", keys.listed(shard, tenant), low, high, "LIMIT", 0, count)
                for shard in range(self._store.layout.shards)
            ]
        )
        length = len(prefix.encode())
        parts = [[SubscriptionId(each[length:].decode()) for each in reply] for reply in replies]
        return list(islice(merge(*parts), count))

    async def pages(self, tenant: Tenant, label: str) -> AsyncIterator[Sequence[SubscriptionId]]:
        """All ids with the label, in order."""
        bound: SubscriptionId | None = None
        while True:
            page = await self.after(tenant, label, bound, PAGE)
            if page:
                yield page
            if len(page) < PAGE:
                return
            bound = page[-1]

    async def counts(self, tenant: Tenant, labels: Sequence[str]) -> list[int]:
        """How many subscriptions have each label; one round trip."""
        shards = range(self._store.layout.shards)
        commands: list[Command] = [
            (
                "ZLEXCOUNT",
                keys.listed(shard, tenant),
                f"[{label}{_SEPARATOR}",
                f"({label}{_AFTER_SEPARATOR}",
            )
            for label in labels
            for shard in shards
        ]
        replies: Sequence[int] = await self._store.send(commands) if commands else []
        return [sum(replies[n * len(shards) : (n + 1) * len(shards)]) for n in range(len(labels))]


async def list_subscriptions(store: Store) -> None:
    """Lists all subscriptions again."""
    ids = SubscriptionIds(store)
    for shard in range(store.layout.shards):
        (tenants,) = await store.send([("SMEMBERS", keys.tenants(shard))])
        for name in tenants:
            tenant = Tenant(name.decode())
            listed = keys.listed(shard, tenant)
            await store.send([("DEL", listed)])
            async for page in ids.in_shard(shard, [tenant]):
                reads: list[Command] = [("HMGET", keys.subscription(shard, *each), *_FIELDS) for each in page]
                members: list[bytes | int] = []
                for (_, subscription_id), values in zip(page, await store.send(reads), strict=True):
                    for label in _labels(*values):
                        members += [0, label + f"{_SEPARATOR}{subscription_id}".encode()]
                await store.send([("ZADD", listed, *members)])


def _labels(status: bytes | None, error_text: bytes | None, owner: bytes | None) -> list[bytes]:
    labels = [b"status:" + (status or b""), b"owner:" + (owner or b"")]
    return labels if error_text is None else [*labels, WITH_ERROR.encode()]
