"""Subscribers that keep a connection open and are sent what comes: websocket and server-sent events.

Nothing is claimed and nothing confirmed: each connection reads the outbox from the number it names, in order,
and sleeps until the wake-up that an event of its shard publishes. What isn't read stays in the outbox, for
`$events` and the next connection (R-327).
"""

from collections.abc import AsyncIterator
from typing import TypeGuard

import structlog

from broker.clock import Clock
from broker.delivery.composing import Composer
from broker.delivery.wakeups import WakeupListener
from broker.model.change import Tenant
from broker.model.notification import Notification, NotificationType
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.store.outbox import Outboxes
from broker.store.subscriptions import Record, Subscriptions
from broker.tasks import sleep_unless

_log = structlog.get_logger(__name__)
CHECK_S = 15.0
"""A message may be lost with a connection, and a deletion sends none: each follower looks at least this
often.
"""


class Following:
    """Reads outboxes for open connections."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        outboxes: Outboxes,
        composer: Composer,
        wakeups: WakeupListener,
        clock: Clock,
    ) -> None:
        self._subscriptions = subscriptions
        self._outboxes = outboxes
        self._composer = composer
        self._wakeups = wakeups
        self._clock = clock

    async def follow(
        self, tenant: Tenant, subscription_id: SubscriptionId, after: int | None
    ) -> AsyncIterator[Notification]:
        """A handshake, then every event after number `after` (None: after what earlier connections were
        sent), in order.

        Heartbeats come at the period that was asked for. Ends when the subscription is deleted, off, or in
        error.
        """
        with self._wakeups.of(self._subscriptions.shard_of(tenant, subscription_id)) as woken:
            record = await self._subscriptions.get(tenant, subscription_id)
            if not _is_live(record):
                return
            position = record.cursor if after is None else after
            yield await self._compose(record, NotificationType.HANDSHAKE, record.count)
            last_ms = self._clock.now_ms()
            while True:
                woken.clear()
                record = await self._subscriptions.get(tenant, subscription_id)
                if not _is_live(record):
                    return
                if record.count > position:
                    async for notification in self._events(record, position):
                        position = notification.events_since_start
                        yield notification
                        last_ms = self._clock.now_ms()
                        await self._subscriptions.advance(tenant, subscription_id, position)
                    position = max(position, record.count)  # nothing is kept of what may be left
                    continue
                period_s = record.subscription.channel.heartbeat_s
                rest_s = CHECK_S
                if period_s:
                    rest_s = period_s - (self._clock.now_ms() - last_ms) / 1000
                    if rest_s <= 0:
                        yield await self._compose(record, NotificationType.HEARTBEAT, record.count)
                        last_ms = self._clock.now_ms()
                        continue
                await sleep_unless(woken, min(rest_s, CHECK_S))

    async def _events(self, record: Record, after: int) -> AsyncIterator[Notification]:
        """The events waiting now, `maxCount` a notification; older ones that are no longer kept are passed
        over.
        """
        subscription = record.subscription
        limit = subscription.channel.max_count or 1
        while after < record.count:
            events = await self._outboxes.read(
                subscription.tenant, subscription.id, after + 1, record.count, limit=limit
            )
            if not events:
                return
            after = events[-1].number
            yield await self._composer.compose(
                subscription,
                NotificationType.EVENT_NOTIFICATION,
                events,
                count=after,
                at_ms=self._clock.now_ms(),
            )

    async def _compose(self, record: Record, kind: NotificationType, count: int) -> Notification:
        return await self._composer.compose(
            record.subscription, kind, (), count=count, at_ms=self._clock.now_ms()
        )


def _is_live(record: Record | None) -> TypeGuard[Record]:
    return record is not None and record.subscription.status is SubscriptionStatus.ACTIVE
