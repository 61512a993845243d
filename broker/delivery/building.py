"""Builds notifications and, when a build fails, finds the events that cannot be rendered."""

from collections.abc import Callable
from typing import NamedTuple

import structlog

from broker.delivery.composing import Composer
from broker.delivery.owner_access import PermittedEvents
from broker.delivery.policy import BUILD_ATTEMPTS
from broker.errors import StoreUnavailable
from broker.model.notification import ErrorReport, Notification
from broker.model.outcome import UndeliverableEvent, Unrenderable
from broker.model.subscription import PayloadContent, Subscription
from broker.store.claims import Claim

_log = structlog.get_logger(__name__)
_UNREADABLE = "the notification could not be built: a stored resource can't be read"
_NO_TOPIC = "the notification could not be built: the topic is not loaded"
Render = Callable[[Notification], bytes]


class BuiltNotification(NamedTuple):
    """A notification and its rendered bytes."""

    notification: Notification
    body: bytes


class NotificationBuilder:
    """Composes and renders. A failure is an outcome of the attempt, whatever raised it."""

    def __init__(self, composer: Composer, render: Render) -> None:
        self._composer = composer
        self._render = render

    async def build(
        self,
        claim: Claim,
        subscription: Subscription,
        permitted: PermittedEvents,
        *,
        is_rendered: bool = True,
    ) -> BuiltNotification | Unrenderable:
        """The notification; in the last attempt to build it, the events that break it. Without rendering its
        body is empty. Raises `StoreUnavailable`.
        """
        if permitted.unreadable:
            is_last = claim.build_failures + 1 >= BUILD_ATTEMPTS
            events = tuple(UndeliverableEvent(number, _UNREADABLE) for number in permitted.unreadable)
            return Unrenderable(ErrorReport(None, _UNREADABLE), events if is_last else ())
        if claim.build_failures + 1 < BUILD_ATTEMPTS and self._awaits_topic(subscription, permitted):
            return Unrenderable(ErrorReport(None, _NO_TOPIC))
        try:
            return await self._build(claim, subscription, permitted, is_rendered=is_rendered)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 whatever fails, the subscriber's `$status` reports it
            is_last = claim.build_failures + 1 >= BUILD_ATTEMPTS
            if is_last:  # a traceback costs time, so only the last attempt logs it
                _log.exception("notification could not be built", subscription=claim.id, type=claim.type)
            report = ErrorReport(None, _reason(error))
            return Unrenderable(
                report,
                await self._unrenderable(claim, subscription, permitted, is_rendered) if is_last else (),
            )

    def _awaits_topic(self, subscription: Subscription, permitted: PermittedEvents) -> bool:
        """Whether resources would be left out because a topic, put a moment ago, is not loaded here yet."""
        has_resources = subscription.channel.content is PayloadContent.FULL_RESOURCE and permitted.events
        return bool(has_resources) and not self._composer.has_topic(subscription)

    async def _unrenderable(
        self, claim: Claim, subscription: Subscription, permitted: PermittedEvents, is_rendered: bool
    ) -> tuple[UndeliverableEvent, ...]:
        """The events that can't be rendered alone, in order."""
        unrenderable = []
        for event in permitted.events:
            try:
                single = PermittedEvents((event,))
                await self._build(claim, subscription, single, is_rendered=is_rendered)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 whatever fails makes the event a dead letter
                unrenderable.append(UndeliverableEvent(event.number, _reason(error)))
                _log.error(
                    "event becomes a dead letter",
                    subscription=claim.id,
                    number=event.number,
                    focus=event.focus.reference,
                    error=type(error).__name__,
                )
        return tuple(unrenderable)

    async def _build(
        self, claim: Claim, subscription: Subscription, events: PermittedEvents, *, is_rendered: bool
    ) -> BuiltNotification:
        notification = await self._composer.compose(
            subscription,
            claim.type,
            events,
            count=claim.count,
            at_ms=claim.at_ms,
            status=claim.status,
        )
        return BuiltNotification(notification, self._render(notification) if is_rendered else b"")


def _reason(error: Exception) -> str:
    """Without the text of the error, which may repeat content of the resource."""
    return f"the notification could not be built: {type(error).__name__}"
