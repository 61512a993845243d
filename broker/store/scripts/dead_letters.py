"""Scripts on dead letters of all kinds (changes, events, inbox entries): create, redrive, discard."""

from collections.abc import Sequence
from typing import NamedTuple

from broker.model.change import Tenant, VersionKey
from broker.model.subscription import SubscriptionKey
from broker.store import keys
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern


class DeadLetterStream(NamedTuple):
    """The dead letters of one tenant in a partition, in the inbox (partition None), or in the quarantine of
    readings.

    Only the inbox has a stream without a tenant, for entries that name no valid one.
    """

    tenant: Tenant | None
    partition: int | None = None
    is_of_readings: bool = False

    @property
    def key(self) -> str:
        if self.is_of_readings and self.tenant is not None:
            return keys.quarantine(self.tenant)
        if self.partition is None or self.tenant is None:
            return keys.refused_inbox(self.tenant)
        return keys.dead_changes(self.partition, self.tenant)

    @property
    def tenants(self) -> str:
        if self.is_of_readings:
            return keys.QUARANTINE_TENANTS
        return keys.INBOX_TENANTS if self.partition is None else keys.dead_change_tenants(self.partition)

    @property
    def sealed(self) -> list[str]:
        """The key of what is sealed, for quarantined readings."""
        return [keys.sealed_readings(self.tenant)] if self.is_of_readings and self.tenant is not None else []

    @property
    def counters(self) -> str:
        if self.is_of_readings:
            return keys.QUARANTINE_COUNTERS
        return keys.INBOX_COUNTERS if self.partition is None else keys.partition_counters(self.partition)


class DeadChange(NamedTuple):
    """A change that is a dead letter: where it is, and the version it is about."""

    partition: int
    entry_id: str
    focus: VersionKey


def _member(focus: VersionKey) -> str:
    return keys.resource_member(focus.tenant, focus.type, focus.id)


async def redrive_changes(store: Store, dead_changes: Sequence[DeadChange]) -> list[str]:
    """Logs each change again; accepted, absent or unkept for each. Durable when it returns."""
    calls = []
    for partition, entry_id, focus in dead_changes:
        script_keys = [
            keys.dead_changes(partition, focus.tenant),
            keys.changes(partition),
            keys.partition_counters(partition),
            keys.resource(partition, focus.tenant, focus.type, focus.id),
            keys.held_versions(partition),
        ]
        calls.append(ScriptCall("redrive_change", script_keys, [entry_id, _member(focus), focus.version]))
    replies = await store.run_many(calls, WriteConcern.DURABLE) if calls else []
    return [reply.decode() for reply in replies]


async def discard_entries(store: Store, stream: DeadLetterStream, entry_ids: Sequence[str]) -> int:
    """Discards changes, inbox entries or readings of one stream; how many there were."""
    script_keys = [stream.key, stream.counters, *stream.sealed]
    return int(await store.run(ScriptCall("discard_entries", script_keys, entry_ids)))


async def trim_dead_letters(
    store: Store, streams: Sequence[DeadLetterStream], *, horizon_ms: int, max_entries: int
) -> int:
    """Removes changes, inbox entries or readings that are too old or too many; how many."""
    calls = [
        ScriptCall(
            "trim_dead_letters",
            [stream.key, stream.tenants, stream.counters, *stream.sealed],
            [stream.tenant or "", horizon_ms, max_entries],
        )
        for stream in streams
    ]
    return sum(await store.run_many(calls)) if calls else 0


async def redrive_events(
    store: Store, subscription: SubscriptionKey, numbers: Sequence[int], *, max_bytes: int
) -> str | list[str]:
    """Delivers events that are dead letters after all; `numbers` ascend.

    `inactive` or `full` for all of them, or accepted, absent or unkept for each.
    """
    shard = store.layout.shard_of(*subscription)
    reply = await store.run(
        ScriptCall(
            "redrive_events",
            [
                keys.subscription(shard, *subscription),
                keys.due(shard),
                keys.dead_events(shard, *subscription),
                keys.dead_event_index(shard, subscription[0]),
                keys.outbox(shard, *subscription),
                keys.shard_counters(shard),
            ],
            [keys.member(*subscription), max_bytes, keys.WAKE, shard, *numbers],
        )
    )
    return reply.decode() if isinstance(reply, bytes) else [result.decode() for result in reply]


async def discard_events(store: Store, subscription: SubscriptionKey, numbers: Sequence[int]) -> int:
    """Discards events that are dead letters; how many there were."""
    shard = store.layout.shard_of(*subscription)
    call = ScriptCall(
        "discard_events",
        [
            keys.subscription(shard, *subscription),
            keys.dead_events(shard, *subscription),
            keys.dead_event_index(shard, subscription[0]),
            keys.shard_counters(shard),
        ],
        [keys.member(*subscription), *numbers],
    )
    return int(await store.run(call))


async def replace_dead_event(
    store: Store, subscription: SubscriptionKey, number: int, before: bytes, after: str
) -> bool:
    """Replaces the member of a dead event; False if it is not `before` any more."""
    key = keys.dead_events(store.layout.shard_of(*subscription), *subscription)
    call = ScriptCall("replace_dead_event", [key], [before, after, number])
    return bool(await store.run(call, WriteConcern.DURABLE))


class RefusedEntry(NamedTuple):
    """An inbox entry to refuse: the tenant it names if that is valid, why, and the answer for the gateway."""

    entry_id: str
    tenant: Tenant | None
    reason: str
    outcome: bytes


async def refuse_inbox_entries(store: Store, group: str, refused: Sequence[RefusedEntry]) -> None:
    """Moves entries from the inbox to the dead letters of their tenants."""
    script_keys = [keys.INBOX, keys.INBOX_TENANTS, keys.INBOX_COUNTERS]
    arguments: list[Argument] = [group]
    for entry in refused:
        script_keys.append(keys.refused_inbox(entry.tenant))
        arguments += [entry.entry_id, entry.tenant or "", entry.reason, entry.outcome]
    await store.run(ScriptCall("refuse_inbox_entries", script_keys, arguments))


async def redrive_inbox_entry(store: Store, tenant: Tenant, entry_id: str) -> str:
    """Puts a refused entry back on the inbox; accepted or absent."""
    script_keys = [keys.refused_inbox(tenant), keys.INBOX, keys.INBOX_COUNTERS]
    return str((await store.run(ScriptCall("redrive_inbox_entry", script_keys, [entry_id]))).decode())
