"""Makes one delivery attempt for a claim: build the notification, send it, decide what follows, commit the
decision.

Delivery is at least once and in order per subscription: a claim is the only permission to send, the cursor
moves only after the receiver accepted the notification, and a retry sends the identical bytes, built from
what the claim pinned. The dispatcher owns the loop, the leases and the concurrency budget; it calls
`attempt`.
"""

import asyncio
import math
import random
import time
from collections.abc import Mapping, Sequence

import structlog

from broker import failpoints
from broker.channels.base import Channel, SendRequest
from broker.clock import Clock
from broker.delivery.attempt_audit import entries_of_attempt, entry_of_interrupted
from broker.delivery.attempt_log import AttemptLog
from broker.delivery.attempt_outcomes import ATTEMPT_OUTCOMES
from broker.delivery.attempt_report import report_attempt
from broker.delivery.attempt_trace import AttemptTrace, end_span
from broker.delivery.building import NotificationBuilder
from broker.delivery.concurrency import ConcurrencyBudget
from broker.delivery.handshake_pace import HandshakePace
from broker.delivery.owner_access import RETRY_MS, AccessLost, DeliveryAccess, PermittedEvents
from broker.delivery.policy import RetryPolicy, decide
from broker.delivery.recovery import WaitingReceivers, is_down
from broker.delivery.subscription_cache import Deliverable, SubscriptionCache
from broker.errors import StoreUnavailable
from broker.model.audit import AuditEntry
from broker.model.notification import ErrorReport, NotificationType
from broker.model.outcome import (
    Decision,
    Defer,
    Delivered,
    DeliveryOutcome,
    MarkError,
    Retry,
    TurnOff,
    Unreachable,
    Unrenderable,
    Withhold,
)
from broker.model.subscription import Subscription
from broker.security.key_ring import SecretUnreadable
from broker.security.webhook_signatures import signer_of
from broker.store.audit_journal import AuditJournal
from broker.store.claims import Claim
from broker.store.schedule import Committed, Schedule
from broker.store.scripts.delivery import NO_WRITES, CommitWrites
from broker.telemetry import metrics, tracing
from broker.telemetry.lag import DispatcherLag
from broker.telemetry.tracing import Tracer

_log = structlog.get_logger(__name__)
DEFAULT_TIMEOUT_S = 10.0
_UNREADABLE = "the broker cannot open the secrets of the subscription; its operator has to restore the key"
_DEFER_MS = (100, 300)
_COMMIT_RETRY_S = 0.2


class DeliveryEngine:
    """One a process; any number of attempts may run at the same time. After `stop` is set, commits take no
    next claim.
    """

    def __init__(
        self,
        schedule: Schedule,
        subscriptions: SubscriptionCache,
        builder: NotificationBuilder,
        channels: Mapping[str, Channel],
        policy: RetryPolicy,
        clock: Clock,
        lag: DispatcherLag,
        handshake_pace: HandshakePace,
        stop: asyncio.Event,
        *,
        max_timeout_s: float,
        access: DeliveryAccess,
        log: AttemptLog,
        audit: AuditJournal | None = None,
        tracer: Tracer = tracing.OFF,
    ) -> None:
        self._schedule = schedule
        self._subscriptions = subscriptions
        self._builder = builder
        self._channels = channels
        self._policy = policy
        self._clock = clock
        self._lag = lag
        self._handshake_pace = handshake_pace
        self._stop = stop
        self._max_timeout_s = max_timeout_s
        self._access = access
        self._audit = audit
        self._tracer = tracer
        self._log = log
        self._waiting = WaitingReceivers()

    async def attempt(self, claim: Claim, budget: ConcurrencyBudget) -> Committed:
        """Makes one attempt and returns what the store committed, the next claim of the subscription
        included.

        Raises `StoreUnavailable` if the store failed before anything was sent, and `CancelledError`; in
        both cases nothing was committed and the caller still holds the claim.
        """
        key = (claim.tenant, claim.id)
        if claim.events and not claim.is_repeat:
            age_s = (claim.now_ms - claim.events[0].at_ms) / 1000
            self._lag.started(key, age_s, is_retry=claim.attempts > 0)
        committed = None
        try:
            committed = await self._attempt(claim, budget)
        finally:
            if committed is None or committed.next_claim is None:
                self._lag.ended(key)
        return committed

    async def _attempt(self, claim: Claim, budget: ConcurrencyBudget) -> Committed:
        failpoints.hit("delivery.claimed")
        trace = AttemptTrace(self._tracer, claim)
        concurrency_key = ""
        subscription: Subscription | None = None
        try:
            deliverable = await self._subscriptions.get(claim)
            if deliverable is None:
                # deleted or replaced since it was claimed: the commit returns what to send now, if anything
                return await self._commit(claim, None)
            subscription = deliverable.subscription
            permitted = await self._permitted(claim, subscription)
            if isinstance(permitted, Committed):
                return permitted
            claim = _as_sent(claim, permitted)
            channel = self._channels.get(subscription.channel.type.code)
            if channel is None:
                text = f"this broker has no channel {subscription.channel.type.code!r}"
                outcome: DeliveryOutcome = Unreachable(ErrorReport(None, text))
            else:
                concurrency_key = channel.concurrency_key(subscription)
                with budget.slot(concurrency_key) as is_granted:
                    if not is_granted:
                        return await self._commit(claim, Defer(random.randint(*_DEFER_MS)))
                    outcome = await self._send(claim, permitted, deliverable, channel, trace)
        except StoreUnavailable:
            raise
        except SecretUnreadable as error:
            _log.error("secrets of a subscription cannot be opened", subscription=claim.id, error=str(error))
            outcome = Unreachable(ErrorReport(None, _UNREADABLE))
        except Exception as error:  # noqa: BLE001 whatever fails, the subscriber's `$status` reports it
            _log.exception("delivery attempt failed", subscription=claim.id, type=claim.type)
            outcome = Unreachable(ErrorReport(None, f"the attempt failed: {type(error).__name__}"))
        failpoints.hit("delivery.sent")
        decision = self._decide(claim, outcome)
        report_attempt(claim, outcome, decision, trace, self._clock.now_ms())
        if claim.type is NotificationType.HANDSHAKE:
            failpoints.hit("handshake.after")
        audited: Sequence[AuditEntry] = ()
        if self._is_audited(claim) and subscription is not None:
            audited = entries_of_attempt(claim, subscription, outcome, decision)
        writes = CommitWrites(audited, await self._log.ended(claim, outcome))
        committed = await self._commit(claim, decision, ATTEMPT_OUTCOMES[type(outcome)], writes)
        trace.end(outcome)
        await self._wake_others(claim, concurrency_key, outcome, decision)
        return committed

    async def _permitted(self, claim: Claim, subscription: Subscription) -> PermittedEvents | Committed:
        """The events as the owner may see them; or what was committed because it may not see all of them, or
        because the turn of the handshake is later.
        """
        try:
            permitted = await self._access.permit(subscription, claim.events)
        except AccessLost as lost:
            if not await self._access.end(subscription, claim.revision, lost, claim.now_ms):
                return await self._commit(claim, Defer(RETRY_MS))
            _log.warning("subscription off: access lost", subscription=claim.id, reason=str(lost))
            return await self._commit(claim, None)  # it is off, and the claim void
        if permitted.withheld:
            return await self._commit(claim, Withhold(permitted.withheld))
        if claim.type is NotificationType.HANDSHAKE:
            delay_s = self._handshake_pace.delay_s(subscription)
            if delay_s:
                metrics.limit_refusals.labels("handshakes").inc()
                return await self._commit(claim, Defer(math.ceil(delay_s * 1000)))
        return permitted

    async def _send(
        self,
        claim: Claim,
        permitted: PermittedEvents,
        deliverable: Deliverable,
        channel: Channel,
        trace: AttemptTrace,
    ) -> DeliveryOutcome:
        subscription = deliverable.subscription
        built = await self._builder.build(
            claim, subscription, permitted, is_rendered=not channel.writes_resources
        )
        if isinstance(built, Unrenderable):
            return built
        failpoints.hit("delivery.built")
        if claim.type is NotificationType.HANDSHAKE:
            failpoints.hit("handshake.before")
        timeout_s = min(subscription.channel.timeout_s or DEFAULT_TIMEOUT_S, self._max_timeout_s)
        started_s = time.monotonic()
        signer = signer_of(deliverable.signing, self._clock.now_ms())
        span = trace.sending(subscription)
        exchange = self._log.start_claimed(claim, built.notification, subscription.channel.endpoint)
        outcome = await channel.send(
            SendRequest(
                subscription,
                built.notification,
                built.body,
                timeout_s,
                signer,
                span.traceparent,
                exchange,
            )
        )
        end_span(span, outcome)
        self._lag.sent(
            (claim.tenant, claim.id),
            time.monotonic() - started_s,
            is_delivered=isinstance(outcome, Delivered),
        )
        return outcome

    def _decide(self, claim: Claim, outcome: DeliveryOutcome) -> Decision:
        return decide(
            outcome,
            attempt=claim.attempts + 1,
            # both are the store's time, so no clock of this process can end a retry budget early
            first_failure_ms=claim.since_ms or claim.now_ms,
            now_ms=claim.now_ms,
            policy=self._policy,
            jitter=random.random(),
            is_handshake=claim.type is NotificationType.HANDSHAKE,
            build_failures=claim.build_failures + 1,
            has_events=bool(claim.events),
        )

    async def _wake_others(
        self, claim: Claim, concurrency_key: str, outcome: DeliveryOutcome, decision: Decision
    ) -> None:
        """After a success, wakes subscriptions that wait for the same receiver to be back."""
        subscription = (claim.tenant, claim.id)
        self._waiting.discard(subscription)
        if isinstance(outcome, Delivered):
            woken = self._waiting.take(concurrency_key)
            if woken:
                try:
                    await self._schedule.end_backoff(woken)
                except StoreUnavailable as error:  # their delays pass by themselves
                    metrics.store_errors.inc()
                    _log.warning("waiting subscriptions not woken", error=str(error))
        elif isinstance(decision, Retry) and is_down(outcome):
            self._waiting.add(concurrency_key, subscription)

    def _is_audited(self, claim: Claim) -> bool:
        if self._audit is None or not self._audit.is_on:
            return False
        self._audit.note(claim.tenant)
        return True

    async def release(self, claim: Claim) -> None:
        """Gives a claim back whose attempt was cancelled."""
        audited = [entry_of_interrupted(claim)] if self._is_audited(claim) else []
        writes = CommitWrites(audited, await self._log.cancelled(claim))
        await self._schedule.commit(claim, None, take_next=False, writes=writes)

    async def _commit(
        self,
        claim: Claim,
        decision: Decision | None,
        outcome: str = "",
        writes: CommitWrites = NO_WRITES,
    ) -> Committed:
        failpoints.hit("delivery.before-commit")
        committed = await self._commit_until_stored(claim, decision, outcome, writes)
        failpoints.hit("delivery.after-commit")
        if committed.status not in {None, claim.status}:
            _log.info(
                "subscription status changed",
                subscription=claim.id,
                status=committed.status,
                before=claim.status,
            )
        if isinstance(decision, Retry):
            failpoints.hit("delivery.rescheduled")
        elif isinstance(decision, MarkError | TurnOff):
            failpoints.hit("status.changed")
        return committed

    async def _commit_until_stored(
        self, claim: Claim, decision: Decision | None, outcome: str, writes: CommitWrites
    ) -> Committed:
        """Retries while the store is unavailable: the receiver has answered, so a lost commit means a
        duplicate.
        """
        while True:
            try:
                return await self._schedule.commit(
                    claim, decision, take_next=not self._stop.is_set(), outcome=outcome, writes=writes
                )
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("commit waits for the store", subscription=claim.id, error=str(error))
                await asyncio.sleep(_COMMIT_RETRY_S)


def _as_sent(claim: Claim, permitted: PermittedEvents) -> Claim:
    """The claim with the events as they leave. Where one cannot be read, nothing leaves."""
    return claim if permitted.unreadable else claim.with_events(permitted.events)
