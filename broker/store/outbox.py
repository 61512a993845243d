"""The outbox of a subscription: a stream of numbered events. The entry id is the event number, so Redis
itself refuses a repetition.

The matcher appends; the API and following channels read. Dispatchers receive events with their claims
(`schedule.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from broker.errors import BrokerError
from broker.model.change import Change, Tenant
from broker.model.gap import GapReason
from broker.model.notification import Event, Included
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.store import keys, stream_id
from broker.store.gaps import GapReporter
from broker.store.protocol import Store
from broker.store.records import encode_event, event_of
from broker.store.rollback import RollbackDetector
from broker.store.scripts import outbox
from broker.store.scripts.outbox import FORGOT_NUMBERS, LOST_PARTITION, NewEvent

MAX_EVENTS = 1_000_000


class Fenced(BrokerError):  # noqa: N818 a state that the matcher handles
    """A newer matcher holds the partition; nothing was added."""


class StoreRolledBack(BrokerError):  # noqa: N818 a state that the matcher handles
    """The store has forgotten events that it had numbered; nothing was added."""


@dataclass(frozen=True, slots=True)
class Context:
    """The included resources of the events of one change, and how many bytes they have."""

    included: tuple[Included, ...]
    size: int


NO_CONTEXT = Context((), 0)


class Outboxes:
    """Appends and reads events; `max_events` is how many of one subscription are kept.

    `rollback_detector` knows how many events this process had the store number.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_events: int = MAX_EVENTS,
        rollback_detector: RollbackDetector | None = None,
    ) -> None:
        self._store = store
        self._max_events = max_events
        self._rollback_detector = rollback_detector or RollbackDetector(store)
        self._gaps = GapReporter()

    async def append(
        self,
        partition: int,
        token: int,
        matched: Mapping[SubscriptionKey, Sequence[Change]],
        contexts: Mapping[tuple[SubscriptionKey, str], Context] = MappingProxyType({}),
    ) -> int:
        """Numbers the changes of one partition in each subscription they matched, in order; returns how many
        were new.

        `contexts` has the included resources by subscription and change id. When more events wait than are
        kept, the oldest are given up: the subscription goes to `error`, and `$status` reports the gap
        (`model/gap.py`). Idempotent: what an earlier call numbered is passed over. Raises `Fenced` if the
        partition's lease has moved on, and `StoreRolledBack` if the store has forgotten what this process had
        it number.
        """
        by_shard: dict[int, dict[SubscriptionKey, list[NewEvent]]] = {}
        encoded: dict[tuple[str, int], NewEvent] = {}
        for subscription, changes in matched.items():
            events = by_shard.setdefault(self._store.layout.shard_of(*subscription), {})
            events[subscription] = [
                _new_event(change, contexts.get((subscription, change.id), NO_CONTEXT), encoded)
                for change in changes
            ]
        calls = [
            outbox.append_events_call(
                shard,
                partition,
                events,
                token=token,
                max_events=self._max_events,
                numbered=self._rollback_detector.numbered(shard, partition),
            )
            for shard, events in by_shard.items()
        ]
        replies = await outbox.append_events(self._store, calls)
        results = {reply.added for reply in replies}
        if LOST_PARTITION in results:
            raise Fenced(f"another process matches partition {partition} now")
        if FORGOT_NUMBERS in results:
            raise StoreRolledBack(f"a shard has numbered fewer events of partition {partition} than before")
        for shard, reply in zip(by_shard, replies, strict=True):
            self._rollback_detector.record_numbered(shard, partition, reply.numbered)
            for lost in reply.lost:
                self._gaps.report(lost.subscription, lost.low, lost.high, GapReason.SIZE)
        return sum(reply.added for reply in replies)

    async def read(
        self,
        tenant: Tenant,
        subscription_id: SubscriptionId,
        first: int | None,
        last: int | None,
        *,
        limit: int,
    ) -> list[Event]:
        """Events by number, both bounds inclusive and open if None; the oldest `limit` of them."""
        shard = self._store.layout.shard_of(tenant, subscription_id)
        low = stream_id.FIRST if first is None else stream_id.of_event(max(first, 0))
        high = stream_id.LAST if last is None else stream_id.of_event(max(last, 0))
        command = ("XRANGE", keys.outbox(shard, tenant, subscription_id), low, high, "COUNT", limit)
        (entries,) = await self._store.send([command])
        return [event_of(tenant, entry_id, flat) for entry_id, flat in entries]

    async def withhold(self, tenant: Tenant, subscription_id: SubscriptionId, numbers: Sequence[int]) -> None:
        """Removes events that the owner of the subscription may not see; `$status` reports the gap."""
        await outbox.withhold_events(self._store, (tenant, subscription_id), numbers)


def _new_event(change: Change, context: Context, encoded: dict[tuple[str, int], NewEvent]) -> NewEvent:
    """The event of a change; subscriptions with the same included resources share it through `encoded`."""
    key = (change.id, id(context))
    event = encoded.get(key)
    if event is None:
        current = change.current
        size = (len(current.resource.text) if current.resource is not None else 0) + context.size
        event = NewEvent(change.id, encode_event(change, size, context.included))
        encoded[key] = event
    return event
