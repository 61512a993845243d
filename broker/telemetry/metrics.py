"""Every metric, by name. They live in a registry of their own; `render` is what `/metrics` answers.

Counters and the histogram are this process's; the gauges describe the store and are read when asked for (`observe_store`), so
every process answers the same for them.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from broker.model.subscription import SubscriptionStatus

REGISTRY = CollectorRegistry(auto_describe=True)

changes_accepted = Counter(
    "broker_changes_accepted", "Changes written to the intake log.", ["interaction"], registry=REGISTRY
)
changes_matched = Counter(
    "broker_changes_matched", "Changes matched against the subscriptions.", registry=REGISTRY
)
inbox_refused = Counter(
    "broker_inbox_refused", "Entries of the inbox stream that were refused.", registry=REGISTRY
)
events_appended = Counter(
    "broker_events_appended", "Events numbered and put into an outbox.", registry=REGISTRY
)
events_given_up = Counter(
    "broker_events_given_up",
    "Undelivered events dropped because they were too many or too old.",
    ["reason"],
    registry=REGISTRY,
)
store_rollbacks = Counter(
    "broker_store_rollbacks", "Times the store was found to have gone back in time.", registry=REGISTRY
)
entries_trimmed = Counter(
    "broker_entries_trimmed",
    "Refused inbox entries and dead letters dropped because they were too many or too old.",
    ["stream"],
    registry=REGISTRY,
)
intake_refused = Counter(
    "broker_intake_refused", "Requests answered 503 for want of room.", registry=REGISTRY
)
notifications = Counter(
    "broker_notifications",
    "Attempts to notify, by type and by what they came to.",
    ["type", "outcome"],
    registry=REGISTRY,
)
delivery_latency = Histogram(
    "broker_delivery_latency_seconds",
    "From the acceptance of a change to the endpoint's 2xx, per event.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 259_200),
    registry=REGISTRY,
)
store_errors = Counter("broker_store_errors", "Times the store did not answer.", registry=REGISTRY)

subscriptions = Gauge("broker_subscriptions", "Subscriptions by status.", ["status"], registry=REGISTRY)
undelivered_events = Gauge(
    "broker_undelivered_events", "Events in outboxes that no endpoint has taken yet.", registry=REGISTRY
)
subscriptions_with_gaps = Gauge(
    "broker_subscriptions_with_gaps",
    "Subscriptions that lost events and were not put anew by their client since.",
    registry=REGISTRY,
)
matcher_backlog = Gauge(
    "broker_matcher_backlog", "Accepted changes that are not matched yet.", ["partition"], registry=REGISTRY
)


@cache
def notification_counter(kind: str, outcome: str) -> Counter:
    """The counter of one type and outcome, looked up once."""
    return notifications.labels(type=kind, outcome=outcome)


dead_letters = Gauge(
    "broker_dead_letters",
    "What was set aside and waits for the operator: changes, events, inbox entries.",
    ["kind"],
    registry=REGISTRY,
)

Depths = Callable[[], Awaitable[Mapping[Any, tuple[str, int, bool]]]]
Backlog = Callable[[], Awaitable[Mapping[int, int]]]
Counts = Callable[[], Awaitable[Mapping[str, int]]]


async def observe_store(depths: Depths, backlog: Backlog, letters: Counts) -> None:
    """Sets the gauges from the store. `depths` gives status, number of undelivered events and whether some are missing of each
    subscription, `backlog` the unmatched changes of each partition, `letters` the dead letters of each kind. The gauges keep their
    values if any fails.
    """
    by_subscription, by_partition, by_kind = await asyncio.gather(depths(), backlog(), letters())
    tally = Tally(status for status, *_ in by_subscription.values())
    subscriptions.clear()
    for status in {*SubscriptionStatus, *tally}:
        subscriptions.labels(status=str(status)).set(tally[status])
    undelivered_events.set(sum(waiting for _, waiting, _ in by_subscription.values()))
    subscriptions_with_gaps.set(sum(has_gap for *_, has_gap in by_subscription.values()))
    matcher_backlog.clear()
    for partition, waiting in by_partition.items():
        matcher_backlog.labels(partition=str(partition)).set(waiting)
    for kind, count in by_kind.items():
        dead_letters.labels(kind=kind).set(count)


def render() -> bytes:
    """All metrics in Prometheus's text format."""
    return generate_latest(REGISTRY)
