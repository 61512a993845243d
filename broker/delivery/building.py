"""Builds what is sent, and finds out which events of a notification stop it from being built."""

from collections.abc import Callable, Sequence

import structlog

from broker.delivery.composing import Composer
from broker.delivery.policy import BUILD_TRIES
from broker.errors import StoreUnavailable
from broker.model.notification import ErrorReport, Event, Notification
from broker.model.outcome import Broken, Unrenderable
from broker.model.subscription import Subscription
from broker.store.schedule import Claim

_log = structlog.get_logger(__name__)
Render = Callable[[Notification], bytes]
_MAX_REASON = 500


class Builder:
    """Composes and renders. A failure is an outcome of the attempt, whatever raised it."""

    def __init__(self, composer: Composer, render: Render) -> None:
        self._composer = composer
        self._render = render

    async def build(
        self, claim: Claim, subscription: Subscription
    ) -> tuple[Notification, bytes] | Unrenderable:
        """The notification with its bytes; at the last try, which events break it. Raises `StoreUnavailable`."""
        try:
            return await self._built(claim, subscription, claim.events)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 whatever it is, the status tells it
            is_last = claim.unbuilt + 1 >= BUILD_TRIES
            if is_last:  # a trace takes time that others wait for: once is enough
                _log.exception("notification could not be built", subscription=claim.id, type=claim.type)
            # the subscriber reads this: not what the resource that broke it says
            report = ErrorReport(None, f"the notification could not be built: {type(error).__name__}")
            return Unrenderable(report, await self._broken(claim, subscription) if is_last else ())

    async def _broken(self, claim: Claim, subscription: Subscription) -> tuple[Broken, ...]:
        """The events that can't be rendered alone, in order."""
        broken = []
        for event in claim.events:
            try:
                await self._built(claim, subscription, (event,))
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 it is what makes it a dead letter
                broken.append(Broken(event.number, _reason(error)))
                _log.error(
                    "event set aside",
                    subscription=claim.id,
                    number=event.number,
                    focus=event.focus.reference,
                    error=type(error).__name__,
                )
        return tuple(broken)

    async def _built(
        self, claim: Claim, subscription: Subscription, events: Sequence[Event]
    ) -> tuple[Notification, bytes]:
        notification = await self._composer.compose(
            subscription,
            claim.type,
            events,
            count=claim.count,
            at_ms=claim.at_ms,
            status=claim.status,
        )
        return notification, self._render(notification)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_MAX_REASON]
