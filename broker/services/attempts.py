"""Reads the log of the attempts to send the notifications of a Subscription: "did you send it?".

Who may read a Subscription may read its attempts. What was sent and answered, where it is stored, is shown to
who may see the events it is about now, as they were sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.delivery.owner_access import AccessLost, DeliveryAccess
from broker.errors import Issue, Malformed, NotFound
from broker.model.attempt import Attempt, AttemptOutcome, AttemptText
from broker.model.notification import Event
from broker.model.principal import Principal
from broker.model.subscription import Subscription
from broker.services.subscriptions import SubscriptionService
from broker.store.attempts import Attempts
from broker.store.outbox import Outboxes

MAX_COUNT = 1_000
"""The number of attempts that one call returns at most."""
_NO_EVENTS = "its events are no longer stored, so nobody can say who may see what was sent"
_HIDDEN = "its resources may not be seen now"


@dataclass(frozen=True, slots=True)
class AttemptFilter:
    """Which attempts; the default are all. `event` is the number of an event that was sent, `since_ms` is
    inclusive.
    """

    outcome: AttemptOutcome | None = None
    only_failed: bool = False
    since_ms: int | None = None
    event: int | None = None

    def includes(self, attempt: Attempt) -> bool:
        return (
            (self.outcome is None or attempt.outcome is self.outcome)
            and not (self.only_failed and not attempt.is_failed)
            and (self.since_ms is None or attempt.at_ms >= self.since_ms)
            and (self.event is None or 0 < attempt.first_event <= self.event <= attempt.last_event)
        )


EVERY = AttemptFilter()
"""The filter that includes every attempt."""


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """Attempts, the newest first, and the `before` that continues them ('' at the end)."""

    attempts: Sequence[Attempt]
    next: str


@dataclass(frozen=True, slots=True)
class AttemptDetails:
    """An attempt with what was sent and answered. `text` is None where that is not stored, or not shown for
    the reason `hidden`. `events` are those whose resources `text` may have.
    """

    attempt: Attempt
    text: AttemptText | None = None
    hidden: str = ""
    events: Sequence[Event] = ()


class AttemptService:
    """Attempts of the principal's tenant."""

    def __init__(
        self,
        subscriptions: SubscriptionService,
        attempts: Attempts,
        outboxes: Outboxes,
        access: DeliveryAccess,
    ) -> None:
        self._subscriptions = subscriptions
        self._attempts = attempts
        self._outboxes = outboxes
        self._access = access

    async def page(
        self,
        principal: Principal,
        subscription_id: str,
        where: AttemptFilter = EVERY,
        *,
        before: str = "",
        count: int = MAX_COUNT,
    ) -> AttemptPage:
        """The newest attempts, or those before the attempt with the id `before`. An attempt that is added or
        removed meanwhile makes no other one appear twice or never.

        Raises `NotFound`, and `Malformed` for a `before` that no attempt can have.
        """
        subscription = await self._subscription(principal, subscription_id)
        only_failed = where.only_failed or where.outcome not in {None, AttemptOutcome.DELIVERED}
        try:
            found = await self._attempts.read(
                (subscription.tenant, subscription.id),
                where.includes,
                before=before,
                count=count + 1,
                only_failed=only_failed,
            )
        except ValueError as error:
            text = f"{before!r} is no id of an attempt. Send the `next` of an earlier response."
            raise Malformed(Issue("value", text, "before")) from error
        attempts = found[:count]
        return AttemptPage(attempts, attempts[-1].id if len(found) > count else "")

    async def details(self, principal: Principal, subscription_id: str, attempt_id: str) -> AttemptDetails:
        """One attempt. Raises `NotFound`."""
        subscription = await self._subscription(principal, subscription_id)
        key = (subscription.tenant, subscription.id)
        try:
            attempt = await self._attempts.find(key, attempt_id)
        except ValueError:
            attempt = None
        if attempt is None:
            text = f"Subscription/{subscription.id} has no attempt {attempt_id!r}, or it is no longer kept."
            raise NotFound(Issue("not-found", text))
        if not attempt.has_text:
            return AttemptDetails(attempt)
        events, hidden = await self._visible_events(principal, subscription, attempt)
        if hidden:
            return AttemptDetails(attempt, hidden=hidden)
        return AttemptDetails(attempt, await self._attempts.text(key, attempt_id), events=events)

    async def _subscription(self, principal: Principal, subscription_id: str) -> Subscription:
        return (await self._subscriptions.get(principal, subscription_id)).subscription

    async def _visible_events(
        self, principal: Principal, subscription: Subscription, attempt: Attempt
    ) -> tuple[Sequence[Event], str]:
        """The events of an attempt, or why what was sent about them is not shown."""
        if not attempt.last_event:
            return (), ""
        number = attempt.last_event - attempt.first_event + 1
        stored = await self._outboxes.read(
            subscription.tenant, subscription.id, attempt.first_event, attempt.last_event, limit=number
        )
        if len(stored) < number:
            return (), _NO_EVENTS
        try:
            permitted = await self._access.permit(subscription, stored, principal)
        except AccessLost as lost:
            return (), str(lost)
        return (stored, "") if tuple(permitted.events) == tuple(stored) else ((), _HIDDEN)
