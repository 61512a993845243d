"""Subscriptions as the commands show them: read from what the broker answers, printed as JSON or as a
table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.cli.broker_client import BrokerClient, Parts, groups, value

Fields = Mapping[str, Any]
"""A FHIR resource as JSON."""


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """A Subscription in the list."""

    id: str
    status: str
    events: int
    topic: str
    error: list[str]

    @classmethod
    def of_status(cls, status: Fields) -> "SubscriptionRow":
        """From a SubscriptionStatus of R5."""
        return cls(
            id=status["subscription"]["reference"].rpartition("/")[2],
            status=status["status"],
            events=int(status["eventsSinceSubscriptionStart"]),
            topic=status.get("topic", ""),
            error=[error["text"] for error in status.get("error", [])],
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """The answer of `$delivery`. `attempts` counts the failed attempts of the current notification."""

    status: str
    release: str
    events: int
    delivered: int
    waiting: int
    attempts: int
    next_attempt: str | None
    error: list[str]

    @classmethod
    def read(cls, broker: BrokerClient, subscription_id: str) -> "Delivery":
        """Asks the broker."""
        parts: Parts = broker.get(f"Subscription/{subscription_id}/$delivery")["parameter"]
        return cls(
            status=value(parts, "status"),
            release=value(parts, "release"),
            events=int(value(parts, "events")),
            delivered=int(value(parts, "delivered")),
            waiting=int(value(parts, "waiting")),
            attempts=value(parts, "attempts"),
            next_attempt=value(parts, "next-attempt"),
            error=[value(error, "text") for error in groups(parts, "error")],
        )


@dataclass(frozen=True, slots=True)
class SubscriptionDetails:
    """One Subscription: what it asks for, and how far its delivery is. `document` is its R5 form."""

    id: str
    status: str
    release: str
    topic: str
    filters: list[str]
    channel: str
    endpoint: str | None
    content: str | None
    end: str | None
    events: int
    delivered: int
    waiting: int
    attempts: int
    next_attempt: str | None
    error: list[str]
    document: Fields

    @classmethod
    def read(cls, broker: BrokerClient, subscription_id: str) -> "SubscriptionDetails":
        """Asks the broker."""
        document = broker.get(f"Subscription/{subscription_id}")
        delivery = Delivery.read(broker, subscription_id)
        return cls(
            id=document["id"],
            status=delivery.status,
            release=delivery.release,
            topic=document["topic"],
            filters=[_filter_text(item) for item in document.get("filterBy", [])],
            channel=document["channelType"]["code"],
            endpoint=document.get("endpoint"),
            content=document.get("content"),
            end=document.get("end"),
            events=delivery.events,
            delivered=delivery.delivered,
            waiting=delivery.waiting,
            attempts=delivery.attempts,
            next_attempt=delivery.next_attempt,
            error=delivery.error,
            document=document,
        )


def _filter_text(item: Fields) -> str:
    """A filter as a search term: `Observation?value-quantity=gt120`."""
    resource = f"{item['resourceType']}?" if "resourceType" in item else ""
    modifier = f":{item['modifier']}" if "modifier" in item else ""
    return f"{resource}{item['filterParameter']}{modifier}={item.get('comparator', '')}{item['value']}"
