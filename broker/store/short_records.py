"""The migration to schema 5: entries of the change logs and outboxes have one field, and a subscription's
notification under way is one field. Streams are copied, so an interruption loses nothing.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from broker.model.change import Tenant
from broker.model.subscription import SubscriptionKey
from broker.store import keys, stream_id
from broker.store.protocol import Command, Store
from broker.store.replies import entries_of, flatten
from broker.store.stream_id import text_of
from broker.store.subscription_ids import SubscriptionIds

_PAGE = 500
_OLD_COUNTER, _COUNTER = "notifications:event-notification:delivered", "delivered"
_NOTIFICATION = ("notification_type", "last_event", "pinned_at")
Fields = Mapping[bytes, bytes]


async def shorten_records(store: Store) -> None:
    for partition in range(store.layout.partitions):
        (tenants,) = await store.send([("SMEMBERS", keys.dead_change_tenants(partition))])
        dead_letters = [keys.dead_changes(partition, Tenant(tenant.decode())) for tenant in tenants]
        for stream in (keys.changes(partition), *dead_letters):
            await _rewrite(store, stream, _short_change)
    ids = SubscriptionIds(store)
    for shard in range(store.layout.shards):
        await _rename_counter(store, keys.shard_counters(shard))
        async for page in ids.in_shard(shard):
            for subscription in page:
                await _rewrite(store, keys.outbox(shard, *subscription), _short_event)
            await _join_notifications(store, shard, page)


async def _rewrite(store: Store, stream: str, convert: Callable[[Fields], Fields]) -> None:
    """Replaces a stream by a copy with converted entries under the same ids."""
    (first,) = await store.send([("XRANGE", stream, stream_id.FIRST, stream_id.LAST, "COUNT", 1)])
    if not first or convert(entries_of(first)[0][1]) == entries_of(first)[0][1]:
        return  # it is empty, or converted
    copy, bound = f"{stream}:copy", stream_id.FIRST
    await store.send([("DEL", copy)])
    while True:
        (reply,) = await store.send([("XRANGE", stream, bound, stream_id.LAST, "COUNT", _PAGE)])
        page = entries_of(reply)
        additions: list[Command] = [
            ("XADD", copy, text_of(entry_id), *flatten(convert(fields))) for entry_id, fields in page
        ]
        if additions:
            await store.send(additions)
        if len(page) < _PAGE:
            break
        bound = stream_id.after(page[-1][0])
    await store.send([("RENAME", copy, stream)])


def _short_change(fields: Fields) -> Fields:
    if b"state" not in fields:
        return fields
    others = {name: value for name, value in fields.items() if name != b"state"}
    return others | {b"change": fields[b"state"] + b"\n" + fields[b"change"]}


def _short_event(fields: Fields) -> Fields:
    if b"at" not in fields:
        return fields
    *head, included, trace = msgspec.msgpack.decode(fields[b"event"])
    record = [*head, int(fields[b"at"]), int(fields[b"bytes"]), included, trace]
    return {b"event": msgspec.msgpack.encode(record)}


async def _join_notifications(store: Store, shard: int, page: Sequence[SubscriptionKey]) -> None:
    names = [keys.subscription(shard, *subscription) for subscription in page]
    replies = await store.send([("HMGET", name, *_NOTIFICATION) for name in names]) if names else []
    commands: list[Command] = []
    for name, (kind, last_event, pinned_at) in zip(names, replies, strict=True):
        if kind is None:
            continue  # it is converted, or has none
        parts = (kind.removesuffix(b"-notification"), last_event or b"0", pinned_at or b"0")
        joined = b" ".join(parts) if kind else b""
        commands += [("HSET", name, "notification", joined), ("HDEL", name, *_NOTIFICATION)]
    if commands:
        await store.send(commands)


async def _rename_counter(store: Store, counters: str) -> None:
    (number,) = await store.send([("HGET", counters, _OLD_COUNTER)])
    if number is not None:
        await store.send([("HSET", counters, _COUNTER, number), ("HDEL", counters, _OLD_COUNTER)])
