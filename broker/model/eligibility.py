"""Whether the state of a subscription allows that an accepted change is an event of it.

This is the only home of the rule: the matcher applies it to what topic and filters selected, and `$explain`
reports it. Topic and filters are the other half of the answer (`broker/matching/`). Pure: no clock, no store.
"""

from enum import StrEnum

import msgspec

from broker.model.subscription import SubscriptionStatus

STALE_MS = 5_000
"""A change accepted this long before the activation waited in a backlog: it is not an event.

A change accepted shortly before the activation is one, because acceptance and activation race.
"""


class Eligibility(StrEnum):
    """The answer of `eligibility`; everything but `ELIGIBLE` says why the change is not an event."""

    ELIGIBLE = "eligible"
    NOT_COUNTING = "not-counting"
    BEFORE_ACTIVATION = "before-activation"


class Activation(msgspec.Struct, frozen=True, gc=False):
    """The state the rule depends on.

    `activated_ms` is the store's time of the first activation since the subscription was created or was
    `off`; 0 if it was never active.
    """

    status: SubscriptionStatus
    activated_ms: int

    @property
    def counts_events(self) -> bool:
        """Whether matching changes get an event number (R-272): active, in error, or on the way back to
        active.
        """
        if self.status is SubscriptionStatus.REQUESTED:
            return self.activated_ms > 0
        return self.status in {SubscriptionStatus.ACTIVE, SubscriptionStatus.ERROR}


def eligibility(activation: Activation, accepted_ms: int) -> Eligibility:
    """Whether a change that the store accepted at `accepted_ms` can be an event of the subscription."""
    if not activation.counts_events:
        return Eligibility.NOT_COUNTING
    if activation.activated_ms > accepted_ms + STALE_MS:
        return Eligibility.BEFORE_ACTIVATION
    return Eligibility.ELIGIBLE
