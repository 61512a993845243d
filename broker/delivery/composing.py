"""Makes a Notification of a subscription and its events: the bodies fetched, each in the subscriber's release where it can be."""

import uuid
from collections.abc import Callable, Mapping, Sequence

from broker.model.change import VersionKey
from broker.model.notification import ErrorReport, Event, Focus, Notification, NotificationType
from broker.model.release import Release
from broker.model.subscription import PayloadContent, Subscription, SubscriptionStatus
from broker.store.resources import Resources

_NOTIFICATIONS = uuid.UUID("6f1b6f0e-64f5-5a0c-9b4c-0d0f0f4b9a55")
Convert = Callable[[Event, bytes, Release], bytes | None]


class Composer:
    """Composes; `convert` answers None where there is no way into the release."""

    def __init__(self, resources: Resources, convert: Convert) -> None:
        self._resources = resources
        self._convert = convert

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
        bodies: Mapping[VersionKey, bytes | None] = {}
        if content is PayloadContent.FULL_RESOURCE and events:
            found = await self._resources.many(event.focus for event in events)
            bodies = {key: version.body for key, version in found.items()}
        numbers = f"{events[0].number}-{events[-1].number}" if events else str(count)
        return Notification(
            id=str(
                uuid.uuid5(
                    _NOTIFICATIONS, f"{subscription.tenant}/{subscription.id}/{kind}/{numbers}/{at_ms}"
                )
            ),
            type=kind,
            release=release,
            subscription=subscription.id,
            topic=subscription.topic,
            status=status or subscription.status,
            content=content,
            events_since_start=count,
            at_ms=at_ms,
            foci=tuple(self._focus(event, bodies.get(event.focus), release) for event in events),
            errors=errors,
        )

    def _focus(self, event: Event, body: bytes | None, release: Release) -> Focus:
        if body is None or event.release is release:
            return Focus(event, body)
        return Focus(event, self._convert(event, body, release))
