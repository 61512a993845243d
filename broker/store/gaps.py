"""Gaps as the store writes them, and whom they are told to besides the subscriber: the metric and the log."""

import time

import structlog

from broker.model.change import Tenant
from broker.model.gap import Gap, GapReason
from broker.model.subscription import SubscriptionId
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
LOG_EVERY_S = 5.0
"""How often one subscription's growing gap is logged; the metric counts each event."""


def gaps_of(text: bytes | None) -> tuple[Gap, ...]:
    """The field `gaps` of a subscription, drawn at the head of `lua/register.lua`."""
    found = []
    for one in (text or b"").decode().split(","):
        if one:
            numbers, reason, at_ms = one.split(":")
            low, _, high = numbers.partition("-")
            found.append(Gap(int(low), int(high), GapReason(reason), int(at_ms)))
    return tuple(found)


class GapReporter:
    """Counts events given up and logs them, the first of a subscription at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Tenant, SubscriptionId], tuple[int, float]] = {}

    def tell(
        self, tenant: Tenant, subscription: SubscriptionId, low: int, high: int, reason: GapReason
    ) -> None:
        """`low` to `high` is the whole gap, which may have been told of in part."""
        key = (tenant, subscription)
        told, logged_s = self._known.get(key, (0, 0.0))
        metrics.events_given_up.labels(reason=reason).inc(high - max(low - 1, told))
        now_s = time.monotonic()
        if now_s - logged_s >= LOG_EVERY_S:
            logged_s = now_s
            _log.error(
                "undelivered events given up", subscription=subscription, first=low, last=high, reason=reason
            )
        self._known[key] = (high, logged_s)
