"""Reads metrics as an operator does, and sets those of this process to zero.

Metrics belong to the process, not to a broker. `tests/conftest.py` resets them before each test, so a test
sees only what its own brokers counted.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from broker.telemetry import exposition, store_metrics
from broker.telemetry.metrics import REGISTRY
from broker.telemetry.store_metrics import StoreCounts

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(broker_\w+)` \| (\w+) \| ([\w, ]*) ?\| (process|store) \|", re.MULTILINE)


class DocumentedMetric(NamedTuple):
    """A row of docs/metrics.md. `of`: process or store."""

    name: str
    type: str
    labels: tuple[str, ...]
    of: str


def documented_metrics() -> Mapping[str, DocumentedMetric]:
    """The list of docs/metrics.md by name."""
    rows = _ROW.findall(PAGE.read_text())
    return {
        name: DocumentedMetric(name, kind, tuple(labels.replace(",", " ").split()), of)
        for name, kind, labels, of in rows
    }


def families(page: str) -> Mapping[str, Metric]:
    """The metrics on a page of `/metrics` by name, without the gauges that the library adds to counters."""
    return {
        family.name: family
        for family in text_string_to_metric_families(page)
        if not (family.type == "gauge" and family.name.endswith("_created"))
    }


def labels_of_process() -> Mapping[str, tuple[str, ...]]:
    """The label names of each metric of the process."""
    collectors = [each for each in REGISTRY._collector_to_names if isinstance(each, MetricWrapperBase)]
    return {next(iter(each.describe())).name: tuple(each._labelnames) for each in collectors}


def reset_metrics() -> None:
    """Sets every metric to zero. Children that code holds on to stay registered."""
    for collector in list(REGISTRY._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            children = list(collector._metrics.values()) if collector._labelnames else [collector]
            for child in children:
                child._metric_init()  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped


def process_page() -> str:
    """The metrics of this process as a scrape shows them."""
    return exposition.render("", None)[0].decode()


def store_page(counts: StoreCounts) -> str:
    """The metrics of the store as a scrape shows them."""
    registry = CollectorRegistry()

    class Page(Collector):
        def collect(self) -> Iterable[Metric]:
            return store_metrics.collect(counts)

    registry.register(Page())
    return generate_latest(registry).decode()


def total(page: str, sample: str, **labels: str) -> float:
    """The sum of the samples with this name and these labels on a page of `/metrics`; 0 if there are none."""
    return sum(
        each.value
        for family in text_string_to_metric_families(page)
        for each in family.samples
        if each.name == sample and labels.items() <= each.labels.items()
    )


async def read_total(client: httpx.AsyncClient, sample: str, **labels: str) -> float:
    """The same, of the process that answers `GET /metrics` for the client."""
    response = await client.get("/metrics")
    assert response.status_code == 200, response.text
    return total(response.text, sample, **labels)
