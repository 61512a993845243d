"""Makes a Notification of a subscription and its events: the bodies fetched, each in the subscriber's release where it can be."""

from collections.abc import Callable, Sequence

from broker.model.change import Version
from broker.model.notification import ErrorReport, Event, Focus, Notification, NotificationType
from broker.model.release import Release
from broker.model.subscription import PayloadContent, Subscription, SubscriptionStatus
from broker.model.topic import RelatedQuery
from broker.model.uuids import derived
from broker.store.resources import Resources

Convert = Callable[[str, Release, bytes, Release], bytes | None]
Related = Callable[[str], tuple[RelatedQuery, ...]]
"""The related queries of a topic, by its canonical."""
"""Type, release and bytes of a resource, and the release wanted."""


class Composer:
    """Composes; `convert` answers None where there is no way into the release."""

    def __init__(self, resources: Resources, convert: Convert, related: Related) -> None:
        self._resources = resources
        self._convert = convert
        self.related = related

    async def compose(
        self,
        subscription: Subscription,
        kind: NotificationType,
        events: Sequence[Event],
        *,
        count: int,
        at_ms: int,
        release: Release | None = None,
        content: PayloadContent | None = None,
        status: SubscriptionStatus | None = None,
        errors: tuple[ErrorReport, ...] = (),
    ) -> Notification:
        """The same for the same arguments: its id is derived from them (R-209). What isn't given is the subscription's own."""
        release, content = release or subscription.release, content or subscription.channel.content
        numbers = f"{events[0].number}-{events[-1].number}" if events else str(count)
        return Notification(
            id=derived("notification", subscription.tenant, subscription.id, kind, numbers, str(at_ms)),
            type=kind,
            release=release,
            subscription=subscription.id,
            topic=subscription.topic,
            status=status or subscription.status,
            content=content,
            events_since_start=count,
            at_ms=at_ms,
            foci=await self.foci(events, release, content),
            errors=errors,
            related=self.related(subscription.topic_canonical) if events else (),
        )

    async def foci(
        self, events: Sequence[Event], release: Release, content: PayloadContent
    ) -> tuple[Focus, ...]:
        """The events with what they carry at a level of content, in one round trip."""
        if content is not PayloadContent.FULL_RESOURCE:
            return tuple(Focus(event, None, (None,) * len(event.context)) for event in events)
        wanted = {event.focus: event.release for event in events}
        wanted |= {one.key: one.release for event in events for one in event.context}
        found = await self._resources.many(wanted)
        bodies = {key: self._body(found.get(key), wanted[key], release) for key in wanted}

        def body_of(event: Event) -> bytes | None:
            # a version written after the event is another of the same number: the store went back in time in between
            version = found.get(event.focus)
            return None if version is None or version.at_ms > event.at_ms else bodies[event.focus]

        return tuple(
            Focus(event, body_of(event), tuple(bodies[one.key] for one in event.context)) for event in events
        )

    def _body(self, version: Version | None, source: Release, release: Release) -> bytes | None:
        if version is None or version.body is None or source is release:
            return None if version is None else version.body
        return self._convert(version.key.type, source, version.body, release)
