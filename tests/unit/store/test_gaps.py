"""The log messages about events that are given up."""

import structlog

from broker.model.change import DEFAULT_TENANT
from broker.model.gap import GapReason
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.store.gaps import LOG_EVERY_S, GapReporter


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def key(subscription_id: str) -> SubscriptionKey:
    return DEFAULT_TENANT, SubscriptionId(subscription_id)


def test_a_growing_gap_is_logged_at_once_and_then_every_few_seconds() -> None:
    clock = Clock()
    reporter = GapReporter(clock)
    with structlog.testing.capture_logs() as logs:
        for second in range(round(2 * LOG_EVERY_S) + 1):
            clock.now_s = float(second)
            reporter.report(key("a"), 1, second + 1, GapReason.AGE)
    assert [log["last"] for log in logs] == [1, LOG_EVERY_S + 1, 2 * LOG_EVERY_S + 1]


def test_subscriptions_whose_gaps_no_longer_grow_are_forgotten() -> None:
    clock = Clock()
    reporter = GapReporter(clock)
    for number in range(100):
        reporter.report(key(f"s{number}"), 1, 1, GapReason.AGE)
    clock.now_s = 2 * LOG_EVERY_S
    reporter.report(key("a"), 1, 1, GapReason.AGE)
    assert len(reporter._logged_s) == 1
