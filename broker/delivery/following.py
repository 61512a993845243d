"""Sends events to subscribers that keep a connection open: websocket and server-sent events.

Nothing is claimed and nothing is confirmed. Each connection reads the outbox from a position on, in order,
and sleeps until the store reports new events or another status of its own subscription. Events that were not
read stay in the outbox, for `$events` and for the next connection (R-327).

A subscription that is delivered by another channel can be followed too: while a connection follows it, the
store reports its events as it does those of pull subscriptions.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

from broker.channels.base import Channel
from broker.clock import Clock
from broker.delivery.attempt_audit import entities_of
from broker.delivery.composing import Composer
from broker.delivery.wakeups import WakeupListener
from broker.model.audit import NOBODY, AuditAction, AuditEntry, Requester
from broker.model.change import Tenant
from broker.model.notification import Event, Notification, NotificationType, single_versions
from broker.model.subscription import PayloadContent, SubscriptionId, SubscriptionKey, SubscriptionStatus
from broker.store.audit_journal import AuditJournal
from broker.store.outbox import Outboxes
from broker.store.subscriptions import Record, Subscriptions
from broker.tasks import sleep_unless

CHECK_S = 15.0
"""A wakeup may be lost: each connection reads its record at least this often."""
_EXPECTED_MS = int(4 * CHECK_S * 1000)
"""How long the store expects a connection that follows a subscription of another channel."""


class Following:
    """Reads outboxes for open connections."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        outboxes: Outboxes,
        composer: Composer,
        wakeups: WakeupListener,
        channels: Mapping[str, Channel],
        clock: Clock,
        audit: AuditJournal | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._outboxes = outboxes
        self._composer = composer
        self._wakeups = wakeups
        self._channels = channels
        self._clock = clock
        self._audit = audit

    async def follow(
        self,
        tenant: Tenant,
        subscription_id: SubscriptionId,
        after: int | None,
        receiver: Requester = NOBODY,
    ) -> AsyncIterator[Notification]:
        """A handshake, then every event after number `after`, in order (None: after the last event sent
        before).

        Heartbeats are sent at the subscription's period. Ends when the subscription is deleted, off, or in
        error. Each notification with events is in the audit trail before it is returned; `receiver` is who
        gets it, without an agent the owner of the subscription.
        """
        key = (tenant, subscription_id)
        record = await self._active_record(key)
        if record is None:
            return
        is_pushed = self._channels[record.subscription.channel.type.code].is_pushed
        expected_until_ms = 0
        with self._wakeups.of_subscription(key) as woken:
            position = record.cursor if after is None else after
            yield await self._compose(record, NotificationType.HANDSHAKE)
            sent_ms = self._clock.now_ms()
            while True:
                woken.clear()
                if is_pushed and expected_until_ms - self._clock.now_ms() < _EXPECTED_MS / 2:
                    expected_until_ms = self._clock.now_ms() + _EXPECTED_MS
                    await self._subscriptions.expect_reader(tenant, subscription_id, _EXPECTED_MS)
                record = await self._active_record(key)
                if record is None:
                    return
                if record.count > position:
                    async for notification in self._events(record, position):
                        position = notification.events_since_start
                        await self._record(record, notification, receiver)
                        yield notification
                        sent_ms = self._clock.now_ms()
                        await self._subscriptions.advance(tenant, subscription_id, position)
                    position = max(
                        position, record.count
                    )  # events behind the last one read are no longer stored
                    continue
                rest_s = self._rest_s(record, sent_ms)
                if rest_s <= 0:
                    yield await self._compose(record, NotificationType.HEARTBEAT)
                    sent_ms = self._clock.now_ms()
                    continue
                await sleep_unless(woken, rest_s)

    async def _record(self, record: Record, notification: Notification, receiver: Requester) -> None:
        if self._audit is not None:
            agent = receiver.agent or record.subscription.owner
            entry = AuditEntry(
                AuditAction.STREAM,
                agent=agent,
                address=receiver.address,
                entities=entities_of(notification),
            )
            await self._audit.record(record.subscription.tenant, entry)

    async def _active_record(self, key: SubscriptionKey) -> Record | None:
        record = await self._subscriptions.get(*key)
        if record is None or record.subscription.status is not SubscriptionStatus.ACTIVE:
            return None
        return record

    def _rest_s(self, record: Record, sent_ms: int) -> float:
        """How long to sleep; 0 or less if a heartbeat is due."""
        heartbeat_s = record.subscription.channel.heartbeat_s
        if not heartbeat_s:
            return CHECK_S
        return min(heartbeat_s - (self._clock.now_ms() - sent_ms) / 1000, CHECK_S)

    async def _events(self, record: Record, after: int) -> AsyncIterator[Notification]:
        """The waiting events, `maxCount` a notification and, with resources, one version of each; numbers
        that are no longer stored are skipped.
        """
        subscription = record.subscription
        limit = subscription.channel.max_count or 1
        has_resources = subscription.channel.content is PayloadContent.FULL_RESOURCE
        while after < record.count:
            events: Sequence[Event] = await self._outboxes.read(
                subscription.tenant, subscription.id, after + 1, record.count, limit=limit
            )
            if not events:
                return
            if has_resources:
                events = single_versions(events)
            after = events[-1].number
            yield await self._composer.compose(
                subscription,
                NotificationType.EVENT_NOTIFICATION,
                events,
                count=after,
                at_ms=self._clock.now_ms(),
            )

    async def _compose(self, record: Record, kind: NotificationType) -> Notification:
        now_ms = self._clock.now_ms()
        return await self._composer.compose(record.subscription, kind, (), count=record.count, at_ms=now_ms)
