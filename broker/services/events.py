"""The status and the numbered events of Subscriptions, and sending delivered events again (R-360..R-367).

A subscriber uses these to find out whether it missed anything, and to get it. `query` and `status` only read.
"""

import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass

from broker.clock import Clock
from broker.delivery.composing import Composer
from broker.delivery.owner_access import NO_EVENTS, AccessLost, DeliveryAccess, PermittedEvents
from broker.errors import Conflict, Issue, Unprocessable
from broker.fhir.release import adapter
from broker.model.notification import ErrorReport, Event, Notification, NotificationType
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.subscription import PayloadContent, Subscription, SubscriptionStatus
from broker.model.wording import are, count_of
from broker.services.event_numbers import missing_numbers, runs
from broker.services.registration import RegistrationRules
from broker.services.subscriptions import SubscriptionService
from broker.store.outbox import Outboxes
from broker.store.schedule import ResendResult, Schedule
from broker.store.subscriptions import Record

MAX_EVENTS = 1_000
MAX_RESENT = 10_000
_LEVELS = list(PayloadContent)


@dataclass(frozen=True, slots=True)
class EventRange:
    """Bounds of a query, all inclusive; None leaves a side open. The instants are in ms since the epoch."""

    first: int | None = None
    last: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def has_instants(self) -> bool:
        return self.since_ms is not None or self.until_ms is not None

    def includes(self, event: Event) -> bool:
        """Whether the instant of the event is in the range."""
        return (self.since_ms is None or event.at_ms >= self.since_ms) and (
            self.until_ms is None or event.at_ms <= self.until_ms
        )


@dataclass(frozen=True, slots=True)
class ResendReport:
    """What a resend scheduled: the numbers, how many are no longer stored, and how many await their first
    delivery.
    """

    numbers: tuple[int, ...]
    expired: int = 0
    undelivered: int = 0

    @property
    def issues(self) -> list[Issue]:
        """What happens, and what of the range is not sent again, in sentences."""
        text = f"{count_of(len(self.numbers), 'event')} will be sent again"
        if self.numbers:
            text += f", numbers {self.numbers[0]} to {self.numbers[-1]}"
        issues = [Issue("informational", f"{text}.", severity="information")]
        if self.expired:
            text = f"{count_of(self.expired, 'event')} of the range {are(self.expired)} no longer stored"
            issues.append(Issue("not-found", f"{text} and cannot be sent again.", severity="warning"))
        if self.undelivered:
            text = f"{count_of(self.undelivered, 'event')} of the range not delivered yet"
            issues.append(
                Issue("informational", f"{text}; the first delivery is due.", severity="information")
            )
        return issues


class EventService:
    """Reads the outboxes of the principal's tenant."""

    def __init__(
        self,
        subscriptions: SubscriptionService,
        outboxes: Outboxes,
        schedule: Schedule,
        composer: Composer,
        rules: RegistrationRules,
        clock: Clock,
        access: DeliveryAccess,
    ) -> None:
        self._subscriptions = subscriptions
        self._outboxes = outboxes
        self._schedule = schedule
        self._composer = composer
        self._rules = rules
        self._clock = clock
        self._access = access

    async def status(self, principal: Principal, release: Release, subscription_id: str) -> Notification:
        """The status of one Subscription; raises `NotFound`."""
        return self._query_status(await self._subscriptions.get(principal, subscription_id), release)

    async def status_of_many(
        self,
        principal: Principal,
        release: Release,
        subscription_ids: Collection[str] = (),
        statuses: Collection[SubscriptionStatus] = (),
    ) -> AsyncIterator[Notification]:
        """Those with one of the ids and one of the statuses; an empty collection restricts nothing. They are
        read in pages, so other work goes on meanwhile.
        """
        if subscription_ids:
            records = self._subscriptions.many(principal, subscription_ids)
        elif statuses:
            records = self._subscriptions.with_statuses(principal, statuses)
        else:
            records = self._subscriptions.all(principal)
        async for record in records:
            if not statuses or record.subscription.status in statuses:
                yield self._query_status(record, release)

    def _query_status(self, record: Record, release: Release) -> Notification:
        subscription = record.subscription
        warnings = (ErrorReport(None, f"Warning: {each.text}") for each in self._rules.warnings(subscription))
        return Notification(
            id=str(uuid.uuid4()),
            type=NotificationType.QUERY_STATUS,
            release=release,
            subscription=subscription.id,
            topic=subscription.topic,
            status=subscription.status,
            content=subscription.channel.content,
            events_since_start=record.count,
            at_ms=self._clock.now_ms(),
            errors=(*record.errors, *warnings),
        )

    async def query(
        self,
        principal: Principal,
        release: Release,
        subscription_id: str,
        events: EventRange,
        content: PayloadContent | None = None,
    ) -> Notification:
        """The numbered events of a range: the oldest `MAX_EVENTS` of it. Its instants are ignored.

        `content` is reduced to what the Subscription was granted (R-364). Numbers of the range without an
        event are reported among the errors. Raises `NotFound`.
        """
        record = await self._subscriptions.get(principal, subscription_id)
        subscription = record.subscription
        granted = subscription.channel.content
        level = granted if content is None else min(content, granted, key=_LEVELS.index)
        stored = await self._outboxes.read(
            principal.tenant, subscription.id, events.first, events.last, limit=MAX_EVENTS
        )
        is_cut = len(stored) == MAX_EVENTS
        permitted, hidden = await self._permitted(principal, subscription, stored)
        return Notification(
            id=str(uuid.uuid4()),
            type=NotificationType.QUERY_EVENT,
            release=release,
            subscription=subscription.id,
            topic=subscription.topic,
            status=subscription.status,
            content=level,
            events_since_start=record.count,
            at_ms=self._clock.now_ms(),
            foci=await self._composer.foci(permitted, release, level, subscription, omits_unreadable=True),
            related=self._composer.related(subscription.topic_canonical),
            errors=(
                *record.errors,
                *missing_numbers(record, events.first, events.last, stored, is_cut=is_cut),
                *hidden,
            ),
        )

    async def _permitted(
        self, principal: Principal, subscription: Subscription, stored: Sequence[Event]
    ) -> tuple[PermittedEvents, Sequence[ErrorReport]]:
        """What of the events the owner and the principal may see, and reports of the others (R-365)."""
        try:
            permitted = await self._access.permit(subscription, stored, principal)
        except AccessLost as lost:
            return NO_EVENTS, [ErrorReport(None, f"no event is shown: {lost}")] if stored else []
        shown = {event.number for event in permitted.events}
        numbers = [event.number for event in stored if event.number not in shown]
        return permitted, [ErrorReport(None, _hidden(low, high)) for low, high in runs(numbers)]

    async def resend(
        self, principal: Principal, release: Release, subscription_id: str, events: EventRange
    ) -> ResendReport:
        """Schedules delivered events for another delivery under their numbers; new events keep their order
        (R-367).

        Raises `NotFound`, `Unprocessable` for a Subscription that cannot be sent to or a range that is too
        large, and `Conflict` where the Subscription changed meanwhile or too many events wait to be sent
        again.
        """
        record = await self._subscriptions.get(principal, subscription_id)
        self._refuse_unsendable(record, release)
        last_requested = record.count if events.last is None else min(events.last, record.count)
        stored = await self._outboxes.read(
            principal.tenant,
            record.subscription.id,
            events.first,
            min(last_requested, record.cursor),
            limit=MAX_RESENT + 1,
        )
        if len(stored) > MAX_RESENT:
            text = f"The range has more than {MAX_RESENT} events. Request them in several smaller ranges."
            raise Unprocessable(Issue("too-costly", text, "eventsSinceNumber"))
        numbers = tuple(event.number for event in stored if events.includes(event))
        if numbers:
            await self._schedule_again(record, numbers)
        if events.has_instants:
            return ResendReport(numbers)
        first = max(events.first or 1, 1)
        delivered = max(0, min(last_requested, record.cursor) - first + 1)
        return ResendReport(
            numbers,
            expired=max(0, delivered - len(numbers)),
            undelivered=max(0, last_requested - max(first - 1, record.cursor)),
        )

    def _refuse_unsendable(self, record: Record, release: Release) -> None:
        subscription = record.subscription
        if not self._rules.channel_of(subscription).is_pushed:
            text = (
                f"The broker does not send over the channel {subscription.channel.type.code}. "
                "Connect with eventsSinceNumber, or call $events."
            )
            raise Unprocessable(Issue("not-supported", text, adapter(release).element("channelType")))
        if subscription.status is not SubscriptionStatus.ACTIVE:
            text = (
                f"Subscription/{subscription.id} is {subscription.status} and gets no events. "
                "Update it with the status requested, then call $resend."
            )
            raise Unprocessable(Issue("business-rule", text, "Subscription.status"))

    async def _schedule_again(self, record: Record, numbers: tuple[int, ...]) -> None:
        subscription = record.subscription
        result = await self._schedule.resend(
            subscription.tenant, subscription.id, record.revision, runs(numbers)
        )
        match result:
            case ResendResult.CHANGED:
                text = (
                    "The Subscription changed during the request; no event was scheduled. Retry the request."
                )
                raise Conflict(Issue("conflict", text))
            case ResendResult.FULL:
                text = "Too many events already wait to be sent again; no event was scheduled. Retry later."
                raise Conflict(Issue("throttled", text))
            case ResendResult.ACCEPTED:
                pass


def _hidden(low: int, high: int) -> str:
    numbers = f"event {low} is" if low == high else f"events {low} to {high} are"
    return f"{numbers} not shown: their resources may not be seen now"
