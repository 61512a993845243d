"""Describes each metric as the code declares it, for the table of docs/metrics.md."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from prometheus_client.metrics import MetricWrapperBase

from broker.telemetry import metrics, store_metrics
from broker.telemetry.store_metrics import StoreCounts, StoreSize

_NOTHING = StoreCounts(
    changes_accepted={},
    changes_matched=0,
    events_appended=0,
    events_delivered=0,
    events_given_up={},
    notifications={},
    rollbacks=0,
    subscriptions={},
    subscriptions_with_gaps=0,
    undelivered_events=0,
    dead_letters={},
    matcher_backlog={},
    size=StoreSize(0, 0, {}, 0, disk_free=0, rewrite=0),
)
"""Of an embedded store, which reports the most."""


class DescribedMetric(NamedTuple):
    """`of`: process or store. `text` is the help that a scrape shows."""

    name: str
    type: str
    labels: tuple[str, ...]
    of: str
    text: str


def described_metrics() -> Iterator[DescribedMetric]:
    """Every metric: those of the store, then those of the process, each in the order of its module."""
    for family in store_metrics.collect(_NOTHING):
        yield DescribedMetric(
            family.name, family.type, _labels(family), "store", family.documentation.strip()
        )
    for collector in vars(metrics).values():
        if isinstance(collector, MetricWrapperBase):
            (family,) = collector.describe()
            yield DescribedMetric(
                family.name, family.type, _labels(collector), "process", family.documentation.strip()
            )


def _labels(declared: Any) -> tuple[str, ...]:
    return tuple(declared._labelnames)  # noqa: SLF001 prometheus_client has no public name for it
