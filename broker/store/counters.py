"""Numbers that describe the store, kept by the scripts so that all processes agree on them.

Each partition, each shard and the inbox has a hash of counters. A script changes it in the same step as the
data it describes, and a repeated call changes nothing, so no event is counted twice. Reading sums the hashes:
the cost depends on the number of partitions and shards, not on subscriptions, changes or dead letters.
`/metrics` is built on it.

Fields of a partition's hash: `changes_accepted:<interaction>` and those of dead letters (changes); how many
are matched is in its matching hash (`keys.matching`). Fields of a shard's hash: `events_appended`,
`events_delivered_correction` (to the delivered event notifications), `events_given_up:<reason>`,
`undelivered_correction`, `delivered` (event notifications), `notifications:<type>:<outcome>` (all others),
`subscriptions:<status>`, `subscriptions_with_gaps`, `rollbacks`, and those of dead letters (events). The
hashes of the inbox and of the quarantine have those of dead letters (refused entries, readings):
`dead_letters` (how many there are now), `dead_letters_created`, `dead_letters_redriven`,
`dead_letters_discarded`, `dead_letters_trimmed`.
"""

from collections import Counter
from collections.abc import Iterable

from broker.model.change import Interaction
from broker.model.gap import GapReason
from broker.model.subscription import SubscriptionStatus
from broker.store import keys
from broker.store.backlogs import backlogs_of, undelivered_in
from broker.store.dead_letter_id import DeadLetterKind
from broker.store.disk_space import read_disk_space
from broker.store.matched_positions import unmatched
from broker.store.protocol import Command, Store
from broker.store.replies import mapping_of
from broker.telemetry.store_metrics import DeadLetterCounts, StoreCounts, StoreSize


class Counters:
    """Reads the counters."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self) -> StoreCounts:
        """All counters and the size of the store. Raises `StoreUnavailable`."""
        layout = self._store.layout
        partitions, shards = range(layout.partitions), range(layout.shards)
        commands: list[Command] = [
            ("HGETALL", keys.partition_counters(partition)) for partition in partitions
        ]
        commands += [("HGETALL", keys.shard_counters(shard)) for shard in shards]
        commands += [("HGETALL", keys.INBOX_COUNTERS), ("HGETALL", keys.QUARANTINE_COUNTERS)]
        commands += [("HGET", keys.matching(partition), "matched") for partition in partitions]
        *answers, backlogs = await self._store.send([*commands, ("GET", keys.BACKLOGS)])
        size = await self._size()
        hashes = [_numbers(answer) for answer in answers[: len(partitions) + len(shards) + 2]]
        matched = answers[len(hashes) :]
        of_partitions, of_shards = hashes[: len(partitions)], hashes[len(partitions) : -2]
        changes, events = _sum(of_partitions), _sum(of_shards)
        delivered = events["delivered"] + events["events_delivered_correction"]
        return StoreCounts(
            changes_accepted={kind: changes[f"changes_accepted:{kind}"] for kind in Interaction},
            changes_matched=sum(int(number or 0) for number in matched) - changes["dead_letters_created"],
            events_appended=events["events_appended"],
            events_delivered=delivered,
            events_given_up={
                reason: events[f"events_given_up:{reason}"]
                for reason in (GapReason.SIZE, GapReason.AGE, GapReason.ACCESS)
            },
            notifications=_notifications(events),
            # each rollback is recorded in every shard
            rollbacks=max((counters["rollbacks"] for counters in of_shards), default=0),
            subscriptions={status: events[f"subscriptions:{status}"] for status in SubscriptionStatus},
            subscriptions_with_gaps=events["subscriptions_with_gaps"],
            undelivered_events=undelivered_in(events),
            dead_letters={
                DeadLetterKind.CHANGE: _dead_letters(changes),
                DeadLetterKind.EVENT: _dead_letters(events),
                DeadLetterKind.INBOX: _dead_letters(hashes[-2]),
                DeadLetterKind.READING: _dead_letters(hashes[-1]),
            },
            matcher_backlog={
                partition: unmatched(mapping_of(counters), number)
                for partition, counters, number in zip(partitions, answers, matched, strict=False)
            },
            size=size,
            backlogs=backlogs_of(backlogs),
        )

    async def _size(self) -> StoreSize:
        usage, disk = await self._store.usage(), await read_disk_space(self._store)
        (by_kind,) = await self._store.send([("HGETALL", keys.MEMORY)])
        return StoreSize(
            memory=usage.memory,
            memory_limit=usage.memory_limit,
            memory_by_kind=_numbers(by_kind),
            file=usage.file,
            disk_free=disk.free if disk else None,
            rewrite=disk.needed if disk else None,
        )


def _numbers(flat: list[bytes]) -> Counter[str]:
    return Counter({name.decode(): int(number) for name, number in mapping_of(flat).items()})


def _sum(hashes: Iterable[Counter[str]]) -> Counter[str]:
    total = Counter[str]()
    for counters in hashes:
        total.update(counters)
    return total


def _notifications(events: Counter[str]) -> dict[tuple[str, str], int]:
    counted = {("event-notification", "delivered"): events["delivered"]}
    for name, number in events.items():
        if name.startswith("notifications:"):
            _, notification_type, outcome = name.split(":")
            counted[notification_type, outcome] = number
    return counted


def _dead_letters(counters: Counter[str]) -> DeadLetterCounts:
    return DeadLetterCounts(
        waiting=counters["dead_letters"],
        created=counters["dead_letters_created"],
        redriven=counters["dead_letters_redriven"],
        discarded=counters["dead_letters_discarded"],
        trimmed=counters["dead_letters_trimmed"],
    )
