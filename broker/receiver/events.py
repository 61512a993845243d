"""What a receiver hands to its application: events with their resources, and gaps. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from broker.receiver.notifications import ReceivedEvent, ReceivedNotification


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `subscription` and `number` name it for ever: an application that stores both with its own
    effect has each effect once.

    `focus` is a reference ('' with content `empty`). `resource` is the version of the focus that the event
    is about: None where the notification has none, as for a deletion. `others` are the other resources of
    the notification.
    """

    subscription: str
    topic: str
    number: int
    timestamp: str
    focus: str
    resource: Mapping[str, Any] | None
    others: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """Event numbers that were never received and that the broker does not have any more, both inclusive."""

    subscription: str
    first: int
    last: int


def events_of(notification: ReceivedNotification) -> Iterator[Event]:
    """The events in the order of their numbers.

    An event notification without numbered events, which a broker may send with content `empty`, is taken
    for the event that its count names.
    """
    received = sorted(notification.events, key=lambda event: event.number)
    if not received and notification.type == "event-notification":
        received = [ReceivedEvent(notification.events_since_start, "", "")]
    for event in received:
        resource = _resource_of(event.focus, notification)
        yield Event(
            notification.subscription,
            notification.topic,
            event.number,
            event.timestamp,
            event.focus,
            resource,
            tuple(other for other in notification.resources if other is not resource),
        )


def _resource_of(focus: str, notification: ReceivedNotification) -> Mapping[str, Any] | None:
    """The resource of a focus. A focus that names a version has only that version."""
    if not focus:
        return None
    url, _, version = focus.partition("/_history/")
    resource = notification.by_full_url.get(url)
    if resource is None:
        name = "/".join(url.split("/")[-2:])
        resource = next((each for each in notification.resources if _name(each) == name), None)
    if resource is None or (version and resource.get("meta", {}).get("versionId") != version):
        return None
    return resource


def _name(resource: Mapping[str, Any]) -> str:
    return f"{resource.get('resourceType')}/{resource.get('id')}"
