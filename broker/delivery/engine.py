"""Carries claims: build the notification, send it, commit what was decided, and go on with what waits behind it.

At least once and in order per subscription: a claim is the only permission to send, the cursor moves only after the endpoint's
2xx, and a notification under retry is rebuilt byte by byte the same from what its claim pinned.
"""

import asyncio
import random
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog

from broker.channels.base import Channel, SendRequest
from broker.clock import Clock
from broker.delivery.building import Builder, Render
from broker.delivery.composing import Composer
from broker.delivery.policy import RetryPolicy, decide
from broker.errors import StoreUnavailable
from broker.model.notification import ErrorReport, NotificationType
from broker.model.outcome import (
    Decision,
    Defer,
    Delivered,
    Outcome,
    TryAgain,
    Unreachable,
    Unrenderable,
)
from broker.model.subscription import Subscription, SubscriptionId
from broker.store.schedule import Claim, Committed, Schedule
from broker.store.subscriptions import Record, Subscriptions
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
_CACHED = 50_000
DEFAULT_TIMEOUT_S = 10.0
LEASE_MS = 5_000
PER_ORIGIN = 256
"""Attempts under way to one origin in this process; those beyond wait in the due set, where they hold up nobody."""
DEFER_MS = (100, 300)


@dataclass(slots=True)
class Carried:
    """What one `carry` holds at the moment, for whoever renews its lease."""

    claim: Claim
    since: float


class Engine:
    """Delivers; one call of `carry` a claimed subscription."""

    def __init__(
        self,
        schedule: Schedule,
        subscriptions: Subscriptions,
        composer: Composer,
        channels: Mapping[str, Channel],
        render: Render,
        policy: RetryPolicy,
        clock: Clock,
        *,
        max_timeout_s: float,
    ) -> None:
        self._schedule = schedule
        self._subscriptions = subscriptions
        self._builder = Builder(composer, render)
        self._channels = channels
        self._policy = policy
        self._clock = clock
        self._max_timeout_s = max_timeout_s
        self._cache: OrderedDict[tuple[str, SubscriptionId], Record] = OrderedDict()
        self._at_origin: Counter[tuple[str, str]] = Counter()
        self.is_draining = False

    async def carry(self, carried: Carried) -> int | None:
        """Delivers until the subscription has nothing to send; answers in how many ms it is due again, if it is.

        Cancellation gives the claim back: it is due at once, for whoever claims next.
        """
        while True:
            try:
                committed = await self._attempt(carried.claim)
            except asyncio.CancelledError:
                await asyncio.shield(self._schedule.commit(carried.claim, None, take_next=False))
                raise
            if committed.is_stale:
                _log.info("claim lost", subscription=carried.claim.id, fence=carried.claim.token)
                # to another dispatcher, or this is the second answer to a commit whose first was lost together with the claim it took
                return LEASE_MS
            if committed.next_claim is None:
                return committed.next_in_ms
            carried.claim, carried.since = committed.next_claim, time.monotonic()

    async def _attempt(self, claim: Claim) -> Committed:
        try:
            subscription = await self._subscription(claim)
            if subscription is None:
                # deleted or replaced since it was claimed: the store says what to send now, if anything
                return await self._commit(claim, None)
            origin = _origin(subscription)
            if self._at_origin[origin] >= PER_ORIGIN:
                return await self._commit(claim, Defer(random.randint(*DEFER_MS)))
            self._at_origin[origin] += 1
            try:
                outcome = await self._send(claim, subscription)
            finally:
                self._at_origin[origin] -= 1
                if not self._at_origin[origin]:
                    del self._at_origin[origin]
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 whatever it is, the subscriber's status tells it
            _log.exception("notification could not be sent", subscription=claim.id, type=claim.type)
            outcome = Unreachable(ErrorReport(None, f"the attempt failed: {type(error).__name__}"))
        now_ms = self._clock.now_ms()
        decision = decide(
            outcome,
            attempt=claim.attempts + 1,
            # both from Redis time, so that no clock of this process can end a budget early
            first_failure_ms=claim.since_ms or claim.now_ms,
            now_ms=claim.now_ms,
            policy=self._policy,
            jitter=random.random(),
            is_handshake=claim.type is NotificationType.HANDSHAKE,
            unbuilt=claim.unbuilt + 1,
            has_events=bool(claim.events),
        )
        metrics.notifications.labels(type=claim.type, outcome=type(outcome).__name__.lower()).inc()
        if isinstance(outcome, Delivered):
            for event in () if claim.is_repeat else claim.events:
                metrics.delivery_latency.observe(max(0, now_ms - event.at_ms) / 1000)
        else:
            _log.warning(
                "notification not delivered",
                subscription=claim.id,
                type=claim.type,
                attempt=claim.attempts + 1,
                reason=outcome.error.text,
                retry_in_ms=decision.delay_ms if isinstance(decision, TryAgain) else None,
            )
        return await self._commit(claim, decision)

    async def _commit(self, claim: Claim, decision: Decision | None) -> Committed:
        """Insists while the store is away: the endpoint has answered, and a commit that is lost means a duplicate."""
        while True:
            try:
                return await self._schedule.commit(claim, decision, take_next=not self.is_draining)
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("commit waits for the store", subscription=claim.id, error=str(error))
                await asyncio.sleep(0.2)

    async def _send(self, claim: Claim, subscription: Subscription) -> Outcome:
        channel = self._channels.get(subscription.channel.type.code)
        if channel is None or subscription.channel.endpoint is None:
            return Unreachable(ErrorReport(None, f"no channel {subscription.channel.type.code!r} here"))
        built = await self._builder.build(claim, subscription)
        if isinstance(built, Unrenderable):
            return built
        notification, body = built
        return await channel.send(
            SendRequest(
                subscription_id=claim.id,
                endpoint=subscription.channel.endpoint,
                content_type=subscription.channel.content_type,
                headers=subscription.channel.headers,
                body=body,
                notification=notification,
                timeout_s=min(subscription.channel.timeout_s or DEFAULT_TIMEOUT_S, self._max_timeout_s),
            )
        )

    async def _subscription(self, claim: Claim) -> Subscription | None:
        """The document the claim was made for; None if there is another by now, or none."""
        key = (claim.tenant, claim.id)
        record = self._cache.get(key)
        if record is None or record.revision != claim.revision:
            record = await self._subscriptions.get(*key)
            if record is None or record.revision != claim.revision:
                return None
            self._cache[key] = record
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return record.subscription


def _origin(subscription: Subscription) -> tuple[str, str]:
    """What connections are shared by (scheme and authority)."""
    parts = urlsplit(subscription.channel.endpoint or "")
    return parts.scheme, parts.netloc
