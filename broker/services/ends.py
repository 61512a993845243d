"""The rule for a Subscription whose `end` has passed when it is registered (R-159, decision 104)."""

from collections.abc import Iterator

from broker.clock import Clock, to_instant
from broker.errors import Issue
from broker.fhir.release import adapter
from broker.model import json_text
from broker.model.resource import Resource
from broker.model.subscription import Subscription, SubscriptionStatus


class EndRule:
    """Turns a Subscription off whose end has passed, or takes the end away from it."""

    def __init__(self, clock: Clock, *, ignores_past_ends: bool = False) -> None:
        self._clock = clock
        self._ignores_past_ends = ignores_past_ends

    def apply(self, draft: Subscription) -> Subscription:
        """The draft as it is accepted: `off` where its end has passed."""
        if not self._has_ended(draft):
            return draft
        if not self._ignores_past_ends:
            return draft.changed(status=SubscriptionStatus.OFF)
        members = Resource(draft.document).members
        for name in ("end", "_end"):
            members.pop(name, None)
        return draft.changed(end_ms=None, document=json_text.join(members))

    def warnings(self, subscription: Subscription) -> Iterator[Issue]:
        """Why the Subscription is off, if its end has passed."""
        if subscription.end_ms is not None and self._has_ended(subscription):
            text = (
                f"The end {to_instant(subscription.end_ms)} has passed, so the subscription is off and sends "
                "nothing. Update it with a later end, or without one."
            )
            element = adapter(subscription.release).element("end")
            yield Issue("business-rule", text, element, severity="warning")

    def _has_ended(self, subscription: Subscription) -> bool:
        return subscription.end_ms is not None and subscription.end_ms <= self._clock.now_ms()
