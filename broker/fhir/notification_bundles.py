"""The notification Bundle: the status first, then the resources of its events.

R4 and R4B send a history Bundle.

The adapters of the releases put it together from these parts.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from broker.clock import to_instant
from broker.fhir.bundles import BundleMember, bundle, entry
from broker.fhir.subscription_status import status_id
from broker.model.change import Interaction, VersionKey
from broker.model.notification import Focus, Notification
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent
from broker.model.uuids import uuid_of_names


class NotifiedResource(NamedTuple):
    """A resource version that gets an entry, with what `request` and `response` of the entry say about it.

    `urn` is the entry's fullUrl if a newer version has the resource's own URL.
    """

    key: VersionKey
    resource: Resource | None
    method: str
    url: str
    status: str
    urn: str = ""

    def full_url(self, base: str) -> str:
        return self.urn or f"{base}/{self.key.reference}"


def notified_resources(notification: Notification) -> Iterator[NotifiedResource]:
    """The foci, then the included resources that are no focus: at full-resource only, one entry a resource
    (R-203a, R-242, R-250).

    Delivery sends one version of each resource (`single_versions`). Where events name several, as in the
    answer of `$events`, the newest focus is in the Bundle; each other has an entry that says how to read it,
    or that it was a deletion (decision 140).
    """
    if notification.content is not PayloadContent.FULL_RESOURCE:
        return
    foci = [_focus(focus) for focus in notification.foci]
    newest = _newest(foci)
    seen: set[VersionKey] = set()
    for each in foci:
        if each.key not in seen:
            seen.add(each.key)
            is_newest = each.key == newest[each.key.reference].key
            yield each if is_newest else _superseded(each, notification.id)
    included = _newest(each for focus in notification.foci for each in _included(focus))
    yield from (each for reference, each in included.items() if reference not in newest)


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
            each.full_url(base),
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


def _superseded(each: NotifiedResource, notification_id: str) -> NotifiedResource:
    """The entry of an older version, without the resource: its URL belongs to the newest one."""
    urn = f"urn:uuid:{uuid_of_names('version', notification_id, each.key.reference, str(each.key.version))}"
    if each.method == "DELETE":
        return each._replace(urn=urn)
    url = f"{each.key.reference}/_history/{each.key.version}"
    return NotifiedResource(each.key, None, "GET", url, "200", urn)


def _newest(notified: Iterable[NotifiedResource]) -> dict[str, NotifiedResource]:
    """The newest version of each resource, by `Type/id`, in the order in which they first occur."""
    newest: dict[str, NotifiedResource] = {}
    for each in notified:
        earlier = newest.setdefault(each.key.reference, each)
        if each.key.version > earlier.key.version:
            newest[each.key.reference] = each
    return newest


def _included(focus: Focus) -> Iterator[NotifiedResource]:
    """R-205: the entries of included resources say how they can be read."""
    for included, resource in zip(focus.event.context, focus.context, strict=True):
        yield NotifiedResource(included.key, resource, "GET", included.key.reference, "200")
