"""The pieces every notification Bundle is made of. Stored resources are spliced in byte by byte: nothing is parsed on the way out."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from broker.clock import to_instant
from broker.model.change import Interaction
from broker.model.notification import DeliveryError, ErrorReport, Event, Focus, Notification, NotificationType
from broker.model.subscription import PayloadContent

ERRORS = "http://terminology.hl7.org/CodeSystem/subscription-error"
_STATUS = uuid.UUID("f0b5f2a4-6c0f-5a55-8f4b-5d0a0f3f2f11")
_ERROR_TEXTS: Mapping[DeliveryError, str] = {
    DeliveryError.DNS: "DNS resolution error",
    DeliveryError.NO_RESPONSE: "No Response",
    DeliveryError.ERROR_RESPONSE: "Error Response",
}


def status_id(notification: Notification) -> str:
    """The same for each attempt of one notification (R-209)."""
    return str(uuid.uuid5(_STATUS, notification.id))


def shows_topic(notification: Notification) -> bool:
    """`empty` notifications don't say what they are about; answers to a query do (R-241)."""
    return (
        notification.content is not PayloadContent.EMPTY or notification.type is NotificationType.QUERY_STATUS
    )


def focus_reference(event: Event, base: str) -> dict[str, Any]:
    """Absolute, the type in it and beside it (R-206, R-224, R-412)."""
    return {"reference": f"{base}/{event.focus.reference}", "type": event.focus.type}


def error_concept(error: ErrorReport) -> dict[str, Any]:
    """R-267: a coding where the code system has one, always a text."""
    if error.code is None:
        return {"text": error.text}
    return {
        "coding": [{"system": ERRORS, "code": error.code, "display": _ERROR_TEXTS[error.code]}],
        "text": error.text,
    }


def entry(members: Mapping[str, Any], resource: bytes | None) -> bytes:
    """One Bundle entry: `members` in order, the resource's own bytes after fullUrl."""
    head = orjson.dumps({"fullUrl": members["fullUrl"]})[:-1]
    rest = orjson.dumps({name: value for name, value in members.items() if name != "fullUrl"})
    tail = b"}" if rest == b"{}" else b"," + rest[1:]
    return head + (b"" if resource is None else b',"resource":' + resource) + tail


def bundle(members: Mapping[str, Any], entries: Sequence[bytes]) -> bytes:
    """A Bundle of finished entries; an empty `entry` array is left out, as FHIR asks."""
    head = orjson.dumps({"resourceType": "Bundle", **members})
    if not entries:
        return head
    return head[:-1] + b',"entry":[' + b",".join(entries) + b"]}"


def notification_bundle(
    notification: Notification, kind: str, status: bytes, foci: Sequence[bytes], profile: str | None = None
) -> bytes:
    """A Bundle of type `kind`, its first entry the status (R-200, R-208)."""
    members: dict[str, Any] = {"id": notification.id}
    if profile:
        members["meta"] = {"profile": [profile]}
    members |= {"type": kind, "timestamp": to_instant(notification.at_ms)}
    return bundle(members, [status, *foci])


def carried(notification: Notification) -> Iterator[Focus]:
    """The foci that get an entry: only at full-resource, each version of a resource once (R-203a, R-242, R-250)."""
    if notification.content is not PayloadContent.FULL_RESOURCE:
        return
    seen: set[object] = set()
    for focus in notification.foci:
        # without a resource in it, an entry has no version to tell it from another of the same URL
        key = focus.event.focus if focus.body is not None else focus.event.focus.reference
        if key in seen:
            continue
        seen.add(key)
        yield focus


def request_of(focus: Focus) -> tuple[str, str, str]:
    """Method, URL and status that tell what happened to the focus (R-205); without the resource, how to read it."""
    key = focus.event.focus
    if focus.event.interaction is Interaction.DELETE:
        return "DELETE", key.reference, "204"
    if focus.body is None:
        return "GET", key.reference, "200"
    if focus.event.interaction is Interaction.CREATE:
        return "POST", key.type, "201"
    return "PUT", key.reference, "200"


def searchset(
    entries: Sequence[bytes], self_url: str, *, total: int, more: Mapping[str, str] | None = None
) -> bytes:
    """The answer to a search; the self link is obligatory in R5 and never wrong (R-361)."""
    links = [{"relation": "self", "url": self_url}]
    links += [{"relation": relation, "url": url} for relation, url in (more or {}).items()]
    return bundle({"id": str(uuid.uuid4()), "type": "searchset", "total": total, "link": links}, entries)


def match_entry(full_url: str, resource: bytes) -> bytes:
    return entry({"fullUrl": full_url, "search": {"mode": "match"}}, resource)


def history_foci(notification: Notification, base: str) -> list[bytes]:
    """Focus entries of a history Bundle: request and response on each (R-203)."""
    entries = []
    for focus in carried(notification):
        method, url, status = request_of(focus)
        members = {
            "fullUrl": f"{base}/{focus.event.focus.reference}",
            "request": {"method": method, "url": url},
            "response": {"status": status},
        }
        entries.append(entry(members, focus.body))
    return entries


def history_status(notification: Notification, base: str, status: bytes) -> bytes:
    """The first entry of a history Bundle (R-204)."""
    members = {
        "fullUrl": f"urn:uuid:{status_id(notification)}",
        "request": {"method": "GET", "url": f"{base}/Subscription/{notification.subscription}/$status"},
        "response": {"status": "200"},
    }
    return entry(members, status)


def subscription_status(notification: Notification, base: str, kind: str) -> bytes:
    """The SubscriptionStatus resource of R4B and R5 (R-220..R-224); counts are strings of digits (R-221)."""
    resource: dict[str, Any] = {
        "resourceType": "SubscriptionStatus",
        "id": status_id(notification),
        "status": notification.status,
        "type": kind,
        "eventsSinceSubscriptionStart": str(notification.events_since_start),
    }
    events = []
    for focus in notification.foci:
        event: dict[str, Any] = {
            "eventNumber": str(focus.event.number),
            "timestamp": to_instant(focus.event.at_ms),
        }
        if notification.content is not PayloadContent.EMPTY:
            event["focus"] = focus_reference(focus.event, base)
        events.append(event)
    if events:
        resource["notificationEvent"] = events
    resource["subscription"] = {"reference": f"{base}/Subscription/{notification.subscription}"}
    if shows_topic(notification):
        resource["topic"] = notification.topic
    if notification.errors:
        resource["error"] = [error_concept(error) for error in notification.errors]
    return orjson.dumps(resource)
