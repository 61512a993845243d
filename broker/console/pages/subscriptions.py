"""The list of Subscriptions, and the page of one: what it asks for, where its delivery stands, its events."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from broker.console.page import Answer, Events, PageRequest, View
from broker.console.reading import event_number
from broker.delivery.attempt_audit import entities_of
from broker.errors import Issue, Malformed
from broker.fhir.release import adapter
from broker.model import json_text
from broker.model.audit import AuditEntity
from broker.model.release import Release
from broker.model.subscription import PayloadContent, Subscription, SubscriptionId, SubscriptionStatus
from broker.services.attempts import AttemptService
from broker.services.delivery_control import DeliveryControl, DeliveryReport
from broker.services.delivery_standing import standing_of
from broker.services.events import EventRange, EventService
from broker.services.subscription_listing import ListingConditions, SubscriptionListing
from broker.services.topic_words import filter_in_words
from broker.services.topics import TopicService

EVENTS = 50
"""On one page."""
ATTEMPTS = 5
"""The newest, on the page of a Subscription."""


class SubscriptionPages:
    """The rows for `/subscriptions` that only read."""

    def __init__(
        self,
        listing: SubscriptionListing,
        delivery: DeliveryControl,
        events: EventService,
        attempts: AttemptService,
        topics: TopicService,
    ) -> None:
        self._listing = listing
        self._delivery = delivery
        self._events = events
        self._attempts = attempts
        self._topics = topics

    async def search(self, request: PageRequest) -> Answer:
        """A page of those that meet the conditions of the form."""
        conditions = _conditions(request)
        after = request.query.get("after")
        listing = await self._listing.page(
            request.principal, conditions, SubscriptionId(after) if after else None
        )
        counts = await self._listing.counts(request.principal) if request.principal.is_admin else ({}, 0)
        values = {
            "rows": listing.rows,
            "conditions": conditions,
            "statuses": list(SubscriptionStatus),
            "counts": counts[0],
            "with_error": counts[1],
            "examined": listing.examined,
            "is_partial": listing.is_partial,
            "is_first": after is None,
            "next": next_page(conditions, listing.next),
        }
        accessed = [_entity(row.record.subscription) for row in listing.rows]
        return View("subscriptions.html", values, accessed=accessed)

    async def show(self, request: PageRequest) -> Answer:
        """One Subscription. Header values are masks, as everywhere."""
        # the attempts first: a failure that is among them is the one that the page begins with, or before it
        attempts = await self._attempts.page(request.principal, request.params["id"], count=ATTEMPTS)
        report = await self._delivery.report(request.principal, request.params["id"])
        subscription = report.record.subscription
        topic = next(
            (
                each
                for each in self._topics.all(request.principal)
                if each.canonical == subscription.topic_canonical
            ),
            None,
        )
        document = adapter(subscription.release).render_subscription(subscription).text
        values = {
            **_standing(report),
            "topic": topic,
            "filters": [filter_in_words(wanted) for wanted in subscription.filters],
            "id": subscription.id,
            "attempts": attempts.attempts,
            "document": json_text.indented(document).decode(),
        }
        return View("subscription.html", values, accessed=[_entity(subscription)])

    async def follow(self, request: PageRequest) -> Answer:
        """Where the delivery stands, again and again."""
        report = await self._delivery.report(request.principal, request.params["id"])

        async def compose() -> View:
            current = await self._delivery.report(request.principal, request.params["id"])
            return View("subscription_standing.html", _standing(current))

        return Events(compose, accessed=[_entity(report.record.subscription)])

    async def events(self, request: PageRequest) -> Answer:
        """The newest events up to a number, and the form that sends a range of them again."""
        report = await self._delivery.report(request.principal, request.params["id"])
        record = report.record
        last = min(event_number(request.query, "until") or record.count, record.count)
        first = max(1, last - EVENTS + 1)
        notification = await self._events.query(
            request.principal,
            Release.R5,
            record.subscription.id,
            EventRange(first, last),
            PayloadContent.ID_ONLY,
        )
        values = {
            "record": record,
            "events": [focus.event for focus in reversed(notification.foci)],
            # who may see no more than that there was an event sees no more here
            "names_resources": notification.content is not PayloadContent.EMPTY,
            "reports": [error.text for error in notification.reports if error not in record.errors],
            "first": first,
            "last": last,
            "older": first - 1,
            "newer": min(last + EVENTS, record.count) if last < record.count else None,
        }
        return View("subscription_events.html", values, accessed=entities_of(notification))


def _standing(report: DeliveryReport) -> Mapping[str, Any]:
    return {
        "report": report,
        "record": report.record,
        "subscription": report.record.subscription,
        "standing": standing_of(report.record, report.next_attempt_ms),
    }


def _entity(subscription: Subscription) -> AuditEntity:
    return AuditEntity("Subscription", subscription.id, subscription.version)


def _conditions(request: PageRequest) -> ListingConditions:
    status = request.query.get("status", "")
    if status and status not in set(SubscriptionStatus):
        text = f"There is no status {status!r}. Choose one of {', '.join(SubscriptionStatus)}."
        raise Malformed(Issue("value", text, "status"))
    return ListingConditions(
        words=" ".join(request.query.get("q", "").split()),
        status=SubscriptionStatus(status) if status else None,
        has_error=bool(request.query.get("error")),
        owner=request.query.get("owner", "").strip(),
        topic=request.query.get("topic", "").strip(),
    )


def next_page(conditions: ListingConditions, after: SubscriptionId | None) -> str | None:
    """The query of the page after an id; None without one."""
    if after is None:
        return None
    values = {
        "q": conditions.words,
        "status": conditions.status or "",
        "error": "1" if conditions.has_error else "",
        "owner": conditions.owner,
        "topic": conditions.topic,
        "after": after,
    }
    return urlencode({name: value for name, value in values.items() if value})
