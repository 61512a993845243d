"""Scripts on outboxes: append events, trim, skip numbers after a rollback, record what a reader has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from broker.model.subscription import SubscriptionKey
from broker.store import keys
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern

LOST_PARTITION = -1
FORGOT_NUMBERS = -2


class NewEvent(NamedTuple):
    """An event to append: the id of its change, and its record."""

    change_id: str
    record: bytes


class LostRange(NamedTuple):
    """The gap of a subscription that lost events; earlier calls may have reported part of it."""

    subscription: SubscriptionKey
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class AppendedEvents:
    """The reply of one shard. Nothing was written if `added` is `LOST_PARTITION` or `FORGOT_NUMBERS`."""

    added: int
    numbered: int
    lost: tuple[LostRange, ...]


def append_events_call(
    shard: int,
    partition: int,
    events: Mapping[SubscriptionKey, Sequence[NewEvent]],
    *,
    token: int,
    max_events: int,
    numbered: int,
) -> ScriptCall:
    """The call for one shard; `numbered`: how many events of the partition it is known to have."""
    script_keys = [keys.fence(shard), keys.due(shard), keys.registry(shard), keys.shard_counters(shard)]
    arguments: list[Argument] = [partition, token, keys.WAKE, shard, max_events, numbered]
    for subscription, new_events in events.items():
        script_keys += [keys.subscription(shard, *subscription), keys.outbox(shard, *subscription)]
        arguments += [keys.member(*subscription), len(new_events)]
        for event in new_events:
            arguments += event
    return ScriptCall("append_events", script_keys, arguments)


async def append_events(store: Store, calls: Sequence[ScriptCall]) -> list[AppendedEvents]:
    """Numbers and appends events; the reply of each call."""
    replies = await store.run_many(calls, WriteConcern.ORDERED) if calls else []
    return [
        AppendedEvents(
            int(added),
            int(numbered),
            tuple(
                LostRange(keys.subscription_key(member), int(low), int(high))
                for member, low, high in zip(*[iter(lost)] * 3, strict=True)
            ),
        )
        for added, numbered, *lost in replies
    ]


class TrimmedOutbox(NamedTuple):
    """Whether there may be more to remove, and the gap if events were given up."""

    has_more: bool
    lost: LostRange | None


async def trim_outboxes(
    store: Store, shard: int, subscriptions: Sequence[SubscriptionKey], *, horizon_ms: int, limit: int
) -> list[TrimmedOutbox]:
    """Removes events before the horizon, looking at up to `limit` of each outbox."""
    calls = [
        ScriptCall(
            "trim_outbox",
            [
                keys.subscription(shard, *subscription),
                keys.outbox(shard, *subscription),
                keys.due(shard),
                keys.registry(shard),
                keys.shard_counters(shard),
            ],
            [keys.member(*subscription), horizon_ms, limit],
        )
        for subscription in subscriptions
    ]
    return [
        TrimmedOutbox(bool(has_more), LostRange(subscription, int(lost[0]), int(lost[1])) if lost else None)
        for subscription, (has_more, *lost) in zip(subscriptions, await store.run_many(calls), strict=True)
    ]


class SkippedNumbers(NamedTuple):
    """How many events a shard has forgotten (-1: skipped before), how many subscriptions skip."""

    forgotten: int
    subscriptions: int


async def skip_numbers(
    store: Store, rollback_id: str, margin: int, numbered: Mapping[int, Mapping[int, int]]
) -> list[SkippedNumbers]:
    """Skips numbers in every subscription, durably; `numbered`: events by shard and partition."""
    calls = []
    for shard in range(store.layout.shards):
        arguments: list[Argument] = [
            keys.tenant_members(shard),
            keys.subscriptions(shard),
            rollback_id,
            margin,
        ]
        for partition, number in numbered.get(shard, {}).items():
            arguments += [partition, number]
        script_keys = [keys.tenants(shard), keys.fence(shard), keys.shard_counters(shard)]
        calls.append(ScriptCall("skip_numbers", script_keys, arguments))
    return [SkippedNumbers(*reply) for reply in await store.run_many(calls, WriteConcern.DURABLE)]


async def withhold_events(store: Store, subscription: SubscriptionKey, numbers: Sequence[int]) -> None:
    """Gives up events that the owner of the subscription may not see."""
    shard = store.layout.shard_of(*subscription)
    script_keys = [
        keys.subscription(shard, *subscription),
        keys.outbox(shard, *subscription),
        keys.shard_counters(shard),
    ]
    await store.run(ScriptCall("withhold_events", script_keys, list(numbers)))


async def expect_reader(store: Store, subscription: SubscriptionKey, ms: int) -> None:
    """For `ms`, wakeups name the subscription when it gets events."""
    shard = store.layout.shard_of(*subscription)
    await store.run(ScriptCall("expect_reader", [keys.subscription(shard, *subscription)], [ms]))


async def advance_reader(store: Store, subscription: SubscriptionKey, number: int) -> None:
    """Records that the reader of a pull subscription has received the events up to `number`."""
    shard = store.layout.shard_of(*subscription)
    script_keys = [keys.subscription(shard, *subscription), keys.shard_counters(shard)]
    await store.run(ScriptCall("advance_reader", script_keys, [number]))
