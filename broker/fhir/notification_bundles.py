"""The notification Bundle: the status first, then the resources of its events.

R4 and R4B send a history Bundle.

The adapters of the releases put it together from these parts.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from broker.clock import to_instant
from broker.fhir.bundles import BundleMember, bundle, entry
from broker.fhir.subscription_status import status_id
from broker.model.change import Interaction, VersionKey
from broker.model.notification import Focus, Notification
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent


class NotifiedResource(NamedTuple):
    """A resource version that gets an entry, with what `request` and `response` of the entry say about it."""

    key: VersionKey
    resource: Resource | None
    method: str
    url: str
    status: str


def notified_resources(notification: Notification) -> Iterator[NotifiedResource]:
    """The foci, then their included resources: at full-resource only, each version once (R-203a, R-242,
    R-250).
    """
    if notification.content is not PayloadContent.FULL_RESOURCE:
        return
    seen: set[VersionKey | str] = set()
    foci = [_focus(focus) for focus in notification.foci]
    included = [each for focus in notification.foci for each in _included(focus)]
    for each in (*foci, *included):
        # an entry without a resource has no version that distinguishes it from another of the same URL
        name = each.key if each.resource is not None else each.key.reference
        if name not in seen:
            seen.add(name)
            yield each


def notification_bundle(
    notification: Notification,
    bundle_type: str,
    status: BundleMember,
    entries: Sequence[BundleMember],
    profile: str | None = None,
) -> Resource:
    """The Bundle, with the status as its first entry (R-200, R-208)."""
    members: dict[str, Any] = {"id": notification.id}
    if profile:
        members["meta"] = {"profile": [profile]}
    members |= {"type": bundle_type, "timestamp": to_instant(notification.at_ms)}
    return bundle(members, [status, *entries])


def history_bundle(notification: Notification, base: str, status: Resource, profile: str) -> Resource:
    """The notification Bundle of R4 and R4B: each entry has a request and a response (R-203, R-204)."""
    status_url = f"{base}/Subscription/{notification.subscription}/$status"
    status_entry = entry(
        f"urn:uuid:{status_id(notification)}",
        status,
        request={"method": "GET", "url": status_url},
        response={"status": "200"},
    )
    entries = [
        entry(
            f"{base}/{each.key.reference}",
            each.resource,
            request={"method": each.method, "url": each.url},
            response={"status": each.status},
        )
        for each in notified_resources(notification)
    ]
    return notification_bundle(notification, "history", status_entry, entries, profile)


def _focus(focus: Focus) -> NotifiedResource:
    """R-205: the entry says what happened to the focus; without the resource, how to read it."""
    key, resource = focus.event.focus, focus.resource
    if focus.event.interaction is Interaction.DELETE:
        return NotifiedResource(key, resource, "DELETE", key.reference, "204")
    if resource is None:
        return NotifiedResource(key, resource, "GET", key.reference, "200")
    if focus.event.interaction is Interaction.CREATE:
        return NotifiedResource(key, resource, "POST", key.type, "201")
    return NotifiedResource(key, resource, "PUT", key.reference, "200")


def _included(focus: Focus) -> Iterator[NotifiedResource]:
    """R-205: the entries of included resources say how they can be read."""
    for included, resource in zip(focus.event.context, focus.context, strict=True):
        yield NotifiedResource(included.key, resource, "GET", included.key.reference, "200")
