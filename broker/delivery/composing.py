"""Composes a Notification from a subscription and its events, with the resources in the subscriber's release.

Both delivery and the API (`$events`, `$status`, open connections) compose through this module.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from broker.delivery.owner_access import BoundTopics, PermittedEvents
from broker.fhir.conversion import convert
from broker.fhir.payload_elements import ElementLimits, element_limits, limited
from broker.model.change import Version, VersionKey
from broker.model.notification import ErrorReport, Event, Focus, Notification, NotificationType
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent, Subscription, SubscriptionStatus
from broker.model.topic import RelatedQuery
from broker.model.uuids import uuid_of_names
from broker.store.resources import Resources


class Composer:
    """Reads the resources of all events of a notification in one round trip."""

    def __init__(self, resources: Resources, topics: BoundTopics) -> None:
        self._resources = resources
        self._topics = topics

    async def compose(
        self,
        subscription: Subscription,
        kind: NotificationType,
        permitted: PermittedEvents,
        *,
        count: int,
        at_ms: int,
        release: Release | None = None,
        content: PayloadContent | None = None,
        status: SubscriptionStatus | None = None,
        errors: tuple[ErrorReport, ...] = (),
        omits_unreadable: bool = False,
    ) -> Notification:
        """The same arguments give the same notification: its id is derived from them (R-209).

        `release`, `content` and `status` default to those of the subscription. Raises what `foci` raises.
        """
        release, content = release or subscription.release, content or subscription.channel.content
        events = permitted.events
        numbers = f"{events[0].number}-{events[-1].number}" if events else str(count)
        return Notification(
            id=uuid_of_names("notification", subscription.tenant, subscription.id, kind, numbers, str(at_ms)),
            type=kind,
            release=release,
            subscription=subscription.id,
            topic=subscription.topic,
            status=status or subscription.status,
            content=content,
            events_since_start=count,
            at_ms=at_ms,
            foci=await self.foci(
                permitted, release, content, subscription, omits_unreadable=omits_unreadable
            ),
            errors=errors,
            related=self.related(subscription.topic_canonical) if events else (),
        )

    def has_topic(self, subscription: Subscription) -> bool:
        """Whether this process knows the topic, which says what of a resource may be sent."""
        return self._topics.bound(subscription.topic_canonical) is not None

    def related(self, canonical: str) -> tuple[RelatedQuery, ...]:
        """The related queries of a topic; none if it is no longer served."""
        topic = self._topics.bound(canonical)
        return topic.related if topic is not None else ()

    async def foci(
        self,
        permitted: PermittedEvents,
        release: Release,
        content: PayloadContent,
        subscription: Subscription,
        *,
        omits_unreadable: bool = False,
    ) -> tuple[Focus, ...]:
        """The events with the resources that the content level includes, read in one round trip, limited to
        the elements that the topic allows and the Subscription wants.

        Leaves out every resource where this process does not have the topic. Raises `ValueError` for a stored
        resource that can't be read, or leaves it out and says so: where nothing becomes a dead letter, the
        events behind it would never arrive.
        """
        events = permitted.events
        if content is not PayloadContent.FULL_RESOURCE:
            return tuple(Focus(event, None, (None,) * len(event.context)) for event in events)
        topic = self._topics.bound(subscription.topic_canonical)
        limits = element_limits(subscription.elements, topic.elements) if topic is not None else None
        releases = {event.focus: event.release for event in events}
        releases |= {included.key: included.release for event in events for included in event.context}
        versions, unreadable = await self._read(releases, omits_unreadable)
        bodies = {
            key: _body(key, versions.get(key), source, release, limits) for key, source in releases.items()
        }
        bodies |= {key: _unreadable(key) for key in unreadable}

        def focus(event: Event) -> Focus:
            # a version written after the event belongs to a store that was rolled back and reused its number
            version = versions.get(event.focus)
            is_reused = version is not None and version.at_ms > event.at_ms
            body = _missing(event.focus) if is_reused else bodies[event.focus]
            context = [bodies[included.key] for included in event.context]
            omissions = tuple(each.omission for each in (body, *context) if each.omission)
            return Focus(event, body.resource, tuple(each.resource for each in context), omissions)

        return tuple(focus(event) for event in events)

    async def _read(
        self, wanted: Collection[VersionKey], omits_unreadable: bool
    ) -> tuple[Mapping[VersionKey, Version], Collection[VersionKey]]:
        """The versions that are stored, and those that can't be read."""
        try:
            return await self._resources.many(wanted), ()
        except ValueError:
            if not omits_unreadable:
                raise
        versions: dict[VersionKey, Version] = {}
        unreadable = []
        for key in wanted:
            try:
                versions |= await self._resources.many([key])
            except ValueError:
                unreadable.append(key)
        return versions, unreadable


class _Body(NamedTuple):
    """A version in the subscriber's release, or why it isn't included ('' for a deletion)."""

    resource: Resource | None
    omission: str = ""


def _missing(key: VersionKey) -> _Body:
    return _Body(None, f"{key.reference}/_history/{key.version} is not included: it is no longer stored.")


def _unreadable(key: VersionKey) -> _Body:
    return _Body(None, f"{key.reference}/_history/{key.version} is not included: it can't be read.")


def _body(
    key: VersionKey, version: Version | None, source: Release, target: Release, limits: ElementLimits | None
) -> _Body:
    if version is None:
        return _missing(key)
    if version.resource is None:
        return _Body(None)
    if limits is None:
        text = f"{key.reference}/_history/{key.version} is not included: its topic is no longer served."
        return _Body(None, text)
    converted = convert(version.resource, key.type, source, target)
    if converted is not None:
        return _Body(limited(converted, target, limits))
    return _Body(
        None,
        f"{key.reference}/_history/{key.version} is not included: it can't be converted from "
        f"{source.upper()} to {target.upper()}. Read it at the base /{source}.",
    )
