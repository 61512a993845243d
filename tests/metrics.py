"""Reads metrics as an operator does, and sets those of this process to zero.

Metrics belong to the process, not to a broker. `tests/conftest.py` resets them before each test, so a test
sees only what its own brokers counted.
"""

import httpx
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from broker.telemetry.metrics import REGISTRY


def reset_metrics() -> None:
    """Sets every metric to zero. Children that code holds on to stay registered."""
    for collector in list(REGISTRY._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            children = list(collector._metrics.values()) if collector._labelnames else [collector]
            for child in children:
                child._metric_init()  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped


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
