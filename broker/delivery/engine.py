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
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog

from broker import failpoints
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
    MarkError,
    Outcome,
    TryAgain,
    TurnOff,
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
        self._cache: OrderedDict[tuple[str, SubscriptionId], _Known] = OrderedDict()
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
                return LEASE_MS  # whoever holds it may die too
            if committed.next_claim is None:
                return committed.next_in_ms
            carried.claim, carried.since = committed.next_claim, time.monotonic()

    async def _attempt(self, claim: Claim) -> Committed:
        failpoints.hit("delivery.claimed")
        try:
            known = await self._known(claim)
            if known is None:
                # deleted or replaced since it was claimed: the store says what to send now, if anything
                return await self._commit(claim, None)
            origin = known.origin
            if self._at_origin[origin] >= PER_ORIGIN:
                return await self._commit(claim, Defer(random.randint(*DEFER_MS)))
            self._at_origin[origin] += 1
            try:
                outcome = await self._send(claim, known.record.subscription)
            finally:
                self._at_origin[origin] -= 1
                if not self._at_origin[origin]:
                    del self._at_origin[origin]
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 whatever it is, the subscriber's status tells it
            _log.exception("notification could not be sent", subscription=claim.id, type=claim.type)
            outcome = Unreachable(ErrorReport(None, f"the attempt failed: {type(error).__name__}"))
        failpoints.hit("delivery.sent")
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
        metrics.notification_counter(claim.type, type(outcome).__name__.lower()).inc()
        if isinstance(outcome, Delivered):
            failpoints.hit("delivery.answered")
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
        if claim.type is NotificationType.HANDSHAKE:
            failpoints.hit("handshake.after")
        return await self._commit(claim, decision)

    async def _commit(self, claim: Claim, decision: Decision | None) -> Committed:
        failpoints.hit("delivery.before-commit")
        committed = await self._insist(claim, decision)
        failpoints.hit("delivery.after-commit")
        if isinstance(decision, TryAgain):
            failpoints.hit("delivery.rescheduled")
        elif isinstance(decision, MarkError | TurnOff):
            failpoints.hit("status.changed")
        return committed

    async def _insist(self, claim: Claim, decision: Decision | None) -> Committed:
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
        failpoints.hit("delivery.built")
        if claim.type is NotificationType.HANDSHAKE:
            failpoints.hit("handshake.before")
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

    async def _known(self, claim: Claim) -> "_Known | None":
        """The document the claim was made for; None if there is another by now, or none."""
        key = (claim.tenant, claim.id)
        known = self._cache.get(key)
        if known is None or known.record.revision != claim.revision:
            record = await self._subscriptions.get(*key)
            if record is None or record.revision != claim.revision:
                return None
            known = self._cache[key] = _Known(record, _origin(record.subscription))
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return known


class _Known(NamedTuple):
    """A subscription's document, and what follows from it."""

    record: Record
    origin: tuple[str, str]


def _origin(subscription: Subscription) -> tuple[str, str]:
    """What connections are shared by (scheme and authority)."""
    parts = urlsplit(subscription.channel.endpoint or "")
    return parts.scheme, parts.netloc
