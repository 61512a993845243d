"""Remembers, by concurrency key, which subscriptions wait because their receiver did not serve requests.

A success at the same key says that the receiver is back. It wakes two of them, and the success of each wakes
two more: many come back within a few round trips, and a receiver that is still weak is not stormed. Each
process remembers its own attempts; a subscription that it does not know waits for its delay to pass.
"""

from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import DeliveryOutcome, Refused, Unreachable
from broker.model.subscription import SubscriptionKey

WOKEN_BY_A_SUCCESS = 2
MAX_WAITING = 10_000
"""So many are remembered, the newest: a subscription that was deleted meanwhile is never attempted again."""


class WaitingReceivers:
    """One a process. A subscription waits at one key at most."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[SubscriptionKey, None]] = {}
        self._keys: dict[SubscriptionKey, str] = {}

    def add(self, key: str, subscription: SubscriptionKey) -> None:
        """The subscription waits for its next attempt, behind those that wait already."""
        self.discard(subscription)
        if len(self._keys) >= MAX_WAITING:
            self.discard(next(iter(self._keys)))
        self._waiting.setdefault(key, {})[subscription] = None
        self._keys[subscription] = key

    def discard(self, subscription: SubscriptionKey) -> None:
        """The subscription does not wait any more, or not for its receiver to be back."""
        key = self._keys.pop(subscription, None)
        if key is not None:
            waiting = self._waiting[key]
            del waiting[subscription]
            if not waiting:
                del self._waiting[key]

    def take(self, key: str) -> list[SubscriptionKey]:
        """The subscriptions to wake after a success at the key, those that wait longest first."""
        chosen = list(self._waiting.get(key, ()))[:WOKEN_BY_A_SUCCESS]
        for subscription in chosen:
            self.discard(subscription)
        return chosen


def is_down(outcome: DeliveryOutcome) -> bool:
    """Whether the receiver served no request, and did not say when it will."""
    match outcome:
        case Unreachable(error=ErrorReport(code=DeliveryError.DNS | DeliveryError.NO_RESPONSE)):
            return True
        case Refused(is_unavailable=is_unavailable, retry_after_s=retry_after_s):
            return is_unavailable and retry_after_s is None
        case _:
            return False
