"""The schema version of a data set, and the migrations from one version to the next.

A change to keys, hash fields or record formats that an existing data set does not have raises
`SCHEMA_VERSION` by one and adds a `Migration` to it. The layout record (`layout_record.py`) stores the
version. A broker refuses a data set of another version; `fhir-broker migrate` runs the migrations in order
while no broker process uses the store.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from broker.errors import ConfigurationError
from broker.model.change import Tenant
from broker.store import keys, stream_id
from broker.store.listed_ids import list_subscriptions
from broker.store.matched_positions import START, unmatched
from broker.store.owner_counts import count_owners
from broker.store.protocol import Store
from broker.store.replies import mapping_of
from broker.store.sealed_secrets import Change, Sealed, SealedSecrets
from broker.store.set_lengths import add_set_lengths
from broker.store.short_records import shorten_records
from broker.store.stream_id import text_of

SCHEMA_VERSION = 9
"""What this broker reads and writes: 2 since resources are one compressed string, 3 since a tenant's
subscriptions are ordered by id, 4 since a partition has a position in place of a consumer group, 5 since
records are shorter, 6 since header values of subscriptions are sealed, 7 since the subscriptions
of each client are counted, 8 since resources list the sets by which searches find them, 9 since subscriptions
are listed by status, error and owner. Version 0 stands for a data set from before the version was stored.
"""
_PAGE = 500
_GROUP = "match"
"""Of the matchers, until schema 3."""


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


async def _store_positions(store: Store) -> None:
    """Replaces the consumer group of each partition by the position up to which it is matched. That is before
    the oldest pending entry: what was matched behind it is matched again, and adds no event.
    """
    for partition in range(store.layout.partitions):
        stream = keys.changes(partition)
        (exists,) = await store.send([("EXISTS", stream)])
        (groups,) = await store.send([("XINFO", "GROUPS", stream)]) if exists else [()]
        if not groups:
            continue  # the partition was never used, or is migrated
        (pending,) = await store.send([("XPENDING", stream, _GROUP)])
        position = text_of(mapping_of(groups[0])[b"last-delivered-id"])
        if pending[0]:
            last = ("XREVRANGE", stream, stream_id.after(pending[1]), stream_id.FIRST, "COUNT", 1)
            (entries,) = await store.send([last])
            position = text_of(entries[0][0]) if entries else START
        counters, old_lease = keys.partition_counters(partition), f"{keys.partition_tag(partition)}:lease"
        counted, token = await store.send([("HGETALL", counters), ("HGET", old_lease, "token")])
        matched = unmatched(mapping_of(counted), None) - await _count_after(store, stream, position)
        fields = ("token", token or 0, "position", position, "matched", matched)
        await store.send([("HSET", keys.matching(partition), *fields)])
        # last: its absence says that the partition is migrated
        await store.send([("DEL", old_lease), ("HDEL", counters, "changes_matched")])
        await store.send([("XGROUP", "DESTROY", stream, _GROUP)])


async def _count_after(store: Store, stream: str, position: str) -> int:
    count = 0
    while True:
        command = ("XRANGE", stream, stream_id.after(position), stream_id.LAST, "COUNT", _PAGE)
        (page,) = await store.send([command])
        count += len(page)
        if len(page) < _PAGE:
            return count
        position = text_of(page[-1][0])


def _refuse_headers(sealed: Sealed) -> Sealed:
    if sealed.subscription.channel.headers:
        raise ConfigurationError(
            "The data set has Subscriptions with headers, and there is no key ring to seal their values with."
            " Set BROKER_KEY_RING, then run `fhir-broker migrate` again."
        )
    return sealed


def migrations(seal: Change = _refuse_headers) -> Sequence[Migration]:
    """In the order of their versions, without a gap, up to `SCHEMA_VERSION`. `seal` seals header values;
    without it, a data set that has any is refused.
    """

    async def seal_headers(store: Store) -> None:
        await SealedSecrets(store).change_all(seal)

    return (
        Migration(3, "subscriptions of a tenant are ordered by id", _order_members),
        Migration(4, "partitions have positions in place of consumer groups", _store_positions),
        Migration(5, "records are shorter", shorten_records),
        Migration(6, "header values of subscriptions are sealed", seal_headers),
        Migration(7, "the subscriptions of each client are counted", count_owners),
        Migration(8, "resources list their search sets", add_set_lengths),
        Migration(9, "subscriptions are listed by status, error and owner", list_subscriptions),
    )


MIGRATIONS = migrations()


def path_from(version: int, target: int, migrations: Sequence[Migration]) -> list[Migration] | None:
    """The migrations that lead from one version to another; None where one is missing."""
    by_version = {migration.version: migration for migration in migrations}
    wanted = range(version + 1, target + 1)
    return [by_version[step] for step in wanted] if all(step in by_version for step in wanted) else None
