"""Sends events to subscribers that keep a connection open: websocket and server-sent events.

Nothing is claimed and nothing is confirmed. Each connection reads the outbox from a position on, in order,
and sleeps until the store reports new events or another status of its own subscription. Events that were not
read stay in the outbox, for `$events` and for the next connection (R-327).

A subscription that is delivered by another channel can be followed too: while a connection follows it, the
store reports its events as it does those of pull subscriptions.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from broker.channels.base import Channel
from broker.clock import Clock
from broker.delivery.attempt_audit import entities_of
from broker.delivery.attempt_log import AttemptLog, Sending
from broker.delivery.building import Render
from broker.delivery.composing import Composer
from broker.delivery.owner_access import NO_EVENTS, AccessLost, DeliveryAccess
from broker.delivery.wakeups import WakeupListener
from broker.model.audit import NOBODY, AuditAction, AuditEntry, Requester
from broker.model.change import Tenant
from broker.model.notification import (
    ErrorReport,
    Event,
    Notification,
    NotificationType,
    single_versions,
)
from broker.model.outcome import Delivered, Unreachable
from broker.model.principal import Principal
from broker.model.subscription import PayloadContent, SubscriptionId, SubscriptionKey, SubscriptionStatus
from broker.store.audit_journal import AuditJournal
from broker.store.outbox import Outboxes
from broker.store.subscriptions import Record, Subscriptions
from broker.tasks import sleep_unless

CHECK_S = 5.0
"""A wakeup may be lost, and the owner may lose access: each connection looks at least this often."""
_EXPECTED_MS = 60_000
"""How long the store expects a connection that follows a subscription of another channel."""


class StreamedNotification(NamedTuple):
    """A notification for an open connection, rendered."""

    notification: Notification
    body: bytes
    sending: Sending


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
        access: DeliveryAccess,
        render: Render,
        log: AttemptLog,
        audit: AuditJournal | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._outboxes = outboxes
        self._composer = composer
        self._wakeups = wakeups
        self._channels = channels
        self._clock = clock
        self._access = access
        self._render = render
        self._log = log
        self._audit = audit

    async def follow(
        self,
        tenant: Tenant,
        subscription_id: SubscriptionId,
        after: int | None,
        receiver: Requester = NOBODY,
        reader: Principal | None = None,
    ) -> AsyncIterator[StreamedNotification]:
        """A handshake, then every event after number `after`, in order (None: after the last event sent
        before), as far as the owner of the subscription may see it; another `reader` has to be allowed too.

        Heartbeats are sent at the subscription's period. Ends when the subscription is deleted, off, or in
        error, and when its owner has lost access. Each notification with events is in the audit trail before
        it is returned; `receiver` is who gets it, without an agent the owner of the subscription. A
        notification is in the log of attempts once the caller takes the next one, or calls `failed`.
        """
        key = (tenant, subscription_id)
        record = await self._active_record(key)
        if record is None:
            return
        is_pushed = self._is_pushed(record)
        expected_until_ms = 0
        with self._wakeups.of_subscription(key) as woken:
            position = record.cursor if after is None else after
            handshake = self._streamed(await self._compose(record, NotificationType.HANDSHAKE), receiver)
            yield handshake
            await self._sent(key, handshake)
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
                    try:
                        async for notification in self._events(record, position, reader):
                            position = notification.events_since_start
                            await self._record(record, notification, receiver)
                            streamed = self._streamed(notification, receiver)
                            yield streamed
                            sent_ms = self._clock.now_ms()
                            # first: the client may close the connection now
                            await self._subscriptions.advance(tenant, subscription_id, position)
                            await self._sent(key, streamed)
                    except AccessLost:
                        continue  # what is read next ends the connection
                    # events behind the last one read are withheld or no longer stored
                    position = max(position, record.count)
                    continue
                rest_s = self._rest_s(record, sent_ms)
                if rest_s <= 0:
                    beat = self._streamed(await self._compose(record, NotificationType.HEARTBEAT), receiver)
                    yield beat
                    await self._sent(key, beat)
                    sent_ms = self._clock.now_ms()
                    continue
                await sleep_unless(woken, rest_s)

    async def failed(self, key: SubscriptionKey, streamed: StreamedNotification, reason: str) -> None:
        """The connection did not take the notification; nothing more is sent over it."""
        outcome = Unreachable(ErrorReport(None, reason))
        await self._log.write(key, streamed.notification, streamed.sending, outcome)

    def _streamed(self, notification: Notification, receiver: Requester) -> StreamedNotification:
        body = self._render(notification)
        sending = self._log.start(notification, receiver.address)
        sending.exchange.sent(body)
        return StreamedNotification(notification, body, sending)

    async def _sent(self, key: SubscriptionKey, streamed: StreamedNotification) -> None:
        await self._log.write(key, streamed.notification, streamed.sending, Delivered())

    def _is_pushed(self, record: Record) -> bool:
        return self._channels[record.subscription.channel.type.code].is_pushed

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
        """The subscription; None if it is not active, or its owner has no access."""
        record = await self._subscriptions.get(*key)
        if record is None or record.subscription.status is not SubscriptionStatus.ACTIVE:
            return None
        try:
            await self._access.check(record.subscription)
        except AccessLost as lost:
            await self._access.end(record.subscription, record.revision, lost, self._clock.now_ms())
            return None
        return record

    def _rest_s(self, record: Record, sent_ms: int) -> float:
        """How long to sleep; 0 or less if a heartbeat is due."""
        heartbeat_s = record.subscription.channel.heartbeat_s
        if not heartbeat_s:
            return CHECK_S
        return min(heartbeat_s - (self._clock.now_ms() - sent_ms) / 1000, CHECK_S)

    async def _events(
        self, record: Record, after: int, reader: Principal | None
    ) -> AsyncIterator[Notification]:
        """The waiting events, `maxCount` a notification and, with resources, one version of each; numbers
        that are withheld or no longer stored are skipped. Raises `AccessLost`.
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
            permitted = await self._access.permit(subscription, events, reader)
            if permitted.withheld and not self._is_pushed(record):  # else the dispatcher does it
                await self._outboxes.withhold(subscription.tenant, subscription.id, permitted.withheld)
            for run in permitted.runs():
                yield await self._composer.compose(
                    subscription,
                    NotificationType.EVENT_NOTIFICATION,
                    run,
                    count=run.events[-1].number,
                    at_ms=self._clock.now_ms(),
                    omits_unreadable=True,
                )

    async def _compose(self, record: Record, kind: NotificationType) -> Notification:
        now_ms = self._clock.now_ms()
        return await self._composer.compose(
            record.subscription, kind, NO_EVENTS, count=record.count, at_ms=now_ms
        )
