"""The pieces every notification Bundle is made of. Stored resources are spliced in byte by byte: nothing is parsed on the way out."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from broker.clock import to_instant
from broker.model.change import Interaction, VersionKey
from broker.model.notification import DeliveryError, ErrorReport, Event, Focus, Notification, NotificationType
from broker.model.subscription import PayloadContent
from broker.model.topic import Coding, RelatedQuery
from broker.model.uuids import derived

ERRORS = "http://terminology.hl7.org/CodeSystem/subscription-error"
_ERROR_TEXTS: Mapping[DeliveryError, str] = {
    DeliveryError.DNS: "DNS resolution error",
    DeliveryError.NO_RESPONSE: "No Response",
    DeliveryError.ERROR_RESPONSE: "Error Response",
}


def status_id(notification: Notification) -> str:
    """The same for each attempt of one notification (R-209)."""
    return derived("status", notification.id)


def shows_topic(notification: Notification) -> bool:
    """`empty` notifications don't say what they are about; answers to a query do (R-241)."""
    return (
        notification.content is not PayloadContent.EMPTY or notification.type is NotificationType.QUERY_STATUS
    )


def reference_to(key: VersionKey, base: str) -> dict[str, Any]:
    """Absolute, the type in it and beside it (R-206, R-224, R-412)."""
    return {"reference": f"{base}/{key.reference}", "type": key.type}


def focus_reference(event: Event, base: str) -> dict[str, Any]:
    return reference_to(event.focus, base)


def context_references(event: Event, base: str) -> list[dict[str, Any]]:
    """What goes with the event (R-245); the caller leaves it out at `empty`."""
    return [reference_to(one.key, base) for one in event.context]


def error_concept(error: ErrorReport) -> dict[str, Any]:
    """R-267: a coding where the code system has one, always a text."""
    if error.code is None:
        return {"text": error.text}
    return {
        "coding": [{"system": ERRORS, "code": error.code, "display": _ERROR_TEXTS[error.code]}],
        "text": error.text,
    }


Entry = dict[str, Any]
"""One Bundle entry, ready to be encoded."""


def entry(full_url: str, resource: bytes | None, **members: object) -> Entry:
    """The resource's own bytes after fullUrl, `members` behind them."""
    if resource is None:
        return {"fullUrl": full_url, **members}
    return {"fullUrl": full_url, "resource": orjson.Fragment(resource), **members}


def bundle(members: Mapping[str, Any], entries: Sequence[Entry]) -> bytes:
    """The Bundle, encoded in one go around the resources; an empty `entry` array is left out, as FHIR asks."""
    told = {"entry": entries} if entries else {}
    return orjson.dumps({"resourceType": "Bundle", **members, **told})


def notification_bundle(
    notification: Notification, kind: str, status: Entry, foci: Sequence[Entry], profile: str | None = None
) -> bytes:
    """A Bundle of type `kind`, its first entry the status (R-200, R-208)."""
    members: dict[str, Any] = {"id": notification.id}
    if profile:
        members["meta"] = {"profile": [profile]}
    members |= {"type": kind, "timestamp": to_instant(notification.at_ms)}
    return bundle(members, [status, *foci])


class Carried(NamedTuple):
    """A resource that gets an entry, with what `request` and `response` say of it."""

    key: VersionKey
    body: bytes | None
    method: str
    url: str
    status: str


def carried(notification: Notification) -> Iterator[Carried]:
    """The foci, then what goes with them: only at full-resource, each version of a resource once (R-203a, R-242, R-250)."""
    if notification.content is not PayloadContent.FULL_RESOURCE:
        return
    seen: set[object] = set()
    foci = (Carried(focus.event.focus, focus.body, *request_of(focus)) for focus in notification.foci)
    for one in (*foci, *(one for focus in notification.foci for one in _context(focus))):
        # without a resource in it, an entry has no version to tell it from another of the same URL
        name = one.key if one.body is not None else one.key.reference
        if name not in seen:
            seen.add(name)
            yield one


def _context(focus: Focus) -> Iterator[Carried]:
    """R-205: included resources say how they can be read."""
    for one, body in zip(focus.event.context, focus.context, strict=True):
        yield Carried(one.key, body, "GET", one.key.reference, "200")


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
    entries: Sequence[Entry], self_url: str, *, total: int | None, more: Mapping[str, str] | None = None
) -> bytes:
    """The answer to a search, without a total where it is None; the self link is obligatory in R5 and never wrong (R-361)."""
    links = [{"relation": "self", "url": self_url}]
    links += [{"relation": relation, "url": url} for relation, url in (more or {}).items()]
    counted = {} if total is None else {"total": total}
    return bundle({"id": str(uuid.uuid4()), "type": "searchset"} | counted | {"link": links}, entries)


def match_entry(full_url: str, resource: bytes) -> Entry:
    return entry(full_url, resource, search={"mode": "match"})


def history_foci(notification: Notification, base: str) -> list[Entry]:
    """The entries after the status in a history Bundle: request and response on each (R-203)."""
    return [
        entry(
            f"{base}/{one.key.reference}",
            one.body,
            request={"method": one.method, "url": one.url},
            response={"status": one.status},
        )
        for one in carried(notification)
    ]


def history_status(notification: Notification, base: str, status: bytes) -> Entry:
    """The first entry of a history Bundle (R-204)."""
    return entry(
        f"urn:uuid:{status_id(notification)}",
        status,
        request={"method": "GET", "url": f"{base}/Subscription/{notification.subscription}/$status"},
        response={"status": "200"},
    )


RELATED_QUERY = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-related-query"


def coding(one: Coding) -> dict[str, str]:
    members = {"system": one.system, "code": one.code, "display": one.display}
    return {name: value for name, value in members.items() if value}


def related_extension(query: RelatedQuery) -> dict[str, Any]:
    """R-225: the type of the query if it has one, and the query."""
    parts: list[dict[str, Any]] = []
    if query.type is not None:
        parts.append({"url": "queryType", "valueCoding": coding(query.type)})
    return {"url": RELATED_QUERY, "extension": [*parts, {"url": "query", "valueString": query.query}]}


def subscription_status(notification: Notification, base: str, kind: str, *, related: bool = False) -> bytes:
    """The SubscriptionStatus resource of R4B and R5 (R-220..R-224); counts are strings of digits (R-221).

    `related` adds the backport's related queries, which R5 doesn't have.
    """
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
            if focus.event.context:
                event["additionalContext"] = context_references(focus.event, base)
            if related and (queries := notification.related_to(focus.event)):
                event["extension"] = [related_extension(query) for query in queries]
        events.append(event)
    if events:
        resource["notificationEvent"] = events
    resource["subscription"] = {"reference": f"{base}/Subscription/{notification.subscription}"}
    if shows_topic(notification):
        resource["topic"] = notification.topic
    if notification.errors:
        resource["error"] = [error_concept(error) for error in notification.errors]
    return orjson.dumps(resource)
