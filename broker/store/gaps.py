"""Gaps as the scripts store them, and the log message about events that are given up."""

import time
from collections.abc import Callable

import structlog

from broker.model.gap import Gap, GapReason
from broker.model.subscription import SubscriptionKey
from broker.recently_used import RecentlyUsed

_log = structlog.get_logger(__name__)
LOG_EVERY_S = 5.0
"""How often the growing gap of one subscription is logged; `counters.py` counts each event."""
_MAX_SUBSCRIPTIONS = 10_000


def gaps_of(text: str) -> tuple[Gap, ...]:
    """Reads the field `gaps` of a subscription, which `lua/shared/subscription.lua` describes."""
    gaps = []
    for part in text.split(","):
        if part:
            numbers, reason, at_ms = part.split(":")
            low, _, high = numbers.partition("-")
            gaps.append(Gap(int(low), int(high), GapReason(reason), int(at_ms)))
    return tuple(gaps)


class GapReporter:
    """Logs events that were given up: the first at once, a growing gap every `LOG_EVERY_S`."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._logged_s = RecentlyUsed[SubscriptionKey, float](_MAX_SUBSCRIPTIONS, LOG_EVERY_S, now_s)

    def report(self, subscription: SubscriptionKey, low: int, high: int, reason: GapReason) -> None:
        """`low` to `high` is the whole gap; earlier calls may have reported part of it."""
        now_s = self._now_s()
        logged_s = self._logged_s.get(subscription)
        if logged_s is None or now_s - logged_s >= LOG_EVERY_S:
            self._logged_s.put(subscription, now_s)
            _log.error(
                "undelivered events given up",
                subscription=subscription[1],
                first=low,
                last=high,
                reason=reason,
            )
