"""What an operator asks about the delivery of one Subscription and does with it: report where it stands, turn
it off and on, attempt a failed notification now, and send a heartbeat to see what the receiver answers.

A trial heartbeat is sent by the process that serves the request, over the same channels and with the same
address check as every notification. It changes nothing: no event, no status, no attempt is counted. The log
of attempts has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.channels.base import Channel, SendRequest
from broker.clock import Clock
from broker.delivery.attempt_log import AttemptLog
from broker.delivery.building import Render
from broker.delivery.composing import Composer
from broker.delivery.engine import DEFAULT_TIMEOUT_S
from broker.delivery.owner_access import NO_EVENTS, AccessLost, DeliveryAccess
from broker.errors import Conflict, Issue, Unprocessable
from broker.fhir.release import adapter
from broker.model.audit import NOBODY, Requester
from broker.model.json_patch import parse_json_patch
from broker.model.notification import NotificationType
from broker.model.outcome import Delivered, DeliveryOutcome
from broker.model.principal import Principal
from broker.model.subscription import Subscription, SubscriptionStatus
from broker.security.key_ring import SecretUnreadable
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.security.webhook_signatures import signer_of
from broker.services.subscriptions import Registered, SubscriptionService
from broker.store.schedule import Schedule
from broker.store.subscriptions import Record


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """Where the delivery of a Subscription stands. `next_attempt_ms` is None where no attempt is scheduled
    after a failure.
    """

    record: Record
    next_attempt_ms: int | None

    @property
    def waiting(self) -> int:
        """The number of events that are not delivered yet."""
        return max(0, self.record.count - self.record.cursor)


@dataclass(frozen=True, slots=True)
class RetryReport:
    """Whether a notification is attempted now, and why or why not, in a sentence."""

    is_retried: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What the receiver made of a heartbeat. `reason` is its answer or the failure, in a sentence."""

    is_delivered: bool
    reason: str
    duration_ms: int


class DeliveryControl:
    """Acts on the Subscriptions of the principal's tenant. Each method raises `NotFound`."""

    def __init__(
        self,
        subscriptions: SubscriptionService,
        schedule: Schedule,
        composer: Composer,
        render: Render,
        channels: Mapping[str, Channel],
        clock: Clock,
        access: DeliveryAccess,
        secrets: SubscriptionSecrets,
        log: AttemptLog,
        *,
        max_timeout_s: float,
    ) -> None:
        self._subscriptions = subscriptions
        self._schedule = schedule
        self._composer = composer
        self._render = render
        self._channels = channels
        self._clock = clock
        self._access = access
        self._secrets = secrets
        self._log = log
        self._max_timeout_s = max_timeout_s

    async def report(self, principal: Principal, subscription_id: str) -> DeliveryReport:
        """Where the delivery stands; writes nothing."""
        record = await self._subscriptions.get(principal, subscription_id)
        subscription = record.subscription
        next_attempt_ms = await self._schedule.next_attempt_ms(subscription.tenant, subscription.id)
        return DeliveryReport(record, next_attempt_ms)

    async def pause(
        self, principal: Principal, subscription_id: str, *, requester: Requester = NOBODY
    ) -> Registered:
        """Turns it off: nothing is sent, and changes are no events of it. Raises what `patch` raises."""
        return await self._set_status(principal, subscription_id, SubscriptionStatus.OFF, requester)

    async def activate(
        self, principal: Principal, subscription_id: str, *, requester: Requester = NOBODY
    ) -> Registered:
        """Requests it again, with a handshake at once. Raises what `SubscriptionService.patch` raises."""
        status = SubscriptionStatus.REQUESTED
        registered = await self._set_status(principal, subscription_id, status, requester)
        if registered.awaits_handshake:
            await self._subscriptions.send_handshake(registered.subscription)
        return registered

    async def _set_status(
        self, principal: Principal, subscription_id: str, status: SubscriptionStatus, requester: Requester
    ) -> Registered:
        """In the release of the Subscription: another one would change what it receives."""
        release = (await self._subscriptions.get(principal, subscription_id)).subscription.release
        patch = parse_json_patch(b'[{"op": "replace", "path": "/status", "value": "%b"}]' % status.encode())
        return await self._subscriptions.patch(
            principal, release, subscription_id, patch, requester=requester
        )

    async def retry(self, principal: Principal, subscription_id: str) -> RetryReport:
        """Makes the failed notification, or the failed handshake, due now. The bytes sent stay the same."""
        record = await self._subscriptions.get(principal, subscription_id)
        subscription = record.subscription
        if await self._schedule.attempt_now(subscription.tenant, subscription.id):
            return RetryReport(is_retried=True, reason="The failed notification is attempted now.")
        if subscription.status in {SubscriptionStatus.ERROR, SubscriptionStatus.OFF}:
            reason = (
                f"The Subscription is {subscription.status} and nothing is sent. "
                "Update it with the status requested to start delivery again."
            )
        else:
            reason = "No notification waits for another attempt: the last one succeeded or is under way."
        return RetryReport(is_retried=False, reason=reason)

    async def send_test(self, principal: Principal, subscription_id: str) -> TrialReport:
        """Sends a heartbeat and waits for the answer. Raises `Unprocessable` for a channel over which the
        broker does not send, and `Conflict` where its secrets cannot be opened or its owner
        has lost access.
        """
        record = await self._subscriptions.get(principal, subscription_id)
        subscription = record.subscription
        channel = self._channels.get(subscription.channel.type.code)
        if channel is None or not channel.is_pushed:
            text = (
                f"The broker does not send over the channel {subscription.channel.type.code}. "
                "Connect to it, and the broker answers with a heartbeat."
            )
            raise Unprocessable(
                Issue("not-supported", text, adapter(subscription.release).element("channelType"))
            )
        try:
            await self._access.check(subscription)
        except AccessLost as lost:
            text = f"Nothing is sent: {lost}."
            raise Conflict(Issue("business-rule", text)) from lost
        started_ms = self._clock.now_ms()
        outcome = await self._send(record, subscription, channel, started_ms)
        duration_ms = max(0, self._clock.now_ms() - started_ms)
        if isinstance(outcome, Delivered):
            return TrialReport(is_delivered=True, reason="The receiver accepted it.", duration_ms=duration_ms)
        return TrialReport(is_delivered=False, reason=outcome.error.text, duration_ms=duration_ms)

    async def _send(
        self, record: Record, subscription: Subscription, channel: Channel, at_ms: int
    ) -> DeliveryOutcome:
        try:
            revealed = self._secrets.reveal(subscription)
            signing = self._secrets.open_signing(subscription, record.signing_secrets)
        except SecretUnreadable as error:
            text = f"The secrets of the Subscription cannot be opened: {error}."
            raise Conflict(Issue("exception", text)) from error
        heartbeat = await self._composer.compose(
            subscription, NotificationType.HEARTBEAT, NO_EVENTS, count=record.count, at_ms=at_ms
        )
        timeout_s = min(subscription.channel.timeout_s or DEFAULT_TIMEOUT_S, self._max_timeout_s)
        signer = signer_of(signing, self._clock.now_ms())
        body = self._render(heartbeat)
        sending = self._log.start(heartbeat, subscription.channel.endpoint)
        request = SendRequest(revealed, heartbeat, body, timeout_s, signer, exchange=sending.exchange)
        outcome = await channel.send(request)
        await self._log.write((subscription.tenant, subscription.id), heartbeat, sending, outcome)
        return outcome
