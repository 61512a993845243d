"""Metrics that describe the store: what `broker/store/counters.py` reads, in Prometheus's text format.

They are the same whichever process answers. `metrics.py` has those that belong to one process.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(frozen=True, slots=True)
class DeadLetterCounts:
    """Dead letters of one kind: `waiting` is the current number, the others are totals."""

    waiting: int
    created: int
    redriven: int
    discarded: int
    trimmed: int


@dataclass(frozen=True, slots=True)
class StoreSize:
    """Bytes. `memory_limit` is 0 without one. `disk_free`, and `rewrite`, which a rewrite of the append-only
    file needs at most, are None unless the store is embedded.
    """

    memory: int
    memory_limit: int
    memory_by_kind: Mapping[str, int]
    file: int
    disk_free: int | None = None
    rewrite: int | None = None


class SubscriptionBacklog(NamedTuple):
    """A subscription with undelivered events; `oldest_s` is how long the first of them has waited."""

    tenant: str
    subscription: str
    undelivered: int
    oldest_s: float


class TenantBacklog(NamedTuple):
    """A tenant with undelivered events, and how many of its subscriptions they wait for."""

    tenant: str
    undelivered: int
    subscriptions: int


class Backlogs(NamedTuple):
    """The subscriptions and tenants with the most undelivered events; at most as many as are asked for."""

    subscriptions: Sequence[SubscriptionBacklog] = ()
    tenants: Sequence[TenantBacklog] = ()


NO_BACKLOGS = Backlogs()


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """Totals over all tenants.

    Keys: `changes_accepted` interaction; `events_given_up` reason; `notifications` type and outcome of the
    attempt; `subscriptions` status; `dead_letters` kind; `matcher_backlog` partition. `subscriptions`,
    `subscriptions_with_gaps`, `undelivered_events`, `matcher_backlog` and the waiting dead letters are
    current values. All others only grow, except after a rollback; `rollbacks` counts detected ones.
    """

    changes_accepted: Mapping[str, int]
    changes_matched: int
    events_appended: int
    events_delivered: int
    events_given_up: Mapping[str, int]
    notifications: Mapping[tuple[str, str], int]
    rollbacks: int
    subscriptions: Mapping[str, int]
    subscriptions_with_gaps: int
    undelivered_events: int
    dead_letters: Mapping[str, DeadLetterCounts]
    matcher_backlog: Mapping[int, int]
    size: StoreSize
    backlogs: Backlogs = NO_BACKLOGS


def collect(counts: StoreCounts) -> Iterable[Metric]:
    """The metrics of the store."""
    yield _counter(
        "broker_changes_accepted",
        "Changes accepted and written to the intake log.",
        {(interaction,): number for interaction, number in counts.changes_accepted.items()},
        "interaction",
    )
    yield _counter(
        "broker_changes_matched",
        "Changes matched against the subscriptions.",
        {(): counts.changes_matched},
    )
    yield _counter(
        "broker_events_appended", "Events numbered and put into an outbox.", {(): counts.events_appended}
    )
    yield _counter(
        "broker_events_delivered",
        "Events that their subscriber accepted; repetitions are not counted.",
        {(): counts.events_delivered},
    )
    yield _counter(
        "broker_events_given_up",
        "Undelivered events given up: too many (size), too old (age), or their owner lost access (access).",
        {(reason,): number for reason, number in counts.events_given_up.items()},
        "reason",
    )
    yield _counter(
        "broker_notifications",
        "Attempts to send a notification: delivered, refused, unreachable, gone or unrenderable.",
        {(kind, outcome): number for (kind, outcome), number in counts.notifications.items()},
        "type",
        "outcome",
    )
    yield _counter(
        "broker_store_rollbacks", "Rollbacks of the store that were detected.", {(): counts.rollbacks}
    )
    yield _gauge(
        "broker_subscriptions",
        "Subscriptions by status.",
        {(status,): number for status, number in counts.subscriptions.items()},
        "status",
    )
    yield _gauge(
        "broker_subscriptions_with_gaps",
        "Subscriptions that lost events and were not stored by their client since.",
        {(): counts.subscriptions_with_gaps},
    )
    yield _gauge(
        "broker_undelivered_events",
        "Events in outboxes that their subscriber has not accepted yet.",
        {(): counts.undelivered_events},
    )
    yield _gauge(
        "broker_matcher_backlog",
        "Accepted changes that are not matched yet.",
        {(str(partition),): number for partition, number in counts.matcher_backlog.items()},
        "partition",
    )
    yield from _dead_letters(counts.dead_letters)
    yield from _size(counts.size)
    yield from _backlogs(counts.backlogs)


def _dead_letters(by_kind: Mapping[str, DeadLetterCounts]) -> Iterable[Metric]:
    yield _gauge(
        "broker_dead_letters",
        "Changes, events, inbox entries and readings that could not be processed and wait for an operator.",
        {(kind,): counts.waiting for kind, counts in by_kind.items()},
        "kind",
    )
    yield _counter(
        "broker_dead_letters_created",
        "Dead letters there ever were.",
        {(kind,): counts.created for kind, counts in by_kind.items()},
        "kind",
    )
    yield _counter(
        "broker_dead_letters_settled",
        "Dead letters that were redriven, discarded, or trimmed because they were too many or too old.",
        {
            (kind, result): number
            for kind, counts in by_kind.items()
            for result, number in (
                ("redriven", counts.redriven),
                ("discarded", counts.discarded),
                ("trimmed", counts.trimmed),
            )
        },
        "kind",
        "result",
    )


def _size(size: StoreSize) -> Iterable[Metric]:
    yield _gauge("broker_store_memory_bytes", "Memory that the store uses.", {(): size.memory})
    yield _gauge(
        "broker_store_memory_limit_bytes",
        "Memory at which the store refuses writes; 0: no limit.",
        {(): size.memory_limit},
    )
    yield _gauge(
        "broker_store_key_bytes",
        "Memory by kind of key, estimated from a sample at the last sweep.",
        {(kind,): number for kind, number in size.memory_by_kind.items()},
        "kind",
    )
    yield _gauge("broker_store_file_bytes", "Size of the store's append-only file.", {(): size.file})
    if size.disk_free is not None and size.rewrite is not None:
        yield _gauge(
            "broker_store_disk_free_bytes",
            "Free space on the disk; with the embedded store only.",
            {(): size.disk_free},
        )
        yield _gauge(
            "broker_store_rewrite_bytes",
            "Space that a rewrite of the append-only file needs at most; with the embedded store only.",
            {(): size.rewrite},
        )


def _backlogs(backlogs: Backlogs) -> Iterable[Metric]:
    subscriptions = {(each.tenant, each.subscription): each for each in backlogs.subscriptions}
    yield _gauge(
        "broker_subscription_undelivered_events",
        "Undelivered events of single subscriptions that the broker sends to: those with the most, at most "
        "BROKER_METRICS_TOP.",
        {key: each.undelivered for key, each in subscriptions.items()},
        "tenant",
        "subscription",
    )
    yield _gauge(
        "broker_subscription_oldest_undelivered_seconds",
        "How long the first undelivered event of the same subscriptions has waited.",
        {key: each.oldest_s for key, each in subscriptions.items()},
        "tenant",
        "subscription",
    )
    yield _gauge(
        "broker_tenant_undelivered_events",
        "Undelivered events of the tenants with the most, at most BROKER_METRICS_TOP.",
        {(each.tenant,): each.undelivered for each in backlogs.tenants},
        "tenant",
    )
    yield _gauge(
        "broker_tenant_subscriptions",
        "Subscriptions that these events wait for, of the same tenants.",
        {(each.tenant,): each.subscriptions for each in backlogs.tenants},
        "tenant",
    )


def _counter(name: str, text: str, numbers: Mapping[tuple[str, ...], int], *labels: str) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), numbers)


def _gauge(name: str, text: str, numbers: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), numbers)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, numbers: Mapping[tuple[str, ...], float]
) -> Metric:
    for labels, number in numbers.items():
        family.add_metric(labels, number)
    return family
