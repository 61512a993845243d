"""Paces the handshakes to one host, so that nobody can have it flooded by registering subscriptions to it.

Every registration makes the broker send a request to an address that has not consented yet. The engine asks
before each handshake; one that is early is claimed again when its turn has come. It counts hosts without
their ports, for each process.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from broker.model.subscription import Subscription, SubscriptionKey
from broker.rates import Rates

_MAX_WAITING = 100_000
_MINUTE_S = 60.0


class HandshakePace:
    """`per_minute` handshakes to a host at once, and then in each minute; zero stands for no limit."""

    def __init__(self, per_minute: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._rates = Rates[str](per_minute / _MINUTE_S, per_minute, now_s) if per_minute else None
        self._now_s = now_s
        self._turns: OrderedDict[SubscriptionKey, tuple[str, float]] = OrderedDict()
        """Of those that wait: the host, and when their turn is. One that is dropped from here takes a new
        turn.
        """

    def delay_s(self, subscription: Subscription) -> float:
        """In how many seconds the subscription's turn is; 0 takes the turn."""
        host = host_of(subscription.channel.endpoint or "")
        if self._rates is None or not host:
            return 0.0
        key, now_s = (subscription.tenant, subscription.id), self._now_s()
        known_host, turn_s = self._turns.pop(key, ("", 0.0))
        if known_host != host:
            turn_s = now_s + self._rates.reserve(host)
        if turn_s <= now_s:
            return 0.0
        self._turns[key] = host, turn_s
        if len(self._turns) > _MAX_WAITING:
            self._turns.popitem(last=False)
        return turn_s - now_s


def host_of(endpoint: str) -> str:
    """The host of a URL, or the domain of a mail address; '' for what has neither."""
    if endpoint.startswith("mailto:"):
        return endpoint.rpartition("@")[2].lower()
    try:
        return (urlsplit(endpoint).hostname or "").rstrip(".")
    except ValueError:
        return ""
