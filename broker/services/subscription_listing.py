"""Lists the Subscriptions that a principal may see, by status, error, owner and words, for the console.

A page costs the same whatever the number of Subscriptions: candidates come from the index of the most
selective condition (`store/listed_ids.py`), and at most `max_examined` documents are read for one page. A
search that has not filled its page by then says where it continues.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.model.principal import Principal
from broker.model.subscription import Subscription, SubscriptionId, SubscriptionStatus
from broker.services.delivery_control import DeliveryReport
from broker.store.listed_ids import WITH_ERROR, owned_by, with_status
from broker.store.schedule import Schedule
from broker.store.subscription_ids import PAGE
from broker.store.subscriptions import Record, Subscriptions

PAGE_SIZE = 50
MAX_EXAMINED = 2_000


@dataclass(frozen=True, slots=True)
class ListingConditions:
    """What a listing shows. Each of `words` occurs in the id, name, topic, endpoint or owner, in any case;
    `topic` is the version that a Subscription is bound to. None, False and '' stand for any.
    """

    words: str = ""
    status: SubscriptionStatus | None = None
    has_error: bool = False
    owner: str = ""
    topic: str = ""

    def are_met_by(self, record: Record) -> bool:
        """Whether the listing shows it."""
        subscription = record.subscription
        return (
            (self.status is None or subscription.status is self.status)
            and (not self.has_error or record.error is not None)
            and (not self.owner or subscription.owner == self.owner)
            and (not self.topic or subscription.topic_canonical == self.topic)
            and (not self.words or _contains(subscription, self.words))
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """A page in the order of the ids. `next` is the id after which the next page starts, None for the last.

    `is_partial`: the page ends since `examined` documents were read, and not because it is full.
    """

    rows: Sequence[DeliveryReport]
    next: SubscriptionId | None
    examined: int
    is_partial: bool = False


class SubscriptionListing:
    """Reads the Subscriptions of the principal's tenant."""

    def __init__(
        self, subscriptions: Subscriptions, schedule: Schedule, *, max_examined: int = MAX_EXAMINED
    ) -> None:
        self._subscriptions = subscriptions
        self._max_examined = max_examined
        self._schedule = schedule

    async def page(
        self, principal: Principal, conditions: ListingConditions, after: SubscriptionId | None = None
    ) -> Listing:
        """The first `PAGE_SIZE` that meet the conditions, behind the id `after`. Words that are an id find
        that Subscription alone.
        """
        if conditions.words and after is None:
            record = await self._named(principal, conditions)
            if record is not None:
                return Listing(await self._rows([record]), None, 1)
        label = await self._most_selective(principal, conditions)
        records: list[Record] = []
        examined = 0
        while examined < self._max_examined:
            ids = await self._candidates(principal, label, after)
            for record in await self._subscriptions.many([(principal.tenant, each) for each in ids]):
                examined += 1
                if record is None or not _is_visible(principal, record) or not conditions.are_met_by(record):
                    continue
                if len(records) == PAGE_SIZE:
                    return Listing(await self._rows(records), records[-1].subscription.id, examined)
                records.append(record)
            if len(ids) < PAGE:
                return Listing(await self._rows(records), None, examined)
            after = ids[-1]
        return Listing(await self._rows(records), after, examined, is_partial=True)

    async def counts(self, principal: Principal) -> tuple[Mapping[SubscriptionStatus, int], int]:
        """For administrators: how many of the tenant have each status, and how many an error."""
        labels = [*(with_status(status) for status in SubscriptionStatus), WITH_ERROR]
        *by_status, with_error = await self._subscriptions.listed.counts(principal.tenant, labels)
        return dict(zip(SubscriptionStatus, by_status, strict=True)), with_error

    async def _named(self, principal: Principal, conditions: ListingConditions) -> Record | None:
        record = await self._subscriptions.get(principal.tenant, SubscriptionId(conditions.words))
        if record is None or not _is_visible(principal, record) or not conditions.are_met_by(record):
            return None
        return record

    async def _most_selective(self, principal: Principal, conditions: ListingConditions) -> str | None:
        """The label of the conditions that the fewest Subscriptions have; None where all are candidates."""
        owner = conditions.owner if principal.is_admin else principal.client_id
        labels = [owned_by(owner)] if owner else []
        labels += [WITH_ERROR] if conditions.has_error else []
        labels += [with_status(conditions.status)] if conditions.status else []
        if len(labels) < 2:
            return labels[0] if labels else None
        counts = await self._subscriptions.listed.counts(principal.tenant, labels)
        return min(zip(counts, labels, strict=True))[1]

    async def _candidates(
        self, principal: Principal, label: str | None, after: SubscriptionId | None
    ) -> Sequence[SubscriptionId]:
        if label is None:
            return (await self._subscriptions.ids.after(principal.tenant, after, PAGE)).ids
        return await self._subscriptions.listed.after(principal.tenant, label, after, PAGE)

    async def _rows(self, records: Sequence[Record]) -> list[DeliveryReport]:
        names = [(each.subscription.tenant, each.subscription.id) for each in records]
        next_attempts = await self._schedule.next_attempts(names)
        return [DeliveryReport(*row) for row in zip(records, next_attempts, strict=True)]


def _is_visible(principal: Principal, record: Record) -> bool:
    return principal.may_see_those_of(record.subscription.owner)


def _contains(subscription: Subscription, words: str) -> bool:
    parts = (
        subscription.id,
        subscription.name,
        subscription.topic,
        subscription.channel.endpoint,
        subscription.owner,
    )
    text = "\n".join(part for part in parts if part).casefold()
    return all(word in text for word in words.casefold().split())
