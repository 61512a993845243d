"""The schema version of a data set, and the migrations from one version to the next.

A change to keys, hash fields or record formats that an existing data set does not have raises
`SCHEMA_VERSION` by one and adds a `Migration` to it. The layout record (`layout_record.py`) stores the
version. A broker refuses a data set of another version; `fhir-broker migrate` runs the migrations in order
while no broker process uses the store.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from broker.model.change import Tenant
from broker.store import keys
from broker.store.protocol import Store

SCHEMA_VERSION = 3
"""What this broker reads and writes: 2 since resources are one compressed string, 3 since a tenant's
subscriptions are ordered by id. Version 0 stands for a data set from before the version was stored.
"""
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Migration:
    """Changes a data set of `version - 1` into one of `version`. `run` must be repeatable: it may have been
    interrupted.
    """

    version: int
    title: str
    run: Callable[[Store], Awaitable[None]]


async def _order_members(store: Store) -> None:
    """Makes each set of a tenant's subscriptions a sorted set. It fills a copy, so no id is lost."""
    for shard in range(store.layout.shards):
        (tenants,) = await store.send([("SMEMBERS", keys.tenants(shard))])
        for tenant in tenants:
            members = keys.members(shard, Tenant(tenant.decode()))
            copy = f"{members}:ordered"
            (kind,) = await store.send([("TYPE", members)])
            if kind != b"set":
                continue
            (ids,) = await store.send([("SMEMBERS", members)])
            for start in range(0, len(ids), _PAGE):
                scored = [argument for each in ids[start : start + _PAGE] for argument in (0, each)]
                await store.send([("ZADD", copy, *scored)])
            await store.send([("RENAME", copy, members)])


MIGRATIONS: Sequence[Migration] = (
    Migration(3, "subscriptions of a tenant are ordered by id", _order_members),
)
"""In the order of their versions, without a gap, up to `SCHEMA_VERSION`."""


def path_from(version: int, target: int, migrations: Sequence[Migration]) -> list[Migration] | None:
    """The migrations that lead from one version to another; None where one is missing."""
    by_version = {migration.version: migration for migration in migrations}
    wanted = range(version + 1, target + 1)
    return [by_version[step] for step in wanted] if all(step in by_version for step in wanted) else None
