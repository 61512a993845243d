"""How much memory each kind of key takes, estimated from a sample: the cost does not depend on the number of
keys.

The change logs are measured one by one, because a few keys have all of their data; the outboxes by a sample
of the subscriptions; everything else by a sample of random keys. The estimates are stored, so that every
process reports the same. The housekeeper takes a sample with each sweep; `Counters` reads the last one.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from broker.store import keys
from broker.store.protocol import Command, Store
from broker.store.replies import mapping_of

RANDOM_KEYS = 500
TENANTS_PER_SHARD, OUTBOXES_PER_TENANT = 4, 8
_SAMPLES = 5
"""Elements of a key at which the server looks; it estimates the others."""


def kind_of(key: str | bytes) -> str:
    """The kind of a key: `outbox` for `{s03}:outbox:default:ward-3`."""
    text = key.decode() if isinstance(key, bytes) else key
    tag, _, rest = text.rpartition("}:")
    return (rest if tag else text.removeprefix("broker:")).split(":")[0]


class MemorySample:
    """Takes samples of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def take(self) -> Mapping[str, int]:
        """Bytes by kind of key; stores them too."""
        sizes = Counter(await self._change_logs())
        sizes.update(await self._outboxes())
        sizes.update(await self._random_keys(measured=frozenset(sizes)))
        await self._write(sizes)
        return sizes

    async def _change_logs(self) -> dict[str, int]:
        logs = [keys.changes(partition) for partition in range(self._store.layout.partitions)]
        return {kind_of(logs[0]): sum(await self._sizes(logs))}

    async def _outboxes(self) -> dict[str, int]:
        shards = range(self._store.layout.shards)
        tenants = await self._store.send(
            [("SRANDMEMBER", keys.tenants(shard), TENANTS_PER_SHARD) for shard in shards]
        )
        counts = await self._store.send([("HGETALL", keys.shard_counters(shard)) for shard in shards])
        sets = [
            (shard, f"{keys.tenant_members(shard)}{tenant.decode()}")
            for shard, names in zip(shards, tenants, strict=True)
            for tenant in names
        ]
        members = (
            await self._store.send([("ZRANDMEMBER", name, OUTBOXES_PER_TENANT) for _, name in sets])
            if sets
            else []
        )
        outboxes = [
            f"{keys.outboxes(shard)}{name.rpartition(':')[2]}:{subscription.decode()}"
            for (shard, name), ids in zip(sets, members, strict=True)
            for subscription in ids
        ]
        if not outboxes:
            return {"outbox": 0}
        subscriptions = sum(
            int(number)
            for reply in counts
            for name, number in mapping_of(reply).items()
            if name.startswith(b"subscriptions:")
        )
        return {"outbox": sum(await self._sizes(outboxes)) * subscriptions // len(outboxes)}

    async def _random_keys(self, measured: frozenset[str]) -> dict[str, int]:
        total, names = await self._store.sample_keys(RANDOM_KEYS)
        if not names:
            return {}
        sizes = Counter[str]()
        for name, size in zip(names, await self._sizes(names), strict=True):
            if (kind := kind_of(name)) not in measured:
                sizes[kind] += size
        return {kind: size * total // len(names) for kind, size in sizes.items()}

    async def _sizes(self, names: Any) -> list[int]:
        commands: list[Command] = [("MEMORY", "USAGE", name, "SAMPLES", _SAMPLES) for name in names]
        return [size or 0 for size in await self._store.send(commands)]  # None: it has expired

    async def _write(self, sizes: Mapping[str, int]) -> None:
        (old,) = await self._store.send([("HKEYS", keys.MEMORY)])
        fields = [part for kind, size in sizes.items() for part in (kind, size)]
        commands: list[Command] = [("HSET", keys.MEMORY, *fields)]
        if gone := [kind for kind in old if kind.decode() not in sizes]:
            commands.append(("HDEL", keys.MEMORY, *gone))
        await self._store.send(commands)
