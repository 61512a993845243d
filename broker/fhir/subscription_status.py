"""The status in a notification: SubscriptionStatus of R4B and R5, and the parts that R4's Parameters share.

A retry of a notification has the same status resource (R-209).
"""

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from broker.clock import to_instant
from broker.fhir.related_queries import related_query_extension
from broker.model.change import VersionKey
from broker.model.notification import DeliveryError, ErrorReport, Event, Focus, Notification, NotificationType
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent
from broker.model.uuids import uuid_of_names

ERROR_SYSTEM = "http://terminology.hl7.org/CodeSystem/subscription-error"
_ERROR_DISPLAYS: Mapping[DeliveryError, str] = {
    DeliveryError.DNS: "DNS resolution error",
    DeliveryError.NO_RESPONSE: "No Response",
    DeliveryError.ERROR_RESPONSE: "Error Response",
}


def status_id(notification: Notification) -> str:
    """The id of the status resource, the same for each attempt of one notification (R-209)."""
    return uuid_of_names("status", notification.id)


def shows_topic(notification: Notification) -> bool:
    """Whether the status names the topic: not in `empty` notifications, except for a query (R-241)."""
    return (
        notification.content is not PayloadContent.EMPTY or notification.type is NotificationType.QUERY_STATUS
    )


def subscription_reference(notification: Notification, base: str) -> dict[str, str]:
    return {"reference": f"{base}/Subscription/{notification.subscription}"}


def reference_to(key: VersionKey, base: str, ambiguous: Collection[str]) -> dict[str, Any]:
    """An absolute reference, with the resource type in its URL and in its `type` (R-206, R-224, R-412).

    It names the version if the resource is `ambiguous`: the notification names several versions of it.
    """
    version = f"/_history/{key.version}" if key.reference in ambiguous else ""
    return {"reference": f"{base}/{key.reference}{version}", "type": key.type}


def context_references(event: Event, base: str, ambiguous: Collection[str]) -> list[dict[str, Any]]:
    """References to the included resources of the event (R-245); `empty` notifications leave them out."""
    return [reference_to(included.key, base, ambiguous) for included in event.context]


def error_concept(error: ErrorReport) -> dict[str, Any]:
    """R-267: a coding where the code system has one, always a text."""
    if error.code is None:
        return {"text": error.text}
    return {
        "coding": [{"system": ERROR_SYSTEM, "code": error.code, "display": _ERROR_DISPLAYS[error.code]}],
        "text": error.text,
    }


def subscription_status(
    notification: Notification, base: str, status_type: str, *, with_related_queries: bool = False
) -> Resource:
    """The SubscriptionStatus resource of R4B and R5 (R-220..R-224); counts are strings of digits (R-221).

    R5 has no related queries.
    """
    members: dict[str, Any] = {
        "resourceType": "SubscriptionStatus",
        "id": status_id(notification),
        "status": notification.status,
        "type": status_type,
        "eventsSinceSubscriptionStart": str(notification.events_since_start),
    }
    ambiguous = notification.ambiguous_references
    events = [
        _event(focus, notification, base, ambiguous, with_related_queries=with_related_queries)
        for focus in notification.foci
    ]
    if events:
        members["notificationEvent"] = events
    members["subscription"] = subscription_reference(notification, base)
    if shows_topic(notification):
        members["topic"] = notification.topic
    if reports := notification.reports:
        members["error"] = [error_concept(report) for report in reports]
    return Resource(orjson.dumps(members))


def _event(
    focus: Focus,
    notification: Notification,
    base: str,
    ambiguous: Collection[str],
    *,
    with_related_queries: bool,
) -> dict[str, Any]:
    event = focus.event
    rendered: dict[str, Any] = {"eventNumber": str(event.number), "timestamp": to_instant(event.at_ms)}
    if notification.content is PayloadContent.EMPTY:
        return rendered
    rendered["focus"] = reference_to(event.focus, base, ambiguous)
    if event.context:
        rendered["additionalContext"] = context_references(event, base, ambiguous)
    queries = notification.related_to(event) if with_related_queries else ()
    if queries:
        rendered["extension"] = [related_query_extension(query) for query in queries]
    return rendered
